"""Our codec against the reference's, on the same random weights."""

import pytest
import torch
from torch.testing import assert_close

from tests import golden


@pytest.mark.parametrize(("case", "codebooks"), [("mimi_small", 8), ("mimi_32", 32)])
def test_offline(case: str, codebooks: int) -> None:
    codec, io = golden.codec(case, codebooks), golden.io(case)
    wav_BS = io["wav_in"].float() / 32768
    with torch.no_grad():
        assert_close(codec.to_latent(wav_BS), io["latent"], atol=1e-4, rtol=0)
        assert_close(codec.quantizer.decode(io["codes_in"]), io["latent_out"], atol=1e-4, rtol=0)
    assert torch.equal(codec.encode(wav_BS), io["codes"])
    assert_close(codec.decode(io["codes_in"][:, :8]), io["wav_out"], atol=1e-4, rtol=0)
    if "wav_out_all" in io:
        assert_close(codec.decode(io["codes_in"]), io["wav_out_all"], atol=1e-4, rtol=0)


@pytest.mark.parametrize("case", ["mimi_small", "mimi_32"])
def test_a_last_frame_that_is_not_full(case: str) -> None:
    codec, io = golden.codec(case, 8), golden.io(case)
    wav_BS = io["wav_in"].float() / 32768
    assert torch.equal(codec.encode(wav_BS[:, : 2 * 1920 + 777]), io["ragged_codes"])


@pytest.mark.parametrize("case", ["mimi_small", "mimi_32"])
def test_streamed(case: str) -> None:
    """As far as the reference's ring reaches (see the golden tensors' README)."""
    codec, io = golden.codec(case, 8), golden.io(case)
    wav_BTS = (io["wav_in"].float() / 32768).unflatten(1, (-1, 1920))
    state = codec.init_state(len(wav_BTS))
    frames = io["stream_codes"].shape[-1]
    codes = [codec.encode_step(state, wav_BTS[:, t]) for t in range(frames)]
    assert torch.equal(torch.cat(codes, -1), io["stream_codes"])
    codes_in = io["codes_in"][:, :8]
    wavs = [codec.decode_step(state, codes_in[..., t : t + 1]) for t in range(frames)]
    assert_close(wavs[-1][: len(io["stream_wav_out"])], io["stream_wav_out"], atol=1e-4, rtol=0)
