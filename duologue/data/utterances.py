"""Users' speech without conversations around it, as training shards: clips after one another, encoded.

To hear takes far more speech than to answer takes conversations, and a clip is another one in every room: each sample
has clips in a new order, at other speeds, with other disturbances (`augment_user`). Only the semantic codebooks are
encoded, which say what was said. A sample is "codes.npy", int16 [2, Q, T] (the agent's and all acoustic codes are -1,
unknown), and "json" with "frames" and "alignments", every word the user's.
"""

import random
from collections.abc import Iterator, Sequence
from itertools import count

import numpy as np
import torch

from duologue.codec import Codec
from duologue.data.augment import augment_user, change_speed
from duologue.data.manifest import Row, Transcript, transcript_body
from duologue.data.options import Recipe
from duologue.data.shards import Sample
from duologue.data.split import clip_set
from duologue.data.voices import SAMPLE_RATE, read_clip, read_index
from duologue.errors import InputError
from duologue.types import USER, StrPath, Word

SETS = {"train": ("user", "human"), "voice": ("voice",), "phrasing": ("phrasing",)}
SPEEDS = (0.87, 1.15)  # of half of the clips; the pitch moves along
GAPS = (0.2, 0.9)  # seconds between two clips


def user_clips(places: Sequence[StrPath], split: str) -> list[Row]:
    """Clips by users in these folders and tars that belong to `split` (a key of `SETS`) and have word times.
    InputError if there are none."""
    rows = [row for place in places for row in read_index(place)]
    found = [row for row in rows if clip_set(row) in SETS[split] and row.get("words")]
    if not found:
        raise InputError(
            f"no user's clip of the split {split!r} has word times here: `duologue data align FOLDER` finds them"
        )
    return found


def utterances(
    clips: Sequence[Row], codec: Codec, samples: int, seconds: float, seed: int, recipe: Recipe,
    babble: list[np.ndarray] | None = None,
) -> Iterator[Sample]:  # fmt: skip
    """`samples` stretches of speech of `seconds` each. Every clip is used once before any is used again."""
    order = _endless(clips, random.Random(f"utterances {seed}"))
    for number in range(samples):
        name = f"user-{seed}-{number:06d}"
        rng = np.random.default_rng([seed, number])
        wav_S, words = _strung(order, seconds, rng)
        wav_S = augment_user(wav_S, np.zeros_like(wav_S), recipe, rng, babble)
        codes_QT = _semantic_codes(codec, wav_S)
        codes_CQT = np.full((2, codec.config.codebooks, codes_QT.shape[1]), -1, np.int16)
        codes_CQT[1, : len(codes_QT)] = codes_QT
        body = transcript_body(Transcript(words)) | {"frames": codes_QT.shape[1]}
        yield {"key": name, "codes.npy": codes_CQT, "json": body}


def _endless(clips: Sequence[Row], rng: random.Random) -> Iterator[Row]:
    for _ in count():
        yield from rng.sample(clips, len(clips))


def _strung(order: Iterator[Row], seconds: float, rng: np.random.Generator) -> tuple[np.ndarray, list[Word]]:
    """Clips of `order` with pauses between them, float32 [S], until `seconds` are full; the last is cut off."""
    out_S, words = np.zeros(round(seconds * SAMPLE_RATE), np.float32), list[Word]()
    at = round(rng.uniform(*GAPS) * SAMPLE_RATE)
    while at < len(out_S):
        row = next(order)
        speed = float(rng.uniform(*SPEEDS)) if rng.random() < 0.5 else 1.0
        wav_S = change_speed(read_clip(row), speed)[: len(out_S) - at]
        out_S[at : at + len(wav_S)] = wav_S
        start, end = at / SAMPLE_RATE, seconds
        said = [Word(text, start + a / speed, start + b / speed, USER) for text, a, b in row["words"]]
        words += [word for word in said if word.end < end]
        at += len(wav_S) + round(rng.uniform(*GAPS) * SAMPLE_RATE)
    return out_S, words


def _semantic_codes(codec: Codec, wav_S: np.ndarray) -> np.ndarray:
    """int16 [Q, T]."""
    with torch.inference_mode():
        wav_BS = torch.from_numpy(wav_S)[None].to(codec.device)
        return codec.encode(wav_BS, codec.config.quantizer.semantic)[0].to(torch.int16).cpu().numpy()
