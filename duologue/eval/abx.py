"""ABX discriminability of phones in codes (Moshi paper, section 5.1; Libri-light's protocol).

X is a phone between two others, A the same phone in the same context, B another phone there; an error is an X nearer to
B than to A. Within: all three by one speaker. The error is averaged over items, then over contexts, speakers and pairs
of phones. (fastabx, which is kept, has no wheel for Python 3.11.)
"""

import random
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

import numpy as np

from duologue.data.strict_json import read_lines
from duologue.errors import InputError

GROUP = 10  # items of one phone, context and speaker at most


@dataclass(frozen=True)
class Item:
    """A phone in its context, by one speaker; seconds in the recording `file` (its name without a suffix)."""

    file: str
    start: float
    end: float
    phone: str
    context: tuple[str, str]
    speaker: str


def read_items(path: Path) -> list[Item]:
    """A Libri-light .item file: `#file onset offset #phone prev-phone next-phone speaker`, one item a line."""
    items = []
    for number, line in read_lines(path):
        parts = line.split()
        if not parts or parts[0].startswith("#"):
            continue
        try:
            file, start, end, phone, before, after, speaker = parts
            items.append(Item(file, float(start), float(end), phone, (before, after), speaker))
        except ValueError:
            raise InputError(
                f"{path}, line {number}: expected `file onset offset phone prev next speaker`"
            ) from None
    if not items:
        raise InputError(f"{path} holds no items")
    return items


def distance(one_TD: np.ndarray, other_TD: np.ndarray) -> float:
    """Dynamic time warping of angular distances (arccos of the cosine over pi), divided by the path's length."""
    unit = [
        x_TD / np.maximum(np.linalg.norm(x_TD, axis=1, keepdims=True), 1e-9) for x_TD in (one_TD, other_TD)
    ]
    cost = np.arccos(np.clip(unit[0] @ unit[1].T, -1, 1)) / np.pi
    rows, columns = cost.shape
    total = np.full((rows + 1, columns + 1), np.inf)
    total[0, 0] = 0
    for i in range(rows):
        for j in range(columns):
            total[i + 1, j + 1] = cost[i, j] + min(total[i, j], total[i, j + 1], total[i + 1, j])
    i, j, length = rows, columns, 0
    while i or j:
        length += 1
        steps = [
            (total[a, b], a, b) for a, b in ((i - 1, j - 1), (i - 1, j), (i, j - 1)) if a >= 0 and b >= 0
        ]
        _, i, j = min(steps)
    return float(total[rows, columns] / max(1, length))


def abx_error(
    items: list[Item], features: Callable[[str], np.ndarray], rate: float, group: int = GROUP, seed: int = 0
) -> tuple[float, int]:
    """Share of errors within speakers, and how many triples were compared.

    `features(file)` gives `[T, D]` of a whole recording at `rate` frames a second. InputError if no two phones share a
    context and a speaker.
    """
    cells: dict[tuple[str, tuple[str, str]], dict[str, list[np.ndarray]]] = defaultdict(
        lambda: defaultdict(list)
    )
    known: dict[str, np.ndarray] = {}
    for item in items:
        if item.file not in known:
            known[item.file] = features(item.file)
        first, last = int(item.start * rate), max(int(item.start * rate) + 1, int(np.ceil(item.end * rate)))
        piece_TD = known[item.file][first:last]
        if len(piece_TD):
            cells[(item.speaker, item.context)][item.phone].append(piece_TD)
    rng, triples = random.Random(seed), 0
    by_pair: dict[tuple[str, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for (speaker, _), phones in sorted(cells.items()):
        chosen = {p: rng.sample(found, min(group, len(found))) for p, found in sorted(phones.items())}
        for a, b in permutations(chosen, 2):
            if len(chosen[a]) < 2:
                continue
            error, count = _cell(chosen[a], chosen[b])
            triples += count
            by_pair[(a, b)][speaker].append(error)
    if not triples:
        raise InputError("no two phones share a context and a speaker: there is nothing to compare")
    pairs = [np.mean([np.mean(contexts) for contexts in speakers.values()]) for speakers in by_pair.values()]
    return float(np.mean(pairs)), triples


def _cell(same: list[np.ndarray], other: list[np.ndarray]) -> tuple[float, int]:
    """Errors of all A, X of `same` (A is not X) and B of `other`; ties count half."""
    near = [[distance(x, a) if x is not a else np.inf for a in same] for x in same]
    far = [[distance(x, b) for b in other] for x in same]
    errors = [
        float(far[k][m] < near[k][n]) + 0.5 * (far[k][m] == near[k][n])
        for k in range(len(same)) for n in range(len(same)) if n != k for m in range(len(other))
    ]  # fmt: skip
    return float(np.mean(errors)), len(errors)
