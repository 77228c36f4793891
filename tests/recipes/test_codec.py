"""nano's codec: what it is, and that a stream gives the codes of the whole."""

from pathlib import Path

import pytest
import torch

import duologue
from duologue import load, presets
from duologue.audio.files import read_mono
from duologue.codec import Codec


@pytest.fixture(scope="module")
def codec() -> Codec:
    return load("nano", "cpu").codec


def test_it_is_the_presets(codec: Codec):
    assert codec.config == presets.nano_codec()


def test_a_stream_gives_the_codes_of_the_whole(codec: Codec):
    frame = codec.config.frame_size
    wav_S = read_mono(Path(duologue.__file__).parent / "assets" / "question.opus", codec.config.sample_rate)
    wav_BS = torch.from_numpy(wav_S[: len(wav_S) // frame * frame])[None]
    state = codec.init_state(1)
    with torch.inference_mode():
        parts = [codec.encode_step(state, part_BS) for part_BS in wav_BS.split(frame, 1)]
        whole_BQT = codec.encode(wav_BS)
    streamed_BQT = torch.cat(parts, -1)
    # Sums of another order may move a latent over the border between two entries, of the residual ones above all.
    assert (streamed_BQT == whole_BQT)[:, :3].float().mean() > 0.97
    assert len(set(whole_BQT[0, 0].tolist())) > 10
