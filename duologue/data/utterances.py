"""Speech without conversations, as training shards: users' clips after one another, encoded, and the agent's over them.

To hear and to speak take far more speech than to answer takes conversations. A user's clip is another one in every
room: each sample has clips in a new order, at other speeds, with other disturbances (`augment_user`), and only the
semantic codebooks, which say what was said. The agent's clips stay as they are, in all codebooks. Neither side knows of
the other. A sample is "codes.npy", int16 [2, Q, T] (agent, user; what is not encoded is -1, unknown), and "json" with
"frames", "alignments", and "unrelated", true.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
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
from duologue.types import AGENT, USER, StrPath, Word

SETS = {
    "train": {USER: ("user", "human"), AGENT: ("agent",)},
    "voice": {USER: ("voice",), AGENT: ("valid-agent",)},
    "phrasing": {USER: ("phrasing",), AGENT: ("valid-agent",)},
}
SPEEDS = (0.87, 1.15)  # of half of the clips; the pitch moves along
GAPS = (0.2, 0.9)  # seconds between two clips


def clips_of(places: Sequence[StrPath], split: str) -> dict[str, list[Row]]:
    """Clips in these folders and tars that belong to `split` (a key of `SETS`) and have word times, by who speaks.
    InputError if there are none."""
    rows = [row for place in places for row in read_index(place)]
    found = {
        who: [row for row in rows if clip_set(row) in sets and row.get("words")]
        for who, sets in SETS[split].items()
    }
    if not any(found.values()):
        raise InputError(
            f"no clip of the split {split!r} has word times here: `duologue data align FOLDER` finds them"
        )
    return {who: rows for who, rows in found.items() if rows}


def utterances(
    clips: Mapping[str, Sequence[Row]], codec: Codec, samples: int, seconds: float, seed: int, recipe: Recipe,
    babble: list[np.ndarray] | None = None,
) -> Iterator[Sample]:  # fmt: skip
    """`samples` stretches of speech of `seconds` each. Every clip is used once before any is used again. A side without
    clips is unknown."""
    order = {who: _endless(rows, random.Random(f"utterances {seed} {who}")) for who, rows in clips.items()}
    config = codec.config
    for number in range(samples):
        rng = np.random.default_rng([seed, number])
        words, codes = list[Word](), dict[str, np.ndarray]()
        if USER in order:
            wav_S, said = _strung(order[USER], USER, seconds, rng, SPEEDS)
            wav_S = augment_user(wav_S, np.zeros_like(wav_S), recipe, rng, babble)
            codes[USER], words = encoded(codec, wav_S, config.quantizer.semantic), words + said
        if AGENT in order:
            # On frame boundaries, as in conversations: elsewhere the same clip has other codes.
            wav_S, said = _strung(order[AGENT], AGENT, seconds, rng, grid=config.frame_size)
            codes[AGENT], words = encoded(codec, wav_S, config.codebooks), words + said
        frames = next(iter(codes.values())).shape[1]
        codes_CQT = np.full((2, config.codebooks, frames), -1, np.int16)
        for channel, who in enumerate((AGENT, USER)):
            if who in codes:
                codes_CQT[channel, : len(codes[who])] = codes[who]
        body = transcript_body(Transcript(words)) | {"frames": frames, "unrelated": True}
        yield {"key": f"speech-{seed}-{number:06d}", "codes.npy": codes_CQT, "json": body}


def _endless(clips: Sequence[Row], rng: random.Random) -> Iterator[Row]:
    for _ in count():
        yield from rng.sample(clips, len(clips))


def _strung(
    order: Iterator[Row], who: str, seconds: float, rng: np.random.Generator,
    speeds: tuple[float, float] = (1.0, 1.0), grid: int = 1,
) -> tuple[np.ndarray, list[Word]]:  # fmt: skip
    """Clips of `order` with pauses between them, float32 [S], until `seconds` are full; the last is cut off. Each
    begins at a multiple of `grid` samples."""
    out_S, words = np.zeros(round(seconds * SAMPLE_RATE), np.float32), list[Word]()
    at = _later(0, rng, grid)
    while at < len(out_S):
        row = next(order)
        speed = float(rng.uniform(*speeds)) if rng.random() < 0.5 else 1.0
        wav_S = change_speed(read_clip(row), speed)[: len(out_S) - at]
        out_S[at : at + len(wav_S)] = wav_S
        start, end = at / SAMPLE_RATE, seconds
        said = [Word(text, start + a / speed, start + b / speed, who) for text, a, b in row["words"]]
        words += [word for word in said if word.end < end]
        at = _later(at + len(wav_S), rng, grid)
    return out_S, words


def _later(end: int, rng: np.random.Generator, grid: int) -> int:
    """Where the next clip begins, in samples."""
    return -(-(end + round(rng.uniform(*GAPS) * SAMPLE_RATE)) // grid) * grid


def encoded(codec: Codec, wav_S: np.ndarray, codebooks: int) -> np.ndarray:
    """The first `codebooks` of them, int16 [Q, T]."""
    with torch.inference_mode():
        wav_BS = torch.from_numpy(wav_S)[None].to(codec.device)
        return codec.encode(wav_BS, codebooks)[0].to(torch.int16).cpu().numpy()
