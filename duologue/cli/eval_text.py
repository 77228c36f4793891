"""Evaluations of the text model inside the language model."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from duologue.cli.eval_measured import Measured
from duologue.eval.result import Result, show


@dataclass(frozen=True, kw_only=True)
class EvalText(Measured):
    """Perplexity of the model as a text model, on packed text that it was not trained on."""

    packed: Annotated[Positional[Path], arg(metavar="DIR")]
    """A folder of `duologue data text pack`, such as OUT/valid."""
    frames: int = 256
    """Tokens that the model sees at once."""
    rows: int = 64
    """At most this many pieces of that length."""

    def run(self) -> None:
        from duologue.data.corpus.pack import PackedRows
        from duologue.eval.likelihood import text_perplexity
        from duologue.weights import load

        packed, model = PackedRows(self.packed), load(self.model, "cpu")
        size = min(self.frames, packed.context)
        starts = range(0, packed.context - size + 1, size)
        pieces = (packed[row][at : at + size] for row in range(len(packed)) for at in starts)
        result = Result("text", model.name, settings={"tokens at once": size})
        chosen = [piece for _, piece in zip(range(self.rows), pieces, strict=False)]
        text_perplexity(model.lm, model.tokenizer, chosen, result)
        show(result, self.json)


@dataclass(frozen=True, kw_only=True)
class EvalMMLU(Measured):
    """MMLU by the text model: questions with four choices, after five answered ones."""

    data: Annotated[Positional[Path], arg(metavar="DIR")]
    """MMLU as published: dev/ and test/ of SUBJECT_dev.csv and SUBJECT_test.csv."""
    shots: int = 5
    """Answered questions before each."""
    limit: int | None = None
    """At most this many questions of a subject."""

    def run(self) -> None:
        from duologue.eval.likelihood import score_mmlu
        from duologue.progress import progress
        from duologue.weights import load

        model = load(self.model, "cpu")
        result = Result("mmlu", model.name, settings={"shots": self.shots})
        with progress("questions", 1.0) as advance:
            score_mmlu(model.lm, model.tokenizer, self.data, result, self.shots, self.limit, advance)
        show(result, self.json)


@dataclass(frozen=True, kw_only=True)
class EvalToxicity(Measured):
    """How often the text model's answers are safe, by category of prompt (ALERT's layout)."""

    prompts: Annotated[Positional[Path], arg(metavar="FILE.jsonl")]
    """Lines of {"prompt", "category"}."""
    most: int = 64
    """Tokens of an answer."""
    limit: int | None = None
    """At most this many prompts."""

    def run(self) -> None:
        from duologue.eval.safety import continue_text, profanity, read_prompts, score_toxicity
        from duologue.weights import load

        prompts, judge = read_prompts(self.prompts)[: self.limit], profanity()
        model = load(self.model, "cpu")
        result = Result("toxicity", model.name, settings={"judge": "alt-profanity-check"})
        score_toxicity(
            lambda text: continue_text(model.lm, model.tokenizer, text, self.most), prompts, judge, result
        )
        show(result, self.json)


@dataclass(frozen=True, kw_only=True)
class EvalRegurgitation(Measured):
    """How often the text model says passages of its training data, unprompted and prompted with their beginnings."""

    passages: Annotated[Positional[Path], arg(metavar="FILE.jsonl")]
    """Training documents, lines of {"text"}."""
    draws: int = 20
    """Generations of each kind."""
    temperature: float = 0.8

    def run(self) -> None:
        from duologue.data.corpus.sources import read_documents
        from duologue.eval.safety import continue_text, score_regurgitation
        from duologue.weights import load

        passages = [document.text for document in read_documents(self.passages)]
        model = load(self.model, "cpu")
        result = Result("regurgitation", model.name, settings={"temperature": self.temperature})

        def generate(prompt: str, seed: int) -> str:
            return continue_text(model.lm, model.tokenizer, prompt, 64, self.temperature, seed)

        score_regurgitation(generate, passages, result, self.draws)
        show(result, self.json)
