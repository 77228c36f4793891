"""Conversations put together from the codes of clips."""

import json
import random
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import tyro

from duologue.cli.app import CONFIG
from duologue.cli.data_shards import Compose
from duologue.codec import Codec
from duologue.data import composed as module
from duologue.data.composed import AGENT_TAIL, LEAD, Backgrounds, EncodedSpeakers, EncodedUtterance, composed
from duologue.data.director import Director
from duologue.data.drawn import select
from duologue.data.options import Recipe, Situations, Timing
from duologue.data.script import Line, Script
from duologue.data.shards import Sample, ShardReader
from duologue.weights.random import random_codec
from tests.codec.two_encoders import CONFIG as TWO_ENCODERS
from tests.data.sounds import clip_folder, spoken

PLAIN = Recipe(gain=0, noise=0, echo=0, room=0, telephone=0, floor=0, offset=0)
QUIET = Situations(
    pause_share=0, barge_in_share=0, stop_share=0, backchannel_share=0, silence_share=0, noise_share=0, long_share=0,
    aside_share=0, lost_share=0,
)  # fmt: skip
ITEMS = [
    {"id": "one-0", "user": ["What is one?", "Say one."], "agent": "One is a number."},
    {
        "id": "two-0",
        "user": ["And what is two?"],
        "agent": "Two is a larger number, and that is all I know of it today.",
    },
    {"id": "stop-0", "user": ["Stop."], "agent": "All right.", "stops": True},
]
LINE = Line("two-0", 0, ITEMS[1]["user"][0])
FRAME = TWO_ENCODERS.frame_size


@pytest.fixture(autouse=True)
def few_backgrounds(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "BACKGROUNDS", 2)


@pytest.fixture(scope="module")
def codec() -> Codec:
    return random_codec(TWO_ENCODERS).eval()


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The script, users' clips, the agent's."""
    folder = tmp_path_factory.mktemp("composed")
    (folder / "s.jsonl").write_text("".join(json.dumps(item) + "\n" for item in ITEMS))
    asked = [(f"{item['id']}-{k}", text) for item in ITEMS for k, text in enumerate(item["user"])]
    asked += [("backchannel-0", "Mm-hm.")]
    clip_folder(folder / "user-af_bella", [(key, "user", "af_bella", text) for key, text in asked])
    clip_folder(folder / "agent", [(item["id"], "agent", "af_heart", item["agent"]) for item in ITEMS])
    return [folder / "s.jsonl", folder / "user-af_bella", folder / "agent"]


def speakers(places: list[Path], codec: Codec, takes: int = 2, recipe: Recipe = PLAIN) -> EncodedSpeakers:
    script = Script.read(places[0])
    clips = select(tuple(places[1:]), "all", script)
    return EncodedSpeakers(clips, script, "af_heart", codec, takes, 3, recipe)


def made(
    places: list[Path], codec: Codec, situations: Situations = QUIET, count: int = 4, seed: int = 1
) -> list[Sample]:
    script = Script.read(places[0])
    director = Director(speakers(places, codec), script, situations, Timing(), 15.0)
    return list(composed(director, Backgrounds(codec, 1, PLAIN), codec.config.codebooks, count, seed))


def encoded_alone(codec: Codec, text: str) -> np.ndarray:
    """The codes of a clip of the agent's between silences."""
    wav_S = np.pad(spoken(text)[0], (LEAD * FRAME, 8 * FRAME))
    with torch.inference_mode():
        return codec.encode(torch.from_numpy(wav_S)[None])[0].numpy()[:, LEAD:]


def test_an_answers_codes_stand_where_the_turn_says(places: list[Path], codec: Codec):
    answers = 0
    for sample in made(places, codec):
        codes_CQT, body = sample["codes.npy"], sample["json"]
        assert codes_CQT.dtype == np.int16 and codes_CQT.shape == (2, 8, body["frames"])
        assert body["frames"] * 0.08 == pytest.approx(body["duration"], abs=0.001)
        for turn in body["turns"]:
            if turn["role"] == "agent":
                own_QT = encoded_alone(codec, turn["said"])
                at = round((turn["start"] - 0.06) / 0.08)  # clips begin with 60 ms of silence
                frames = int((turn["end"] - turn["start"]) / 0.08)
                assert (codes_CQT[0, :, at : at + frames] == own_QT[:, :frames]).all()
                answers += 1
    assert answers > 8


def test_of_the_user_only_the_semantic_codes_are_known(places: list[Path], codec: Codec):
    for sample in made(places, codec):
        agent_QT, user_QT = sample["codes.npy"]
        assert (agent_QT >= 0).all() and (user_QT[:3] >= 0).all() and (user_QT[3:] == -1).all()


def test_words_are_in_the_frames_that_sound_like_them(places: list[Path], codec: Codec):
    """A user's utterance begins on a frame boundary, its clip anywhere in that frame."""
    lates = set()
    for take in range(12):
        said = speakers(places, codec, 99).ask("*", LINE, random.Random(take))
        assert isinstance(said, EncodedUtterance)
        late = said.words[0].start - said.audible[0]
        assert abs(late) < 0.02
        lates.add(round(said.length - said.words[-1].end, 3))
        assert said.codes_QT.shape[1] >= said.length / 0.08
    assert len(lates) > 3


def test_a_clip_is_encoded_once_for_each_take(
    places: list[Path], codec: Codec, monkeypatch: pytest.MonkeyPatch
):
    calls = []
    real = codec.encode
    monkeypatch.setattr(codec, "encode", lambda *args: calls.append(1) or real(*args))
    asked = speakers(places, codec, takes=2)
    first = [asked.ask("*", LINE, random.Random(seed)) for seed in range(20)]
    assert len(calls) == 2
    again = [speakers(places, codec, takes=2).ask("*", LINE, random.Random(seed)) for seed in range(3)]
    assert all(np.array_equal(a.codes_QT, b.codes_QT) for a, b in zip(first, again, strict=False))  # pyright: ignore


def test_a_cut_answer_ends_and_its_words_too(places: list[Path], codec: Codec):
    rude = replace(QUIET, barge_in_share=0.5, stop_share=0.5, long_letters=30)
    cut = 0
    for sample in made(places, codec, rude, 8):
        for turn in sample["json"]["turns"]:
            if turn["kind"] != "cut":
                continue
            cut += 1
            own_QT = encoded_alone(codec, "Two is a larger number, and that is all I know of it today.")
            at = round((turn["start"] - 0.06) / 0.08)
            row_QT = sample["codes.npy"][0][:, at : at + own_QT.shape[1]]
            same_T = (row_QT == own_QT[:, : row_QT.shape[1]]).all(0)
            frames = int(np.argmin(same_T))  # up to the first that differs
            assert 1 < frames < own_QT.shape[1] - AGENT_TAIL
            assert turn["end"] <= turn["start"] + frames * 0.08 + 0.01
    assert cut > 3


def test_a_pause_is_between_two_frames(places: list[Path], codec: Codec):
    halting = replace(QUIET, pause_share=1.0)
    halves = 0
    for sample in made(places, codec, halting):
        turns = sample["json"]["turns"]
        for first, second in pairwise(turns):
            if first["kind"] == "pause":
                halves += 1
                assert second["kind"] == "question" and second["start"] >= first["end"] + 0.2
                assert f"{first['said']} {second['said']}" in [t for item in ITEMS for t in item["user"]]
    assert halves > 4


def test_noise_alone_and_noise_that_hides_a_question(places: list[Path], codec: Codec):
    script = Script.read(places[0])
    loud = replace(QUIET, noise_share=1.0)
    director = Director(speakers(places, codec), script, loud, Timing(), 15.0)
    backgrounds = Backgrounds(codec, 1, PLAIN)
    backgrounds.noises = [np.full((3, 40), 7, np.int16)]
    for seed in range(3):
        rng = random.Random(seed)
        line = director.direct(rng)
        (sample,) = composed(_Given(line), backgrounds, 8, 1, seed)  # pyright: ignore
        for start, end in line.noises:
            assert (sample["codes.npy"][1, :3, round(start / 0.08) + 1 : round(end / 0.08) - 1] == 7).all()


class _Given:
    """A director who always directs the same."""

    def __init__(self, line):
        self.line = line

    def direct(self, rng: random.Random):
        return self.line


def test_the_same_seed_gives_the_same_samples(places: list[Path], codec: Codec):
    first, second, other = made(places, codec), made(places, codec), made(places, codec, seed=2)
    for a, b in zip(first, second, strict=True):
        assert (a["codes.npy"] == b["codes.npy"]).all() and a["json"] == b["json"]
    assert [s["json"]["alignments"] for s in first] != [s["json"]["alignments"] for s in other]


def test_from_the_command_line(places: list[Path], tmp_path: Path):
    args = [str(places[0]), str(tmp_path / "out"), "--clips", *map(str, places[1:]), "--model", "tiny"]
    tyro.cli(Compose, args=[*args, "--count", "3", "--seconds", "8", "--split", "all"], config=CONFIG).run()
    reader = ShardReader(tmp_path / "out" / "shards")
    assert len(reader) == 3
    assert next(reader)["codes.npy"].shape[0] == 2
