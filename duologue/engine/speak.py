"""Streaming speech synthesis: text in, sound out, many utterances on one model.

Two kinds of models speak. Synthesis models follow a script word by word, a fixed delay behind their text
(`tts_config`). A conversational model is forced to write the script as its own text, and hears silence. There are no
clocks or threads here: `tick` advances every utterance that can advance.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from duologue.audio.activity import LOUD, rms_of
from duologue.config import LMConfig
from duologue.engine.options import DEFAULT, Options
from duologue.engine.script import MonologueMachine, Script, WordMachine
from duologue.engine.streams import open_streams
from duologue.engine.voices import SpeechConfig, Voice, no_voice
from duologue.engine.words import FRAME_SECONDS
from duologue.errors import InputError
from duologue.interfaces import Unguided
from duologue.lm.model import NO_INPUT, TO_GENERATE
from duologue.lm.sampling import Sampling
from duologue.types import AGENT, USER, Word
from duologue.weights import Model

FINAL_PADDING_FRAMES = 4  # frames after the last word
YOUNG_STEPS = 2  # extra steps of an utterance that is not heard yet, per step of the others
QUIET_FRAMES = 8  # without voice after which a conversational model has finished
LONGEST_TAIL_FRAMES = 40  # frames, upper limit after its last word
NOWHERE = -1  # the slot of a waiting utterance


@dataclass(frozen=True)
class Spoken:
    """One frame of an utterance, a channel for each speaker that the model keeps apart, and the words whose ends became
    known; times in seconds of the utterance. Words of every other turn are those of `USER`."""

    wav_CS: np.ndarray
    words: tuple[Word, ...] = ()

    @property
    def wav_S(self) -> np.ndarray:
        """All channels together."""
        return self.wav_CS.sum(0).clip(-1, 1)


class Utterance:
    """One text being spoken. `push` and `turn` add text, `finish` marks its end."""

    def __init__(
        self,
        config: SpeechConfig,
        lm: LMConfig,
        script: Script,
        voice: Voice,
        sampling: Sampling,
        pace: float = 1.0,
    ):
        self.voice, self.sampling = voice, sampling
        self.slot = NOWHERE
        self.steps = 0
        self.ended = False
        self.error: str | None = None
        self.machine = (
            WordMachine(lm.text_card, config.ahead)
            if config.delayed
            else MonologueMachine(lm.pad_id, lm.epad_id, pace)
        )
        self._script, self._config = script, config
        self._lm_delay = max(lm.delays)
        self._decoded = 0
        self._told = 0  # words returned so far
        self._quiet = 0
        self.finished = False
        self.held = False  # paused, because its output is not being read

    def push(self, text: str) -> None:
        self.machine.push(self._script.push(text))

    def turn(self) -> None:
        """Switch to the other of two voices."""
        self.machine.push(self._script.turn())

    def finish(self) -> None:
        self.machine.push(self._script.finish())
        self.machine.finish()
        self.finished = True

    @property
    def ready(self) -> bool:
        """Whether its next step can run with the text so far."""
        return not (self.ended or self.held) and (self.steps < self.voice.frames or self.machine.ready)

    @property
    def young(self) -> bool:
        """Whether its sound has not started: the model only writes text so far."""
        return self.steps < self._config.delay

    def text(self, token: int) -> int:
        """The token to write in this step, where the model chose `token`."""
        return NO_INPUT if self.steps < self.voice.frames else self.machine.process(self.steps, token)

    def audio(self, delays: Sequence[int]) -> np.ndarray:
        """The codes of this step, `[Q]`: no input at first, then those of the voice prompt, then -2 (sample)."""
        codes_Q = np.full(len(delays), TO_GENERATE, np.int64)
        for q, delay in enumerate(delays):
            frame = self.steps - delay - self._config.delay
            if frame < 0 and self._config.delayed:
                codes_Q[q] = NO_INPUT
            elif self.voice.prefix_QT is not None and frame < self.voice.frames:
                codes_Q[q] = self.voice.prefix_QT[q, frame]
        return codes_Q

    def frame(self) -> int | None:
        """The frame of sound that the last step completed; None before the first."""
        frame = self.steps - 1 - self._lm_delay - self._config.delay
        return frame if frame >= 0 else None

    def sound(self, frame: int, wav_CS: np.ndarray) -> Spoken | None:
        """Add a frame of sound; None if it belongs to the voice prompt."""
        self._decoded = frame + 1
        self._quiet = 0 if rms_of(wav_CS) > LOUD else self._quiet + 1
        end = self.machine.end_step
        if end is not None:
            last = end + FINAL_PADDING_FRAMES if self._config.delayed else end + LONGEST_TAIL_FRAMES
            quiet = not self._config.delayed and frame > end and self._quiet >= QUIET_FRAMES
            self.ended = self._decoded >= last or quiet
        if frame < self.voice.frames:
            return None
        return Spoken(wav_CS.clip(-1, 1), self._words())

    def _words(self) -> tuple[Word, ...]:
        """The words that are complete: a word ends where the next begins, the last one with the sound."""
        words, first = self.machine.words, self.voice.frames
        until = len(words) if self.ended else len(words) - 1
        new = []
        for i in range(self._told, until):
            text, step = words[i]
            end = words[i + 1][1] if i + 1 < len(words) else self._decoded - self._quiet
            start, end = ((at - first) * FRAME_SECONDS for at in (step, max(end, step + 1)))
            new.append(Word(text, start, end, USER if self.machine.turns[i] % 2 else AGENT))
        self._told = max(self._told, until)
        return tuple(new)


class Synthesiser:
    """A model that speaks `slots` utterances at a time; more are queued."""

    def __init__(
        self,
        model: Model,
        slots: int = 1,
        options: Options = DEFAULT,
        codebooks: int | None = None,
        guidance: float | None = None,
    ):
        """`codebooks`: how many a synthesis model predicts; fewer are faster. `guidance`: how strongly it follows voice
        and text; None: the model's default."""
        self.model, self.config = model, SpeechConfig.of(model)
        self._lm = model.files.config.lm
        self.guidance = _checked(model, self.config, guidance)
        undistilled = self.config.delayed and not self.config.distilled and self.guidance != 1
        self._codebooks = _codebooks(model, self.config, codebooks)
        unguided = Unguided({}, text=False) if undistilled else None
        self._voice = no_voice(model, self.config)
        self._open = lambda: open_streams(
            model, slots, options, self._voice.conditions, unguided, self._codebooks
        )
        self._undistilled, self.slots = undistilled, slots
        self.rebuild()
        self.frame_size = model.codec_config.frame_size

    def rebuild(self) -> None:
        """Discard the state of all slots and keep the weights."""
        self._streams = self._open()
        self._free = list(range(self.slots))[::-1]
        self._line: list[Utterance] = []
        self._going: list[Utterance] = []

    @property
    def used(self) -> int:
        """Number of active and queued utterances."""
        return sum(not u.ended for u in (*self._going, *self._line))

    @property
    def sampling(self) -> Sampling:
        """The model's default sampling settings."""
        own = self.model.sampling
        return replace(own, temperature=0.6, text_temperature=0.6) if self.config.delayed else own

    def open(
        self, voice: Voice | None = None, sampling: Sampling | None = None, speed: float = 1.0
    ) -> Utterance:
        """Add an utterance. A `speed` above 1 is faster: it makes PAD less likely."""
        utterance = self.make(voice, sampling, speed)
        self.add(utterance)
        return utterance

    def add(self, utterance: Utterance) -> None:
        self._line.append(utterance)

    def make(
        self, voice: Voice | None = None, sampling: Sampling | None = None, speed: float = 1.0
    ) -> Utterance:
        """An utterance that is not added yet; may be called on any thread."""
        voice = voice or self._voice
        settings = sampling or self.sampling
        settings = replace(settings, pad_bias=settings.pad_bias - 2 * math.log2(speed))
        if self._undistilled:
            settings = replace(settings, guidance=self.guidance)
        names = {conditioner.name for conditioner in self._lm.conditioning.conditioners}
        told = {**({"control": "ok"} if "control" in names else {}), **voice.conditions}
        if self.config.distilled:
            told = {"cfg": f"{self.guidance:.1f}", **told}
        delayed = self.config.delayed  # a conversational model need not have seen any digit
        script = Script(self.model.tokenizer, self.config.speakers, 1 if delayed else 0, aloud=not delayed)
        return Utterance(self.config, self._lm, script, replace(voice, conditions=told), settings, 1 / speed)

    def close(self, utterance: Utterance) -> None:
        """Cancel the utterance."""
        utterance.ended = True

    def tick(self) -> list[tuple[Utterance, Spoken]]:
        """Advance every utterance that can advance; returns the new frames. Utterances whose sound has not started
        return nothing, so use `busy` to decide whether to continue."""
        self._session()
        spoken = []
        if ready := [u for u in self._going if u.ready]:
            spoken += self._step(ready)
        for _ in range(YOUNG_STEPS):
            if young := [u for u in self._going if u.ready and u.young]:
                spoken += self._step(young)
        return spoken

    @property
    def busy(self) -> bool:
        """Whether a tick would do anything."""
        return any(u.ready for u in self._going) or bool(self._line and (self._free or self._over()))

    def _over(self) -> bool:
        return any(u.ended for u in self._going)

    def _session(self) -> None:
        for utterance in [u for u in self._going if u.ended]:
            self._going.remove(utterance)
            self._free.append(utterance.slot)
        self._line = [u for u in self._line if not u.ended]
        while self._free and self._line:
            utterance = self._line.pop(0)
            utterance.slot = self._free.pop()
            voice = utterance.voice
            null_until = voice.frames + self.config.delay if voice.frames else 0
            self._streams.start(utterance.slot, utterance.sampling, voice.conditions, null_until)
            self._going.append(utterance)

    def _step(self, utterances: list[Utterance]) -> list[tuple[Utterance, Spoken]]:
        slots, lm = self._streams.slots, self._lm
        exec_B = np.zeros(slots, bool)
        exec_B[[u.slot for u in utterances]] = True
        # A synthesis model has no user input; a conversational one hears silence.
        out = self._streams.listen(np.full((slots, lm.heard), NO_INPUT, np.int64), exec_B)
        text_B = np.full(slots, lm.pad_id, np.int64)
        audio_BQ = np.full((slots, self._codebooks), TO_GENERATE, np.int64)
        for u in utterances:
            text_B[u.slot] = u.text(int(out.text_B[u.slot]))
            audio_BQ[u.slot] = u.audio(lm.delays[1 : 1 + self._codebooks])
        depth = not all(u.young for u in utterances)
        tokens_BK = self._streams.speak(text_B, audio_BQ, exec_B, depth)
        return self._decode(utterances, out.finite_B, tokens_BK)

    def _decode(
        self, utterances: list[Utterance], finite_B: np.ndarray, tokens_BK: np.ndarray
    ) -> list[tuple[Utterance, Spoken]]:
        loud = []
        for u in utterances:
            u.steps += 1
            if not finite_B[u.slot]:
                u.ended, u.error = True, "the model produced NaN or infinity"
            elif (frame := u.frame()) is not None:
                loud.append((u, frame))
        if not loud:
            return []
        exec_B = np.zeros(self._streams.slots, bool)
        exec_B[[u.slot for u, _ in loud]] = True
        wav_BCS = self._streams.decode(tokens_BK[:, 1:], exec_B)
        spoken = [(u, u.sound(frame, wav_BCS[u.slot].copy())) for u, frame in loud]
        return [(u, s) for u, s in spoken if s is not None]


def _checked(model: Model, config: SpeechConfig, guidance: float | None) -> float:
    if not config.delayed:
        if guidance not in (None, 1.0):
            raise InputError(f"{model.name} has no guidance")
        return 1.0
    if guidance is None:
        return 2.0
    if not config.distilled:
        return guidance
    table = next(c for c in model.files.config.lm.conditioning.conditioners if c.name == "cfg")
    if table.values and f"{guidance:.1f}" not in table.values:
        raise InputError(f"guidance of {model.name} is one of {', '.join(table.values)}, not {guidance:g}")
    return guidance


def _codebooks(model: Model, config: SpeechConfig, codebooks: int | None) -> int:
    have = model.files.config.lm.depth_steps
    if codebooks is None:
        return have
    if config.channels > 1 and codebooks != have:
        raise InputError(f"{model.name} speaks all of its {have} codebooks, which are of two speakers")
    if not 1 <= codebooks <= have:
        raise InputError(f"{model.name} speaks 1 to {have} codebooks, not {codebooks}")
    return codebooks
