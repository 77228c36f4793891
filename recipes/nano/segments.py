"""nano's blocks of codec training data: which speakers, in which proportions.

`python -m recipes.nano.segments --corpus DIR --whisper DIR --out DIR train|agent|valid|valid-agent` packs the clips of
the folders and tars in a corpus, and writes blocks as `duologue.data.segments` describes them. A block that exists is
kept.
"""

import argparse
import math
import random
from pathlib import Path
from typing import Any

import numpy as np

from duologue.data.segments import (
    FRAME_SAMPLES,
    SECONDS,
    SEGMENT,
    Pool,
    WhisperTeacher,
    load_corpus,
    pack,
    write_block,
)
from duologue.data.voices import SAMPLE_RATE, read_clip

VALID_SETS = {"valid": ["voice", "phrasing", "valid-human"], "valid-agent": ["valid-agent"]}


def train_segments(
    corpus: Path, block: int, size: int, human: float
) -> list[tuple[np.ndarray, dict[str, Any]]]:
    """Segments of one training block: 12 % the agent's voice; of the rest a share of `human` real people, and users'
    synthetic voices."""
    rng = random.Random(block)
    sets = load_corpus(corpus)
    agent = Pool(sets, {"agent": 1}, rng)
    speech = Pool(sets, {"user": 1 - human, "human": human}, rng)
    kinds = ["agent" if n < 0.12 * size else "speech" for n in range(size)]
    segments = [pack(agent if kind == "agent" else speech, rng, kind, vary=True) for kind in kinds]
    return rng.sample(segments, len(segments))


def agent_segments(corpus: Path) -> list[tuple[np.ndarray, dict[str, Any]]]:
    """All of the agent's speech as in conversations: starting at a frame boundary, at its original level."""
    rng = random.Random(5)
    rows = sorted(load_corpus(corpus)["agent"], key=lambda row: row["key"])
    segments: list[tuple[np.ndarray, dict[str, Any]]] = []
    at = SEGMENT
    for row in rng.sample(rows, len(rows)):
        wav_S, quiet = read_clip(row), rng.randint(5, 14) * FRAME_SAMPLES
        if at + quiet + len(wav_S) > SEGMENT:
            segments.append((np.zeros(SEGMENT, np.int16), {"kind": "agent", "clips": []}))
            at = 0
        if quiet + len(wav_S) > SEGMENT:
            continue
        segment_S, meta = segments[-1]
        start, end = at + quiet, at + quiet + len(wav_S)
        segment_S[start:end] = np.round(np.clip(wav_S, -1, 1) * 32767)
        meta["clips"].append({
            "key": row["key"], "voice": row["voice"], "set": "agent",
            "start": start / SAMPLE_RATE, "end": end / SAMPLE_RATE, "speed": 1.0, "gain_db": 0.0, "words": row["words"],
        })  # fmt: skip
        at = math.ceil(end / FRAME_SAMPLES) * FRAME_SAMPLES
    return segments


def valid_segments(corpus: Path, names: list[str]) -> list[tuple[np.ndarray, dict[str, Any]]]:
    """Segments of held-out sets as they are (no change of speed or gain), each clip about once, one set a segment."""
    rng = random.Random(7)
    sets = load_corpus(corpus)
    segments = []
    for name in names:
        pool = Pool(sets, {name: 1}, rng)
        count = max(1, int(sum(row["seconds"] + 0.35 for row in sets[name]) / SECONDS))
        segments += [pack(pool, rng, name, vary=False) for _ in range(count)]
    return segments


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["train", "agent", "valid", "valid-agent"])
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--whisper", type=Path, help="the teacher; `agent` needs none")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--blocks", type=int, nargs="*", default=[0], help="numbers of the training blocks to write"
    )
    parser.add_argument("--size", type=int, default=200, help="segments in a training block")
    parser.add_argument(
        "--human", type=float, default=0.5, help="share of real people in the speech of a block"
    )
    args = parser.parse_args()
    teacher = WhisperTeacher(args.whisper) if args.whisper else None
    if args.what == "train":
        places = {args.out / "train" / f"block-{block:03d}": block for block in args.blocks}
    elif args.what == "agent":
        places = {args.out / "train" / "block-agent": 0}
    else:
        places = {args.out / args.what: 0}
    for place, block in places.items():
        if place.exists():
            continue
        if args.what == "train":
            segments = train_segments(args.corpus, block, args.size, args.human)
        elif args.what == "agent":
            segments = agent_segments(args.corpus)
        else:
            segments = valid_segments(args.corpus, VALID_SETS[args.what])
        write_block(place, segments, teacher)


if __name__ == "__main__":
    main()
