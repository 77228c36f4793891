"""Augmentation of the user's channel: the paper's recipe (user-stream augmentation), and more.

Gain, noise, echo of the agent with reverberation and silenced stretches follow the paper; telephone band, shifted pitch
and sub-frame offsets are ours. Everything is numpy, deterministic in the generator given, and keeps the length, except
`change_speed`.
"""

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import soxr

from duologue.audio.files import WRITTEN_AS, read_audio, write_audio
from duologue.data.fingerprint import fingerprint, output_name
from duologue.data.manifest import Row, read_transcript, sidecar, write_transcript
from duologue.data.options import Recipe
from duologue.data.runner import name_of
from duologue.data.voices import SAMPLE_RATE
from duologue.errors import InputError
from duologue.types import StrPath

NOISES = ("white", "pink", "brown", "hum", "clicks", "babble")


def noise(
    kind: str, samples: int, rng: np.random.Generator, speech: list[np.ndarray] | None = None
) -> np.ndarray:
    """Noise of RMS 1, float32 [S]. "babble" mixes clips of `speech`, and is pink without any."""
    if kind == "babble" and speech:
        wav_S = _babble(samples, rng, speech)
    elif kind == "hum":
        t_S = np.arange(samples) / SAMPLE_RATE
        base = rng.choice([50.0, 60.0, 100.0, 120.0])
        partials = (
            rng.uniform(0.1, 1) / k * np.sin(2 * np.pi * (base * k * t_S + rng.random())) for k in range(1, 8)
        )
        wav_S = np.sum(list(partials), axis=0) + 0.1 * rng.standard_normal(samples)
    elif kind == "clicks":
        wav_S = _clicks(samples, rng)
    else:
        power = {"white": 0.0, "brown": 2.0}.get(kind, 1.0)
        spectrum_F = np.fft.rfft(rng.standard_normal(samples))
        hertz_F = np.fft.rfftfreq(samples, 1 / SAMPLE_RATE)
        wav_S = np.fft.irfft(spectrum_F / np.maximum(hertz_F, 30.0) ** (power / 2), samples)
    return (wav_S / max(float(np.sqrt(np.mean(wav_S**2))), 1e-6)).astype(np.float32)


def _babble(samples: int, rng: np.random.Generator, speech: list[np.ndarray]) -> np.ndarray:
    """Babble: two to five people talking at the same time."""
    wav_S = np.zeros(samples)
    for _ in range(rng.integers(2, 6)):
        at = -int(rng.integers(SAMPLE_RATE))
        while at < samples:
            clip_S = speech[rng.integers(len(speech))] * rng.uniform(0.3, 1)
            lo, hi = max(at, 0), min(at + len(clip_S), samples)
            if hi > lo:
                wav_S[lo:hi] += clip_S[lo - at : hi - at]
            at += len(clip_S) + int(rng.uniform(0.05, 0.8) * SAMPLE_RATE)
    return wav_S


def _clicks(samples: int, rng: np.random.Generator) -> np.ndarray:
    """Clatter (keys, cutlery, doors): short decaying bursts at random times, over a faint hiss."""
    wav_S = 0.01 * rng.standard_normal(samples)
    for at in rng.integers(samples, size=max(1, int(samples / SAMPLE_RATE * rng.uniform(1, 6)))):
        length = min(int(rng.uniform(0.005, 0.15) * SAMPLE_RATE), samples - int(at))
        ring_S = np.sin(2 * np.pi * rng.uniform(150, 4000) * np.arange(length) / SAMPLE_RATE)
        burst_S = (rng.standard_normal(length) + ring_S) * np.exp(-6 * np.arange(length) / max(length, 1))
        wav_S[at : at + length] += burst_S * rng.uniform(0.2, 1)
    return wav_S


def change_speed(wav_S: np.ndarray, factor: float) -> np.ndarray:
    """Faster (> 1) or slower by resampling, which moves the pitch: a cheap new speaker."""
    return wav_S if factor == 1 else soxr.resample(wav_S, SAMPLE_RATE * factor, SAMPLE_RATE)


def telephone(wav_S: np.ndarray) -> np.ndarray:
    """300-3400 Hz at 8 kHz in mu-law, and back."""
    narrow_S = soxr.resample(wav_S, SAMPLE_RATE, 8000)
    spectrum_F = np.fft.rfft(narrow_S)
    hertz_F = np.fft.rfftfreq(len(narrow_S), 1 / 8000)
    spectrum_F *= 1 / (1 + (300 / np.maximum(hertz_F, 1)) ** 8) / (1 + (hertz_F / 3400) ** 16)
    narrow_S = np.fft.irfft(spectrum_F, len(narrow_S)).clip(-1, 1)
    coded_S = np.round(np.sign(narrow_S) * np.log1p(255 * np.abs(narrow_S)) / np.log(256) * 127) / 127
    narrow_S = np.sign(coded_S) * (256 ** np.abs(coded_S) - 1) / 255
    return _fit(soxr.resample(narrow_S.astype(np.float32), 8000, SAMPLE_RATE), len(wav_S))


def room(rng: np.random.Generator) -> np.ndarray:
    """A synthetic room's impulse response: the direct sound, then decaying noise (RT60 0.15-0.6 s)."""
    decay = rng.uniform(0.15, 0.6)
    t_S = np.arange(int(decay * SAMPLE_RATE)) / SAMPLE_RATE
    tail_S = rng.standard_normal(len(t_S)) * 10 ** (-3 * t_S / decay)
    tail_S[: int(0.002 * SAMPLE_RATE)] = 0
    tail_S *= rng.uniform(0.1, 0.7) / np.sqrt((tail_S**2).sum())
    tail_S[0] = 1
    return tail_S.astype(np.float32)


def convolve(wav_S: np.ndarray, response_S: np.ndarray) -> np.ndarray:
    """Causal convolution, cut to the length of `wav_S`."""
    size = 1 << (len(wav_S) + len(response_S) - 1).bit_length()
    return np.fft.irfft(np.fft.rfft(wav_S, size) * np.fft.rfft(response_S, size), size)[: len(wav_S)].astype(
        np.float32
    )


def echo(agent_S: np.ndarray, scale: float, delay: float, rng: np.random.Generator) -> np.ndarray:
    """What the user's microphone hears of the agent: scaled, `delay` seconds later, in a room."""
    late_S = np.zeros_like(agent_S)
    samples = round(delay * SAMPLE_RATE)
    late_S[samples:] = agent_S[: len(agent_S) - samples]
    return scale * convolve(late_S, room(rng))


def augment_user(
    user_S: np.ndarray,
    agent_S: np.ndarray,
    recipe: Recipe,
    rng: np.random.Generator,
    speech: list[np.ndarray] | None = None,
) -> np.ndarray:
    """The user's channel after the recipe, float32 [S] in [-1, 1]. `speech` are clips to make babble of."""
    loud = np.abs(user_S) > 0.01
    level = float(np.sqrt(np.mean(user_S[loud] ** 2))) if loud.any() else 0.05
    out_S = user_S.copy()
    if rng.random() < recipe.room:
        out_S = convolve(out_S, room(rng))
    if rng.random() < recipe.offset:
        out_S = _moved(out_S, int(rng.integers(-960, 960)))
    if rng.random() < recipe.gain:
        gain = 10 ** (rng.uniform(*recipe.gain_db) / 20)
        peak = float(np.abs(out_S).max(initial=0))
        out_S *= min(gain, 0.98 / peak) if peak else 1.0
        level *= gain
    if rng.random() < recipe.noise:
        kind = NOISES[rng.integers(len(NOISES))]
        wav_S = noise(kind, len(out_S), rng, speech) * level * 10 ** (rng.uniform(*recipe.noise_db) / 20)
        out_S += _with_gaps(wav_S, recipe, rng)
    if rng.random() < recipe.echo:
        out_S += echo(agent_S, rng.uniform(*recipe.echo_scale), rng.uniform(*recipe.echo_delay), rng)
    if rng.random() < recipe.telephone:
        out_S = telephone(out_S)
    if rng.random() < recipe.floor:
        out_S += noise("pink", len(out_S), rng) * 10 ** (rng.uniform(*recipe.floor_db) / 20)
    return out_S.clip(-1, 1).astype(np.float32)


def _with_gaps(wav_S: np.ndarray, recipe: Recipe, rng: np.random.Generator) -> np.ndarray:
    """Noise in stretches of up to 30 s, each of them silenced with probability `noise_gap`."""
    at = 0
    while at < len(wav_S):
        length = int(rng.uniform(0.1, 1) * recipe.noise_gap_seconds * SAMPLE_RATE)
        if rng.random() < recipe.noise_gap:
            wav_S[at : at + length] = 0
        at += length
    return wav_S


def _moved(wav_S: np.ndarray, samples: int) -> np.ndarray:
    """Delay by `samples` (earlier if negative), padded with silence."""
    moved_S = np.zeros_like(wav_S)
    if samples >= 0:
        moved_S[samples:] = wav_S[: len(wav_S) - samples]
    else:
        moved_S[:samples] = wav_S[-samples:]
    return moved_S


def _fit(wav_S: np.ndarray, samples: int) -> np.ndarray:
    return np.pad(wav_S[:samples], (0, max(0, samples - len(wav_S))))


class Augment:
    """Stage: writes each stereo conversation with another user channel into `folder`, named by what it is made of, and
    its transcript unchanged.

    `seed`, the row's id and its recording decide what happens, so that a second run writes the same; `take` numbers one
    of several versions of the same conversation.
    """

    def __init__(
        self,
        folder: StrPath,
        recipe: Recipe | None = None,
        seed: int = 0,
        take: int = 0,
        speech: list[np.ndarray] | None = None,
    ):
        self.folder = Path(folder)
        self.recipe = recipe or Recipe()
        self.seed, self.take, self.speech = seed, take, speech
        self.settings = {
            "recipe": asdict(self.recipe), "seed": seed, "take": take, "babble": fingerprint(*(speech or [])),
        }  # fmt: skip

    def __call__(self, rows: list[Row]) -> list[Row]:
        return [self._one(row) for row in rows]

    def _one(self, row: Row) -> Row:
        source = Path(row["path"])
        suffix = source.suffix.lower() if source.suffix.lower() in WRITTEN_AS else ".flac"
        name = output_name(source, self.settings, name_of(row), sidecar(source))
        target = self.folder / f"{name}{suffix}"
        if not target.exists():
            wav_CS = read_audio(source)
            if len(wav_CS) != 2:
                raise InputError(f"{source} has {len(wav_CS)} channels: a conversation has two (agent, user)")
            drawn = int(fingerprint(row.get("id"), source)[:8], 16)
            rng = np.random.default_rng([self.seed, self.take, drawn])
            wav_CS[1] = augment_user(wav_CS[1], wav_CS[0], self.recipe, rng, self.speech)
            self.folder.mkdir(parents=True, exist_ok=True)
            if sidecar(source).exists():
                transcript = read_transcript(source)
                extra = {name: value for name, value in transcript.extra.items() if name != "aligned"}
                write_transcript(target, replace(transcript, extra=extra))
            write_audio(target, wav_CS)
        return row | {"path": str(target)}
