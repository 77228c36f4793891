"""Lines that a shard has seen before: hashes in a Bloom filter, dropped in blocks (Moshi paper, section 3.2).

Page furniture (menus, licences, cookie notices) repeats from page to page, in blocks of short lines; a sentence that is
quoted twice does not. So only blocks of at least three lines are dropped.
"""

import hashlib
import math
from collections.abc import Callable, Sequence

BLOCK = 3


class BloomFilter:
    """A Bloom filter: it may report a string that is not in the set (with probability `error`), and never misses one
    that is."""

    def __init__(self, capacity: int = 10_000_000, error: float = 1e-3):
        self.bits = max(64, math.ceil(-capacity * math.log(error) / math.log(2) ** 2))
        self.hashes = max(1, round(self.bits / capacity * math.log(2)))
        self._bytes = bytearray((self.bits + 7) // 8)

    def add(self, text: str) -> bool:
        """Add `text`; returns whether it was there already."""
        digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        first, second = int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little") | 1
        known = True
        for k in range(self.hashes):
            place = (first + k * second) % self.bits
            byte, bit = place >> 3, 1 << (place & 7)
            known = known and bool(self._bytes[byte] & bit)
            self._bytes[byte] |= bit
        return known


def plain(line: str) -> str:
    """What counts as the same line: case, digits' values and spaces do not matter."""
    return " ".join("".join("0" if c.isdigit() else c for c in line.lower()).split())


class DuplicateLines:
    """Drops blocks of at least `block` consecutive lines that repeat: those seen in an earlier document of the shard
    and, with `looks_repeated`, those that a classifier takes for such, so that the first copy goes as well.

    `looks_repeated(lines)` gives the probability of each line.
    """

    def __init__(
        self,
        block: int = BLOCK,
        looks_repeated: Callable[[Sequence[str]], Sequence[float]] | None = None,
        capacity: int = 10_000_000,
    ):
        self.block, self.looks_repeated = block, looks_repeated
        self.seen = BloomFilter(capacity)

    def marks(self, text: str) -> list[bool]:
        """For each line that is not empty, whether an earlier document had it; the lines are then known."""
        lines = [plain(line) for line in text.splitlines() if line.strip()]
        known = {line: self.seen.add(line) for line in dict.fromkeys(lines)}  # once a document
        return [known[line] for line in lines]

    def __call__(self, text: str) -> str:
        """The text without its repeated blocks, empty lines left out."""
        lines = [line for line in text.splitlines() if line.strip()]
        repeated = self.marks(text)
        if self.looks_repeated and lines:
            likely = self.looks_repeated(lines)
            repeated = [mark or p > 0.5 for mark, p in zip(repeated, likely, strict=True)]
        return "\n".join(
            line for line, drop in zip(lines, in_blocks(repeated, self.block), strict=True) if not drop
        )


def in_blocks(marks: Sequence[bool], block: int) -> list[bool]:
    """The marks that stand in a run of at least `block`."""
    kept, start = [False] * len(marks), 0
    for at in range(len(marks) + 1):
        if at == len(marks) or not marks[at]:
            if at - start >= block:
                kept[start:at] = [True] * (at - start)
            start = at + 1
    return kept
