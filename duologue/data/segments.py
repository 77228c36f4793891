"""Codec training data: clips packed into 30 s segments, with the words of each clip and a Whisper teacher's states.

A block is a folder:

    wav.npy      int16   [N, 720000]      24 kHz mono
    teacher.npy  float16 [N, 1500, 512]   encoder states of the teacher, 50 Hz
    meta.jsonl   N rows {"kind", "clips": [{"key", "voice", "set", "start", "end", "speed", "gain_db", "words"}]}

"kind" is "agent" or "speech" in training blocks, so that a trainer can weigh them.  "words" is a list of lower-case
words, or null where the text is unknown.  A block appears under its name only when it is complete. What goes into the
blocks of `nano` is in `recipes/nano/segments.py`.
"""

import json
import math
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soxr

from duologue.data.split import clip_set
from duologue.data.strict_json import read_rows
from duologue.data.voices import SAMPLE_RATE, read_clip, read_index
from duologue.errors import InputError
from duologue.npy import map_npy
from duologue.spoken_text import spoken_words

SECONDS = 30
SEGMENT = SECONDS * SAMPLE_RATE
FRAME_SAMPLES = SAMPLE_RATE * 2 // 25  # samples in 80 ms


@dataclass
class Block:
    """One finished block, memory-mapped."""

    wav: np.ndarray
    teacher: np.ndarray
    meta: list[dict[str, Any]]


def load_blocks(folder: str | Path) -> list[Block]:
    """All finished blocks below `folder` (or the block that it is), in order of name."""
    folder = Path(folder)
    places = (
        [folder]
        if (folder / "meta.jsonl").exists()
        else sorted(p for p in folder.glob("block-*") if p.is_dir())
    )
    blocks = []
    for place in places:
        if place.suffix == ".part":
            continue
        meta = list(read_rows(place / "meta.jsonl", dict, '{"kind": ..., "clips": [...]}'))
        try:
            blocks.append(Block(map_npy(place / "wav.npy"), map_npy(place / "teacher.npy"), meta))
        except (ValueError, OSError) as error:
            raise InputError(f"{place} is damaged: {error}") from None
    if not blocks:
        raise InputError(f"{folder}: no finished block of segments here")
    return blocks


def clip_words(row: dict[str, Any]) -> list[str] | None:
    """Words of a clip, or None where the text is missing or does not say how it was read (spelt names, addresses)."""
    return None if not row.get("text") or row["key"].startswith("alphanum") else spoken_words(row["text"])


def load_corpus(corpus: str | Path) -> dict[str, list[dict[str, Any]]]:
    """Clips of every folder and tar below `corpus`, by set (see `clip_set`)."""
    sets: dict[str, list[dict[str, Any]]] = {}
    for place in sorted(Path(corpus).iterdir()):
        if place.is_dir() or place.suffix == ".tar":
            for row in read_index(place):
                sets.setdefault(clip_set(row), []).append(row | {"words": clip_words(row)})
    return sets


class Pool:
    """Draws clips from weighted sets, each set in random order and exhausted before it repeats."""

    def __init__(self, sets: dict[str, list[dict[str, Any]]], weights: dict[str, float], rng: random.Random):
        self._sets, self._rng = sets, rng
        self._left: dict[str, list[dict[str, Any]]] = {name: [] for name in weights}
        self._drawn = dict.fromkeys(weights, 0.0)
        self._weights = weights

    def draw(self) -> dict[str, Any]:
        """A clip of the set that is furthest below its share of seconds."""
        name = min(self._weights, key=lambda n: (self._drawn[n] + self._rng.random()) / self._weights[n])
        if not self._left[name]:
            self._left[name] = self._rng.sample(self._sets[name], len(self._sets[name]))
        row = self._left[name].pop()
        self._drawn[name] += row["seconds"]
        return row | {"set": name}

    def put_back(self, row: dict[str, Any]) -> None:
        """Return a clip that did not fit, for the next segment."""
        self._left[row["set"]].append({k: v for k, v in row.items() if k != "set"})
        self._drawn[row["set"]] -= row["seconds"]


def pack(pool: Pool, rng: random.Random, kind: str, vary: bool) -> tuple[np.ndarray, dict[str, Any]]:
    """One segment int16 [720000] and its meta row.  `vary`: random speed and gain of each clip, a little noise."""
    segment_S = np.zeros(SEGMENT, np.float32)
    clips: list[dict[str, Any]] = []
    at, misses, waiting = int(rng.uniform(0.02, 0.5) * SAMPLE_RATE), 0, []
    while misses < 6 and at < SEGMENT - SAMPLE_RATE // 2:
        row = pool.draw()
        usual = 0.75 if kind == "agent" else 0.5
        speed = round(rng.uniform(0.87, 1.15), 3) if vary and rng.random() > usual else 1.0
        room = SEGMENT - at - SAMPLE_RATE // 10
        length = row["seconds"] * SAMPLE_RATE / speed
        words = row["words"]
        if length > 20 * SAMPLE_RATE:
            words = None
        if length > room and words is not None:
            waiting.append(row)
            misses += 1
            continue
        wav_S = read_clip(row)
        if speed != 1:
            wav_S = soxr.resample(wav_S, SAMPLE_RATE * speed, SAMPLE_RATE)
        most = min(room, int(rng.uniform(8, 20) * SAMPLE_RATE) if words is None else room)
        if len(wav_S) > most:
            if words is not None:
                waiting.append(row)
                misses += 1
                continue
            wav_S = wav_S[:most] * np.minimum(1, np.arange(most, 0, -1) / 600, dtype=np.float32)
        peak = float(np.abs(wav_S).max()) if len(wav_S) else 0.0
        if peak < 1e-3:
            continue
        gain_db = (rng.uniform(-6, 2) if kind == "agent" else rng.uniform(-18, 3)) if vary else 0.0
        gain = min(10 ** (gain_db / 20), 0.95 / peak)
        segment_S[at : at + len(wav_S)] = wav_S * gain
        clips.append({
            "key": row["key"], "voice": row.get("voice") or row.get("speaker"), "set": row["set"],
            "start": round(at / SAMPLE_RATE, 4), "end": round((at + len(wav_S)) / SAMPLE_RATE, 4),
            "speed": speed, "gain_db": round(20 * math.log10(gain), 2), "words": words,
        })  # fmt: skip
        at += len(wav_S) + int(rng.uniform(0.1, 0.6) * SAMPLE_RATE)
    for row in reversed(waiting):
        pool.put_back(row)
    if vary and kind == "speech" and rng.random() < 0.3:
        noise_S = np.random.default_rng(rng.getrandbits(32)).standard_normal(SEGMENT, dtype=np.float32)
        segment_S += noise_S * 10 ** (rng.uniform(-70, -50) / 20)
    segment_S = np.clip(segment_S * 32767, -32768, 32767)
    return np.round(segment_S).astype(np.int16), {"kind": kind, "clips": clips}


class WhisperTeacher:
    """Encoder states of a CTranslate2 Whisper: [720000] at 24 kHz -> float16 [1500, 512] (base model), 50 Hz."""

    def __init__(self, folder: str | Path, threads: int = 1):
        try:
            import ctranslate2
            from faster_whisper.feature_extractor import FeatureExtractor
        except ImportError:
            raise InputError("the Whisper teacher needs faster-whisper: pip install duologue[data]") from None
        self._view = ctranslate2.StorageView
        self._model = ctranslate2.models.Whisper(
            str(folder), device="cpu", compute_type="int8", intra_threads=threads
        )
        self._mel = FeatureExtractor(feature_size=self._model.n_mels)

    def __call__(self, segment_S: np.ndarray) -> np.ndarray:
        wav_S = segment_S.astype(np.float32) / (32768 if segment_S.dtype == np.int16 else 1)
        mel = self._mel(soxr.resample(wav_S, SAMPLE_RATE, 16_000), padding=0)[:, :3000]
        mel = np.pad(mel, ((0, 0), (0, 3000 - mel.shape[1])))
        states = self._model.encode(self._view.from_array(np.ascontiguousarray(mel[None], np.float32)))
        return np.array(states)[0].astype(np.float16)


def write_block(
    place: Path, segments: list[tuple[np.ndarray, dict[str, Any]]], teacher: WhisperTeacher | None
) -> None:
    """Run the teacher, if any, over segments and write the block, complete or not at all."""
    part = place.with_name(place.name + ".part")
    part.mkdir(parents=True, exist_ok=True)
    np.save(part / "wav.npy", np.stack([wav for wav, _ in segments]))
    states: np.memmap | None = None
    if teacher is None:
        np.save(part / "teacher.npy", np.zeros((len(segments), 0, 0), np.float16))
    for n, (wav, _) in enumerate(segments if teacher else []):
        assert teacher is not None
        one = teacher(wav)
        if states is None:
            shape = (len(segments), *one.shape)
            states = np.lib.format.open_memmap(part / "teacher.npy", "w+", np.float16, shape)
        states[n] = one
        if n % 20 == 0:
            print(f"{place.name}: teacher {n}/{len(segments)}", flush=True)
    if states is not None:
        states.flush()
    (part / "meta.jsonl").write_text("".join(json.dumps(meta) + "\n" for _, meta in segments))
    part.rename(place)
    print(f"{place.name}: done", flush=True)


if __name__ == "__main__":
    raise SystemExit("run the recipe: python -m recipes.nano.segments")
