"""What the classifiers learn from: line groups of known classes, and lines that repeat."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from duologue.data.corpus.classify import line_groups
from duologue.data.corpus.lines import DuplicateLines, in_blocks
from duologue.data.corpus.sources import find_files, read_documents


def class_examples(classes: dict[str, list[Path]], most: int) -> Iterator[tuple[str, str]]:
    """(line group, class) pairs, at most `most` of each class."""
    for name, places in classes.items():
        texts = (text.text for path in find_files(*places) for text in read_documents(path))
        yield from ((group, name) for group in islice((g for t in texts for g in line_groups(t)), most))


def repeated_lines(places: list[Path], most: int) -> Iterator[tuple[str, str]]:
    """(line, "repeated" or "unique") of documents, as `DuplicateLines` marks them: what page furniture looks like."""
    marker = DuplicateLines()
    pairs = (
        (line, "repeated" if mark else "unique")
        for path in find_files(*places)
        for text in read_documents(path)
        for line, mark in zip(
            [line for line in text.text.splitlines() if line.strip()],
            in_blocks(marker.marks(text.text), marker.block),
            strict=True,
        )
    )
    yield from islice(pairs, most)
