"""A model card, with the sections of the published one, from a model's files and from the figures of evaluations.

Texts that no evaluation can produce (data, training, uses) are in card.toml beside the model's config.json; missing
sections are marked as such.
"""

import json
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from duologue.errors import InputError
from duologue.eval.result import Figure, Result, read_result
from duologue.weights.card_files import ABOUT

if TYPE_CHECKING:
    from duologue.weights import Model

SECTIONS = (
    ("Model details", ("description", "developers", "license", "language", "sources")),
    ("Uses", ("direct_use", "downstream_use", "out_of_scope")),
    ("Bias, risks, and limitations", ("bias", "limitations", "safety")),
    ("Training details", ("training_data", "training_procedure", "compute")),
)
TITLES = {
    "description": "Description", "developers": "Developed by", "license": "License", "language": "Language",
    "sources": "Sources", "direct_use": "Direct use", "downstream_use": "Downstream use",
    "out_of_scope": "Out-of-scope use", "bias": "Bias", "limitations": "Limitations", "safety": "Safety",
    "training_data": "Training data", "training_procedure": "Training procedure", "compute": "Compute",
}  # fmt: skip
DUPLEX_0 = {  # (evaluation, figure): (title, what Trelis/duplex-0 reports of itself)
    ("turns", "confirmed words"): ("words a minute that a recogniser confirms", "60-68"),
    ("bits", "codebook 0, with the text row"): ("codebook 0, with the text row", "-"),
    ("bits", "codebook 0, without"): ("codebook 0, without the text row", "-"),
    ("bits", "saved by the text row"): ("saved by the text row", "12-14 %"),
}


def read_about(path: Path) -> dict[str, str]:
    """The texts of a card.toml. InputError if it is no TOML of known texts."""
    try:
        about = tomllib.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}") from None
    if unknown := [name for name, text in about.items() if name not in TITLES or not isinstance(text, str)]:
        raise InputError(f"{path}: {unknown[0]!r} is no text of a card: choose from {', '.join(TITLES)}")
    return about


def about_of(model: "Model", place: Path | None = None) -> dict[str, str]:
    """The texts of `place`, or of the card.toml among the model's files; none if there is neither."""
    if place is None:
        place = model.files.optional(ABOUT)
    return read_about(place) if place else {}


def read_results(places: Sequence[Path]) -> list[Result]:
    """Results of `duologue eval ... --json`, files or folders of them; those of `eval duplex` too.

    InputError if one is none of these.
    """
    paths = [
        path for place in places for path in (sorted(place.glob("*.json")) if place.is_dir() else [place])
    ]
    return [_read(path) for path in paths]


def _read(path: Path) -> Result:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}") from None
    if isinstance(found, dict) and "lines" in found and "scenes" in found:
        return _duplex(found, path.stem)
    return read_result(path)


def _duplex(report: dict[str, Any], file: str) -> Result:
    result = Result("conversations" if file == "duplex" else f"conversations, {file}", report["model"])
    for line in report["lines"]:
        for split in ("heard", "unheard"):
            if (cell := line[split]) and cell.get("value") is not None:
                note = " (phrasings not heard in training)" if split == "unheard" else ""
                result.add(
                    f"{line['kind']}: {line['title']}{note}",
                    cell["value"],
                    line.get("unit", ""),
                    cell.get("count"),
                )
    return result


def write_card(
    name: str, technical: Sequence[tuple[str, str]], about: dict[str, str], results: Sequence[Result]
) -> str:
    """The card in Markdown. `technical`: facts of the model's shape, by name."""
    parts = [f"# Model card: {name}"]
    for title, names in SECTIONS:
        parts.append(f"## {title}")
        for key in names:
            if key in about:
                parts.append(f"**{TITLES[key]}.** {about[key].strip()}")
        if not any(key in about for key in names):
            parts.append(f"Not stated: add {', '.join(names)} to {ABOUT} beside the model's config.json.")
        if title == "Model details":
            rows = [f"| {key} | {value} |" for key, value in technical]
            parts.append("\n".join(["| | |", "|---|---|", *rows]))
        if title == "Uses":
            parts += [
                "## How to get started",
                f"```sh\nduologue talk question.wav answer.wav --model {name}\n```",
            ]
    parts.append("## Evaluation")
    if not results:
        parts.append(
            "No evaluation was given: run `duologue eval ... --json FILE` and name the files with --results."
        )
    parts += [_table(result) for result in results]
    if beside := _beside_duplex_0(name, results):
        parts.append(beside)
    return "\n\n".join(parts) + "\n"


def _beside_duplex_0(name: str, results: Sequence[Result]) -> str | None:
    """A model's figures beside those of a small full-duplex model with a public training report, where it has any."""
    known = {(r.evaluation, f.name): f for r in results for f in r.figures if f.value is not None}
    rows = [
        f"| {title} | {_value(known[key])} | {published} |"
        for key, (title, published) in DUPLEX_0.items()
        if key in known
    ]
    if not rows:
        return None
    head = f"| | {name} | duplex-0 (201 M parameters) |\n|---|---|---|\n"
    note = (
        "duplex-0 was trained on 750 hours of recordings and speaks about anything, in Mimi's codes of 2,048 entries: "
        "bits a second compare only as the share that is saved. Its confirmed words are those of free conversation, "
        "in which real speech has 132.8 a minute."
    )
    return "### Beside duplex-0\n\n" + head + "\n".join(rows) + "\n\n" + note


def _table(result: Result) -> str:
    published = any(figure.published is not None for figure in result.figures)
    head = ["", "value", "over", *(["published"] if published else [])]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for figure in result.figures:
        cells = [figure.name, _value(figure), "" if figure.count is None else str(figure.count)]
        if published:
            cells.append("" if figure.published is None else f"{figure.published:g}")
        lines.append(f"| {' | '.join(cells)} |")
    settings = ", ".join(f"{key} {value}" for key, value in result.settings.items())
    title = f"### {result.evaluation[:1].upper()}{result.evaluation[1:]}" + (
        f" ({settings})" if settings else ""
    )
    return title + "\n\n" + "\n".join(lines)


def _value(figure: Figure) -> str:
    if figure.value is None:
        return "-"
    number = f"{figure.value:.3g}" if abs(figure.value) < 100 else f"{figure.value:.0f}"
    return f"{number} {figure.unit}".strip()


def technical_facts(model: "Model") -> list[tuple[str, str]]:
    """The shape of a loaded model: parameters, rates, streams. Reads no weights."""
    import math

    import torch

    from duologue.codec import Codec
    from duologue.lm import LM

    codec = model.codec_config
    kbps = codec.codebooks * math.log2(codec.quantizer.entries) * codec.frame_rate / 1000
    with torch.device("meta"):
        counted = [sum(w.numel() for w in Codec(codec).parameters())]
        if model.has_lm:
            counted.append(sum(w.numel() for w in LM(model.files.config.lm).parameters()))
    facts = [
        ("codec", f"{counted[0] / 1e6:,.1f} M parameters"),
        ("codes", f"{codec.codebooks} codebooks of {codec.quantizer.entries}, {kbps:.2f} kbit/s"),
        ("frames", f"{codec.frame_rate:g} a second"),
        ("sound", f"{codec.sample_rate} Hz, mono"),
    ]  # fmt: skip
    if model.has_lm:
        lm = model.files.config.lm
        context = (
            "unbounded" if lm.temporal.context is None else f"{lm.temporal.context / codec.frame_rate:.0f} s"
        )
        own = " (the user's words in it too)" if lm.reads_user_text else ""
        facts += [
            (
                "language model",
                f"{counted[1] / 1e6:,.1f} M parameters, {lm.temporal.layers} layers of {lm.temporal.dim}",
            ),
            (
                "streams",
                f"{lm.streams}: text{own}, {lm.spoken} codebooks said, {lm.heard} heard",
            ),
            ("context", context),
            ("vocabulary", f"{lm.text_card} pieces of text"),
        ]
    return facts
