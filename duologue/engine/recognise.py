"""Streaming speech recognition: sound in, words with their times out, many recordings on one model.

Two kinds of models transcribe. Recognition models write each word a fixed delay after it was said, and may detect
pauses (`stt_config`, extra heads). A conversational model transcribes with its first extra head, and says nothing.
There are no clocks or threads here: `tick` advances every recording that has a frame.
"""

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from duologue.audio.activity import rms_of
from duologue.audio.framing import Framer, pad_to_frames
from duologue.engine.options import DEFAULT, Options
from duologue.engine.prompt import GAP_SECONDS, Prompt, PromptTokens
from duologue.engine.script import FRAME_RATE, PAD, WORD
from duologue.engine.streams import open_streams
from duologue.engine.words import FRAME_SECONDS, UserWords
from duologue.errors import InputError
from duologue.interfaces import pause_heads
from duologue.lm.model import NO_INPUT
from duologue.lm.monologue import USER_TEXT_DELAY_FRAMES
from duologue.lm.sampling import Sampling
from duologue.lm.tokenizer import TextStream, Tokenizer
from duologue.types import USER, Word
from duologue.weights import Model

PAUSE_HEAD = 2  # the head that predicts no new word for two seconds
PAUSE = 0.5  # probability threshold
TAIL_SECONDS = 1.0  # seconds of silence after a recording, beyond the model's delay
SETTLED_FRAMES = 5  # frames without a token after which a word of a conversational model is complete
LONGEST_LAST_SECONDS = 1.0  # seconds, upper limit for the last word
NOWHERE = -1  # the slot of a waiting recording


@dataclass(frozen=True)
class RecognitionConfig:
    """The time base of a model. `delay`: seconds from the end of a word to its text. `prefix`: seconds of silence
    before a recording. `made_for_it`: whether it is a recognition model."""

    made_for_it: bool
    delay: float
    prefix: float
    pauses: bool = False

    @staticmethod
    def of(model: Model) -> "RecognitionConfig":
        """Raises InputError for a model that does not transcribe."""
        lm, task = model.files.config.lm, model.files.config.task.get("stt_config")
        if lm.heard and not lm.depth_steps:
            task = task or {}
            delay = float(task.get("audio_delay_seconds", 0.0))
            prefix = float(task.get("audio_silence_prefix_seconds", 0.0))
            return RecognitionConfig(True, delay, prefix, pause_heads(model) > PAUSE_HEAD)
        if not lm.writes_down_user:
            raise InputError(f"{model.name} does not transcribe speech: use a recognition model, or nano")
        return RecognitionConfig(False, USER_TEXT_DELAY_FRAMES * FRAME_SECONDS, FRAME_SECONDS)

    @property
    def delay_frames(self) -> int:
        """Frames from a word to its text, as the published servers count them."""
        return int(self.delay * FRAME_RATE)


@dataclass(frozen=True)
class Heard:
    """What one frame of a recording added. `step` counts the model's steps, including this one; `text` is appended to
    the transcript. `began` is a word whose text is complete (and its start in seconds), `ended` its end; `words` are
    those that are complete. `pauses` are the heads' probabilities of a pause; `pause` is true where one begins."""

    step: int
    text: str = ""
    began: tuple[str, float] | None = None
    ended: float | None = None
    words: tuple[Word, ...] = ()
    pauses: tuple[float, ...] = ()
    pause: bool = False


class DelayedWords:
    """Words and times from the tokens of a recognition model: WORD separates words, PAD means nothing new. What is
    written before step `first` is not of the recording."""

    def __init__(self, tokenizer: Tokenizer, config: RecognitionConfig, first: int = 0):
        self._tokenizer, self._config = tokenizer, config
        self._first = max(first, config.delay_frames)
        self._stream = TextStream(tokenizer)
        self._tokens: list[int] = []  # of the word that is being written
        self._open: tuple[list[int], float] | None = None  # a word without its end
        self._last = 0.0  # when the last word ended
        self._begun = False  # whether there was a word

    def push(self, step: int, token: int) -> Heard:
        """The token of a step; `step` includes it."""
        if step < self._first:
            return Heard(step)
        began, ended, words = None, None, ()
        boundary = token in (WORD, PAD)
        text = "" if boundary else self._stream.push(token)
        if text and not self._tokens and self._begun and not text[0].isspace():
            text = " " + text  # a space between words, whatever their pieces
        if boundary and self._tokens:
            began = self._begin()
        elif not boundary and not self._tokenizer.is_control(token):
            self._tokens.append(token)
            self._begun = True
        if token == WORD:
            now = self._time(step)
            if self._open is not None:
                ended, words = now, self._close(now)
            self._last = now
        return Heard(step, text, began, ended, words)

    def finish(self, step: int) -> Heard:
        """End the last word: no more tokens come."""
        began = self._begin() if self._tokens else None
        if self._open is None:
            return Heard(step)
        ended = max(self._open[1], min(self._time(step), self._open[1] + LONGEST_LAST_SECONDS))
        return Heard(step, "", began, ended, self._close(ended))

    def _time(self, step: int) -> float:
        return max(0.0, step / FRAME_RATE - self._config.delay - self._config.prefix)

    def _begin(self) -> tuple[str, float]:
        self._open, self._tokens = (self._tokens, self._last), []
        return self._tokenizer.decode(self._open[0]).strip(), self._last

    def _close(self, end: float) -> tuple[Word, ...]:
        """The words of a segment: usually one. If there are several, each lasts a frame per token."""
        assert self._open is not None
        (tokens, start), self._open = self._open, None
        groups: list[list[int]] = []
        for token in tokens:
            if not groups or self._tokenizer.piece(token).startswith(" "):
                groups.append([])
            groups[-1].append(token)
        words = []
        for i, group in enumerate(groups):
            until = end if i + 1 == len(groups) else min(end, start + len(group) * FRAME_SECONDS)
            if text := self._tokenizer.decode(group).strip():
                words.append(Word(text, start, until, USER))
            start = until
        return tuple(words)


class OverheardWords:
    """The same for the head of a conversational model."""

    def __init__(self, tokenizer: Tokenizer):
        self._words, self._told, self._still = UserWords(tokenizer), 0, 0

    def push(self, step: int, token: int, rms: float) -> Heard:
        """A word is complete when the next begins, or after some frames without a token."""
        piece = self._words.push(step, token, rms)
        self._still = 0 if piece else self._still + 1
        return Heard(step, piece, words=self._over(len(self._words.words) - (self._still < SETTLED_FRAMES)))

    def finish(self, step: int) -> Heard:
        return Heard(step, words=self._over(len(self._words.words)))

    def _over(self, until: int) -> tuple[Word, ...]:
        new = tuple(self._words.words[self._told : until])
        self._told = max(self._told, until)
        return new


class Hearing:
    """One recording. `push` adds sound, `finish` marks its end."""

    def __init__(
        self, model: Model, config: RecognitionConfig, sampling: Sampling, prompt: Prompt | None = None
    ):
        """Raises InputError for a prompt to a model that takes none."""
        if prompt is not None and not config.made_for_it:
            raise InputError(f"{model.name} takes no prompt: use a recognition model")
        self.sampling = sampling
        self.slot = NOWHERE
        self.ended = False
        self.error: str | None = None
        self.steps = 0  # of the model, including the initial one
        self._frames: deque[np.ndarray] = deque()
        self._rate = model.codec_config.sample_rate
        self._framer = Framer(model.codec_config.frame_size)
        self.finished = self._paused = False
        self._rms = 0.0
        self._silence(config.prefix)
        self.prompt = PromptTokens(model.tokenizer, "" if prompt is None else prompt.text)
        self._first, self.config = self._prompted(config, prompt)
        self._words = (
            DelayedWords(model.tokenizer, self.config, self._first)
            if config.made_for_it
            else OverheardWords(model.tokenizer)
        )

    def _prompted(self, config: RecognitionConfig, prompt: Prompt | None) -> tuple[int, RecognitionConfig]:
        """Hear the prompt. The first step whose text is of the recording, and the time base that begins with it."""
        if prompt is None:
            return 0, config
        wav_S = pad_to_frames(prompt.wav_S, self._framer.frame_size)
        frames = len(wav_S) // self._framer.frame_size
        self.push(wav_S)
        self._silence(GAP_SECONDS)
        before = config.prefix + frames * FRAME_SECONDS + GAP_SECONDS
        return frames + int((config.delay + config.prefix) * FRAME_RATE) + 1, replace(config, prefix=before)

    def push(self, wav_S: np.ndarray) -> None:
        """Float32 at the model's rate, any number of samples."""
        self._frames.extend(self._framer.push(wav_S))

    def finish(self) -> None:
        """End the recording: silence after it lets the model write the last words."""
        if not self.finished:
            self._silence(self.config.delay + TAIL_SECONDS)
            self._frames.extend(self._framer.flush())
            self.finished = True

    def flush(self) -> None:
        """The user pauses: insert silence at once, so that the text of what was said does not wait for real silence."""
        frames = math.ceil(self.config.delay / FRAME_SECONDS) + 1
        self.push(np.zeros(frames * self._framer.frame_size, np.float32))

    @property
    def waiting(self) -> int:
        """Samples that the model has not heard yet."""
        return len(self._frames) * self._framer.frame_size + self._framer.waiting

    @property
    def ready(self) -> bool:
        return not self.ended and (bool(self._frames) or self.finished)

    def _silence(self, seconds: float) -> None:
        self.push(np.zeros(int(seconds * self._rate), np.float32))

    def take(self) -> np.ndarray | None:
        """The next frame to hear; None if there is none and the recording has ended."""
        if not self._frames:
            return None
        frame_S = self._frames.popleft()
        self._rms = rms_of(frame_S)
        return frame_S

    def written(self, text: int, heard: int, pauses: tuple[float, ...]) -> Heard:
        """Process the tokens of a step."""
        self.steps += 1
        if isinstance(self._words, OverheardWords):  # the first step is the silent frame before the recording
            return self._words.push(self.steps - 1, heard, self._rms)
        heard_now = self._words.push(self.steps, text)
        self.prompt.written(text)
        early = self.steps < self._first
        if not early:
            self.prompt.drop()
        paused = not early and len(pauses) > PAUSE_HEAD and pauses[PAUSE_HEAD] > PAUSE
        begins, self._paused = paused and not self._paused, paused
        return replace(heard_now, pauses=pauses, pause=begins)

    def last(self) -> Heard:
        """The remaining words, once everything was heard."""
        self.ended = True
        return self._words.finish(self.steps)


class Recogniser:
    """A model that transcribes `slots` recordings at a time; more are queued."""

    def __init__(self, model: Model, slots: int = 1, options: Options = DEFAULT):
        self.model, self.config = model, RecognitionConfig.of(model)
        self._lm = model.files.config.lm
        self._open = lambda: open_streams(model, slots, options)
        self.slots = slots
        self.rebuild()
        self.frame_size = model.codec_config.frame_size

    def rebuild(self) -> None:
        """Discard the state of all slots and keep the weights."""
        self._streams = self._open()
        self._free = list(range(self.slots))[::-1]
        self._line: list[Hearing] = []
        self._going: list[Hearing] = []

    @property
    def used(self) -> int:
        """Number of active and queued recordings."""
        return sum(not h.ended for h in (*self._going, *self._line))

    def open(self, sampling: Sampling | None = None, prompt: Prompt | None = None) -> Hearing:
        """Add a recording. Raises InputError for a prompt to a model that takes none."""
        hearing = Hearing(self.model, self.config, sampling or self.model.sampling, prompt)
        self.add(hearing)
        return hearing

    def add(self, hearing: Hearing) -> None:
        self._line.append(hearing)

    @property
    def busy(self) -> bool:
        """Whether a tick would do anything."""
        room = self._free or any(h.ended for h in self._going)
        return any(h.ready for h in self._going) or bool(room and any(h.ready for h in self._line))

    def tick(self) -> Iterator[tuple[Hearing, Heard]]:
        """Hear one frame of every recording that has one."""
        self._session()
        due = [h for h in self._going if h.ready]
        wav_BS = np.zeros((self._streams.slots, self.frame_size), np.float32)
        exec_B = np.zeros(self._streams.slots, bool)
        for hearing in due:
            frame_S = hearing.take()
            if frame_S is None:
                yield hearing, hearing.last()
            else:
                wav_BS[hearing.slot], exec_B[hearing.slot] = frame_S, True
        due = [h for h in due if exec_B[h.slot] and not h.ended]
        if due:
            yield from self._hear(due, wav_BS, exec_B)

    def _session(self) -> None:
        for hearing in [h for h in self._going if h.ended]:
            self._going.remove(hearing)
            self._free.append(hearing.slot)
        self._line = [h for h in self._line if not h.ended]
        while self._free and self._line:
            hearing = self._line.pop(0)
            hearing.slot = self._free.pop()
            self._streams.start(hearing.slot, hearing.sampling)
            self._going.append(hearing)

    def _hear(
        self, due: list[Hearing], wav_BS: np.ndarray, exec_B: np.ndarray
    ) -> Iterator[tuple[Hearing, Heard]]:
        codes_BQ = self._streams.encode(wav_BS, exec_B)[:, : self._lm.heard]
        if self.config.made_for_it and (new := [h for h in due if not h.steps]):
            # The model replaces the codes of the first step by the initial token, so they are given again.
            first_B = np.zeros(self._streams.slots, bool)
            first_B[[h.slot for h in new]] = True
            yield from self._listen(new, codes_BQ, first_B)
        yield from self._listen(due, codes_BQ, exec_B)

    def _allowed(self, due: list[Hearing]) -> np.ndarray | None:
        """The text tokens that each slot may write, `[B, V]`; None: all."""
        prompted = [h for h in due if h.prompt.pending]
        if not prompted:
            return None
        allowed_BV = np.ones((self._streams.slots, self._lm.text_card_out), bool)
        for hearing in prompted:
            hearing.prompt.allow(allowed_BV[hearing.slot])
        return allowed_BV

    def _listen(
        self, due: list[Hearing], codes_BQ: np.ndarray, exec_B: np.ndarray
    ) -> Iterator[tuple[Hearing, Heard]]:
        out = self._streams.listen(codes_BQ, exec_B, self._allowed(due))
        # A conversational model writes its answers, and never says them. If it wrote PAD, it would not know that
        # a question has ended, and lose its last word.
        nothing_BQ = np.full((len(exec_B), self._lm.depth_steps), NO_INPUT, np.int64)
        self._streams.speak(out.text_B, nothing_BQ, exec_B, depth=False)
        for hearing in due:
            if not out.finite_B[hearing.slot]:
                hearing.ended, hearing.error = True, "the model produced NaN or infinity"
                continue
            pauses = tuple(float(p) for p in out.pauses_BH[hearing.slot])
            written = hearing.written(
                int(out.text_B[hearing.slot]), int(out.user_text_B[hearing.slot]), pauses
            )
            yield hearing, written
