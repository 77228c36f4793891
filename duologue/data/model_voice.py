"""A text-to-speech model as a voice for synthetic conversations: a published one (tts-1.6b, tts-0.75b) or your own."""

from dataclasses import replace
from hashlib import sha256

import numpy as np

from duologue.data.voices import SAMPLE_RATE, loud_span, tidy
from duologue.engine.options import DEFAULT, Options
from duologue.engine.speak import Synthesiser
from duologue.engine.voices import Voice, read_voice
from duologue.errors import InputError
from duologue.types import Word
from duologue.weights import Model


class ModelVoice:
    """Speaks with the voices of `duologue say --voice` and gives word times. The same text, voice and speed always give
    the same audio."""

    def __init__(self, model: Model, options: Options = DEFAULT):
        if model.codec_config.sample_rate != SAMPLE_RATE:
            raise InputError(f"{model.name} does not speak at {SAMPLE_RATE} Hz")
        self.name = f"model {model.name}"
        self._model, self._synthesiser = model, Synthesiser(model, 1, options)
        self._voices: dict[str, Voice] = {}

    def speak(self, text: str, voice: str, speed: float = 1.0) -> np.ndarray:
        return self.say(text, voice, speed)[0]

    def say(self, text: str, voice: str, speed: float = 1.0) -> tuple[np.ndarray, list[Word]]:
        """Audio float32 `[S]` at 24 kHz, and its words with their times. InputError for an unknown voice, and if the
        synthesised audio is silent."""
        if voice not in self._voices:
            self._voices[voice] = read_voice(self._model, [voice])
        seed = int.from_bytes(sha256(f"{voice} {speed} {text}".encode()).digest()[:4], "big") >> 1
        sampling = replace(self._synthesiser.sampling, seed=seed)
        utterance = self._synthesiser.open(self._voices[voice], sampling, speed)
        utterance.push(text)
        utterance.finish()
        frames: list[np.ndarray] = []
        words: list[Word] = []
        while not utterance.ended:
            for _, spoken in self._synthesiser.tick():
                frames.append(spoken.wav_S)
                words += spoken.words
        wav_S = np.concatenate(frames) if frames else np.zeros(0, np.float32)
        span = loud_span(wav_S)
        if utterance.error is not None or span is None:
            raise InputError(f"{self._model.name} says nothing for {text[:60]!r}")
        first, last = (at / SAMPLE_RATE for at in span)
        return tidy(wav_S), [_within(word, first, last) for word in words]


def _within(word: Word, first: float, last: float) -> Word:
    """The word with its times relative to audio trimmed to `first`..`last` (seconds)."""
    start, end = (min(max(at, first), last) - first for at in (word.start, word.end))
    return replace(word, start=start, end=end)
