"""Filter crawls and dumps: the paper's filters, run by datatrove.

    extract -> repeated lines -> language -> quality -> toxicity -> personal data -> near-duplicates

OUT/documents/*.jsonl.gz is what is left, OUT/dropped/STEP/ what each step took out, OUT/report.json how much. Each
input file is a task; a run that was killed does the tasks that are not done.
"""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from duologue.data.corpus.classify import need
from duologue.data.corpus.sources import ARCHIVES, find_files
from duologue.data.strict_json import read_json
from duologue.errors import InputError
from duologue.files import atomic_write

BUCKETS, HASHES, WORDS = 14, 8, 5  # a pair of documents is near at a Jaccard similarity of about 0.72

STEPS = {
    "read": "read", "extract": "extract", "lines": "lines", "language": "language", "quality": "quality",
    "toxicity": "toxicity", "private": "private", "MinHash stage 4": "near-duplicates",
}  # fmt: skip


@dataclass(frozen=True)
class CleanConfig:
    """What is kept. The language's threshold is the paper's; that of the quality is not published."""

    language: str = "en"
    language_least: float = 0.85
    quality: Path | None = None
    """A model of `duologue data text classifier`; without one (curated sources) nothing is judged."""
    quality_least: float = 0.5
    lines: Path | None = None
    """A classifier of repeated lines, of `duologue data text classifier` with the classes repeated and unique."""
    toxic_most: float = 0.1
    """Share of a document's text that may be abusive."""


def clean(
    sources: Sequence[Path], out: Path, config: CleanConfig, workers: int = 1
) -> dict[str, dict[str, Any]]:
    """Filter the documents of `sources` into `out`; the counts of each step, as in OUT/report.json.

    InputError if there is nothing to read, an extra is missing, or `out` holds a run with other sources or settings.
    """
    os.environ.setdefault("TQDM_DISABLE", "1")  # read when datatrove is imported
    for module in ("datatrove", "trafilatura", "py3langid", "profanity_check", "orjson"):
        need(module)
    files = find_files(*sources)
    _same_run(out, files, config)
    from loguru import logger

    logger.disable("datatrove")  # its log goes to OUT/log
    logger.disable("duologue")
    run = _Run(out, len(files), workers)
    run(_filters(files, out, config), "filter")
    if not any((out / "filtered").glob("*")):
        raise InputError(f"no document is left: {out / 'dropped'} has what each filter took")
    _near_duplicates(run, out)
    report = _counts(out / "log" / "filter") | _counts(out / "log" / "near")
    with atomic_write(out / "report.json") as temporary:
        temporary.write_text(json.dumps(report, indent=2))
    return report


def _same_run(out: Path, files: Sequence[Path], config: CleanConfig) -> None:
    asked = {"files": [str(path) for path in files]} | {k: str(v) for k, v in asdict(config).items()}
    out.mkdir(parents=True, exist_ok=True)
    made = out / "run.json"
    if made.exists() and read_json(made) != asked:
        raise InputError(
            f"{out} was begun with other sources or settings: choose another folder, or delete it"
        )
    with atomic_write(made) as temporary:
        temporary.write_text(json.dumps(asked))


def _filters(files: list[Path], out: Path, config: CleanConfig) -> list[Any]:
    from datatrove.pipeline.writers import JsonlWriter

    from duologue.data.corpus import steps

    def dropped(step: str) -> Any:
        return JsonlWriter(str(out / "dropped" / step))

    found: list[Any] = [steps.Read(files, out)]
    if any(path.name.lower().endswith(ARCHIVES) for path in files):
        found.append(steps.Extract(favour_precision=True, timeout=5, deduplicate=False))
    found += [
        steps.Lines(config.lines, dropped("lines")),
        steps.Language(config.language, config.language_least, dropped("language")),
    ]
    if config.quality:
        found.append(steps.Quality(config.quality, config.quality_least, dropped("quality")))
    return [
        *found,
        steps.Toxicity(config.toxic_most, dropped("toxicity")),
        steps.Private(),
        JsonlWriter(str(out / "filtered")),
    ]


def _near_duplicates(run: "_Run", out: Path) -> None:
    """Of documents that are nearly the same the first is kept (MinHash)."""
    from datatrove.pipeline.dedup import (
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupFilter,
        MinhashDedupSignature,
    )
    from datatrove.pipeline.dedup.minhash import MinhashConfig
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.writers import JsonlWriter
    from datatrove.utils.hashing import HashConfig

    from duologue.data.corpus.steps import Words

    hashes = HashConfig(hash_fc="sha1")  # xxhash from 4.0 on refuses the strings that datatrove gives it
    config = MinhashConfig(WORDS, BUCKETS, HASHES, hash_config=hashes)
    work = out / "near"
    reader = JsonlReader(str(out / "filtered"))
    words: Any = Words()  # the library takes a tokenizer where its types say a language
    signature = MinhashDedupSignature(str(work / "signatures"), config, language=words)
    run([reader, signature], "near-1")
    buckets = MinhashDedupBuckets(str(work / "signatures"), str(work / "buckets"), config=config)
    run([buckets], "near-2", BUCKETS)
    run([MinhashDedupCluster(str(work / "buckets"), str(work / "remove"), config=config)], "near-3", 1)
    last = MinhashDedupFilter(
        str(work / "remove"), exclusion_writer=JsonlWriter(str(out / "dropped" / "near-duplicates"))
    )
    run([reader, last, JsonlWriter(str(out / "documents"))], "near")


@dataclass(frozen=True)
class _Run:
    """Runs a pipeline on this machine; on a cluster datatrove's SlurmPipelineExecutor or RayPipelineExecutor takes the
    same steps."""

    out: Path
    tasks: int
    workers: int

    def __call__(self, pipeline: list[Any], name: str, tasks: int | None = None) -> None:
        from datatrove.executor import LocalPipelineExecutor

        tasks = tasks or self.tasks
        LocalPipelineExecutor(
            pipeline,
            tasks=tasks,
            workers=min(self.workers, tasks),
            logging_dir=str(self.out / "log" / name),
            start_method="fork" if sys.platform == "linux" else "spawn",
        ).run()


def _counts(log: Path) -> dict[str, dict[str, Any]]:
    """The counts of each step, over all tasks."""
    total: dict[str, dict[str, Any]] = {}
    for path in sorted((log / "stats").glob("*.json")):
        for step in json.loads(path.read_text()):
            name = next((ours for theirs, ours in STEPS.items() if step["name"].endswith(theirs)), None)
            if name is None:
                continue
            counts = total.setdefault(name, {})
            for key, value in step["stats"].items():
                counts[key] = counts.get(key, 0) + (value["total"] if isinstance(value, dict) else value)
    for counts in total.values():
        counts.pop("doc_len", None)
    return total
