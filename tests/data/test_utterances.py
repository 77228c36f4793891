"""Users' speech alone, as shards."""

from pathlib import Path

import numpy as np
import pytest
import torch
import tyro

from duologue.cli.app import CONFIG
from duologue.cli.data import Utterances
from duologue.data.options import Recipe
from duologue.data.shards import Sample, ShardReader
from duologue.data.utterances import user_clips, utterances
from duologue.data.voices import write_clip
from duologue.errors import InputError
from duologue.weights import load
from duologue.weights.random import random_codec
from tests.codec.two_encoders import CONFIG as TWO_ENCODERS
from tests.data.sounds import spoken

PLAIN = Recipe(gain=0, noise=0, echo=0, room=0, telephone=0, floor=0, offset=0)
TEXTS = ["one two", "three four five", "six", "seven eight", "nine ten eleven"]


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    folder = tmp_path / "user-af_alloy"
    for number, text in enumerate(TEXTS):
        wav_S, words = spoken(text)
        row = {
            "key": f"item-{number}-0", "id": f"item-{number}", "role": "user", "voice": "af_alloy", "text": text,
            "words": [[w.text, w.start, w.end] for w in words],
        }  # fmt: skip
        write_clip(folder, f"item-{number}-0", wav_S, row)
    return folder


def made(clips: Path, samples: int = 4, seconds: float = 4.0, seed: int = 1) -> list[Sample]:
    codec = random_codec(TWO_ENCODERS).eval()
    return list(utterances(user_clips([clips], "train"), codec, samples, seconds, seed, PLAIN))


def test_words_are_the_users_and_end_within_the_sample(clips: Path):
    for sample in made(clips):
        words = sample["json"]["alignments"]
        assert len(words) >= 4 and sample["json"]["frames"] == 50
        assert {who for _, _, who in words} == {"SPEAKER_USER"}
        starts = [start for _, (start, _), _ in words]
        assert starts == sorted(starts) and max(end for _, (_, end), _ in words) < 4.0


def test_words_stand_where_they_sound(clips: Path, monkeypatch: pytest.MonkeyPatch):
    heard: list[np.ndarray] = []

    def keep(codec, wav_S):
        heard.append(wav_S)
        return np.zeros((3, 50), np.int16)

    monkeypatch.setattr("duologue.data.utterances._semantic_codes", keep)
    for sample, wav_S in zip(made(clips), heard, strict=True):
        loud_S = np.abs(wav_S) > 0.02
        for _, (start, end), _ in sample["json"]["alignments"]:
            middle = round((start + end) / 2 * 24_000)
            assert loud_S[middle - 240 : middle + 240].any()
            assert not loud_S[round((end + 0.01) * 24_000) : round((end + 0.03) * 24_000)].any()


def test_only_the_users_semantic_codes_are_known(clips: Path):
    for sample in made(clips):
        agent_QT, user_QT = sample["codes.npy"]
        assert agent_QT.shape == (8, 50) and (agent_QT == -1).all()
        assert (user_QT[:3] >= 0).all() and (user_QT[3:] == -1).all()


def test_semantic_codes_alone_equal_those_of_all_codebooks():
    codec = random_codec(TWO_ENCODERS).eval()
    wav_BS = torch.randn(2, 5 * 1920 - 7, generator=torch.Generator().manual_seed(0)) * 0.1
    assert torch.equal(codec.encode(wav_BS, 3), codec.encode(wav_BS)[:, :3])
    assert torch.equal(codec.encode(wav_BS, 5), codec.encode(wav_BS)[:, :5])
    seanet = load("tiny").codec
    assert torch.equal(seanet.encode(wav_BS, 1), seanet.encode(wav_BS)[:, :1])


def test_every_clip_is_used_before_any_is_used_again(clips: Path):
    words = [text.strip() for sample in made(clips, 3, 2.5) for text, _, _ in sample["json"]["alignments"]]
    first = [words.index(text.split()[0]) for text in TEXTS if text.split()[0] in words]
    assert len(first) == len(TEXTS)
    again = [i for i, word in enumerate(words) if word in words[:i]]
    assert min(again, default=len(words)) > max(first) - 3  # the last of a sample may be cut off


def test_the_same_seed_gives_the_same_samples(clips: Path):
    first, second, other = made(clips), made(clips), made(clips, seed=2)
    assert all(
        (a["codes.npy"] == b["codes.npy"]).all() and a["json"] == b["json"]
        for a, b in zip(first, second, strict=True)
    )
    assert [s["json"]["alignments"] for s in first] != [s["json"]["alignments"] for s in other]


def test_from_the_command_line(clips: Path, tmp_path: Path):
    args = [str(tmp_path / "out"), "--clips", str(clips), "--model", "tiny", "--count", "3", "--seconds", "2"]
    tyro.cli(Utterances, args=args, config=CONFIG).run()
    assert len(ShardReader(tmp_path / "out" / "shards")) == 3


def test_clips_without_word_times_are_refused(clips: Path):
    wav_S, _ = spoken("one two")
    bare = clips.parent / "bare"
    write_clip(bare, "a-0", wav_S, {"key": "a-0", "id": "a", "role": "user", "voice": "v", "text": "one two"})
    with pytest.raises(InputError, match="duologue data align"):
        user_clips([bare], "train")
    with pytest.raises(InputError, match="'voice'"):
        user_clips([clips], "voice")
