"""Speech synthesis against the reference's (`tests/golden/make_speech.py`), and against itself."""

import json
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from duologue.engine.options import Options
from duologue.engine.speak import Synthesiser, Utterance
from duologue.engine.voices import Voice, read_voice
from duologue.errors import InputError
from duologue.lm.sampling import Sampling
from duologue.types import AGENT, USER
from duologue.weights import load
from tests.engine.speech_models import SPEECH, GoldenModel
from tests.golden.speech_cases import PREFIX_CASES, TTS_CASES

GREEDY = Sampling.greedy()
EXPECTED = json.loads((SPEECH / "expected.json").read_text())
CASES = {name: ("lm_cond", case) for name, case in TTS_CASES.items()} | {
    name: ("lm_prefix", case) for name, case in PREFIX_CASES.items()
}


@cache
def io() -> dict[str, np.ndarray]:
    return {name: t.numpy().astype(np.int64) for name, t in load_file(SPEECH / "io.safetensors").items()}


@cache
def model(name: str) -> GoldenModel:
    return GoldenModel(name)


def voice(case: dict[str, Any], name: str) -> Voice:
    if "prefix" in case:
        return Voice(prefix_QT=io()[f"{name}.prefix"])
    return read_voice(model("lm_cond"), [str(SPEECH / f"voice{v}.safetensors") for v in case["voices"]])


class Recorded:
    """A synthesiser, and the whole frames of codes that its model gave each slot."""

    def __init__(self, lm: str, slots: int = 1, backend: Any = "torch", **settings: Any):
        self.synthesiser = Synthesiser(model(lm), slots, Options(backend), **settings)
        self.frames: dict[int, list[np.ndarray]] = {}
        streams = self.synthesiser._streams
        inner, inner_start = streams.speak, streams.start

        def start(slot: int, *rest: Any) -> None:
            self.frames[slot] = []
            inner_start(slot, *rest)

        def speak(text_B: Any, audio_BQ: Any, exec_B: Any, depth: bool = True) -> np.ndarray:
            tokens_BK = inner(text_B, audio_BQ, exec_B, depth)
            for slot in exec_B.nonzero()[0]:
                if tokens_BK[slot, 0] != -2:
                    self.frames[slot].append(tokens_BK[slot])
            return tokens_BK

        streams.speak, streams.start = speak, start  # pyright: ignore[reportAttributeAccessIssue]

    def open(self, name: str) -> Utterance:
        case = CASES[name][1]
        settings = replace(GREEDY, pad_bias=case.get("bonus", 0.0))
        utterance = self.synthesiser.open(voice(case, name), settings)
        for turn, text in enumerate(case["script"]):
            if turn:
                utterance.turn()
            utterance.push(text)
        utterance.finish()
        return utterance


def check(name: str, utterance: Utterance, frames: list[np.ndarray]) -> None:
    """The reference stops as the last codes are chosen, before the delayed ones have come."""
    expected = io()[f"{name}.frames"]
    got = np.stack(frames, 1)
    assert got.shape[1] == expected.shape[1] + 2
    assert np.array_equal(got[:, : expected.shape[1]], expected)
    assert utterance.machine.words == [tuple(word) for word in EXPECTED[name]["words"]]
    assert utterance.machine.end_step == EXPECTED[name]["end_step"]


MLX_TOO = "turns", "fewer", "prefix"


@pytest.mark.parametrize(
    ("name", "backend"), [*((name, "torch") for name in CASES), *((name, "mlx") for name in MLX_TOO)]
)
def test_it_says_what_the_reference_says(name: str, backend: str) -> None:
    if backend == "mlx":
        pytest.importorskip("mlx.core")
    lm, case = CASES[name]
    recorded = Recorded(lm, backend=backend, guidance=case["guidance"], codebooks=case.get("codebooks"))
    utterance = recorded.open(name)
    spoken = []
    while not utterance.ended:
        spoken += [s for _, s in recorded.synthesiser.tick()]
    check(name, utterance, recorded.frames[0])
    end, first = EXPECTED[name]["end_step"], case.get("prefix", 0)
    assert len(spoken) == end + 4 - first
    words = [word for frame in spoken for word in frame.words]
    assert [(w.text, round(w.start / 0.08)) for w in words] == [
        (text, step - first) for text, step in EXPECTED[name]["words"]
    ]


def test_four_that_start_and_stop_apart() -> None:
    """Each on a slot of three, with a voice of its own, says what the reference says of it alone."""
    recorded = Recorded("lm_cond", slots=3, guidance=2.0)
    starts = {0: "plain", 5: "long", 9: "slow", 20: "plain", 21: "plain"}
    going: list[tuple[str, Utterance]] = []
    done: dict[int, list[np.ndarray]] = {}
    for tick in range(400):
        if tick in starts:
            going.append((starts[tick], recorded.open(starts[tick])))
        recorded.synthesiser.tick()
        for i, (_, utterance) in enumerate(going):
            if utterance.ended and i not in done:
                done[i] = recorded.frames[utterance.slot]
    assert len(done) == len(starts)
    for i, (name, utterance) in enumerate(going):
        check(name, utterance, done[i])


@pytest.mark.parametrize("name", ["turns", "unguided"])
def test_text_that_streams_in_gives_the_same(name: str) -> None:
    """Letter by letter, with a tick after each: the model waits for words that it must know, and no longer."""
    lm, case = CASES[name]
    recorded = Recorded(lm, guidance=case["guidance"])
    utterance = recorded.synthesiser.open(voice(case, name), GREEDY)
    early = 0
    for turn, text in enumerate(case["script"]):
        if turn:
            utterance.turn()
        for letter in text:
            utterance.push(letter)
            early += len(recorded.synthesiser.tick())
    utterance.finish()
    while not utterance.ended:
        recorded.synthesiser.tick()
    check(name, utterance, recorded.frames[0])
    assert early > 10  # it spoke before it knew all


def test_what_is_refused() -> None:
    with pytest.raises(InputError, match="guidance of lm_cond is one of 1.0, .*not 9"):
        Synthesiser(model("lm_cond"), guidance=9)
    with pytest.raises(InputError, match="speaks 1 to 8 codebooks, not 9"):
        Synthesiser(model("lm_cond"), codebooks=9)
    with pytest.raises(InputError, match="does not speak a text"):
        Synthesiser(model("lm_heads"))
    with pytest.raises(InputError, match="there is no voice file:..nobody.safetensors"):
        read_voice(model("lm_cond"), ["file://nobody.safetensors"])
    with pytest.raises(InputError, match="up to 5 voices, not 6"):
        read_voice(model("lm_cond"), [str(SPEECH / "voice0.safetensors")] * 6)
    with pytest.raises(InputError, match="is not a voice: it has no tensor"):
        read_voice(model("lm_cond"), [str(SPEECH / "io.safetensors")])
    with pytest.raises(InputError, match="one voice at a time"):
        read_voice(model("lm_prefix"), ["a.wav", "b.wav"])
    with pytest.raises(InputError, match="has one voice of its own"):
        read_voice(load("tiny"), ["a.wav"])


def test_a_conversationalist_says_the_text_and_stops() -> None:
    """The words of the text are its text tokens, in order; then it is quiet."""
    opened = load("nano")
    synthesiser = Synthesiser(opened)
    written: list[int] = []
    inner = synthesiser._streams.speak

    def speak(text_B: Any, *rest: Any) -> np.ndarray:
        written.append(int(text_B[0]))
        return inner(text_B, *rest)

    synthesiser._streams.speak = speak  # pyright: ignore[reportAttributeAccessIssue]
    utterance = synthesiser.open()
    utterance.push("Hello, how are you?")
    utterance.finish()
    spoken = []
    while not utterance.ended:
        spoken += [s for _, s in synthesiser.tick()]
    lm = opened.files.config.lm
    said = opened.tokenizer.decode([t for t in written if t not in (lm.pad_id, lm.epad_id)])
    assert said == "Hello, how are you?"
    words = [word for frame in spoken for word in frame.words]
    assert [word.text for word in words] == ["Hello,", "how", "are", "you?"]
    wav_S = np.concatenate([frame.wav_S for frame in spoken])
    assert np.abs(wav_S).max() > 0.05
    assert 0.5 < wav_S.size / 24_000 < 5


@pytest.mark.parametrize("backend", ["torch", "mlx"])
def test_two_speakers_in_two_channels(backend: Any) -> None:
    """A model whose codebooks are of two speakers: each half decodes to a channel, in any batch."""
    if backend == "mlx":
        pytest.importorskip("mlx.core")
    two = GoldenModel("lm_cond", multistream=True)
    synthesiser = Synthesiser(two, 3, Options(backend))
    frames, streams = [], synthesiser._streams
    inner = streams.decode

    def decode(codes_BQ: np.ndarray, exec_B: np.ndarray) -> np.ndarray:
        if exec_B[utterance.slot]:
            frames.append(codes_BQ[utterance.slot])
        return inner(codes_BQ, exec_B)

    streams.decode = decode  # pyright: ignore[reportAttributeAccessIssue]
    names = [str(SPEECH / f"voice{v}.safetensors") for v in (0, 1)]
    other, utterance = (synthesiser.open(read_voice(two, names), GREEDY) for _ in range(2))
    for one, turns in ((other, ["Hello."]), (utterance, ["Is it you?", "It is.", "Good."])):
        for k, turn in enumerate(turns):
            if k:
                one.turn()
            one.push(turn)
        one.finish()
    spoken = []
    while not utterance.ended:
        spoken += [s for u, s in synthesiser.tick() if u is utterance]
    wav_CS = np.concatenate([s.wav_CS for s in spoken], 1)
    codes_QT = np.stack(frames, 1).clip(min=0)
    assert len(codes_QT) == 8
    for c, half in enumerate((codes_QT[:4], codes_QT[4:])):
        with torch.no_grad():
            alone_S = two.codec.decode(torch.from_numpy(half)[None])[0].numpy()
        np.testing.assert_allclose(wav_CS[c], alone_S.clip(-1, 1), atol=1e-4)
    assert not np.allclose(wav_CS[0], wav_CS[1], atol=1e-3)
    np.testing.assert_array_equal(spoken[5].wav_S, spoken[5].wav_CS.sum(0).clip(-1, 1))
    words = [word for s in spoken for word in s.words]
    said = [(w.text, w.speaker) for w in words]
    assert said == [
        ("Is", AGENT), ("it", AGENT), ("you?", AGENT), ("It", USER), ("is.", USER), ("Good.", AGENT)
    ]  # fmt: skip
    with pytest.raises(InputError, match="speaks all of its 8 codebooks"):
        Synthesiser(two, codebooks=4)


def test_guidance_of_each_kind_is_told_in_its_way() -> None:
    """A distilled model by a condition, another by a second half of the batch."""
    assert Synthesiser(model("lm_prefix"), guidance=2.0).open(Voice(), GREEDY).sampling.guidance == 2.0
    distilled = Synthesiser(model("lm_cond")).open()
    assert distilled.sampling.guidance == 1.0
    assert distilled.voice.conditions["cfg"] == "2.0"
    assert distilled.voice.conditions["control"] == "ok"
