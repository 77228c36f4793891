"""Speech recognition against the reference's (`tests/golden/make_speech.py`), and against itself."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.testing import assert_close

from duologue.audio.files import read_mono
from duologue.engine.options import Options
from duologue.engine.prompt import Prompt, PromptTokens
from duologue.engine.recognise import DelayedWords, Heard, Hearing, Recogniser, RecognitionConfig
from duologue.errors import InputError
from duologue.lm.sampling import Sampling
from duologue.types import Word
from duologue.weights import load
from duologue.weights.model import ASSETS
from tests.engine.speech_models import SPEECH, GoldenModel
from tests.golden.speech_cases import PROMPT

RATE, FRAME_SIZE = 24_000, 1920
TOKENIZER = load("tiny").tokenizer


def model() -> GoldenModel:
    return GoldenModel("lm_heads", TOKENIZER)


def sound(seconds: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (0.2 * rng.standard_normal(int(seconds * RATE))).astype(np.float32)


def hear(recogniser: Recogniser, *recordings: np.ndarray, chunk: int | None = None) -> list[list[Heard]]:
    hearings = [recogniser.open() for _ in recordings]
    for hearing, wav_S in zip(hearings, recordings, strict=True):
        for at in range(0, len(wav_S), chunk or len(wav_S)):
            hearing.push(wav_S[at : at + (chunk or len(wav_S))])
        hearing.finish()
    heard: dict[int, list[Heard]] = {id(h): [] for h in hearings}
    while recogniser.busy:
        for hearing, one in recogniser.tick():
            heard[id(hearing)].append(one)
    return [heard[id(h)] for h in hearings]


def on_codes(codes_TBQ: np.ndarray, backend: Any) -> tuple[Recogniser, list[np.ndarray]]:
    """A recogniser of two recordings that hears these codes, whatever is pushed; and the tokens that it writes."""
    recogniser, tokens = Recogniser(model(), 2, Options(backend)), []
    streams, frames = recogniser._streams, iter(codes_TBQ)
    inner = streams.listen

    def listen(*given: Any) -> Any:
        tokens.append((out := inner(*given)).text_B)
        return out

    streams.encode = lambda wav_BS, exec_B: next(frames)  # pyright: ignore[reportAttributeAccessIssue]
    streams.listen = listen  # pyright: ignore[reportAttributeAccessIssue]
    return recogniser, tokens


@pytest.mark.parametrize("backend", ["torch", "mlx"])
def test_it_writes_what_the_reference_writes(backend: Any) -> None:
    """On the same codes: text tokens, and what the heads say of pauses, from the doubled frame 0 on."""
    if backend == "mlx":
        pytest.importorskip("mlx.core")
    io = load_file(SPEECH / "io.safetensors")
    codes_TBQ = io["stt.codes"].numpy().astype(np.int64).transpose(2, 0, 1)
    recogniser, tokens = on_codes(codes_TBQ, backend)
    hearings = [recogniser.open(Sampling.greedy()) for _ in range(2)]
    for hearing in hearings:
        hearing.push(np.zeros(FRAME_SIZE * len(codes_TBQ), np.float32))
    pauses: dict[int, list[tuple[float, ...]]] = {0: [], 1: []}
    while recogniser.busy:
        for hearing, heard in recogniser.tick():
            pauses[hearing.slot].append(heard.pauses)
    slots = [hearing.slot for hearing in hearings]
    text_BS = torch.from_numpy(np.stack(tokens, 1))
    assert torch.equal(text_BS, io["stt.text"].long()) and set(slots) == {0, 1}
    for slot in (0, 1):
        assert_close(torch.tensor(pauses[slot]), io["stt.pauses"][slot].T, atol=1e-4, rtol=0)


@pytest.mark.parametrize("backend", ["torch", "mlx"])
def test_after_a_prompt_it_writes_what_the_reference_writes(backend: Any) -> None:
    """On the same codes, in the second of two slots: the other has no prompt, and writes what it likes."""
    if backend == "mlx":
        pytest.importorskip("mlx.core")
    io = load_file(SPEECH / "io.safetensors")
    codes_TBQ = io["prompt.codes"].numpy().astype(np.int64).transpose(2, 0, 1).repeat(2, 1)
    recogniser, tokens = on_codes(codes_TBQ, backend)
    free, prompted = (recogniser.open(Sampling.greedy()) for _ in range(2))
    prompted.prompt = PromptTokens(SimpleNamespace(encode=lambda text: PROMPT), "said")  # pyright: ignore
    prompted._first = len(codes_TBQ) + 2
    for hearing in (free, prompted):
        hearing.push(np.zeros(FRAME_SIZE * len(codes_TBQ), np.float32))
    while recogniser.busy:
        list(recogniser.tick())
    text_BS = torch.from_numpy(np.stack(tokens, 1))
    assert torch.equal(text_BS[prompted.slot], io["prompt.text"][0].long())
    assert not prompted.prompt.pending
    assert not torch.equal(text_BS[free.slot], text_BS[prompted.slot])


def test_what_is_told_after_a_prompt_is_of_the_recording() -> None:
    """Its text and its times are not those of the prompt; a prompt that is not written by then is given up."""
    recogniser, said_S, prompt_S = Recogniser(model(), 2), sound(4.0, 5), sound(1.3, 6)
    hearing = recogniser.open(prompt=Prompt(prompt_S))
    hearing.prompt = PromptTokens(SimpleNamespace(encode=lambda text: [*range(5, 25)]), "said")  # pyright: ignore
    allowed, inner = [], recogniser._allowed

    def allow(due: list[Hearing]) -> Any:
        allowed.append(inner(due))
        return allowed[-1]

    recogniser._allowed = allow  # pyright: ignore[reportAttributeAccessIssue]
    hearing.push(said_S)
    hearing.finish()
    heard = []
    while recogniser.busy:
        heard += [one for _, one in recogniser.tick()]
    first = 17 + int(0.5 * 12.5) + 1  # frames of the prompt and the model's delay, and the doubled frame
    assert not any(h.text or h.words or h.began or h.pause for h in heard[: first - 1])
    assert any(h.text for h in heard[first - 1 :])
    assert all(a is not None and a.sum(1).tolist().count(3) == 1 for a in allowed[:2])
    assert allowed[first] is None
    words = [word for h in heard for word in h.words]
    assert words
    assert all(0 <= w.start <= w.end <= 4.0 + 1.6 for w in words)
    before = 17 * 0.08 + 0.8
    assert hearing.config.prefix == pytest.approx(before)
    assert (
        len(heard) == 1 + int((before + 4.0 + 1.5) / 0.08) + 1 + 1
    )  # as without a prompt, but for its frames


def test_a_recording_is_the_same_in_pieces_and_in_company() -> None:
    recordings = [sound(2.3, 1), sound(0.7, 2), sound(1.6, 3)]
    alone = [hear(Recogniser(model()), wav_S)[0] for wav_S in recordings]
    assert hear(Recogniser(model()), recordings[0], chunk=777)[0] == alone[0]
    # Two slots for three recordings: the third follows one that is over.
    for together, by_itself in zip(hear(Recogniser(model(), 2), *recordings), alone, strict=True):
        assert [replace(h, pauses=()) for h in together] == [replace(h, pauses=()) for h in by_itself]
        assert np.allclose([h.pauses for h in together[:-1]], [h.pauses for h in by_itself[:-1]], atol=1e-5)
    assert any(heard.text for heard in alone[0])
    assert len(alone[0]) == 1 + int((2.3 + 1.5) / 0.08) + 1 + 1  # frame 0 twice, the tail, the last word


def test_it_goes_on_past_its_context() -> None:
    """The context is 16 frames; in constant memory."""
    recogniser = Recogniser(model())
    heard = hear(recogniser, sound(8.0))[0]
    assert any(h.text for h in heard[60:])
    state = recogniser._streams._state  # pyright: ignore[reportAttributeAccessIssue]
    before = state.nbytes()
    hear(recogniser, sound(4.0))
    assert state.nbytes() == before


def tokens_of(words: list[str]) -> list[list[int]]:
    return [TOKENIZER.encode(word) for word in words]


CONFIG = RecognitionConfig(True, delay=0.48, prefix=0.0)


def test_words_and_their_times() -> None:
    """WORD ends a word and begins the next; a word is told once it is whole, its end once that is known."""
    one, two, three = tokens_of(["and", "yes", "or"])
    row = [9, 3, 3, 3, 3, 3, 0, *one, 3, 3, 0, *two, 0, *three, 3, 3]
    words, found = DelayedWords(TOKENIZER, CONFIG), []
    for i, token in enumerate(row):
        heard = words.push(i + 1, token)
        found += [("text", heard.text)] * bool(heard.text)
        found += [("began", heard.began)] * (heard.began is not None)
        found += [("ended", heard.ended)] * (heard.ended is not None)
        found += [("word", word) for word in heard.words]
    last = words.finish(len(row))
    at = [round(0.08 * (i + 1) - 0.48, 4) for i, token in enumerate(row) if token == 0]
    begun = [value for kind, value in found if kind == "began"]
    assert [(text, round(time, 4)) for text, time in begun] == [("and", at[0]), ("yes", at[1]), ("or", at[2])]
    assert [round(time, 4) for kind, time in found if kind == "ended"] == at[1:]
    done = [value for kind, value in found if kind == "word"] + list(last.words)
    assert [word.text for word in done] == ["and", "yes", "or"]
    assert [round(word.start, 4) for word in done] == at
    assert done[-1].end - done[-1].start <= 1.0
    assert "".join(text for kind, text in found if kind == "text").split() == ["and", "yes", "or"]


def test_several_words_in_one_segment_take_a_frame_for_each_token() -> None:
    tokens = TOKENIZER.encode("and yes")
    words = DelayedWords(TOKENIZER, RecognitionConfig(True, 0.0, 0.0))
    row = [0, *tokens, 3, 3, 3, 3, 3, 0]
    done = [word for i, token in enumerate(row) for word in words.push(i + 1, token).words]
    first = len(TOKENIZER.encode("and")) * 0.08
    assert [(w.text, round(w.start, 2), round(w.end, 2)) for w in done] == [
        ("and", 0.08, round(0.08 + first, 2)),
        ("yes", round(0.08 + first, 2), round(0.08 * len(row), 2)),
    ]


def test_a_pause_is_told_once() -> None:
    hearing = Hearing(model(), CONFIG, Sampling.greedy())
    told = [hearing.written(3, -1, (0.0, 0.0, p, 0.0)).pause for p in (0.1, 0.6, 0.9, 0.2, 0.7)]
    assert told == [False, True, False, False, True]


def test_nano_writes_down_what_a_person_says() -> None:
    question_S = read_mono(ASSETS / "question.opus")
    heard = hear(Recogniser(load("nano")), question_S)[0]
    words: list[Word] = [word for h in heard for word in h.words]
    text = " ".join(word.text for word in words)
    assert text.lower().startswith("tell me the capital")
    assert text.lower().endswith("korea.")  # the last word of a question, at which it begins to answer
    assert "".join(h.text for h in heard).replace(".", "").split() == text.replace(".", "").split()
    assert all(0 <= w.start < w.end <= len(question_S) / RATE + 0.5 for w in words)
    assert [w.start for w in words] == sorted(w.start for w in words)


def test_who_cannot_hear_is_refused() -> None:
    with pytest.raises(InputError, match="tiny does not transcribe speech"):
        Recogniser(load("tiny"))
    with pytest.raises(InputError, match="lm_cond does not transcribe speech"):
        Recogniser(GoldenModel("lm_cond"))
    with pytest.raises(InputError, match="nano takes no prompt"):
        Recogniser(load("nano")).open(prompt=Prompt(sound(1.0)))
