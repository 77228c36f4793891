"""Scores a played scene from the agent's sound (an energy detector) and its words."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from duologue.audio.activity import Span, spans, within
from duologue.data.voices import SAMPLE_RATE
from duologue.eval.duplex_kinds import OVER, QUIET
from duologue.eval.duplex_play import Played
from duologue.eval.duplex_scenes import LEAST_LEFT_SECONDS, Answer
from duologue.spoken_text import number_words, plain_words

SAME = 0.1  # share of wrong letters up to which an answer is the right one
NUMBERS = {word for n in range(100) for word in number_words(n).split()} | {"hundred", "thousand", "million"}
BEGINS = 0.34  # share of wrong letters up to which a text is the beginning of an answer
SPEAKING_SECONDS = 0.3  # how recently the agent must have been heard to be speaking
JUST_AFTER_SECONDS = 0.16  # an answer that starts within this after a pause was decided inside it
EARLY_SECONDS = 0.1  # an answer that starts earlier than this before the end of a question talks over it
GOES_ON_SECONDS = 0.8  # the longest silence inside continued speech


@dataclass
class Turn:
    """A question and what came of it; times in seconds from the start of the scene, as heard. `said` is the text of
    the answer, `asr` what a recogniser heard of it (None: not asked)."""

    item: str
    expected: str
    asked: float
    said: str
    right: bool
    response: float | None
    """From the last sound of the question to the first of the answer; None: the turn was not taken."""
    early: bool
    asr: str | None = None
    right_asr: bool | None = None
    unknown: bool = False
    """Whether it says that it does not know."""


@dataclass
class Score:
    """The score of one scene. `counts` is false if the tested situation never occurred; `why` explains."""

    name: str
    kind: str
    split: str
    counts: bool = True
    why: str = ""
    detail: str = ""
    turns: list[Turn] = field(default_factory=list)
    takes_in_pause: bool | None = None
    silent_after: float | None = None
    """Seconds from the first sound of an interruption to the agent's silence."""
    goes_on: bool | None = None
    quiet: bool | None = None
    finished: bool | None = None
    """Whether an answer with a backchannel was said to its end."""
    heard: tuple[str, str] | None = None
    """The user's words, and what the model wrote down of them."""


class Judge:
    """Scores scenes against the right answers; `asr` turns a sound at 24 kHz into text."""

    def __init__(self, answers: Mapping[str, Answer], asr: Callable[[np.ndarray], str] | None = None):
        self.answers, self.asr = answers, asr
        self._letters = {item: _letters(answer.text) for item, answer in answers.items()}
        self._every = set(self._letters.values())
        self._unknown = {self._letters[item] for item, answer in answers.items() if answer.unknown}

    def score(self, played: Played) -> Score:
        """The score of one scene."""
        scene, found = played.scene, spans(played.agent_S)
        score = Score(scene.name, scene.kind, scene.split, detail=scene.detail)
        if scene.kind in QUIET:
            score.quiet = not found
            return score
        if scene.kind in OVER:
            self._over(played, found, score)
        else:
            self._turns(played, found, score)
        if played.captions is not None:
            starts = zip(scene.events, played.starts, strict=True)
            said = [event.sound.text for event, start in starts if start is not None]
            score.heard = (" ".join(said), played.captions.strip())
        return score

    # Questions one after the other

    def _turns(self, played: Played, found: list[Span], score: Score) -> None:
        events = played.scene.events
        for k, event in enumerate(events):
            heard = played.audible(k)
            if heard is None or event.kind not in ("question", "aside"):
                continue
            start, until = heard[0], played.seconds
            if k and events[k - 1].kind == "part":
                before = played.audible(k - 1)
                assert before is not None
                score.takes_in_pause = any(before[0] <= a <= start + JUST_AFTER_SECONDS for a, _ in found)
            if k + 1 < len(events) and (after := played.audible(k + 1)) is not None:
                until = after[0]
            if event.kind == "aside":
                score.quiet = not any(start <= a < until for a, _ in found)
                continue
            turn = self._turn(played, found, k, start, until)
            if self.answers[event.item].repeats:
                turn.right = bool(score.turns) and repeats(turn.said, score.turns[-1].said)
            score.turns.append(turn)

    def _turn(self, played: Played, found: list[Span], event: int, start: float, until: float) -> Turn:
        """What was answered to a question between two moments."""
        heard = played.audible(event)
        assert heard is not None
        asked, item = heard[1], played.scene.events[event].item
        own = [span for span in found if start <= span[0] < until]
        answer = next((span for span in own if span[1] > asked), None)
        said = " ".join(word.text for word in played.words if start <= word.start < until)
        turn = Turn(
            item, self.answers[item].text, asked, said, self.right(item, said),
            None if answer is None else round(answer[0] - asked, 3),
            any(span[0] < asked - EARLY_SECONDS for span in own), unknown=self.says_unknown(said),
        )  # fmt: skip
        if self.asr is not None and played.scene.kind == "turn":
            turn.asr = self._recognised(played, own)
            turn.right_asr = self.right(item, turn.asr)
        return turn

    def _recognised(self, played: Played, own: list[Span]) -> str:
        if not own or self.asr is None:
            return ""
        first, last = max(0.0, own[0][0] - 0.2), own[-1][1] + 0.2
        return self.asr(played.agent_S[round(first * SAMPLE_RATE) : round(last * SAMPLE_RATE)])

    # Over the agent's speech

    def _over(self, played: Played, found: list[Span], score: Score) -> None:
        """An interruption, a stop or a backchannel: the second event of two."""
        heard, first = played.audible(1), played.audible(0)
        assert first is not None
        if heard is None:
            score.counts, score.why = False, "no answer to cut into"
            return
        at, end = heard
        before = within(found, first[0], at)
        if not before or before[-1][1] < at - SPEAKING_SECONDS:
            score.counts, score.why = False, "the answer had ended"
            return
        words = [word.text for word in played.words if first[0] <= word.start < at]
        if self.left(words, at - before[0][0]) < LEAST_LEFT_SECONDS:
            score.counts, score.why = False, "less than 2 s of a known answer were left"
            return
        if played.scene.kind == "backchannel":
            score.goes_on = _goes_on(found, at, at + LEAST_LEFT_SECONDS)
            said = " ".join(word.text for word in played.words if first[0] <= word.start)
            score.finished = self.right(played.scene.events[0].item, said)
            return
        silent = max((b for a, b in found if a < end - EARLY_SECONDS and b > at), default=at)
        score.silent_after = round(silent - at, 3)
        score.turns.append(self._turn(played, found, 1, silent, played.seconds))

    def left(self, said: Sequence[str], elapsed: float) -> float:
        """How many seconds remain of the long answer that begins as `said` does; 0 if none does."""
        letters = _letters(" ".join(said))
        rates = {
            item: edits(letters, self._letters[item][: len(letters)]) / len(letters)
            for item, answer in self.answers.items()
            if answer.seconds and letters
        }
        best = min(rates, key=lambda item: rates[item], default=None)
        if best is None or rates[best] > BEGINS:
            return 0.0
        return self.answers[best].seconds - elapsed

    def right(self, item: str, said: str) -> bool:
        """Whether `said` is the answer of this item: its numbers are the same, at most a tenth of its letters are
        wrong (a recogniser's spelling, not another word in a short answer), and no other answer is as near."""
        letters, expected = _letters(said), self._letters[item]
        if _numbers(letters) != _numbers(expected):
            return False
        wrong = edits(letters, expected)
        if wrong > SAME * len(expected):
            return False
        others = (other for other in self._every if other != expected)
        rivals = (other for other in others if abs(len(other) - len(letters)) <= wrong)
        return wrong == 0 or all(edits(letters, other) > wrong for other in rivals)

    def says_unknown(self, said: str) -> bool:
        """Whether this is one of the ways in which the script says that it does not know."""
        letters = _letters(said)
        return any(_alike(letters, other) for other in self._unknown)


def repeats(said: str, before: str) -> bool:
    """Whether somebody says again what they said before, with or without "I said:"."""
    letters, earlier = _letters(said), _letters(before)
    return bool(earlier) and any(_alike(letters, text) for text in (earlier, f"i said {earlier}"))


def _alike(letters: str, expected: str) -> bool:
    return edits(letters, expected) <= SAME * len(expected)


def _letters(text: str) -> str:
    return " ".join(plain_words(text).split())


def _numbers(letters: str) -> list[str]:
    return [word for word in letters.split() if word in NUMBERS]


def _goes_on(found: list[Span], start: float, end: float) -> bool:
    """Whether speech goes on between two moments, without a long silence."""
    edges = [start, *(t for span in within(found, start, end) for t in span), end]
    return max(b - a for a, b in zip(edges[::2], edges[1::2], strict=True)) <= GOES_ON_SECONDS


def edits(said: Sequence[str], expected: Sequence[str]) -> int:
    """Words (or letters) to change, add and remove: the Levenshtein distance."""
    row = list(range(len(expected) + 1))
    for i, word in enumerate(said, 1):
        before, row[0] = row[0], i
        for k, other in enumerate(expected, 1):
            before, row[k] = row[k], min(row[k] + 1, row[k - 1] + 1, before + (word != other))
    return row[-1]
