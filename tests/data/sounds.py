"""Small sounds for the tests of the data pipeline: buzzes with pauses between them, which pass for speech."""

from pathlib import Path

import numpy as np

from duologue.data.manifest import Row
from duologue.data.timeline import Utterance
from duologue.data.voices import SAMPLE_RATE, read_index, write_clip
from duologue.types import Word


def buzz(seconds: float, pitch: float = 150.0, level: float = 0.3) -> np.ndarray:
    """A voiced sound."""
    t_S = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    partials = [np.sin(2 * np.pi * pitch * k * t_S) / k for k in range(1, 8)]
    return (level * np.sum(partials, axis=0) / 2).astype(np.float32)


def silence(seconds: float) -> np.ndarray:
    """Digital silence."""
    return np.zeros(round(seconds * SAMPLE_RATE), np.float32)


def spoken(
    text: str, word: float = 0.25, gap: float = 0.05, edge: float = 0.06
) -> tuple[np.ndarray, list[Word]]:
    """A buzz for each word, with true times."""
    pieces, words, now = [silence(edge)], [], edge
    for number, part in enumerate(text.split()):
        pieces += [buzz(word, 120 + 10 * (number % 5)), silence(gap)]
        words.append(Word(part, now, now + word))
        now += word + gap
    return np.concatenate([*pieces, silence(edge)]), words


def utterance(text: str, voice: str = "v") -> Utterance:
    """A spoken text as the simulator takes it."""
    wav_S, words = spoken(text)
    return Utterance.of(text, wav_S, words, voice)


def clip_folder(folder: Path, rows: list[tuple[str, str, str, str]]) -> list[Row]:
    """Write clips (name, role, voice, text) with their words; returns the folder's index."""
    for name, role, voice, text in rows:
        wav_S, words = spoken(text)
        timed = [[w.text, w.start, w.end] for w in words]
        item = name.rpartition("-")[0] if role == "user" else name
        row = {
            "key": f"{voice}/{name}",
            "id": item,
            "role": role,
            "text": text,
            "voice": voice,
            "words": timed,
        }
        write_clip(folder, name, wav_S, row)
    return read_index(folder)
