"""Chooses the lines and situations of a conversation; `timeline` places them in time."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import accumulate

from duologue.data.options import Situations, Timing
from duologue.data.script import LAST_ANSWER, Item, Line, Script
from duologue.data.speakers import SpeakerSource
from duologue.data.timeline import Exchange, Timeline, Utterance, lay_out, pause_points
from duologue.spoken_text import spoken_words

ROOT_WEIGHT = 0.5  # of the number of lines of a topic: its weight in drawing
FILLERS = (0, 0, 1, 1, 2, 3)  # exchanges between a user's statement and the question about it
TRIES = 30  # draws after which a line is taken that needs no context
FURTHER_OFF = (0.12, 0.5)  # gain of somebody else's voice
ASKED_AGAIN = 0.7  # share of questions lost in noise that are asked again


class _Lines:
    """The lines of one user: those for the agent (by topic, with sampling weights) and others."""

    def __init__(self, there: list[Line], drawn: list[Line], items: dict[str, Item], long_letters: int):
        self.texts = frozenset(line.text for line in there)
        self.backchannels = [line for line in there if not line.item]
        self.asides = [line for line in drawn if not items[line.item].answer]
        self.spoken = [line for line in drawn if items[line.item].answer]
        self.stops = [line for line in self.spoken if items[line.item].stops]
        self.long = [line for line in self.spoken if len(items[line.item].answer) >= long_letters]
        self.follow_ups = [line for line in self.spoken if items[line.item].before]
        self.again = [line for line in self.spoken if items[line.item].repeats]
        by_topic: dict[str, list[Line]] = {}
        for line in self.spoken:
            by_topic.setdefault(items[line.item].topic, []).append(line)
        self.topics = list(by_topic.values())
        self.weights = list(accumulate(len(lines) ** ROOT_WEIGHT for lines in self.topics))


@dataclass
class _Talk:
    """A conversation in the making."""

    exchanges: list[Exchange] = field(default_factory=list)
    told: set[str] = field(default_factory=set)
    last: Utterance | None = None
    """What the agent said last, without "I said:"."""
    end: str = "full"
    """How that ended: "full", or cut off by a "barge_in" or a "stop"."""


class Director:
    """Chooses the lines of a conversation of about `seconds`, and places them.

    Voices are sampled by their number of topics, topics by the square root of their number of lines, so that sums do
    not crowd out small talk. `drawn`: which lines may be drawn; what must come before one may be any.
    """

    def __init__(
        self,
        speakers: SpeakerSource,
        script: Script,
        situations: Situations,
        timing: Timing,
        seconds: float = 60.0,
        drawn: Callable[[Line], bool] = lambda line: True,
    ):
        self.speakers, self.script, self.seconds = speakers, script, seconds
        self.situations, self.timing, self._drawn = situations, timing, drawn
        self._complete = {" ".join(spoken_words(text)) for i in script.items.values() for text in i.phrasings}
        answers = {item.answer: None for item in script.items.values() if item.topic == "mumble"}
        self._pardons = [answer for answer in answers if speakers.can_answer(answer)]
        self._known: dict[str, _Lines] = {}

    def direct(self, rng: random.Random) -> Timeline:
        """One conversation. The same `rng` state gives the same one."""
        user = self._user(rng)
        lines, talk = self._lines(user), _Talk()
        given = bool(self.script.conversations)
        chain: list[Line] = list(rng.choice(self.script.conversations)) if given else []
        length = 0.0
        while chain if given else chain or length < self.seconds:
            chain = chain or self._chain(lines, talk, rng)
            line = chain.pop(0)
            exchange = self._exchange(user, line, lines, talk, chain, given, rng)
            talk.exchanges.append(exchange)
            length += exchange.question.seconds + 2.0
            if exchange.answer is not None:
                length += exchange.answer.seconds * (1 if talk.end == "full" else 0.5)
        return lay_out(talk.exchanges, self.timing, rng)

    def _user(self, rng: random.Random) -> str:
        """A voice comes as often as it has topics to speak of: a hundred people who read a few sentences each would
        otherwise have most of the conversations."""
        users = self.speakers.users()
        topics = [len(self._lines(user).topics) for user in users]
        return rng.choices(users, topics)[0] if any(topics) else rng.choice(users)

    def _exchange(
        self,
        user: str,
        line: Line,
        lines: _Lines,
        talk: _Talk,
        chain: list[Line],
        given: bool,
        rng: random.Random,
    ) -> Exchange:
        """The exchange that begins with `line`; `chain` is what must follow."""
        item, barges_in = self.script.items[line.item], talk.end != "full"
        question = self._said(user, line, item, rng)
        lost = self._is_lost(item, chain, given, rng)
        if lost and rng.random() < ASKED_AGAIN:
            chain.append(line)
        answer = self.speakers.answer(rng.choice(self._pardons)) if lost else self._answer(item, talk)
        talk.end = "full"
        if answer is not None and (given or not chain):
            talk.end = self._end(answer.text, lines, bool(chain) or not given, rng)
        over: tuple[Utterance, ...] = ()
        if talk.end == "backchannel":
            hums = (rng.choice(lines.backchannels) for _ in range(rng.choice([1, 1, 2])))
            over, talk.end = tuple(self.speakers.ask(user, hum, rng) for hum in hums), "full"
        pause = None if lost or item.unfinished else self._pause(question, rng)
        before = self._before(rng)
        # Nothing is drawn where no answer is late, so that a seed gives the conversations that it gave.
        late = self.situations.late_share > 0 and rng.random() < self.situations.late_share
        return Exchange(
            question, answer, line.item, pause, before, barges_in, over, item.unfinished, lost, late
        )

    # What is said

    def _lines(self, user: str) -> _Lines:
        if user not in self._known:
            there, items = self.speakers.lines(user), self.script.items
            texts = frozenset(line.text for line in there)
            able = [line for line in there if line.item and self._is_possible(items[line.item], texts)]
            self._known[user] = _Lines(
                there, [line for line in able if self._drawn(line)], items, self.situations.long_letters
            )
        return self._known[user]

    def _is_possible(self, item: Item, texts: frozenset[str]) -> bool:
        """Whether there are clips for its answer and for everything that must come before it."""
        answer = item.answer.split(LAST_ANSWER)[0].strip()
        if answer and not self.speakers.can_answer(answer):
            return False
        return all(
            self._earlier(question, answer, texts) and self.speakers.can_answer(answer)
            for question, answer in item.before or ()
        )

    def _earlier(self, question: str, answer: str, texts: frozenset[str]) -> list[Line]:
        """Lines that ask what is answered so, in the words that somebody can say."""
        item = self.script.with_answer(question, answer)
        if item is None:
            return []
        return [Line(item.id, k, text) for k, text in enumerate(item.phrasings) if text in texts]

    def _chain(self, lines: _Lines, talk: _Talk, rng: random.Random) -> list[Line]:
        """A line, after whatever must come before it."""
        stop = talk.end == "stop"
        if talk.end == "full" and lines.asides and rng.random() < self.situations.aside_share:
            return [rng.choice(lines.asides)]
        line = self._draw(lines, stop, rng)
        for _ in range(TRIES - 1):
            if self._fits(self.script.items[line.item], talk):
                break
            line = self._draw(lines, stop, rng)
        item = self.script.items[line.item]
        before = [rng.choice(self._earlier(*exchange, lines.texts)) for exchange in item.before or ()]
        if item.slot and item.before:
            before += self._fillers(lines, item.slot, rng)
        if item.slot and item.before != ():
            talk.told.add(item.slot)
        return [*before, line]

    def _fits(self, item: Item, talk: _Talk) -> bool:
        """Whether an item may come now."""
        if item.before == ():
            return item.slot not in talk.told if item.slot else not talk.exchanges
        return not item.repeats or (talk.last is not None and talk.end == "full")

    def _fillers(self, lines: _Lines, slot: str, rng: random.Random) -> list[Line]:
        """Other things, asked between a user's telling something and asking for it."""
        found: list[Line] = []
        for _ in range(rng.choice(FILLERS)):
            line = self._draw(lines, False, rng)
            item = self.script.items[line.item]
            if (
                item.before is None
                and item.slot != slot
                and not item.repeats
                and not self._is_long(item.answer)
            ):
                found.append(line)
        return found

    def _draw(self, lines: _Lines, stop: bool, rng: random.Random) -> Line:
        how, pool, draw = self.situations, list[Line](), rng.random()
        if stop:
            pool = lines.stops
        elif draw < how.long_share:
            pool = lines.long
        elif draw < how.long_share + how.follow_up_share:
            pool = lines.follow_ups
        elif draw < how.long_share + how.follow_up_share + how.again_share:
            pool = lines.again
        return rng.choice(pool or rng.choices(lines.topics, cum_weights=lines.weights)[0])

    def _said(self, user: str, line: Line, item: Item, rng: random.Random) -> Utterance:
        """The line by the user, or what is not for the agent at times by somebody else, further off."""
        if not item.answer and rng.random() < self.situations.bystander_share:
            others = [other for other in self.speakers.users() if other != user]
            other = rng.choice(others) if others else user
            if line in self.speakers.lines(other):
                return self.speakers.ask(other, line, rng).scaled(rng.uniform(*FURTHER_OFF))
        return self.speakers.ask(user, line, rng)

    def _answer(self, item: Item, talk: _Talk) -> Utterance | None:
        if not item.answer:
            return None
        if not item.repeats:
            talk.last = self.speakers.answer(item.answer)
            return talk.last
        assert talk.last is not None
        return self.speakers.answer(item.answer.split(LAST_ANSWER)[0].strip()).then(talk.last)

    # Situations

    def _is_long(self, answer: str) -> bool:
        return len(answer) >= self.situations.long_letters

    def _is_lost(self, item: Item, chain: list[Line], given: bool, rng: random.Random) -> bool:
        """Whether a question is lost in noise; never one with a follow-up."""
        if not self._pardons or given or chain or not item.answer or item.stops:
            return False
        return item.before is None and not item.slot and rng.random() < self.situations.lost_share

    def _pause(self, question: Utterance, rng: random.Random) -> float | None:
        if rng.random() >= self.situations.pause_share:
            return None
        points = pause_points(question, self._complete, lambda text: " ".join(spoken_words(text)))
        return rng.choice(points) if points else None

    def _before(self, rng: random.Random) -> str:
        draw = rng.random()
        if draw < self.situations.silence_share:
            return "silence"
        return "noise" if draw < self.situations.silence_share + self.situations.noise_share else ""

    def _end(self, answer: str, lines: _Lines, more: bool, rng: random.Random) -> str:
        """What becomes of an answer: "full", "backchannel", or cut by a "barge_in" or a "stop". `more`: whether
        something follows."""
        how = self.situations
        if not self._is_long(answer) or not more:
            return "full"
        draw = rng.random()
        if draw < how.barge_in_share:
            return "barge_in"
        if draw < how.barge_in_share + how.stop_share:
            return "stop" if lines.stops and not self.script.conversations else "barge_in"
        hums = lines.backchannels and draw < how.barge_in_share + how.stop_share + how.backchannel_share
        return "backchannel" if hums else "full"
