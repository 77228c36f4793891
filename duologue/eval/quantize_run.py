"""From the options of `duologue eval quantize` to the rows of its table."""

from duologue.data.script import Script
from duologue.errors import InputError
from duologue.eval.duplex import Parts, evaluate_duplex, read_library
from duologue.eval.held_out import read_held_out
from duologue.eval.options import EvalQuantize
from duologue.eval.quantize import KINDS, Row, evaluate_quantized
from duologue.eval.result import Result, write_result
from duologue.files import check_writable
from duologue.lm import LM
from duologue.progress import progress
from duologue.weights import load


def run_quantize(options: EvalQuantize) -> list[Row]:
    """InputError before any work if something is missing."""
    if (options.set is None) != (options.script is None):
        raise InputError("questions need both clips and the script they follow: --set DIR --script FILE")
    if options.batches < 1 or options.scenes < 1:
        raise InputError("--batches and --scenes are numbers from 1 up")
    if options.json is not None:
        check_writable(options.json)
    library = None
    if options.set is not None and options.script is not None:
        library = read_library(options.set, Script.read(options.script))
    model = load(options.model, "cpu")
    held_out = read_held_out(model, options.shards, options.batches, options.text_lead)

    def answers(lm: LM) -> float | None:
        if library is None:
            return None
        parts = Parts(lm, model.codec, model.tokenizer, model.sampling)
        report = evaluate_duplex(parts, library, scenes=options.scenes, kinds=["turn"], time_frames=0)
        right = report.value("turn", "right answer, text")
        return None if right is None else right / 100

    found = []
    with progress("rounding", len(KINDS)) as advance:
        for row in evaluate_quantized(model.lm, held_out, answers):
            found.append(row)
            advance(1)
    if options.json is not None:
        write_result(options.json, quantize_result(model.name, found))
    return found


def quantize_result(name: str, rows: list[Row]) -> Result:
    """The rows in the schema of all evaluations."""
    result = Result("quantize", name)
    for row in rows:
        result.add(f"{row.kind}: size", row.megabytes, "MB")
        result.add(f"{row.kind}: text tokens as fp32", 100 * row.text_agreement, "%")
        result.add(f"{row.kind}: audio tokens as fp32", 100 * row.audio_agreement, "%")
        result.add(f"{row.kind}: text perplexity", row.text_perplexity)
        result.add(f"{row.kind}: audio perplexity", row.audio_perplexity)
        if row.right is not None:
            result.add(f"{row.kind}: right answers", 100 * row.right, "%")
    return result
