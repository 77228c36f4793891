"""Which document comes next: sources mixed by their shares, each shuffled anew in every epoch (paper, section 3.2).

The paper's mixture: 12.5 % curated (five Wikipedia dumps, Wikibooks, Wikisource, Wikinews, StackExchange, peS2o) and
87.5 % of ten crawls. The shares inside a group are not published; here they go by size.
"""

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from duologue.data.corpus.sources import Text, find_files, read_documents
from duologue.errors import InputError

CURATED_SHARE = 0.125
CURATED = (
    "wikipedia-2017", "wikipedia-2018", "wikipedia-2019", "wikipedia-2021", "wikipedia-2022",
    "wikibooks", "wikisource", "wikinews", "stackexchange", "pes2o",
)  # fmt: skip
CRAWLS = (
    "2018-30", "2019-04", "2019-30", "2020-05", "2020-34", "2021-04", "2021-31", "2022-05", "2022-33", "2023-40",
)  # fmt: skip
HELD_OUT = 200  # one document in so many is never trained on


@dataclass(frozen=True)
class Source:
    """Documents of one place, and the share of tokens that should come from it."""

    name: str
    files: tuple[Path, ...]
    share: float


def mixture(
    curated: Sequence[Path], web: Sequence[Path], curated_share: float = CURATED_SHARE
) -> list[Source]:
    """The sources of two groups, shares by group and, inside one, by size on the disk. InputError if there is none."""
    groups = [(curated, curated_share), (web, 1 - curated_share)]
    if not curated or not web:
        groups = [(curated or web, 1.0)]
    found = []
    for places, share in groups:
        files = {place: tuple(find_files(place)) for place in places}
        size = {place: sum(path.stat().st_size for path in paths) for place, paths in files.items()}
        total = max(1, sum(size.values()))
        found += [Source(str(p), files[p], share * size[p] / total) for p in places]
    if not found:
        raise InputError("name some folders of documents: --curated DIR ... --web DIR ...")
    return found


def held_out(document: Text) -> bool:
    """Whether a document belongs to the held-out ones; by its id alone."""
    digest = hashlib.blake2b(document.id.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little") % HELD_OUT == 0


class Shuffled:
    """Documents of a source without end, or its held-out documents once. Files are shuffled, then the documents of
    each; the place is a value. InputError from a source without documents."""

    def __init__(self, source: Source, seed: int, held: bool = False):
        self.source, self.seed, self.held = source, seed, held
        self.place = [0, 0, 0]  # epoch, file of its order, document of that file's order
        self._loaded: tuple[tuple[int, int], list[Text]] = ((-1, -1), [])
        self._began = 0  # the epoch in which the last document was

    def next(self) -> Text | None:
        """The next document; None when all that are held out have been given."""
        while not (self.held and self.place[0]):
            epoch, file, document = self.place
            texts = self._documents(epoch, file)
            if document < len(texts):
                self.place, self._began = [epoch, file, document + 1], epoch
                return texts[document]
            if file + 1 < len(self.source.files):
                self.place = [epoch, file + 1, 0]
            elif epoch > self._began:
                raise InputError(f"{self.source.name} has no documents to train on")
            else:
                self.place = [epoch + 1, 0, 0]
        return None

    def _documents(self, epoch: int, file: int) -> list[Text]:
        if self._loaded[0] != (epoch, file):
            rng = random.Random(f"{self.seed} {self.source.name} {epoch}")
            order = rng.sample(self.source.files, len(self.source.files))
            texts = [text for text in read_documents(order[file]) if held_out(text) == self.held]
            random.Random(f"{self.seed} {epoch} {order[file].name}").shuffle(texts)
            self._loaded = ((epoch, file), texts)
        return self._loaded[1]


class Mixer:
    """Documents of several sources: the next is from the one that lags furthest behind its share of the tokens."""

    def __init__(self, sources: Sequence[Source], seed: int = 0, held: bool = False):
        self.sources = [Shuffled(source, seed, held) for source in sources]
        self.tokens = [0] * len(self.sources)

    def next(self) -> tuple[int, Text] | None:
        """The next document and the number of its source; tell `took` how many tokens it had. None at the end."""
        total = sum(self.tokens)
        lag = [
            one.source.share * total - tokens for one, tokens in zip(self.sources, self.tokens, strict=True)
        ]
        order = sorted(range(len(lag)), key=lambda k: (lag[k], self.sources[k].source.share), reverse=True)
        for which in order:
            if (document := self.sources[which].next()) is not None:
                return which, document
        return None

    def took(self, which: int, tokens: int) -> None:
        self.tokens[which] += tokens

    @property
    def epochs(self) -> int:
        """Full rounds through the source that was read most."""
        return max(one.place[0] for one in self.sources)

    def state_dict(self) -> dict[str, Any]:
        return {"places": [one.place for one in self.sources], "tokens": self.tokens}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for one, place in zip(self.sources, state["places"], strict=True):
            one.place = list(place)
        self.tokens = list(state["tokens"])
