"""Scenes for a duplex model: what the user does, and when, in answer to what the model does.

A scene is a list of events. Some come at a time, others wait for the model: "over" its speech, or "after" it. Clips are
of voices that were never trained on; "heard" phrasings were said by other voices in training, "unheard" ones by nobody.
"""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from duologue.data.augment import NOISES, noise
from duologue.data.manifest import Row
from duologue.data.options import Situations
from duologue.data.script import Line, Script
from duologue.data.speakers import ClipSpeakers
from duologue.data.split import AGENT_VOICE, VALID_VOICES, clip_set
from duologue.data.timeline import Utterance, pause_points
from duologue.data.voices import SAMPLE_RATE
from duologue.errors import InputError
from duologue.eval.duplex_chains import Chains, is_plain, kind_of
from duologue.eval.duplex_kinds import ASIDE, CHAINS, HEARD, KINDS, LONG, OVER, QUIET, SPOKEN, UNHEARD
from duologue.spoken_text import spoken_words

BACKGROUND_SECONDS = 30.0  # seconds of silence, noise or babble
AFTER_ASIDE_SECONDS = 4.0  # seconds from something said to somebody else to the next question
LEAST_LEFT_SECONDS = 2.0  # seconds of an answer that must remain when the user cuts in
NOISE_KINDS = tuple(kind for kind in NOISES if kind != "babble")


@dataclass(frozen=True)
class SceneEvent:
    """Something the user does. `delay` (seconds) runs to its first sound from the last sound of the event before
    (when = "time"), from the first sound of the model's answer ("over") or from its last ("after").

    Kinds: question, part (the first half of one), stop, backchannel, aside (said to somebody else), background."""

    kind: str
    sound: Utterance
    delay: float
    when: str = "time"
    item: str = ""


@dataclass(frozen=True)
class Scene:
    """`patience`: seconds to wait for an answer. `limit`: no event begins after it."""

    name: str
    kind: str
    split: str
    events: tuple[SceneEvent, ...]
    patience: float = 4.0
    limit: float = 90.0
    detail: str = ""


@dataclass(frozen=True)
class Answer:
    """What the agent should say; `seconds` is how long its own clip is heard (0 for short ones, not needed).

    `repeats`: whether it should say once more what it said before. `unknown`: whether it says that it does not know."""

    text: str
    seconds: float = 0.0
    repeats: bool = False
    unknown: bool = False


@dataclass
class ClipLibrary:
    """What scenes are made of: clips of the agent and of users, the script, and speech to make babble of."""

    script: Script
    speakers_of: dict[str, ClipSpeakers]
    speech: list[np.ndarray] = field(default_factory=list)

    @classmethod
    def of(
        cls,
        clips: Iterable[Row],
        script: Script,
        voices: Sequence[str] = VALID_VOICES,
        agent: str = AGENT_VOICE,
        speech: Sequence[np.ndarray] = (),
    ) -> "ClipLibrary":
        """From rows of `voices.read_index`. InputError if no held-out voice asks anything of the script."""
        rows = [row for row in clips if row.get("role") in ("user", "agent")]
        texts = {text for item in script.items.values() for text in item.phrasings}
        said_split = script.held_out_texts()
        speakers_of = {}
        for split, wanted in ((HEARD, "voice"), (UNHEARD, "phrasing")):
            users = [
                r
                for r in rows
                if r["voice"] in voices
                and r["role"] == "user"
                and clip_set(r | said_split.get(r["text"], {})) == wanted
            ]
            if any(row["text"] in texts for row in users):
                agents = [row for row in rows if row["role"] == "agent" and row["voice"] == agent]
                speakers_of[split] = ClipSpeakers(users + agents, script, agent, perturbed=0.0, least=1)
        if HEARD not in speakers_of:
            raise InputError(f"none of the clips is a question of this script by {', '.join(voices)}")
        return cls(script, speakers_of, list(speech))

    def answers(self) -> dict[str, Answer]:
        """The right answer of every item, with its length where it may be interrupted."""
        found = {}
        for item in self.script.items.values():
            seconds = self._seconds(item.answer) if is_long(item.answer) else 0.0
            found[item.id] = Answer(item.answer, seconds, item.repeats, kind_of(item) == "unknown")
        return found

    def _seconds(self, text: str) -> float:
        try:
            start, end = self.speakers_of[HEARD].answer(text).audible
        except InputError:  # no clip of it: such an answer is never cut
            return 0.0
        return end - start


def is_long(answer: str) -> bool:
    """Whether an answer is long enough for an interruption or a backchannel."""
    return len(answer) >= Situations.long_letters


@dataclass(frozen=True)
class Plan:
    """The name of a scene, from which it is made."""

    kind: str
    split: str
    number: int

    @property
    def name(self) -> str:
        return "-".join(part for part in (self.kind, self.split, f"{self.number:03d}") if part)


class SceneMaker:
    """Makes scenes one by one: the same library and seed give the same ones, however many are made."""

    def __init__(self, library: ClipLibrary, seed: int = 0, minutes: float = 10.0):
        self.library, self.seed, self.minutes = library, seed, minutes
        self._complete = {
            " ".join(spoken_words(t)) for i in library.script.items.values() for t in i.phrasings
        }
        self._lines = {split: self._shuffled(split) for split in library.speakers_of}
        speakers, items = library.speakers_of[HEARD], library.script.items
        self._long = {
            user: [line for line in speakers.lines(user) if line.item and is_long(items[line.item].answer)]
            for user in speakers.users()
        }
        plain = {user: self._plain(speakers.lines(user)) for user in speakers.users()}
        self._chains = Chains(library.script, speakers, plain)
        self._pools = {
            (kind, split): self._pool(kind, split)
            for kind in (*SPOKEN, *CHAINS, ASIDE, LONG)
            for split in library.speakers_of
        }

    def plans(self, count: int, kinds: Sequence[str] = KINDS) -> list[Plan]:
        """`count` scenes of each kind that the library has sounds for. Unheard phrasings: each clip once at most."""
        found = []
        for kind in kinds:
            if kind in QUIET:
                found += [
                    Plan(kind, "", n) for n in range(count if kind != "babble" or self.library.speech else 0)
                ]
                continue
            for split in self.library.speakers_of if kind != LONG else (HEARD,):
                pool = len(self._pools[kind, split])
                there = min(count, pool) if split == UNHEARD or not pool else count
                found += [Plan(kind, split, n) for n in range(there)]
        return found

    def make(self, plan: Plan) -> Scene:
        """The scene of this name."""
        rng = random.Random(f"{self.seed} {plan.name}")
        if plan.kind in QUIET:
            return self._background(plan, rng)
        pool = self._pools[plan.kind, plan.split]
        if plan.kind == LONG:
            return self._ten_minutes(plan, rng)
        user, line = pool[plan.number % len(pool)]
        if plan.kind in CHAINS:
            return Scene(plan.name, plan.kind, plan.split, self._chain(user, line, plan, rng))
        make = {
            ASIDE: self._aside,
            "turn": self._turn,
            "pause": self._pause,
            "conversation": self._conversation,
            "interruption": self._interruption,
            "stop": self._stop,
            "backchannel": self._backchannel,
        }[plan.kind]
        return Scene(plan.name, plan.kind, plan.split, make(user, line, plan, rng))

    # Kinds

    def _turn(self, user: str, line: Line, plan: Plan, rng: random.Random) -> tuple[SceneEvent, ...]:
        return (self._first(user, line, plan.split, rng),)

    def _pause(self, user: str, line: Line, plan: Plan, rng: random.Random) -> tuple[SceneEvent, ...]:
        pool = self._pools["pause", plan.split]
        first = pool.index((user, line))
        for user, line in pool[first:] + pool[:first]:  # the next one that has a place for a pause
            whole = self.library.speakers_of[plan.split].ask(user, line, rng)
            if points := self._points(whole):
                at = rng.choice(points)
                part = SceneEvent("part", whole.before(at), rng.uniform(0.6, 1.6), item=line.item)
                return part, SceneEvent("question", whole.after(at), rng.uniform(0.3, 1.2), item=line.item)
        raise InputError("no question of these clips has a place for a pause")

    def _conversation(self, user: str, line: Line, plan: Plan, rng: random.Random) -> tuple[SceneEvent, ...]:
        mine = [
            other for who, other in self._pools["conversation", plan.split] if who == user and other != line
        ]
        lines = [line, *rng.sample(mine, min(3, len(mine)))]
        return self._talk(user, lines, plan.split, rng)

    def _interruption(self, user: str, line: Line, plan: Plan, rng: random.Random) -> tuple[SceneEvent, ...]:
        sound = self.library.speakers_of[plan.split].ask(user, line, rng)
        return self._cut_in(user, SceneEvent("question", sound, 0.0, "over", line.item), rng)

    def _stop(self, user: str, line: Line, plan: Plan, rng: random.Random) -> tuple[SceneEvent, ...]:
        sound = self.library.speakers_of[plan.split].ask(user, line, rng)
        return self._cut_in(user, SceneEvent("stop", sound, 0.0, "over", line.item), rng)

    def _backchannel(self, user: str, line: Line, plan: Plan, rng: random.Random) -> tuple[SceneEvent, ...]:
        return self._cut_in(
            user,
            SceneEvent("backchannel", self.library.speakers_of[HEARD].ask(user, line, rng), 0.0, "over"),
            rng,
        )

    def _chain(self, user: str, line: Line, plan: Plan, rng: random.Random) -> tuple[SceneEvent, ...]:
        """A line after all that must come before it."""
        lines = self._chains.before(user, self.library.script.items[line.item], rng)
        events = list(self._talk(user, lines, HEARD, rng)) if lines else []
        last = self._first(user, line, plan.split, rng)
        if events:
            last = replace(last, delay=rng.uniform(1.2, 2.5), when="after")
        return (*events, last)

    def _aside(self, user: str, line: Line, plan: Plan, rng: random.Random) -> tuple[SceneEvent, ...]:
        """Something to somebody else, silence for as long as anybody waits for an answer, and then a question."""
        sound = self.library.speakers_of[plan.split].ask(user, line, rng)
        aside = SceneEvent("aside", sound, rng.uniform(0.6, 1.6), item=line.item)
        question = self._first(user, rng.choice(self._chains.plain[user]), HEARD, rng)
        return aside, replace(question, delay=AFTER_ASIDE_SECONDS)

    def _cut_in(self, user: str, event: SceneEvent, rng: random.Random) -> tuple[SceneEvent, ...]:
        """A question with a long answer, then `event` over it, while a right answer would go on for two seconds."""
        speakers, items = self.library.speakers_of[HEARD], self.library.script.items
        line = rng.choice(self._long[user])
        start, end = speakers.answer(items[line.item].answer).audible
        delay = rng.uniform(1.0, max(1.0, end - start - LEAST_LEFT_SECONDS - 0.3))
        return self._first(user, line, HEARD, rng), SceneEvent(
            event.kind, event.sound, delay, "over", event.item
        )

    def _background(self, plan: Plan, rng: random.Random) -> Scene:
        numbers = np.random.default_rng(rng.getrandbits(32))
        samples = round(BACKGROUND_SECONDS * SAMPLE_RATE)
        wav_S, detail = np.zeros(samples, np.float32), "digital"
        if plan.kind == "silence" and plan.number % 2:
            detail = "room"
            wav_S = noise("pink", samples, numbers) * 10 ** (rng.uniform(-80, -60) / 20)
        elif plan.kind == "noise":
            detail = NOISE_KINDS[plan.number % len(NOISE_KINDS)]
            wav_S = noise(detail, samples, numbers) * 10 ** (rng.uniform(-45, -20) / 20)
        elif plan.kind == "babble":
            detail = "babble"
            wav_S = noise("babble", samples, numbers, self.library.speech) * 10 ** (
                rng.uniform(-45, -25) / 20
            )
        ramp_S = np.minimum(1, np.minimum(np.arange(samples), np.arange(samples)[::-1]) / 2400)
        sound = Utterance(
            "", (wav_S * ramp_S).clip(-0.9, 0.9).astype(np.float32), (), (0.0, BACKGROUND_SECONDS)
        )
        return Scene(plan.name, plan.kind, "", (SceneEvent("background", sound, 0.0),), 0.0, detail=detail)

    def _ten_minutes(self, plan: Plan, rng: random.Random) -> Scene:
        """One user asks one thing after the other, all different as long as there are any."""
        users = self.library.speakers_of[plan.split].users()
        user = users[plan.number % len(users)]
        lines = [line for who, line in self._pools[LONG, plan.split] if who == user]
        rng.shuffle(lines)
        needed = round(self.minutes * 60 / 3) + 1  # nobody asks more often than every three seconds
        lines = (lines * (needed // len(lines) + 1))[:needed]
        events = self._talk(user, lines, plan.split, rng)
        return Scene(plan.name, LONG, plan.split, events, limit=60 * self.minutes - 8)

    # Parts

    def _talk(
        self, user: str, lines: Sequence[Line], split: str, rng: random.Random
    ) -> tuple[SceneEvent, ...]:
        events = [self._first(user, lines[0], split, rng)]
        for line in lines[1:]:
            sound = self.library.speakers_of[split].ask(user, line, rng)
            events.append(SceneEvent("question", sound, rng.uniform(1.2, 2.5), "after", line.item))
        return tuple(events)

    def _first(self, user: str, line: Line, split: str, rng: random.Random) -> SceneEvent:
        sound = self.library.speakers_of[split].ask(user, line, rng)
        return SceneEvent("question", sound, rng.uniform(0.6, 1.6), item=line.item)

    def _points(self, question: Utterance) -> list[float]:
        return pause_points(question, self._complete, lambda text: " ".join(spoken_words(text)))

    # What there is to say

    def _shuffled(self, split: str) -> list[tuple[str, Line]]:
        speakers = self.library.speakers_of[split]
        pairs = [(user, line) for user in speakers.users() for line in speakers.lines(user)]
        random.Random(f"{self.seed} {split}").shuffle(pairs)
        return pairs

    def _plain(self, lines: Sequence[Line]) -> list[Line]:
        items = self.library.script.items
        return [
            line
            for line in lines
            if line.item and is_plain(item := items[line.item]) and not item.stops
            and not item.slot and not is_long(item.answer)
        ]  # fmt: skip

    def _pool(self, kind: str, split: str) -> list[tuple[str, Line]]:
        """The lines that scenes of this kind turn on, with who says them."""

        def fits(user: str, line: Line) -> bool:
            if kind in OVER and not self._long.get(user):
                return False
            if not line.item:
                return kind == "backchannel"
            item = self.library.script.items[line.item]
            if kind == ASIDE:
                return kind_of(item) == ASIDE and bool(self._chains.plain.get(user))
            if kind in CHAINS:
                return kind_of(item) == kind and not item.stops and self._chains.possible(user, item)
            if item.stops or kind in ("stop", "backchannel"):
                return item.stops and kind == "stop"
            return is_plain(item) and (kind in ("turn", "pause") or not is_long(item.answer))

        return [(user, line) for user, line in self._lines[split] if fits(user, line)]
