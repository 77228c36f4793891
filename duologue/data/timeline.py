"""The turn-taking simulator: who speaks when, in seconds, independent of the source of the sounds.

`lay_out` places exchanges (a question and its answer) on a time line. The agent's sounds start on frame boundaries
after digital silence, so that the same answer gives the same codes each time; the user's start anywhere.
"""

import random
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np

from duologue.audio.activity import level_db, voiced_span
from duologue.audio.framing import FRAME_SECONDS, pad_to_frames
from duologue.data.align import spread
from duologue.data.manifest import CONTINUATION, CONTINUATION_SECONDS, Transcript
from duologue.data.options import Timing
from duologue.data.voices import SAMPLE_RATE
from duologue.types import AGENT, USER, Word


@dataclass(frozen=True)
class Utterance:
    """A sound, float32 [S] at 24 kHz, with its text and words; `audible` is its span in seconds without the silence
    around it. `continuation`: the words after the end of a sound that was cut."""

    text: str
    wav_S: np.ndarray
    words: tuple[Word, ...]
    audible: tuple[float, float]
    voice: str = ""
    key: str = ""
    continuation: tuple[Word, ...] = ()

    @classmethod
    def of(
        cls, text: str, wav_S: np.ndarray, words: Iterable[Word] = (), voice: str = "", key: str = ""
    ) -> "Utterance":
        """An utterance of a clip; without word times they are guessed from the number of letters."""
        return cls(text, wav_S, tuple(words) or tuple(spread(text, wav_S)), voiced_span(wav_S), voice, key)

    @property
    def seconds(self) -> float:
        return len(self.wav_S) / SAMPLE_RATE

    @property
    def last_sound(self) -> float:
        """When its last sound ends, in seconds."""
        return voiced_span(self.wav_S)[1]

    def boundaries(self) -> list[float]:
        """The quietest moment between each two words, in seconds (minus one where there is none)."""
        level = level_db(self.wav_S)
        found = []
        for left, right in pairwise(self.words):
            lo, hi = round(min(left.end, right.start) * 100) - 4, round(max(left.end, right.start) * 100) + 5
            lo, hi = max(lo, 1), min(hi, len(level) - 1)
            found.append((lo + int(np.argmin(level[lo:hi])) + 0.5) / 100 if lo < hi else -1.0)
        return found

    def scaled(self, gain: float) -> "Utterance":
        """The same, louder or fainter."""
        return replace(self, wav_S=self.wav_S * np.float32(gain))

    def then(self, other: "Utterance") -> "Utterance":
        """This and, from the next frame boundary on, another one."""
        padded_S = pad_to_frames(self.wav_S)
        shift = len(padded_S) / SAMPLE_RATE
        words = self.words + tuple(word.moved(shift) for word in other.words)
        wav_S, text = np.concatenate([padded_S, other.wav_S]), f"{self.text} {other.text}"
        return replace(
            self, text=text, wav_S=wav_S, words=words, audible=(self.audible[0], shift + other.audible[1])
        )

    def before(self, seconds: float, fade: float = 0.02) -> "Utterance":
        """The first `seconds`, faded out; a word survives if half of it was said."""
        wav_S = _faded(self.wav_S[: round(seconds * SAMPLE_RATE)], fade_out=fade)
        words = tuple(
            replace(w, end=min(w.end, seconds)) for w in self.words if (w.start + w.end) / 2 < seconds
        )
        text = " ".join(word.text for word in words)
        return replace(
            self,
            text=text,
            wav_S=wav_S,
            words=words,
            audible=(self.audible[0], min(self.audible[1], seconds)),
        )

    def after(self, seconds: float, fade: float = 0.01) -> "Utterance":
        """What follows `before(seconds)`, faded in, with times from the new start."""
        wav_S = _faded(self.wav_S[round(seconds * SAMPLE_RATE) :], fade_in=fade)
        words = tuple(word.moved(-seconds) for word in self.words if (word.start + word.end) / 2 >= seconds)
        text = " ".join(word.text for word in words)
        audible = voiced_span(wav_S)
        return replace(self, text=text, wav_S=wav_S, words=words, audible=audible)


def _faded(wav_S: np.ndarray, fade_in: float = 0.0, fade_out: float = 0.0) -> np.ndarray:
    wav_S = wav_S.copy()
    if n := min(round(fade_in * SAMPLE_RATE), len(wav_S)):
        wav_S[:n] *= np.linspace(0, 1, n, dtype=np.float32)
    if n := min(round(fade_out * SAMPLE_RATE), len(wav_S)):
        wav_S[-n:] *= np.linspace(1, 0, n, dtype=np.float32)
    return wav_S


@dataclass(frozen=True)
class Exchange:
    """A question and its answer (None: it was not for the agent), and what happens around them."""

    question: Utterance
    answer: Utterance | None
    item: str = ""
    pause_at: float | None = None  # seconds inside the question, at a word boundary
    before: str = ""  # "", "silence" or "noise" before the question
    barges_in: bool = False  # the question cuts the answer before it
    backchannels: tuple[Utterance, ...] = ()  # over the answer, which goes on
    unfinished: bool = False  # the question breaks off, and the answer waits for its end
    lost: bool = False  # so much noise that the question is not understood
    late: bool = False  # the answer comes late


@dataclass(frozen=True)
class Placed:
    """An utterance at `start` seconds. Kinds: question, pause (the first part of a question), lost (a question
    that cannot be understood), aside (said to somebody else), answer, cut (an answer that was interrupted),
    backchannel."""

    role: str
    kind: str
    start: float
    utterance: Utterance
    item: str = ""

    @property
    def audible(self) -> tuple[float, float]:
        """First and last moment at which it is audible."""
        return self.start + self.utterance.audible[0], self.start + self.utterance.audible[1]


@dataclass
class Timeline:
    """A conversation: what is where, its length (a whole number of frames) and where noise alone was asked for."""

    placed: list[Placed] = field(default_factory=list)
    seconds: float = 0.0
    noises: list[tuple[float, float]] = field(default_factory=list)
    silences: list[tuple[float, float]] = field(default_factory=list)

    @property
    def lost(self) -> list[tuple[float, float]]:
        """Where the user's words are to be drowned in noise."""
        return [placed.audible for placed in self.placed if placed.kind == "lost"]

    def channels(self) -> np.ndarray:
        """Agent and user, float32 [2, S], in [-1, 1]."""
        wav_CS = np.zeros((2, round(self.seconds * SAMPLE_RATE)), np.float32)
        for placed in self.placed:
            at = round(placed.start * SAMPLE_RATE)
            row_S = wav_CS[int(placed.role == "user"), at : at + len(placed.utterance.wav_S)]
            row_S += placed.utterance.wav_S[: len(row_S)]
        return wav_CS.clip(-1, 1)

    def transcript(self) -> Transcript:
        """Words of both, agent SPEAKER_MAIN and user SPEAKER_USER, what the agent was kept from saying, and when."""
        words = []
        for placed in self.placed:
            if placed.kind == "lost":  # nobody could write it down
                continue
            who = AGENT if placed.role == "agent" else USER
            words += [replace(word.moved(placed.start), speaker=who) for word in placed.utterance.words]
            words += [
                replace(word.moved(placed.start), speaker=CONTINUATION)
                for word in placed.utterance.continuation
            ]
        cuts = [round(placed.audible[1], 3) for placed in self.placed if placed.kind == "cut"]
        return Transcript(sorted(words, key=lambda word: word.start), extra={"cuts": cuts} if cuts else {})

    def turns(self) -> list[dict]:
        """One dict a placed utterance: role, kind, start and end as heard, what is said, voice, item."""
        return [
            {
                "role": p.role, "kind": p.kind, "start": round(p.audible[0], 3), "end": round(p.audible[1], 3),
                "said": p.utterance.text, "voice": p.utterance.voice, "item": p.item, "clip": p.utterance.key,
            }
            for p in sorted(self.placed, key=lambda p: p.start)
        ]  # fmt: skip


def lay_out(exchanges: list[Exchange], timing: Timing, rng: random.Random) -> Timeline:
    """Place exchanges one after the other. An interruption or backchannel that does not fit becomes a plain one."""
    line = Timeline()
    now = rng.uniform(*timing.lead)  # when nobody has spoken for long enough
    for number, exchange in enumerate(exchanges):
        last = line.placed[-1] if line.placed else None
        cut_at = (
            _interruption(last, timing, rng)
            if exchange.barges_in and last and last.kind == "answer"
            else None
        )
        if cut_at is None and exchange.before:
            span = (now, now + rng.uniform(*timing.silence))
            (line.noises if exchange.before == "noise" else line.silences).append(span)
            now = span[1] + rng.uniform(0.1, 1.0)
        heard_from = now if cut_at is None else cut_at
        if cut_at is not None and last is not None:
            line.placed[-1] = _silenced(last, cut_at + timing.stop)
        ended = _ask(line, exchange, heard_from, timing, rng)
        if exchange.answer is None:
            now = ended + rng.uniform(*timing.between)
            continue
        response = timing.late if exchange.late else timing.response
        if exchange.unfinished:
            response = rng.uniform(*timing.unfinished)
        start = ended + response - exchange.answer.audible[0]
        start = max(round(start / FRAME_SECONDS), 0) * FRAME_SECONDS
        answer = Placed("agent", "answer", start, exchange.answer, exchange.item)
        if not (number + 1 < len(exchanges) and exchanges[number + 1].barges_in):
            _place_backchannels(line, answer, exchange.backchannels, timing, rng)
        line.placed.append(answer)
        now = answer.audible[1] + rng.uniform(*timing.between)
    end = max((p.start + p.utterance.seconds for p in line.placed), default=0.0) + rng.uniform(*timing.tail)
    line.seconds = -(-end // FRAME_SECONDS) * FRAME_SECONDS
    return line


def _ask(line: Timeline, exchange: Exchange, heard_from: float, timing: Timing, rng: random.Random) -> float:
    """Place a question whose first sound is at `heard_from`; returns when its last sound ends."""
    question = exchange.question
    start = max(0.0, heard_from - question.audible[0])
    if exchange.pause_at is not None:
        first, question = question.before(exchange.pause_at), question.after(exchange.pause_at)
        placed = Placed("user", "pause", start, first, exchange.item)
        line.placed.append(placed)
        first_end = start + first.last_sound
        start = first_end + rng.uniform(*timing.pause) - question.audible[0]
    kind = "aside" if exchange.answer is None else "lost" if exchange.lost else "question"
    line.placed.append(Placed("user", kind, start, question, exchange.item))
    return line.placed[-1].audible[1]


def _interruption(answer: Placed, timing: Timing, rng: random.Random) -> float | None:
    """A moment inside an answer at which a user may cut in, or None if it is too short."""
    first, last = answer.audible[0] + timing.least_heard, answer.audible[1] - timing.least_left
    return rng.uniform(first, last) if first < last else None


def _silenced(answer: Placed, at: float) -> Placed:
    """The answer cut at the frame boundary nearest to `at`."""
    at = round(at / FRAME_SECONDS) * FRAME_SECONDS
    seconds, whole = at - answer.start, answer.utterance
    continuation = [
        w
        for w in whole.words
        if (w.start + w.end) / 2 >= seconds and w.start < seconds + CONTINUATION_SECONDS
    ]
    return replace(
        answer, kind="cut", utterance=replace(whole.before(seconds), continuation=tuple(continuation))
    )


def _place_backchannels(
    line: Timeline, answer: Placed, backchannels: tuple[Utterance, ...], timing: Timing, rng: random.Random
) -> None:
    """Place backchannels over an answer, apart from each other, each heard from its start to its end over speech."""
    free = answer.audible[0] + timing.least_heard
    for backchannel in backchannels:
        latest = answer.audible[1] - timing.least_left
        if free >= latest:
            return
        at = rng.uniform(free, latest)
        line.placed.append(
            Placed("user", "backchannel", max(0.0, at - backchannel.audible[0]), backchannel, answer.item)
        )
        free = line.placed[-1].audible[1] + 1.0


def pause_points(question: Utterance, complete: set[str], plain) -> list[float]:
    """Where a speaker may pause: between two words, unless what was said so far is a complete phrasing by itself.

    `complete` holds whole phrasings as `plain(text)` gives them. The point is the quietest moment at the boundary.
    """
    points = []
    for k, at in enumerate(question.boundaries(), 1):
        said = " ".join(word.text for word in question.words[:k])
        if at > 0 and plain(said) not in complete:
            points.append(at)
    return points
