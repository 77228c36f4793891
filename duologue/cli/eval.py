"""The verbs of `duologue eval`: each measures one thing and prints one table."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

from tyro.conf import arg, subcommand

from duologue.cli.eval_paper import PaperEval
from duologue.errors import InputError
from duologue.eval import options

if TYPE_CHECKING:
    from rich.table import Table

    from duologue.eval.codec import CodecReport


@dataclass(frozen=True)
class EvalCodec:
    """Judge a codec: what is left of speech after encoding and decoding, beside Opus at 6 kbit/s and the original."""

    model: str = "nano"
    """A name, folder, .safetensors file or hf://owner/name@revision."""
    set: Annotated[Path | None, arg(metavar="DIR")] = None
    """Recordings to judge by, with what is said as "text" in a .json (or a .txt) beside each. By default a few that
    come with the package, never trained on: sentences of the agent's voice, and questions by three others."""
    asr: Annotated[Path | None, arg(metavar="DIR")] = None
    """A Whisper model in CTranslate2's format, for the word error rates."""
    limit: int | None = None
    """At most this many recordings, evenly spread over the set."""
    json: Annotated[Path | None, arg(metavar="OUT.json")] = None
    """Write the figures; `duologue card` reads them."""

    def run(self) -> None:
        from duologue.eval.codec import SPEECH, codec_result, evaluate_codec, load_clips
        from duologue.eval.result import write_result
        from duologue.eval.speech import Recognizer
        from duologue.files import check_writable
        from duologue.progress import progress
        from duologue.weights import load

        if self.json is not None:
            check_writable(self.json)
        if self.limit is not None and self.limit < 1:
            raise InputError(f"--limit is a number of recordings from 1 up, not {self.limit}")
        codec = load(self.model, "cpu").codec
        clips = load_clips(self.set or SPEECH, codec.config.sample_rate, self.limit)
        asr = Recognizer(self.asr) if self.asr else None
        with progress("judging", 1.0) as advance:
            report = evaluate_codec(codec, clips, asr, name=Path(self.model).name, advance=advance)
        print_codec_report(report)
        if self.json is not None:
            write_result(self.json, codec_result(report))


@dataclass(frozen=True)
class EvalCodes(options.EvalCodes):
    """How many words a codec's codes carry: a small reader learns from codes alone, then reads unheard voices."""

    def run(self) -> None:
        from rich.console import Console

        from duologue.eval.probe import codes_result, probe_codes
        from duologue.eval.result import write_result
        from duologue.files import check_writable
        from duologue.weights import load

        if self.json is not None:
            check_writable(self.json)
        model = load(self.model, "cpu")
        rates = probe_codes(model.codec, self)
        if self.json is not None:
            write_result(self.json, codes_result(model.name, rates))

        table = _table("codebooks read", *(f"WER %, {name}" for name in next(iter(rates.values()))))
        for books, row in rates.items():
            table.add_row(books, *(_cell(100 * rate, 1) for rate in row.values()))
        Console().print(table)


@dataclass(frozen=True)
class EvalDuplex(options.EvalDuplex):
    """Hold many conversations with a model and judge them: turns, interruptions, backchannels, noise, answers."""

    def run(self) -> None:
        from duologue.eval.duplex_run import run_duplex

        run_duplex(self)


@dataclass(frozen=True)
class EvalQuantize(options.EvalQuantize):
    """What rounding the weights to 8 bits and fewer costs: tokens, perplexities and, with --set, right answers."""

    def run(self) -> None:
        from duologue.eval.quantize_run import run_quantize

        rows = run_quantize(self)
        from rich.console import Console

        table = _table(
            "", "MB", "text tokens as fp32 %", "audio tokens as fp32 %", "text ppl", "audio ppl", "right %"
        )
        for row in rows:
            table.add_row(
                row.kind, _cell(row.megabytes, 1), _cell(100 * row.text_agreement, 1),
                _cell(100 * row.audio_agreement, 1), _cell(row.text_perplexity, 3), _cell(row.audio_perplexity, 2),
                _cell(None if row.right is None else 100 * row.right, 1),
            )  # fmt: skip
        Console().print(table)


@dataclass(frozen=True)
class EvalFrontier(options.EvalFrontier):
    """How soon a model answers against how often it takes a pause for the end of a turn, swept by a bias on PAD."""

    def run(self) -> None:
        from duologue.eval import frontier

        points = frontier.run_frontier(self)
        from rich.console import Console

        table = _table("bias on PAD", "false cut-offs %", "median response, ms", "turns taken %")
        for point in points:
            table.add_row(
                f"{point.pad_bias:+g}",
                _cell(point.cutoffs, 1),
                _cell(point.response_ms, 0),
                _cell(point.taken, 1),
            )
        console = Console()
        console.print(table)
        console.print(
            f"false cut-offs at {frontier.RESPONSE_MS:.0f} ms: {_cell(frontier.cutoffs_at(points), 1)} %; "
            f"response at {frontier.CUTOFFS:.0f} % false cut-offs: {_cell(frontier.response_at(points), 0)} ms",
            soft_wrap=True,
        )


Eval: TypeAlias = (
    Annotated[EvalCodec, subcommand("codec")]
    | Annotated[EvalCodes, subcommand("codes")]
    | Annotated[EvalDuplex, subcommand("duplex")]
    | Annotated[EvalFrontier, subcommand("frontier")]
    | Annotated[EvalQuantize, subcommand("quantize")]
    | PaperEval
)


def print_codec_report(report: "CodecReport") -> None:
    """The table of a report, and one of its codebooks, on stdout."""
    from rich.console import Console

    scores = list(report.rows[0].scores)
    table = _table("", "kbit/s", "frames/s", *(name.upper() for name in scores), "WER %")
    for row in report.rows:
        cells = [_cell(row.kbps, 2), _cell(row.frame_rate, 1)]
        cells += [_cell(row.scores[name], 3 if name == "stoi" else 2) for name in scores]
        table.add_row(row.name, *cells, _cell(None if row.wer is None else 100 * row.wer, 1))
    books = _table("codebook", "entries used %", "entropy, bits", "of")
    for i, book in enumerate(report.codebooks):
        books.add_row(str(i), _cell(100 * book.used, 1), _cell(book.entropy, 2), _cell(book.bits, 2))
    console = Console()
    console.print(table, books)
    console.print(
        f"{report.clips} recordings, {report.seconds:.0f} s. Encode + decode, streamed: "
        f"{report.ms_per_frame:.1f} ms a frame, {report.threads} threads",
        soft_wrap=True,
    )


def _table(first: str, *others: str) -> "Table":
    from rich.table import Table

    table = Table(first)
    for name in others:
        table.add_column(name, justify="right")
    return table


def _cell(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
