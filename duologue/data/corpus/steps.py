"""The filters as steps of a datatrove pipeline, which its executors run on one machine, Slurm or Ray."""

import re
from pathlib import Path
from typing import Any

from datatrove.data import Document
from datatrove.pipeline.base import PipelineStep
from datatrove.pipeline.extractors import Trafilatura
from datatrove.pipeline.filters.base_filter import BaseFilter
from datatrove.utils.word_tokenizers import WordTokenizer

from duologue.data.corpus.classify import LineClassifier, line_groups
from duologue.data.corpus.lines import DuplicateLines
from duologue.data.corpus.private import remove_private
from duologue.data.corpus.sources import read_documents
from duologue.errors import InputError

MARKUP = re.compile(r"<\s*(html|body|!doctype|head|div|p)\b", re.IGNORECASE)


class Read(PipelineStep):
    """Documents of the files of a task: FILES[rank::tasks]. A damaged file gives what could be read, and is listed."""

    name, type = "read", "reader"

    def __init__(self, files: list[Path], errors: Path, least: int = 0):
        super().__init__()
        self.files, self.errors, self.least = files, errors, least

    def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> Any:
        complaints = []
        for path in self.files[rank::world_size]:
            try:
                for found in read_documents(path):
                    if found.text.strip():
                        self.stat_update("documents")
                        yield Document(found.text, found.id, metadata=found.about | {"html": found.html})
            except InputError as error:
                complaints.append(str(error))
                self.stat_update("damaged files")
        if complaints:
            (self.errors / f"{rank:05d}.errors").write_text("".join(line + "\n" for line in complaints))


class Extract(Trafilatura):
    """The article of a page; what is text already passes."""

    name = "extract"

    def extract(self, text: str) -> str:
        return super().extract(text) if MARKUP.search(text[:5000]) else text


class Lines(PipelineStep):
    """Drops blocks of repeated lines; the documents of a task are a shard. A document that loses all is dropped."""

    name, type = "lines", "filter"

    def __init__(self, model: Path | None = None, dropped: Any = None):
        super().__init__()
        self.model, self.dropped = model, dropped

    def run(self, data: Any, rank: int = 0, world_size: int = 1) -> Any:
        judge = LineClassifier.load(self.model) if self.model else None
        clean = DuplicateLines(looks_repeated=(lambda lines: judge.of("repeated", lines)) if judge else None)
        with self.dropped as writer:
            for doc in data:
                self.stat_update("total")
                with self.track_time():
                    before, text = doc.text, clean(doc.text)
                self.stat_update("characters dropped", value=len(before) - len(text))
                if text.strip():
                    self.stat_update("forwarded")
                    doc.text = text
                    yield doc
                else:
                    self.stat_update("dropped")
                    writer.write(doc, rank)


class Language(BaseFilter):
    """Keeps documents in `language` with a probability of at least `least` (py3langid)."""

    name = "language"

    def __init__(self, language: str, least: float, dropped: Any = None):
        super().__init__(dropped)
        self.language, self.least, self._identifier = language, least, None

    def filter(self, doc: Document) -> bool | tuple[bool, str]:
        if self._identifier is None:
            from py3langid.langid import MODEL_FILE, LanguageIdentifier

            self._identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
        language, probability = self._identifier.classify(doc.text)
        doc.metadata |= {"language": str(language), "language_score": round(float(probability), 3)}
        if language != self.language:
            return False, str(language)
        return bool(probability >= self.least) or (False, "unsure")


class Quality(BaseFilter):
    """Keeps documents whose quality is at least `least`; the score of each line group stays with the document."""

    name = "quality"

    def __init__(self, model: Path, least: float, dropped: Any = None):
        super().__init__(dropped)
        self.model, self.least, self._judge = model, least, None

    def filter(self, doc: Document) -> bool:
        if self._judge is None:
            self._judge = LineClassifier.load(self.model)
        found = self._judge.quality(doc.text)
        doc.metadata |= {"quality": round(found.score, 3), "class": found.kind, "group_scores": found.groups}
        return found.score >= self.least


class Toxicity(BaseFilter):
    """Drops documents with more than `most` of their text in line groups that sound abusive (alt-profanity-check)."""

    name = "toxicity"

    def __init__(self, most: float, dropped: Any = None, threshold: float = 0.8):
        super().__init__(dropped)
        self.most, self.threshold = most, threshold

    def filter(self, doc: Document) -> bool:
        from profanity_check import predict_prob

        groups = line_groups(doc.text)
        if not groups:
            return True
        toxic = sum(len(g) for g, p in zip(groups, predict_prob(groups), strict=True) if p >= self.threshold)
        share = toxic / sum(map(len, groups))
        doc.metadata["toxic"] = round(share, 3)
        return share <= self.most


class Private(PipelineStep):
    """Replaces personal data by what it was."""

    name, type = "private", "formatter"

    def run(self, data: Any, rank: int = 0, world_size: int = 1) -> Any:
        for doc in data:
            doc.text, counts = remove_private(doc.text)
            for name, count in counts.items():
                self.stat_update(name, value=count)
            if counts:
                doc.metadata["private"] = counts
            yield doc


class Words(WordTokenizer):
    """Words for near-duplicates: runs of letters and digits, whatever the language."""

    def __init__(self) -> None:
        super().__init__("any")

    def word_tokenize(self, text: str) -> list[str]:
        return re.findall(r"\w+", text)

    def sent_tokenize(self, text: str) -> list[str]:
        return text.splitlines()

    def span_tokenize(self, text: str) -> list[tuple[int, int]]:
        return [match.span() for match in re.finditer(r".+", text)]
