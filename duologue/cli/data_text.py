"""`duologue data text ...`: from crawls and dumps to packed tokens."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeAlias

from tyro.conf import Positional, arg, subcommand

from duologue.errors import InputError

Out: TypeAlias = Annotated[Positional[Path], arg(metavar="OUT")]
Places: TypeAlias = Annotated[tuple[Path, ...], arg(metavar="DIR")]


@dataclass(frozen=True)
class Clean:
    """Filter documents: repeated lines, language, quality, abuse, personal data, near-duplicates.

    OUT/documents is what is left, OUT/dropped what each step took out, OUT/report.json how much. The same command
    goes on where it stopped.
    """

    sources: Annotated[tuple[Path, ...], arg(metavar="FILE|DIR")]
    """WARC or WET files, or .jsonl of {"text"}, each gzipped or not; or folders of them."""
    out: Out
    quality: Annotated[Path | None, arg(metavar="MODEL.npz")] = None
    """What `classifier` wrote, for pages of the web; curated sources need none."""
    quality_least: float = 0.5
    """Pages below are dropped."""
    lines: Annotated[Path | None, arg(metavar="MODEL.npz")] = None
    """What `classifier --repeated` wrote: the first copy of repeated lines then goes too."""
    language: str = "en"
    """ISO 639-1."""
    language_least: float = 0.85
    """The least probability of the language."""
    toxic_most: float = 0.1
    """Documents with a larger share of abusive text are dropped."""
    workers: int = 1
    """Processes; each takes a file at a time."""

    def run(self) -> None:
        from duologue.data.corpus.clean import CleanConfig, clean

        config = CleanConfig(
            self.language, self.language_least, self.quality, self.quality_least, self.lines, self.toxic_most
        )
        report = clean(self.sources, self.out, config, self.workers)
        for step, counts in report.items():
            print(f"{step}: " + ", ".join(f"{round(value)} {name}" for name, value in counts.items()))


@dataclass(frozen=True)
class Classifier:
    """Learn what good pages look like, from classes of curated documents against the web; or which lines repeat."""

    out: Annotated[Positional[Path], arg(metavar="OUT.npz")]
    curated: Places = ()
    """Folders of curated documents; a folder's name is its class (wikipedia, books, stackexchange ...)."""
    web: Places = ()
    """Folders of pages of the web: the class web."""
    repeated: Places = ()
    """Learn from these documents which lines repeat from page to page, instead."""
    most: int = 200_000
    """Examples of a class."""
    seed: int = 0

    def run(self) -> None:
        from duologue.data.corpus.classify import WEB, LineClassifier
        from duologue.data.corpus.examples import class_examples, repeated_lines
        from duologue.files import check_writable

        check_writable(self.out)
        if bool(self.repeated) == bool(self.curated and self.web):
            raise InputError("name --curated and --web folders, or --repeated ones")
        if self.repeated:
            examples = repeated_lines(list(self.repeated), self.most)
        else:
            names = {place: place.resolve().name for place in self.curated}
            classes = {name: [p for p in names if names[p] == name] for name in names.values()}
            examples = class_examples(classes | {WEB: list(self.web)}, self.most)
        LineClassifier.fit(examples, self.seed).save(self.out)


@dataclass(frozen=True)
class Vocabulary:
    """Learn a vocabulary (SentencePiece unigram) from the mixture: unk 0 (EPAD), bos 1, eos 2, pad 3, bytes."""

    out: Annotated[Positional[Path], arg(metavar="OUT.model")]
    curated: Places = ()
    """Folders of curated documents."""
    web: Places = ()
    """Folders of pages of the web."""
    size: int = 32_000
    """Pieces."""

    def run(self) -> None:
        from duologue.data.corpus.mixture import mixture
        from duologue.data.corpus.vocabulary import train_vocabulary

        train_vocabulary(mixture(self.curated, self.web), self.out, self.size)


@dataclass(frozen=True)
class Pack:
    """Mix sources by their shares and pack their tokens into rows: OUT/train, and held-out documents in OUT/valid.

    `duologue train lm --stage text --texts OUT/train --valid OUT/valid` reads them. The same command goes on where it
    stopped.
    """

    out: Out
    tokenizer: Annotated[Path, arg(metavar="FILE.model")]
    tokens: int
    """How many to pack; sources are read again where they are smaller than their share."""
    curated: Places = ()
    """Folders of curated documents."""
    web: Places = ()
    """Folders of pages of the web."""
    curated_share: float = 0.125
    """Of the tokens, the paper's; inside a group shares go by size."""
    context: int = 4096
    """Tokens of a row."""
    seed: int = 0

    def run(self) -> None:
        from duologue.data.corpus.mixture import mixture
        from duologue.data.corpus.pack import PackConfig, pack
        from duologue.lm.tokenizer import Tokenizer
        from duologue.progress import progress

        if not 0 <= self.curated_share <= 1 or self.tokens < self.context or self.context < 2:
            raise InputError(
                "--curated-share is from 0 to 1, --tokens at least one row of --context (2 or more)"
            )
        sources = mixture(self.curated, self.web, self.curated_share)
        config = PackConfig(self.tokens, self.context, seed=self.seed)
        with progress("packing", 1.0) as advance:
            index = pack(sources, Tokenizer(self.tokenizer), self.out, config, advance)
        total = sum(index["tokens"].values())
        for name, tokens in index["tokens"].items():
            print(f"{name}: {tokens} tokens, {100 * tokens / total:.1f} %")
        print(
            f"{sum(index['rows'])} rows of {self.context}; the source read most: {index['epochs']} full rounds"
        )


TextVerb: TypeAlias = (
    Annotated[Clean, subcommand("clean")]
    | Annotated[Classifier, subcommand("classifier")]
    | Annotated[Vocabulary, subcommand("vocabulary")]
    | Annotated[Pack, subcommand("pack")]
)


@dataclass(frozen=True)
class Text:
    """Make a corpus of text: filter crawls and dumps, mix them, pack their tokens."""

    verb: TextVerb

    def run(self) -> None:
        self.verb.run()
