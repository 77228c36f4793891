"""Scripts -> two-channel conversations: what a `director` chose and had placed, as sound."""

import random
from dataclasses import asdict
from pathlib import Path

import numpy as np

from duologue.audio.activity import Span
from duologue.audio.files import write_audio
from duologue.data.augment import NOISES, noise
from duologue.data.director import Director
from duologue.data.fingerprint import fingerprint
from duologue.data.manifest import Row, write_transcript
from duologue.data.voices import SAMPLE_RATE
from duologue.types import StrPath

NOISE_DB = (-45.0, -20.0)
DROWNING_DB = (-20.0, -12.0)  # of pink noise, over a question that is not to be understood
DROWNED = 0.12  # gain of that question


class Synth:
    """Stage: rows {"id", "seed"} -> stereo files in `folder` with transcripts, rows with "path", "duration", "turns".

    `babble` are clips of other people to make background noise of.
    """

    def __init__(
        self,
        director: Director,
        folder: StrPath,
        suffix: str = ".flac",
        babble: list[np.ndarray] | None = None,
    ):
        self.director, self.folder, self.suffix, self.babble = director, Path(folder), suffix, babble
        self.settings = {
            **director.speakers.settings, **asdict(director.situations), **asdict(director.timing),
            "seconds": director.seconds, "script": fingerprint(asdict(director.script)),
            "babble": fingerprint(*(babble or [])), "format": suffix,
        }  # fmt: skip

    def __call__(self, rows: list[Row]) -> list[Row]:
        self.folder.mkdir(parents=True, exist_ok=True)
        return [self._one(row) for row in rows]

    def _one(self, row: Row) -> Row:
        rng = random.Random(f"{row['seed']} {row['id']}")
        line = self.director.direct(rng)
        wav_CS = line.channels()
        for start, end in line.noises:
            numbers = np.random.default_rng(rng.getrandbits(32))
            self._add_noise(wav_CS[1], (start, end), NOISES[numbers.integers(len(NOISES))], NOISE_DB, numbers)
        for start, end in line.lost:
            numbers = np.random.default_rng(rng.getrandbits(32))
            wav_CS[1, round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)] *= DROWNED
            self._add_noise(wav_CS[1], (max(0.0, start - 0.2), end + 0.2), "pink", DROWNING_DB, numbers)
        path = self.folder / f"{row['id']}{self.suffix}"
        write_transcript(path, line.transcript())
        write_audio(path, wav_CS)
        spans = {"noises": line.noises, "silences": line.silences, "lost": line.lost}
        rounded = {name: [[round(t, 3) for t in span] for span in found] for name, found in spans.items()}
        return row | {"path": str(path), "duration": round(line.seconds, 3), "turns": line.turns()} | rounded

    def _add_noise(
        self, user_S: np.ndarray, span: Span, kind: str, db: tuple[float, float], rng: np.random.Generator
    ) -> None:
        part_S = user_S[round(span[0] * SAMPLE_RATE) : round(span[1] * SAMPLE_RATE)]
        ramp_S = np.minimum(1, np.minimum(np.arange(len(part_S)), np.arange(len(part_S))[::-1]) / 2400)
        level = 10 ** (rng.uniform(*db) / 20)
        noise_S = noise(kind, len(part_S), rng, self.babble)
        part_S += (noise_S * ramp_S * level).clip(-0.9, 0.9)


def plans(count: int, seed: int, prefix: str = "talk") -> list[Row]:
    """Rows for `Synth`: `count` conversations, each with its own id."""
    return [{"id": f"{prefix}-{number:06d}", "path": "", "seed": seed} for number in range(count)]
