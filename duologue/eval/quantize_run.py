"""From the options of `duologue eval quantize` to the rows of its table."""

from duologue.data.script import Script
from duologue.data.shards import ShardReader
from duologue.errors import InputError
from duologue.eval.duplex import Parts, evaluate_duplex, read_library
from duologue.eval.options import EvalQuantize
from duologue.eval.quantize import KINDS, Row, evaluate_quantized
from duologue.lm import LM
from duologue.progress import progress
from duologue.train.lm_batches import LMBatchConfig, LMBatches
from duologue.train.lm_plans import silent_codes
from duologue.weights import load

FRAMES = 300


def run_quantize(options: EvalQuantize) -> list[Row]:
    """InputError before any work if something is missing."""
    if (options.set is None) != (options.script is None):
        raise InputError("questions need both clips and the script they follow: --set DIR --script FILE")
    if options.batches < 1 or options.scenes < 1:
        raise InputError("--batches and --scenes are numbers from 1 up")
    library = None
    if options.set is not None and options.script is not None:
        library = read_library(options.set, Script.read(options.script))
    model = load(options.model, "cpu")
    rows = LMBatchConfig(frames=FRAMES, text_lead=options.text_lead).of(model.lm.config).whole()
    data = iter(LMBatches(ShardReader(*options.shards, seed=1), model.tokenizer, rows))
    batches = [next(data)["codes"] for _ in range(options.batches)]
    silence_Q = silent_codes(ShardReader(*options.shards, shuffle=False))

    def answers(lm: LM) -> float | None:
        if library is None:
            return None
        parts = Parts(lm, model.codec, model.tokenizer, model.sampling)
        report = evaluate_duplex(parts, library, scenes=options.scenes, kinds=["turn"], time_frames=0)
        right = report.value("turn", "right answer, text")
        return None if right is None else right / 100

    found = []
    with progress("rounding", len(KINDS)) as advance:
        for row in evaluate_quantized(model.lm, batches, silence_Q, answers):
            found.append(row)
            advance(1)
    return found
