"""Simultaneous translation of speech (Hibiki, arXiv 2502.03382): the translation of a recording is spoken and written
while it plays. The time base, the end and the guidance are those of the published program."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np

from duologue.engine.options import DEFAULT, Options
from duologue.engine.streams import open_streams
from duologue.engine.words import FRAME_SECONDS
from duologue.errors import InputError
from duologue.interfaces import Conditions, Streams, Unguided, check_duplex
from duologue.lm.model import TO_GENERATE
from duologue.lm.sampling import Sampling
from duologue.lm.tokenizer import TextStream
from duologue.weights import Model

UNWANTED = {"description": "very_bad"}
EOS = 2  # ends the translation's text
HEAR = np.ones(1, bool)


@dataclass(frozen=True)
class Spoken:
    """One frame of the translation: text token, what it adds to the text, samples, and whether it is the last."""

    token: int
    text: str
    wav_S: np.ndarray
    last: bool


def check_translates(model: Model) -> Conditions:
    """The conditions under which a model translates. Raises InputError for one that does not."""
    config = model.files.config
    if config.model_type != "hibiki":
        raise InputError(f"{model.name} does not translate: use a model of the Hibiki family")
    check_duplex(model.name, config.lm, model.codec_config)
    return model.conditions


class Translation:
    """One recording on its own `Streams`. `push` frames of the speaker, then call `finish` until a frame is the
    last."""

    def __init__(self, model: Model, sampling: Sampling, options: Options = DEFAULT):
        conditions = check_translates(model)
        self._lm, self._frame_size = model.files.config.lm, model.codec_config.frame_size
        unguided = None
        if sampling.guidance != 1:
            if not conditions:
                raise InputError(f"{model.name} has no conditions for guidance: leave out --guidance")
            unguided = Unguided(UNWANTED, text=True)
        self._streams = self._open(model, options, conditions, unguided)
        self._streams.start(0, sampling, conditions)
        self._text = TextStream(model.tokenizer)
        self._begun = self._over = False

    def _open(
        self, model: Model, options: Options, conditions: Conditions, unguided: Unguided | None
    ) -> Streams:
        return open_streams(model, 1, options, conditions, unguided)

    def push(self, wav_S: np.ndarray) -> Spoken | None:
        """Hear one frame (float32 `[frame_size]`); say one, once the delays of the codebooks have passed."""
        codes_BQ = self._streams.encode(wav_S[None], HEAR)[:, : self._lm.heard]
        if not self._begun:  # the model ignores the codes of its first step, so the frame is given twice
            self._begun = True
            self._step(codes_BQ)
        return self._step(codes_BQ)

    def finish(self) -> Spoken | None:
        """Mark the end of the recording, then hear silence. Call it until a frame is the last."""
        if not self._over:
            self._over = True
            return self._step(np.full((1, self._lm.heard), self._lm.card))
        return self.push(np.zeros(self._frame_size, np.float32))

    def _step(self, heard_BQ: np.ndarray) -> Spoken | None:
        streams = self._streams
        thought = streams.listen(heard_BQ.astype(np.int64), HEAR)
        if not thought.finite_B[0]:
            raise FloatingPointError("the model produced NaN or infinity")
        free_BQ = np.full((1, self._lm.spoken), TO_GENERATE)
        tokens_BK = streams.speak(thought.text_B, free_BQ, HEAR)
        if (tokens_BK < 0).any():
            return None
        token = int(tokens_BK[0, 0])
        wav_S = streams.decode(tokens_BK[:, 1:], HEAR)[0, 0]
        return Spoken(token, self._text.push(token), wav_S, self._over and token == EOS)


def translate(
    model: Model,
    frames: Iterable[np.ndarray],
    write: Callable[[np.ndarray], object],
    *,
    sampling: Sampling | None = None,
    tail: float = 30.0,
    options: Options = DEFAULT,
    say: Callable[[float, str], object] = lambda seconds, text: None,
) -> str:
    """Translate a recording (float32 `[frame_size]` a frame); `write` gets the frames of the translation, `say` the
    seconds heard and each piece of its text. Returns the text. Ends where the model says so, or `tail` seconds after
    the recording."""
    work = Translation(model, sampling or replace(model.sampling), options)
    heard, text = 0, ""

    def take(spoken: Spoken | None) -> bool:
        nonlocal text
        if spoken is None:
            return False
        write(spoken.wav_S)
        text += spoken.text
        say(heard * FRAME_SECONDS, spoken.text)
        return spoken.last

    for wav_S in frames:
        heard += 1
        take(work.push(wav_S))
    if not heard:
        raise InputError("the recording is empty: there is nothing to translate")
    for _ in range(round(tail / FRAME_SECONDS)):
        if take(work.finish()):
            break
    return text.strip()
