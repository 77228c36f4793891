"""The codec in MLX against the reference's golden tensors, and in slots."""

import shutil
from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

pytest.importorskip("mlx.core")

import mlx.core as mx

from duologue import presets
from duologue.config import CodecConfig, FramesConfig
from duologue.mlx import attention
from duologue.mlx.state import compiled
from duologue.weights.random import random_codec
from tests import golden
from tests.codec import two_encoders
from tests.mlx import mirror
from tests.mlx.mirror import back, of, same_bits

TINY = presets.tiny_codec()
CONFIGS = {
    "seanet": TINY,
    "frames": replace(TINY, frames=FramesConfig(24, 48, 3, 5, 240)),
    "two encoders": two_encoders.CONFIG,
}
EVERY_KIND = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())


def tolerance(config: CodecConfig) -> float:
    """What is rounded in the pitch of a voice adds up in its phase."""
    return 3e-3 if config.frames else 1e-4


@pytest.mark.parametrize(("case", "codebooks"), [("mimi_small", 8), ("mimi_32", 32)])
def test_it_gives_the_references_codes_and_samples(case: str, codebooks: int) -> None:
    codec, io = mirror.codec(golden.codec(case, codebooks)), golden.io(case)
    wav_BS = of(io["wav_in"].float() / 32768)
    assert torch.equal(back(codec.encode(wav_BS)), io["codes"])
    ragged_BS = wav_BS[:, : 2 * 1920 + 777]
    assert torch.equal(back(codec.encode(ragged_BS))[:, :8], io["ragged_codes"])
    assert_close(back(codec.decode(of(io["codes_in"][:, :8]))), io["wav_out"], atol=1e-4, rtol=0)
    if "wav_out_all" in io:
        assert_close(back(codec.decode(of(io["codes_in"]))), io["wav_out_all"], atol=1e-4, rtol=0)


@EVERY_KIND
def test_offline_it_equals_torch(config: CodecConfig) -> None:
    twin = random_codec(config)
    codes_BQT = torch.randint(32, (3, 8, 30), generator=torch.Generator().manual_seed(0))
    expected = twin.decode(codes_BQT)
    assert expected.std() > 0.01, "nothing to compare"
    assert_close(back(mirror.codec(twin).decode(of(codes_BQT))), expected, atol=tolerance(config), rtol=0)


@EVERY_KIND
def test_streamed_it_equals_torch_offline_past_the_context(config: CodecConfig) -> None:
    twin = random_codec(config)
    codec = mirror.codec(twin)
    wav_BS = 0.1 * torch.randn(2, 24 * 1920, generator=torch.Generator().manual_seed(0))
    codes_BQT = twin.encode(wav_BS)
    state = codec.init_state(2)
    codes, wavs = [], []
    for t in range(24):
        codes.append(codec.encode_step(state, of(wav_BS[:, t * 1920 : (t + 1) * 1920])))
        wavs.append(codec.decode_step(state, codes[-1]))
        mx.eval(wavs[-1], state.arrays())
    assert len(codes_BQT.unique()) > 20, "nothing to compare"
    assert torch.equal(back(mx.concatenate(codes, -1)), codes_BQT)
    assert_close(back(mx.concatenate(wavs, -1)), twin.decode(codes_BQT), atol=tolerance(config), rtol=0)


@EVERY_KIND
def test_slots_rest_and_start_anew(config: CodecConfig) -> None:
    """After a frame that is no sound and a reset, with a neighbour and pauses: bit for bit as in a new state."""
    codec = mirror.codec(random_codec(config))
    wav_TBS = of(0.1 * torch.randn(6, 2, 1920, generator=torch.Generator().manual_seed(0)))
    bad_BS, nobody, first = mx.full((2, 1920), mx.nan), mx.array([False, False]), mx.array([True, False])
    alone, state = codec.init_state(2), codec.init_state(2)
    codec.decode_step(state, codec.encode_step(state, bad_BS))
    state.reset(mx.array([True, True]))
    assert all(same_bits(a, b) for a, b in zip(state.arrays(), alone.arrays(), strict=True))
    for wav_BS in wav_TBS:
        codec.decode_step(state, codec.encode_step(state, bad_BS, nobody), nobody)
        a_BQT, b_BQT = codec.encode_step(alone, wav_BS), codec.encode_step(state, wav_BS, first)
        a_BS, b_BS = codec.decode_step(alone, a_BQT), codec.decode_step(state, a_BQT, first)
        assert same_bits(a_BQT[:1], b_BQT[:1])
        assert same_bits(a_BS[:1], b_BS[:1])
    assert all(same_bits(a[:1], b[:1]) for a, b in zip(alone.arrays(), state.arrays(), strict=True))


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="compiling on Linux takes a C++ compiler")
@EVERY_KIND
def test_compiled_it_gives_the_same(config: CodecConfig) -> None:
    codec = mirror.codec(random_codec(config))
    plain, state, alone = codec.init_state(2), codec.init_state(2), mx.array([True, False])
    run = compiled(lambda codes_BQT, exec_B: codec.decode_frame(state, codes_BQT, exec_B), state)
    codes_BQT = torch.randint(32, (2, 8, 6), generator=torch.Generator().manual_seed(0))
    for t in range(6):
        codes_BQ1, exec_B = of(codes_BQT[..., t : t + 1]), alone if t == 3 else mx.array([True, True])
        state.grow()
        expected = codec.decode_step(plain, codes_BQ1, exec_B)
        assert_close(back(run(codes_BQ1, exec_B)), back(expected), atol=tolerance(config), rtol=0)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="compiling on Linux takes a C++ compiler")
@EVERY_KIND
def test_compiled_it_hears_the_same(config: CodecConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the rings grow, so that it is compiled again, and for slots that rest."""
    monkeypatch.setattr(attention, "YOUNG", 8)
    codec = mirror.codec(random_codec(config))
    plain, state, alone = codec.init_state(2), codec.init_state(2), mx.array([True, False])
    run = compiled(lambda wav_BS, exec_B: codec.encode_frame(state, wav_BS, exec_B), state)
    for t, wav_BS in enumerate(two_encoders.sound(2, 7).split(1920, 1)):
        exec_B = alone if t == 3 else mx.array([True, True])
        state.encode.grow()
        expected = codec.encode_step(plain, of(wav_BS), exec_B)
        heard = run(of(wav_BS), exec_B)
        assert torch.equal(back(heard)[:1], back(expected)[:1])
        assert t == 3 or torch.equal(back(heard), back(expected))
    for a, b in zip(state.encode.arrays(), plain.encode.arrays(), strict=True):
        assert_close(back(a), back(b), atol=1e-4, rtol=1e-3)


def test_latents_of_two_encoders_equal_torchs() -> None:
    """Past the context (20 positions) and the period of the positions (48), with pauses of each slot."""
    twin = random_codec(two_encoders.CONFIG)
    codec, wav_BS = mirror.codec(twin), two_encoders.sound(2, 20)
    with torch.no_grad():
        expected_BTD = twin.to_latent(wav_BS).mT
    assert expected_BTD.std() > 0.1, "nothing to compare"
    assert_close(back(codec.to_latent(of(wav_BS))), expected_BTD, atol=1e-4, rtol=0)
    state, done, pattern = codec.init_state(2).encode, [0, 0], torch.Generator().manual_seed(0)
    while min(done) < 20:
        exec_B = (torch.rand(2, generator=pattern) < 0.7) & torch.tensor([frame < 20 for frame in done])
        frames = [wav_BS[b, min(done[b], 19) * 1920 :][:1920] for b in range(2)]
        state.grow()
        parts = [
            encoder.step(inner, of(torch.stack(frames)), of(exec_B))
            for encoder, inner in ((codec.encoder, state.semantic), (codec.acoustic_encoder, state.acoustic))
        ]
        z_BD = back(mx.concatenate(parts, -1))[:, 0]
        for b in exec_B.nonzero()[:, 0].tolist():
            assert_close(z_BD[b], expected_BTD[b, done[b]], atol=1e-4, rtol=0)
            done[b] += 1


def test_an_hour_of_two_encoders_leaves_no_trace() -> None:
    codec, wav_BS = mirror.codec(random_codec(two_encoders.CONFIG)), two_encoders.sound(1, 16)
    young, old = codec.init_state(1), codec.init_state(1)
    for t, frame_BS in enumerate(wav_BS.split(1920, 1)):
        if t == 10:
            length = old.encode.semantic.transformer.caches[0].keys_BHCD.shape[2]
            for cache in old.encode.semantic.transformer.caches:
                cache.seen_B = cache.seen_B + 180_000 // (4 * length) * 4 * length  # whole blocks and rounds
        a, b = codec.encode_step(young, of(frame_BS)), codec.encode_step(old, of(frame_BS))
        assert same_bits(a, b)
    assert same_bits(young.encode.semantic.position_B, old.encode.semantic.position_B)
    assert young.encode.semantic.position_B.item() == 64 % two_encoders.WHISPER.period


def test_frames_of_another_length_are_refused() -> None:
    codec = mirror.codec(random_codec(TINY))
    state = codec.init_state(1)
    with pytest.raises(ValueError, match="one frame"):
        codec.encode_step(state, mx.zeros((1, 1919)))
    with pytest.raises(ValueError, match="one frame"):
        codec.decode_step(state, mx.zeros((1, 8, 2), mx.int32))
