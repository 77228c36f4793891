"""A whole conversation with a recording: what is written where, and when it ends."""

from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
import torch

from duologue.engine import offline
from duologue.engine.duplex import Duplex
from duologue.engine.offline import talk
from duologue.engine.session import AgentFrame
from duologue.lm import Sampling
from duologue.weights import Model, load

FRAME = 1920


@cache
def tiny() -> Model:
    return load("tiny")


def recording(frames: float) -> np.ndarray:
    random = np.random.default_rng(0)
    return (0.3 * random.standard_normal(int(frames * FRAME))).clip(-1, 1).astype(np.float32)


@pytest.mark.parametrize("greedy", [True, False])
def test_the_answer_is_written_as_it_is_heard(greedy: bool) -> None:
    """Frame by frame the same as the duplex step, after one frame of silence that nobody hears; the frame that follows
    from input i is written at i + 1."""
    user_S = recording(6)
    answer = talk(tiny(), user_S, seed=5, greedy=greedy, tail=0.4)
    sampling = Sampling.greedy() if greedy else Sampling(seed=5)
    duplex = Duplex(tiny(), [sampling])
    duplex.step(torch.zeros(1, FRAME))
    frames = [np.zeros(FRAME, np.float32)]
    for heard_S in [*user_S.reshape(-1, FRAME), *np.zeros((5, FRAME), np.float32)]:
        frames.append(duplex.step(torch.from_numpy(heard_S)[None]).wav_BS[0].numpy())
    expected_S = np.concatenate(frames)[: answer.wav_S.size]
    np.testing.assert_array_equal(answer.wav_S, expected_S)
    assert answer.report["frames"] + 1 == answer.wav_S.size // FRAME
    assert 7 <= answer.wav_S.size // FRAME <= 12
    assert answer.wav_S.std() > 0


@pytest.mark.parametrize(("samples", "frames"), [(1, 1), (FRAME, 1), (FRAME + 1, 2), (5 * FRAME - 1, 5)])
def test_any_length(samples: int, frames: int) -> None:
    answer = talk(tiny(), recording(6)[:samples], tail=0)
    assert answer.wav_S.shape == ((frames + 1) * FRAME,)
    assert answer.wav_S.dtype == np.float32
    assert answer.report["frames"] == frames


def test_the_same_seed_gives_the_same_answer() -> None:
    a, b, c = (talk(tiny(), recording(8), seed=seed, tail=0) for seed in (1, 1, 2))
    np.testing.assert_array_equal(a.wav_S, b.wav_S)
    assert a.report["text"] == b.report["text"]
    assert not np.array_equal(a.wav_S, c.wav_S)
    assert a.report["seed"] == 1


def test_what_is_said_is_told_as_it_comes() -> None:
    told: list[tuple[float, str, str]] = []
    answer = talk(tiny(), recording(3), tail=0.3, say=lambda *news: told.append(news))
    assert [now for now, _, _ in told] == pytest.approx(
        [0.08 * (i + 1) for i in range(answer.report["frames"])]
    )
    assert "".join(text for _, text, _ in told).strip() == answer.report["text"]


def test_the_report() -> None:
    report = talk(tiny(), recording(10), tail=0).report
    assert list(report) == ["model", "seed", "frames", "text", "words", "frame_ms"]
    assert report["model"] == "tiny"
    assert 0 < report["frame_ms"]["p50"] <= report["frame_ms"]["p99"] <= report["frame_ms"]["max"]
    for word in report["words"]:
        assert 0.08 <= word["start"] < word["end"] <= 0.08 * 11 + 1e-9
        assert round(word["start"], 2) == word["start"]
    starts = [word["start"] for word in report["words"]]
    assert starts == sorted(starts)


@dataclass
class Scripted:
    """A session whose agent says "hello" while the frames of `speaks` last."""

    speaks: range
    restless: bool = False
    frame_size: int = FRAME
    frames: int = 0

    def push(self, frame_S: np.ndarray) -> AgentFrame:
        self.frames += 1
        speaks = self.frames in self.speaks
        wav_S = np.full(FRAME, 0.1 if speaks else 0.0, np.float32)
        hello = tiny().tokenizer.encode("hello")
        token = (
            hello[self.frames - self.speaks.start]
            if speaks and self.frames - self.speaks.start < len(hello)
            else 3
        )
        return AgentFrame(self.frames, wav_S, "", 40 if self.restless else token)


@pytest.mark.parametrize(
    ("frames", "speaks", "tail", "expected"),
    [
        (10, range(0), 15.0, 29),  # has 1.5 s (19 frames) to begin, however long it has listened
        (30, range(0), 15.0, 49),
        (10, range(12, 30), 15.0, 48),  # answers after it, then 19 frames of silence
        (10, range(5, 10), 15.0, 29),
        (10, range(12, 10_000), 2.0, 35),  # never stops: the tail ends
        (10, range(12, 30), 0.0, 10),
    ],
)
def test_when_it_ends(monkeypatch, frames: int, speaks: range, tail: float, expected: int) -> None:
    monkeypatch.setattr(offline, "Session", lambda *_: Scripted(speaks))
    answer = talk(tiny(), recording(frames), tail=tail)
    assert answer.report["frames"] == expected
    voiced = np.abs(answer.wav_S.reshape(-1, FRAME)).max(-1) > 0
    assert voiced.nonzero()[0].tolist() == [i for i in speaks if i <= expected]
    if len(speaks) and tail:
        words = answer.report["words"]
        assert [word["word"] for word in words] == ["hello"]
        assert words[0]["start"] == round(0.08 * speaks.start, 2)
        assert words[0]["end"] == round(0.08 * min(speaks.stop, expected + 1), 2)


def test_text_without_voice_is_not_silence(monkeypatch) -> None:
    monkeypatch.setattr(offline, "Session", lambda *_: Scripted(range(0), restless=True))
    assert talk(tiny(), recording(10), tail=4.0).report["frames"] == 60
