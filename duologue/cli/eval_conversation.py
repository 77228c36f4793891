"""Evaluations of conversations: turn-taking, answers to spoken questions, the agent's voice."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from duologue.cli.eval_measured import Dir, Json, Measured
from duologue.eval.result import Result, show


@dataclass(frozen=True, kw_only=True)
class EvalFDB(Measured):
    """Full-Duplex-Bench v1.0 and v1.5, in their own folders (TASK/ID/input.wav): answers, transcripts, scores."""

    data: Annotated[Positional[Path], arg(metavar="DATA")]
    """The benchmark's folder, or one task's."""
    out: Annotated[Positional[Path], arg(metavar="OUT")]
    """Gets TASK/ID/output.wav and output.json; what is there already is kept."""
    whisper: Dir = None
    """A Whisper model in CTranslate2's format, for the words and their times; none needed where all output.json are."""
    people: Annotated[Path | None, arg(metavar="FILE")] = None
    """The benchmark's icc_gt_distribution.json, for backchannels."""
    score_only: bool = False
    """Score what lies in OUT, made by any model."""
    resampled: bool = False
    """Without the benchmark's quirks: the detector hears 16 kHz, any segment may take the turn."""
    limit: int | None = None
    """At most this many scenes of a task."""
    seed: int = 0

    def run(self) -> None:
        from duologue.eval.fdb_run import read, run_fdb, whisper_words
        from duologue.progress import progress
        from duologue.weights import load

        words = whisper_words(self.whisper) if self.whisper else None
        people = read(self.people) if self.people else {}
        model = None if self.score_only else load(self.model, "cpu")
        with progress("scenes", 1.0) as advance:
            result = run_fdb(
                model, self.data, self.out, words, people, seed=self.seed, faithful=not self.resampled,
                limit=self.limit, advance=advance,
            )  # fmt: skip
        show(result, self.json)


@dataclass(frozen=True, kw_only=True)
class EvalTurns:
    """Turn-taking statistics of stereo conversations: seconds a minute of speech, pauses, gaps, overlaps."""

    recordings: Annotated[Positional[Path], arg(metavar="DIR")]
    """Stereo recordings: what `duologue eval duplex --save` or `talk --stereo` writes, or anybody's."""
    asr: Dir = None
    """A Whisper model in CTranslate2's format, to count the words of the agent's text that are heard."""
    json: Json = None
    """Write the figures."""

    def run(self) -> None:
        from duologue.eval.speech import Recognizer
        from duologue.eval.turns import score_recordings

        show(score_recordings(self.recordings, Recognizer(self.asr) if self.asr else None), self.json)


@dataclass(frozen=True, kw_only=True)
class EvalQuestions(Measured):
    """Spoken questions (Llama, Web, Trivia questions): is an answer among the words that the model says."""

    questions: Annotated[Positional[Path], arg(metavar="FILE.jsonl")]
    """Lines of {"question": FILE.wav, "answers": [text, ...]}."""
    asr: Dir = None
    """A Whisper model in CTranslate2's format, to hear the answers too."""
    limit: int | None = None
    """At most this many questions."""
    seed: int = 0

    def run(self) -> None:
        from duologue.eval.questions import read_questions, score_questions
        from duologue.eval.speech import Recognizer
        from duologue.progress import progress
        from duologue.weights import load

        questions = read_questions(self.questions)[: self.limit]
        asr = Recognizer(self.asr) if self.asr else None
        model = load(self.model, "cpu")
        result = Result(f"questions of {self.questions.stem}", model.name, settings={"seed": self.seed})
        with progress("questions", 1.0) as advance:
            score_questions(model, questions, result, asr, self.seed, advance=advance)
        show(result, self.json)


@dataclass(frozen=True, kw_only=True)
class EvalVoice:
    """Whether the agent keeps its voice over minutes: its utterances against its first and the user's first."""

    recordings: Annotated[Positional[Path], arg(metavar="DIR")]
    """Stereo conversations, the agent left: what `duologue eval duplex --save` writes."""
    wavlm: Annotated[str | None, arg(metavar="DIR")] = None
    """A WavLM with an x-vector head (Hugging Face's format), as in the paper; Resemblyzer if not given."""
    json: Json = None
    """Write the figures."""

    def run(self) -> None:
        from duologue.eval.turns import stereo_recordings
        from duologue.eval.voices import Resemblyzer, WavLM, voice_consistency

        embed = WavLM(self.wavlm) if self.wavlm else Resemblyzer()
        result = Result("voice", self.recordings.name, settings={"embedding": type(embed).__name__})
        voice_consistency([wav_CS for _, wav_CS in stereo_recordings(self.recordings)], embed, result)
        show(result, self.json)
