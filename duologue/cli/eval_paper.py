"""The evaluations by which models are compared in papers: one table each, one JSON schema (`eval.result`)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeAlias

from tyro.conf import Positional, arg, subcommand

from duologue.errors import InputError
from duologue.eval.result import Result, show

Json: TypeAlias = Annotated[Path | None, arg(metavar="OUT.json")]
Dir: TypeAlias = Annotated[Path | None, arg(metavar="DIR")]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What every evaluation of a model takes."""

    model: str = "nano"
    """A name, folder, .safetensors file or hf://owner/name@revision."""
    json: Json = None
    """Write the figures; `duologue card` reads them."""


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
class EvalPairs(Measured):
    """Which of two recordings is likelier: sWUGGY, sBLIMP (ZeroSpeech's folders), StoryCloze (a .jsonl of pairs)."""

    pairs: Annotated[Positional[Path], arg(metavar="DIR|FILE.jsonl")]
    """lexical/dev, syntactic/dev, or lines of {"good": FILE, "bad": FILE, "kind"}."""
    limit: int | None = None
    """At most this many pairs."""

    def run(self) -> None:
        from duologue.eval.likelihood import read_pairs, score_pairs
        from duologue.progress import progress
        from duologue.weights import load

        pairs = read_pairs(self.pairs)[: self.limit]
        model = load(self.model, "cpu")
        result = Result(f"pairs of {self.pairs.name}", model.name)
        with progress("pairs", 1.0) as advance:
            score_pairs(model.lm, model.codec, pairs, result, advance)
        show(result, self.json)


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
        text_perplexity(model.lm, [piece for _, piece in zip(range(self.rows), pieces, strict=False)], result)
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
class EvalABX(Measured):
    """ABX errors of phones in the semantic codes, within speakers (Libri-light's .item files)."""

    items: Annotated[Positional[Path], arg(metavar="FILE.item")]
    """LibriSpeech dev-clean's triphones, as Libri-light gives them out."""
    audio: Annotated[Positional[Path], arg(metavar="DIR")]
    """The recordings that the items name."""
    limit: int | None = None
    """At most this many recordings."""

    def run(self) -> None:
        from duologue.eval.abx_run import score_abx
        from duologue.weights import load

        model = load(self.model, "cpu")
        result = Result("abx", model.name)
        score_abx(model.codec, self.items, self.audio, result, self.limit)
        show(result, self.json)


@dataclass(frozen=True, kw_only=True)
class EvalArtefacts(Measured):
    """Artefacts in what the model says, by the entropy of its codes, at several precisions of its weights."""

    kinds: tuple[str, ...] = ("fp32", "q8", "q4", "q3")
    """Precisions: fp32, bf16, q8, q6, q5, q4, q3."""
    samples: int = 16
    """Conversations with a silent user; the paper has 500."""
    frames: int = 512
    """Of each; the paper has 1024."""

    def run(self) -> None:
        from duologue.eval.generate import score_artefacts
        from duologue.eval.quantize import KINDS
        from duologue.weights import load

        if unknown := set(self.kinds) - set(KINDS):
            raise InputError(f"no precision is called {min(unknown)}: choose from {', '.join(KINDS)}")
        model = load(self.model, "cpu")
        result = Result("artefacts", model.name, settings={"samples": self.samples, "frames": self.frames})
        score_artefacts(model, self.kinds, self.samples, self.frames, result)
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


@dataclass(frozen=True, kw_only=True)
class EvalWatermark(Measured):
    """Whether a mark in the sound is found, before and after noise, Opus and the model's codec."""

    set: Dir = None
    """Recordings; by default those that come with the package."""
    audioseal: bool = False
    """AudioSeal's mark (its package and weights) instead of spread spectrum."""

    def run(self) -> None:
        import numpy as np

        from duologue.audio.watermark import AudioSeal, SpreadSpectrum
        from duologue.eval.codec import SPEECH, load_clips
        from duologue.eval.generate import score_watermark
        from duologue.weights import load

        watermark = AudioSeal() if self.audioseal else SpreadSpectrum()
        model = load(self.model, "cpu")
        clips = load_clips(self.set or SPEECH, model.codec.config.sample_rate)
        wav_S = np.concatenate([clip.wav_S for clip in clips])
        result = Result(
            "watermark", model.name, settings={"mark": type(watermark).__name__, "clips": len(clips)}
        )
        score_watermark(model.codec, wav_S, watermark, result)
        show(result, self.json)


@dataclass(frozen=True, kw_only=True)
class EvalCodebooks(Measured):
    """A codec with its first codebook alone, the first two, and so on: every score that can be had here."""

    set: Dir = None
    """Recordings to judge by, as for `eval codec`; by default those that come with the package."""
    asr: Dir = None
    """A Whisper model in CTranslate2's format, for the word error rates."""
    limit: int | None = None
    """At most this many recordings."""

    def run(self) -> None:
        from duologue.eval.codebooks import score_codebooks
        from duologue.eval.codec import SPEECH, load_clips
        from duologue.eval.speech import Recognizer, measures
        from duologue.progress import progress
        from duologue.weights import load

        model = load(self.model, "cpu")
        clips = load_clips(self.set or SPEECH, model.codec.config.sample_rate, self.limit)
        asr = Recognizer(self.asr) if self.asr else None
        result = Result("codebooks", model.name, settings={"clips": len(clips)})
        with progress("judging", 1.0) as advance:
            score_codebooks(model.codec, clips, measures(), result, asr, advance)
        show(result, self.json)


@dataclass(frozen=True, kw_only=True)
class EvalBits(Measured):
    """Bits a second of the agent's codebook 0, with the text row and without it."""

    shards: Annotated[Positional[tuple[Path, ...]], arg(metavar="DIR")]
    """Folders of shards (`duologue data encode`) of conversations that were not trained on."""
    batches: int = 4
    """Batches of four pieces of 24 s."""
    text_lead: int = 3
    """Frames by which the model's words stand ahead of their sound: 3 for nano, 0 for published models."""

    def run(self) -> None:
        from duologue.data.shards import ShardReader
        from duologue.eval.bits import score_bits
        from duologue.train.lm_batches import LMBatchConfig, LMBatches
        from duologue.train.lm_plans import silent_codes
        from duologue.weights import load

        model = load(self.model, "cpu")
        rows = LMBatchConfig(frames=300, text_lead=self.text_lead).whole()
        data = iter(LMBatches(ShardReader(*self.shards, seed=1), model.tokenizer, rows))
        batches = [next(data)["codes"] for _ in range(self.batches)]
        silence = int(silent_codes(ShardReader(*self.shards, shuffle=False))[0])
        result = Result("bits", model.name)
        score_bits(model.lm, batches, silence, model.codec.config.frame_rate, result)
        show(result, self.json)


@dataclass(frozen=True, kw_only=True)
class EvalRecognition(Measured):
    """Word errors of what the model writes down of speech (LibriSpeech, long recordings), and errors of word times."""

    data: Annotated[Positional[Path], arg(metavar="DIR")]
    """LibriSpeech's folder, or recordings with their text (and word times) in a .txt or .json beside each."""
    limit: int | None = None
    """At most this many recordings."""
    slots: int = 4
    """Recordings heard at a time."""

    def run(self) -> None:
        from duologue.engine.transcribe import transcribe
        from duologue.eval.recognition import read_utterances, score_recognition
        from duologue.progress import progress
        from duologue.weights import load

        utterances, model = read_utterances(self.data)[: self.limit], load(self.model, "cpu")
        transcripts = []
        with progress("recordings", len(utterances)) as advance:
            for transcript in transcribe(model, [u.path for u in utterances], self.slots):
                transcripts.append(transcript)
                advance(1)
        result = Result("recognition", model.name)
        score_recognition(utterances, transcripts, result)
        show(result, self.json)


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
