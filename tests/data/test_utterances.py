"""Speech without conversations, as shards."""

from pathlib import Path

import numpy as np
import pytest
import torch
import tyro

from duologue.cli.app import CONFIG
from duologue.cli.data_shards import Utterances
from duologue.data.options import Recipe
from duologue.data.shards import Sample, ShardReader
from duologue.data.utterances import clips_of, utterances
from duologue.data.voices import write_clip
from duologue.errors import InputError
from duologue.weights import load
from duologue.weights.random import random_codec
from tests.codec.two_encoders import CONFIG as TWO_ENCODERS
from tests.data.sounds import spoken

PLAIN = Recipe(gain=0, noise=0, echo=0, room=0, telephone=0, floor=0, offset=0)
TEXTS = ["one two", "three four five", "six", "seven eight", "nine ten eleven"]
ANSWERS = ["alpha beta", "gamma", "delta epsilon zeta"]


def folder_of(folder: Path, texts: list[str], **about: str) -> Path:
    for number, text in enumerate(texts):
        wav_S, words = spoken(text)
        row = {
            "key": f"item-{number}-0", "id": f"item-{number}", "text": text,
            "words": [[w.text, w.start, w.end] for w in words],
        }  # fmt: skip
        write_clip(folder, f"item-{number}-0", wav_S, row | about)
    return folder


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    return folder_of(tmp_path / "user-af_alloy", TEXTS, role="user", voice="af_alloy")


@pytest.fixture
def answers(tmp_path: Path) -> Path:
    return folder_of(tmp_path / "agent", ANSWERS, role="agent", voice="af_heart")


def made(*clips: Path, samples: int = 4, seconds: float = 4.0, seed: int = 1) -> list[Sample]:
    codec = random_codec(TWO_ENCODERS).eval()
    return list(utterances(clips_of(clips, "train"), codec, samples, seconds, seed, PLAIN))


def test_words_are_the_users_and_end_within_the_sample(clips: Path):
    for sample in made(clips):
        words = sample["json"]["alignments"]
        assert len(words) >= 4 and sample["json"]["frames"] == 50
        assert {who for _, _, who in words} == {"SPEAKER_USER"}
        starts = [start for _, (start, _), _ in words]
        assert starts == sorted(starts) and max(end for _, (_, end), _ in words) < 4.0


def test_words_stand_where_they_sound(clips: Path, monkeypatch: pytest.MonkeyPatch):
    heard: list[np.ndarray] = []

    def keep(codec, wav_S, codebooks):
        heard.append(wav_S)
        return np.zeros((3, 50), np.int16)

    monkeypatch.setattr("duologue.data.utterances.encoded", keep)
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


def test_the_agents_clips_are_over_them_undisturbed_in_all_codebooks(clips: Path, answers: Path):
    own = {w.text: w.end - w.start for text in ANSWERS for w in spoken(text)[1]}
    first = {words[0].text: words[0].start for _, words in map(spoken, ANSWERS)}
    for sample, alone in zip(made(clips, answers), made(clips), strict=True):
        assert sample["json"]["unrelated"]
        agent_QT, user_QT = sample["codes.npy"]
        assert (agent_QT >= 0).all()
        said = {
            who: [w for w in sample["json"]["alignments"] if w[2] == who]
            for who in ("SPEAKER_MAIN", "SPEAKER_USER")
        }
        assert (
            said["SPEAKER_USER"] == alone["json"]["alignments"] and (user_QT == alone["codes.npy"][1]).all()
        )
        assert len(said["SPEAKER_MAIN"]) > 3
        for text, (start, end), _ in said["SPEAKER_MAIN"]:
            assert end - start == pytest.approx(own[text.strip()], abs=0.002)  # at its own speed
            if text.strip() in first:  # a clip begins on a frame boundary
                place = (start - first[text.strip()]) / 0.08
                assert place == pytest.approx(round(place), abs=0.03)


def test_without_clips_of_users_they_are_unknown(answers: Path):
    for sample in made(answers):
        agent_QT, user_QT = sample["codes.npy"]
        assert (agent_QT >= 0).all() and (user_QT == -1).all()
        assert {who for _, _, who in sample["json"]["alignments"]} == {"SPEAKER_MAIN"}


def test_semantic_codes_alone_equal_those_of_all_codebooks():
    codec = random_codec(TWO_ENCODERS).eval()
    wav_BS = torch.randn(2, 5 * 1920 - 7, generator=torch.Generator().manual_seed(0)) * 0.1
    assert torch.equal(codec.encode(wav_BS, 3), codec.encode(wav_BS)[:, :3])
    assert torch.equal(codec.encode(wav_BS, 5), codec.encode(wav_BS)[:, :5])
    seanet = load("tiny").codec
    assert torch.equal(seanet.encode(wav_BS, 1), seanet.encode(wav_BS)[:, :1])


def test_every_clip_is_used_before_any_is_used_again(clips: Path):
    words = [
        text.strip()
        for sample in made(clips, samples=3, seconds=2.5)
        for text, _, _ in sample["json"]["alignments"]
    ]
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
        clips_of([bare], "train")
    with pytest.raises(InputError, match="'voice'"):
        clips_of([clips], "voice")
