"""Plays scenes to an agent, frame by frame, many at a time; the user reacts to what the agent really says.

Framework-free: what runs the model is an `Agent`.
"""

import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from duologue.audio.activity import loud, rms_of
from duologue.data.voices import SAMPLE_RATE
from duologue.engine.words import FRAME_SECONDS, UserWords, Words
from duologue.eval.duplex_scenes import Scene, SceneEvent
from duologue.lm.tokenizer import Tokenizer
from duologue.types import USER, Word

QUIET_SECONDS = 1.5  # seconds of silence after which the agent has finished
STOPPED_SECONDS = 0.8  # seconds of silence after which it has stopped, so that it cannot be interrupted
ENDLESS_SECONDS = 25.0  # seconds after which the user stops waiting for it to finish


@dataclass(frozen=True)
class Spoken:
    """What the slots say in one frame: sound, text token (-2: none), and the token that writes down the user's words
    (-1: the model does not)."""

    wav_BS: np.ndarray
    text_B: np.ndarray
    user_text_B: np.ndarray


class Agent(Protocol):
    """Someone to play scenes to, in a number of slots."""

    slots: int
    frame_size: int
    tokenizer: Tokenizer

    def start(self, seeds: dict[int, int]) -> None:
        """Begin new conversations in these slots: the first frame they hear is silence, and the answer to it void."""
        ...

    def step(self, wav_BS: np.ndarray, exec_B: np.ndarray) -> Spoken:
        """Hear and say one frame in the slots of `exec_B`."""
        ...


@dataclass
class Played:
    """A scene as it went: both channels (float32 [S], time 0 is when it began), the agent's words, what it wrote down
    of the user's (None: it does not), and when each event's clip began (None: it never came)."""

    scene: Scene
    agent_S: np.ndarray
    user_S: np.ndarray
    words: list[Word]
    captions: str | None
    starts: list[float | None]

    @property
    def seconds(self) -> float:
        return len(self.user_S) / SAMPLE_RATE

    def audible(self, event: int) -> tuple[float, float] | None:
        """First and last moment at which an event is audible; None if it never came."""
        start = self.starts[event]
        if start is None:
            return None
        first, last = self.scene.events[event].sound.audible
        return start + first, start + last

    def transcript(self) -> list[Word]:
        """The words of both, by time."""
        words = list(self.words)
        for event, start in zip(self.scene.events, self.starts, strict=True):
            if start is not None:
                words += [Word(w.text, w.start + start, w.end + start, USER) for w in event.sound.words]
        return sorted(words, key=lambda word: word.start)


@dataclass
class _SceneRun:
    """One scene under way. Frame f of the user is played while the agent's frame f is heard, which it said to f - 1."""

    scene: Scene
    frame_size: int
    words: Words
    heard: UserWords
    fresh: bool = True
    agent: list[np.ndarray] = field(default_factory=list)
    user: list[np.ndarray] = field(default_factory=list)
    starts: list[float | None] = field(default_factory=list)
    onset: float | None = None  # of the agent's speech since the last event
    voiced: int = 0  # frames in a row
    last_voiced: float = -1.0
    ended: float = 0.0  # when the last event is over, as heard
    done: bool = False

    def __post_init__(self) -> None:
        self.agent.append(np.zeros(self.frame_size, np.float32))

    @property
    def now(self) -> float:
        return len(self.user) * FRAME_SECONDS

    def hears(self) -> np.ndarray:
        """The user's next frame."""
        if len(self.starts) < len(self.scene.events):
            self._event(self.scene.events[len(self.starts)])
        frame_S = np.zeros(self.frame_size, np.float32)
        begin = len(self.user) * self.frame_size
        for event, start in list(zip(self.scene.events, self.starts, strict=False))[-2:]:
            if start is None:
                continue
            at = round(start * SAMPLE_RATE) - begin
            if -len(event.sound.wav_S) < at < self.frame_size:
                piece_S = event.sound.wav_S[max(0, -at) : self.frame_size - at]
                frame_S[max(0, at) : max(0, at) + len(piece_S)] += piece_S
        self.user.append(frame_S)
        return frame_S

    def says(self, wav_S: np.ndarray, token: int, heard: int) -> None:
        """The agent's answer to that frame, heard in the next one."""
        self.words.push(len(self.user), token, rms_of(wav_S))
        self.heard.push(len(self.user), heard, rms_of(self.user[-1]))
        self.agent.append(wav_S)
        self.voiced = self.voiced + 1 if loud(wav_S) else 0
        if self.voiced:
            self.last_voiced = self.now + FRAME_SECONDS
        if self.voiced == 2 and self.onset is None:
            self.onset = self.now - FRAME_SECONDS
        self.done = self._finished()

    def _event(self, event: SceneEvent) -> None:
        """Begin the next event if it is time."""
        first = self._first_sound(event)
        if first is None or first - event.sound.audible[0] >= self.now + FRAME_SECONDS:
            return
        start = max(first - event.sound.audible[0], self.now)
        self.starts.append(start)
        self.ended = start + event.sound.audible[1]
        self.onset, self.voiced = None, 0

    def _first_sound(self, event: SceneEvent) -> float | None:
        """When an event should first be heard, as far as one can tell now."""
        now, quiet, waited = self.now, self.now - self.last_voiced, self.now - self.ended
        if now > self.scene.limit:
            self._give_up()
        elif event.when == "time":
            return self.ended + event.delay
        elif event.when == "after":
            spoke = self.onset is not None and self.last_voiced > self.ended
            if spoke:
                return self.last_voiced + event.delay if waited < ENDLESS_SECONDS else now
            return now if waited > self.scene.patience else None
        elif self.onset is not None:
            if quiet <= STOPPED_SECONDS:
                return max(self.onset, self.ended) + event.delay
            self._give_up()
        elif waited > self.scene.patience:
            self._give_up()
        return None

    def _give_up(self) -> None:
        self.starts += [None] * (len(self.scene.events) - len(self.starts))

    def _finished(self) -> bool:
        if len(self.starts) < len(self.scene.events):
            return False
        waited = self.now - self.ended
        if not self.scene.patience:
            return waited >= 0
        if waited >= ENDLESS_SECONDS:
            return True
        quiet = min(waited, self.now - self.last_voiced)
        return quiet >= QUIET_SECONDS and (self.last_voiced > self.ended or waited >= self.scene.patience)

    def played(self) -> Played:
        agent_S = np.concatenate(self.agent)[: len(self.user) * self.frame_size]
        words = [word for word in self.words.words if word.text]
        return Played(self.scene, agent_S, np.concatenate(self.user), words, self.heard.text, self.starts)


def play(
    agent: Agent,
    scenes: Iterable[Scene],
    seed: int = 0,
    advance: Callable[[int], object] = lambda frames: None,
) -> Iterator[Played]:
    """Play every scene, as many at a time as the agent has slots; each as it ends. `advance(n)` after n frames of
    scenes."""
    queue = iter(scenes)
    runs: dict[int, _SceneRun] = {}
    while True:
        for slot in sorted(set(range(agent.slots)) - set(runs)):
            if (scene := next(queue, None)) is not None:
                words, heard = Words(agent.tokenizer), UserWords(agent.tokenizer)
                runs[slot] = _SceneRun(scene, agent.frame_size, words, heard)
        if not runs:
            return
        if fresh := [slot for slot, run in runs.items() if run.fresh]:
            agent.start({slot: zlib.crc32(f"{seed} {runs[slot].scene.name}".encode()) for slot in fresh})
        wav_BS = np.zeros((agent.slots, agent.frame_size), np.float32)
        exec_B = np.zeros(agent.slots, bool)
        for slot, run in runs.items():
            exec_B[slot] = True
            if not run.fresh:
                wav_BS[slot] = run.hears()
        said = agent.step(wav_BS, exec_B)
        for slot, run in list(runs.items()):
            if run.fresh:
                run.fresh = False
                continue
            run.says(said.wav_BS[slot].copy(), int(said.text_B[slot]), int(said.user_text_B[slot]))
            if run.done:
                yield runs.pop(slot).played()
        advance(len(runs))
