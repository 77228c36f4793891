"""Spoken questions (Llama, Web and Trivia questions): is an answer among the words that the model says.

A set is a .jsonl of {"question": FILE.wav, "answers": [text, ...]}. An answer counts if its plain words stand in a row
in what the model writes; the paper does not say how it matches.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from duologue.audio.files import read_mono
from duologue.data.strict_json import read_rows
from duologue.errors import InputError
from duologue.eval.result import Result
from duologue.eval.speech import plain_words


@dataclass(frozen=True)
class SpokenQuestion:
    sound: Path
    answers: tuple[str, ...]


def read_questions(path: Path) -> list[SpokenQuestion]:
    """InputError, with the line, if one is no question or its recording is missing."""

    def question(row: dict[str, Any]) -> SpokenQuestion:
        answers = row["answers"] if isinstance(row["answers"], list) else [row["answers"]]
        return SpokenQuestion(path.parent / row["question"], tuple(map(str, answers)))

    found = list(read_rows(path, question, '{"question": FILE, "answers": [...]}'))
    if missing := [one.sound for one in found if not one.sound.exists()]:
        raise InputError(f"there is no file {missing[0]}, which {path} names")
    if not found:
        raise InputError(f"{path} holds no questions")
    return found


def is_answered(said: str, answers: tuple[str, ...]) -> bool:
    """Whether the words of an answer stand in a row in what was said; articles and the like count."""
    heard = f" {plain_words(said)} "
    return any(f" {words} " in heard for words in map(plain_words, answers) if words)


def score_questions(
    model: Any, questions: list[SpokenQuestion], result: Result, asr: Callable[[np.ndarray], str] | None = None,
    seed: int = 0, tail: float = 15.0, advance: Callable[[float], object] = lambda share: None,
) -> None:  # fmt: skip
    """Adds the share of questions answered by the model's text, and with `asr` by its voice."""
    from duologue.engine.offline import talk

    text, voice = [], []
    for question in questions:
        said = talk(model, read_mono(question.sound, model.codec.config.sample_rate), seed=seed, tail=tail)
        text.append(is_answered(said.report["text"], question.answers))
        if asr is not None:
            voice.append(is_answered(asr(said.wav_S), question.answers))
        advance(1 / len(questions))
    result.add("right, by text", 100 * float(np.mean(text)), "%", len(text))
    if voice:
        result.add("right, by voice", 100 * float(np.mean(voice)), "%", len(voice))
