"""The evaluations by which papers compare models: one table each, one JSON schema (`eval.result`)."""

from typing import Annotated, TypeAlias

from tyro.conf import subcommand

from duologue.cli.eval_conversation import EvalFDB, EvalQuestions, EvalTurns, EvalVoice
from duologue.cli.eval_speech import (
    EvalABX,
    EvalArtefacts,
    EvalBits,
    EvalCodebooks,
    EvalPairs,
    EvalRecognition,
    EvalWatermark,
)
from duologue.cli.eval_text import EvalMMLU, EvalRegurgitation, EvalText, EvalToxicity

PaperEval: TypeAlias = (
    Annotated[EvalFDB, subcommand("fdb")]
    | Annotated[EvalTurns, subcommand("turns")]
    | Annotated[EvalPairs, subcommand("pairs")]
    | Annotated[EvalText, subcommand("text")]
    | Annotated[EvalMMLU, subcommand("mmlu")]
    | Annotated[EvalQuestions, subcommand("questions")]
    | Annotated[EvalABX, subcommand("abx")]
    | Annotated[EvalArtefacts, subcommand("artefacts")]
    | Annotated[EvalVoice, subcommand("voice")]
    | Annotated[EvalToxicity, subcommand("toxicity")]
    | Annotated[EvalRegurgitation, subcommand("regurgitation")]
    | Annotated[EvalWatermark, subcommand("watermark")]
    | Annotated[EvalCodebooks, subcommand("codebooks")]
    | Annotated[EvalBits, subcommand("bits")]
    | Annotated[EvalRecognition, subcommand("recognition")]
)
