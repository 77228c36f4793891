"""One mixed channel -> two: a diarizer says who speaks when, and one speaker becomes the agent.

After the paper's post-training data: a random speaker is the main one, and a binary mask over time gives the main
speaker's channel; everything else is the other channel.
"""

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from duologue.audio.files import read_mono, write_audio
from duologue.data.fingerprint import output_name
from duologue.data.manifest import Row
from duologue.data.runner import name_of
from duologue.data.voices import SAMPLE_RATE
from duologue.errors import InputError
from duologue.types import StrPath


@dataclass(frozen=True)
class Turn:
    """A stretch in seconds during which `speaker` speaks."""

    start: float
    end: float
    speaker: str


class Diarizer(Protocol):
    """Anything that tells who speaks when in a mono sound at 24 kHz."""

    def __call__(self, wav_S: np.ndarray) -> list[Turn]: ...


class Pyannote:
    """pyannote.audio 3 or 4 (its own package and a gated model: accept its conditions and pass a token)."""

    def __init__(
        self,
        model: str = "pyannote/speaker-diarization-community-1",
        token: str | None = None,
        device: str = "cpu",
        speakers: int | None = 2,
    ):
        try:
            import torch
            from pyannote.audio import Pipeline  # pyright: ignore[reportMissingImports]
        except ImportError:
            raise InputError("diarization needs pyannote.audio: pip install pyannote.audio") from None
        pipeline = Pipeline.from_pretrained(model, token=token)
        if pipeline is None:
            raise InputError(f"{model} is gated: accept its conditions on the hub and pass --token")
        pipeline.to(torch.device(device))
        self._pipeline: Any = pipeline
        self.settings = {"model": model, "speakers": speakers}
        self._speakers = speakers

    def __call__(self, wav_S: np.ndarray) -> list[Turn]:
        import torch

        asked = {"num_speakers": self._speakers} if self._speakers else {}
        found = self._pipeline(
            {"waveform": torch.from_numpy(wav_S)[None], "sample_rate": SAMPLE_RATE}, **asked
        )
        # Version 4 gives an object with two annotations, version 3 the annotation itself.
        annotation = getattr(found, "speaker_diarization", found)
        return [Turn(t.start, t.end, str(who)) for t, _, who in annotation.itertracks(yield_label=True)]


def separate(wav_S: np.ndarray, turns: list[Turn], main: str, fade: float = 0.01) -> np.ndarray:
    """The main speaker on the left, the rest on the right: float32 [2, S], which add up to the mixture.

    While both speak the mixture goes to the main speaker, as in the paper's binary mask.
    """
    mask_S = np.zeros(len(wav_S), np.float32)
    for turn in turns:
        if turn.speaker == main:
            mask_S[max(0, round(turn.start * SAMPLE_RATE)) : round(turn.end * SAMPLE_RATE)] = 1
    n = max(1, round(fade * SAMPLE_RATE))
    padded_S = np.pad(mask_S.astype(np.float64), (n // 2 + 1, n - n // 2 - 1), mode="edge")
    summed_S = np.cumsum(padded_S)
    smooth_S = ((summed_S[n:] - summed_S[:-n]) / n).astype(np.float32)
    return np.stack([wav_S * smooth_S, wav_S * (1 - smooth_S)])


class Diarize:
    """Stage: writes each recording as a stereo conversation into `folder`, named by what it is made of; rows get "main"
    and "speech".

    A recording that is stereo already is mixed down first. The main speaker is drawn from those that speak for at least
    `least` of the speech, by `seed` and the row's id.
    """

    def __init__(self, diarizer: Diarizer, folder: StrPath, seed: int = 0, least: float = 0.1):
        self.diarizer, self.folder, self.seed, self.least = diarizer, Path(folder), seed, least
        self.settings = {"seed": seed, "least": least} | getattr(diarizer, "settings", {})

    def __call__(self, rows: list[Row]) -> list[Row]:
        self.folder.mkdir(parents=True, exist_ok=True)
        return [self._one(row) for row in rows]

    def _one(self, row: Row) -> Row:
        target = self.folder / f"{output_name(row['path'], self.settings, name_of(row))}.flac"
        wav_S = read_mono(row["path"])
        turns = self.diarizer(wav_S)
        spoken: dict[str, float] = {}
        for turn in turns:
            spoken[turn.speaker] = spoken.get(turn.speaker, 0.0) + turn.end - turn.start
        able = sorted(who for who, seconds in spoken.items() if seconds >= self.least * sum(spoken.values()))
        if not able:
            raise InputError(f"{row['path']}: nobody speaks")
        main = random.Random(f"{self.seed} {row.get('id', row['path'])}").choice(able)
        write_audio(target, separate(wav_S, turns, main))
        heard = [
            {
                "role": "agent" if t.speaker == main else "user",
                "start": t.start,
                "end": t.end,
                "voice": t.speaker,
            }
            for t in turns
        ]
        return row | {
            "path": str(target),
            "duration": round(len(wav_S) / SAMPLE_RATE, 3),
            "main": main,
            "speech": heard,
        }
