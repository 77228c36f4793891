"""Speaker embeddings: similarity of two recordings, and consistency of a voice over time."""

from collections.abc import Callable, Sequence

import numpy as np

from duologue.audio.activity import Span, spans
from duologue.audio.files import resample
from duologue.audio.framing import SAMPLE_RATE
from duologue.errors import InputError
from duologue.eval.result import Result

Embed = Callable[[np.ndarray], np.ndarray]
"""A sound at 24 kHz -> an embedding of unit length."""
BIN_SECONDS = (15, 20, 25, 30, 35, 40, 45)  # the paper's, from 20 s on


class Resemblyzer:
    """The speaker encoder of Resemblyzer (weights in its package). The paper uses WavLM-large's."""

    def __init__(self) -> None:
        import contextlib
        import io

        with contextlib.redirect_stdout(io.StringIO()):
            try:
                from resemblyzer import VoiceEncoder
            except ImportError as error:
                raise InputError(
                    f"speaker likeness needs Resemblyzer: pip install resemblyzer 'setuptools<81' ({error})"
                ) from None

            self._encoder = VoiceEncoder("cpu", verbose=False)

    def __call__(self, wav_S: np.ndarray) -> np.ndarray:
        return self._encoder.embed_utterance(resample(wav_S, SAMPLE_RATE, 16_000))


class WavLM:
    """Speaker embeddings of a WavLM with an x-vector head, a folder in Hugging Face's format (as the paper's)."""

    def __init__(self, folder: str) -> None:
        try:
            from transformers import AutoFeatureExtractor, WavLMForXVector
        except ImportError:
            raise InputError("WavLM needs transformers: pip install 'duologue[train]'") from None
        self._prepare = AutoFeatureExtractor.from_pretrained(folder)
        self._model = WavLMForXVector.from_pretrained(folder).eval()

    def __call__(self, wav_S: np.ndarray) -> np.ndarray:
        import torch

        heard_S = resample(wav_S, SAMPLE_RATE, 16_000)
        with torch.inference_mode():
            inputs = self._prepare(heard_S, sampling_rate=16_000, return_tensors="pt")
            embedding_D = self._model(**inputs).embeddings[0].numpy()
        return embedding_D / np.linalg.norm(embedding_D)


def likeness(embed: Embed) -> Callable[[np.ndarray, np.ndarray], float]:
    """A measure for `evaluate_codec`: the cosine of the embeddings of two recordings."""
    return lambda reference_S, decoded_S: float(np.dot(embed(reference_S), embed(decoded_S)))


def utterances(wav_S: np.ndarray, least: float = 1.0) -> list[Span]:
    """Stretches in which a channel is heard for at least `least` seconds."""
    return [span for span in spans(wav_S) if span[1] - span[0] >= least]


def voice_consistency(conversations: Sequence[np.ndarray], embed: Embed, result: Result) -> None:
    """Adds the share of the agent's utterances, from 15 s on, whose voice is nearer to that of its first utterance than
    to that of the user's first (paper, section 6.3). `conversations`: float32 `[2, S]`, the agent first."""
    found: dict[int, list[float]] = {}
    for wav_CS in conversations:
        said = [utterances(wav_S) for wav_S in wav_CS]
        if len(said[0]) < 2 or not said[1]:
            continue
        own_D, other_D = (_embed_span(embed, wav_CS[c], said[c][0]) for c in (0, 1))
        for span in said[0][1:]:
            if span[0] >= BIN_SECONDS[0]:
                voice_D = _embed_span(embed, wav_CS[0], span)
                right = float(np.dot(voice_D, own_D) > np.dot(voice_D, other_D))
                found.setdefault(max(b for b in BIN_SECONDS if b <= span[0]), []).append(right)
    every = [right for rights in found.values() for right in rights]
    result.add(
        "nearer to its own voice", 100 * float(np.mean(every)) if every else None, "%", len(every), 98.7
    )
    for start, rights in sorted(found.items()):
        result.add(f"from {start} s on", 100 * float(np.mean(rights)), "%", len(rights))


def _embed_span(embed: Embed, wav_S: np.ndarray, span: Span) -> np.ndarray:
    return embed(wav_S[round(span[0] * SAMPLE_RATE) : round(span[1] * SAMPLE_RATE)])
