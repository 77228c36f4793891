"""Evaluations of speech: codec, codes, likelihood of recordings, recognition, watermarks."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from duologue.cli.eval_measured import Dir, Measured
from duologue.errors import InputError
from duologue.eval.result import Result, show


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
        from duologue.eval.bits import score_bits
        from duologue.eval.held_out import read_held_out
        from duologue.weights import load

        model = load(self.model, "cpu")
        held_out = read_held_out(model, self.shards, self.batches, self.text_lead)
        inputs = [batch.inputs_BKT for batch in held_out]
        result = Result("bits", model.name)
        score_bits(model.lm, inputs, model.codec.config.frame_rate, result)
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
