"""Speaker sources: a synthesiser or ready clips, behind one interface."""

import logging
import random
from collections.abc import Set
from typing import Protocol

from duologue.data.fingerprint import fingerprint
from duologue.data.manifest import Row
from duologue.data.perturb import SpeakerPerturbation
from duologue.data.script import BACKCHANNELS, Line, Script
from duologue.data.timeline import Utterance
from duologue.data.voices import TimedVoice, Voice, read_clip
from duologue.errors import InputError
from duologue.types import Word

log = logging.getLogger(__name__)


class SpeakerSource(Protocol):
    """A speaker source: utterances of the agent and of users. `settings`: what they depend on."""

    settings: dict[str, str]

    def users(self) -> list[str]:
        """The voices that a conversation may have as its user."""
        ...

    def lines(self, user: str) -> list[Line]:
        """What this voice can say; backchannels are lines of the item ""."""
        ...

    def ask(self, user: str, line: Line, rng: random.Random) -> Utterance:
        """The user says a line."""
        ...

    def can_answer(self, text: str) -> bool:
        """Whether the agent can say a text."""
        ...

    def answer(self, text: str) -> Utterance:
        """The agent says a text."""
        ...


def lines_of(script: Script) -> list[Line]:
    """All that a script has to say, and backchannels."""
    items = script.items.values()
    lines = [Line(item.id, k, text) for item in items for k, text in enumerate(item.phrasings)]
    return lines + [Line("", k, text) for k, text in enumerate(BACKCHANNELS)]


class SynthesisedSpeakers:
    """Everything by a synthesiser; answers are kept, since they come again and again."""

    def __init__(self, voice: Voice, script: Script, agent: str, users: list[str]):
        self._voice, self._agent, self._users = voice, agent, users
        name = voice.name if isinstance(voice, TimedVoice) else type(voice).__name__
        self.settings = {"voice": name, "agent": agent, "users": " ".join(users)}
        self._lines = lines_of(script)
        self._answers: dict[str, Utterance] = {}

    def users(self) -> list[str]:
        return self._users

    def lines(self, user: str) -> list[Line]:
        return self._lines

    def ask(self, user: str, line: Line, rng: random.Random) -> Utterance:
        speed = round(rng.uniform(0.9, 1.2), 2)
        return self._said(line.text, user, speed)

    def can_answer(self, text: str) -> bool:
        return True

    def answer(self, text: str) -> Utterance:
        if text not in self._answers:
            self._answers[text] = self._said(text, self._agent)
        return self._answers[text]

    def _said(self, text: str, voice: str, speed: float = 1.0) -> Utterance:
        if isinstance(self._voice, TimedVoice):
            wav_S, words = self._voice.say(text, voice, speed)
            return Utterance.of(text, wav_S, words, voice)
        return Utterance.of(text, self._voice.speak(text, voice, speed), voice=voice)


class ClipSpeakers:
    """Ready clips (rows of `voices.read_index`): a voice says what there is a clip of, sometimes with speaker
    perturbation.

    Voices with fewer than `least` clips, such as mixtures that spoke once, make up one user "*", a new voice each turn,
    who comes as often as their clips are many.
    """

    def __init__(self, clips: list[Row], script: Script, agent: str, perturbed: float = 0.6, least: int = 20):
        told = [{name: value for name, value in row.items() if name != "place"} for row in clips]
        self.settings = {"clips": fingerprint(told), "agent": agent, "disguised": str(perturbed)}
        self._lines: dict[str, list[Line]] = {}
        for line in lines_of(script):
            self._lines.setdefault(line.text, []).append(line)
        said: dict[str, list[Row]] = {}
        self._agent_rows = {
            row["text"]: row for row in clips if row["role"] == "agent" and row["voice"] == agent
        }
        for row in clips:
            if row["role"] == "user" and row["text"] in self._lines:
                said.setdefault(row["voice"], []).append(row)
        if not said:
            raise InputError("none of the clips is a question of this script")
        if guessed := sum(not row.get("words") for row in clips):
            log.warning(
                "%d of %d clips have no word times, which are guessed; a model learns far better from true ones: run "
                "`duologue data align` on their folders first", guessed, len(clips),
            )  # fmt: skip
        mixed = [row for voice in list(said) if len(said[voice]) < least for row in said.pop(voice)]
        self._rows: dict[str, dict[str, list[Row]]] = {}
        for voice, rows in (said | ({"*": mixed} if mixed else {})).items():
            for row in rows:
                self._rows.setdefault(voice, {}).setdefault(row["text"], []).append(row)
        # Of the voice that a clip has, on average: a hundred people with a few clips each do not make others a crowd.
        usual = sum(len(rows) ** 2 for rows in said.values()) / max(1, sum(map(len, said.values())))
        self._crowd = max(1, round(len(mixed) / usual)) if usual else 1
        self._perturbed = perturbed
        self._answers: dict[str, Utterance] = {}

    def users(self) -> list[str]:
        return sorted(self._rows) + ["*"] * (self._crowd - 1)

    def texts(self, user: str) -> Set[str]:
        """What there are clips of, by this voice."""
        return self._rows[user].keys()

    def lines(self, user: str) -> list[Line]:
        lines = (line for text in self._rows[user] for line in self._lines[text])
        return sorted(lines, key=lambda line: (line.item, line.index))

    def ask(self, user: str, line: Line, rng: random.Random) -> Utterance:
        return self._ask(rng.choice(self._rows[user][line.text]), rng)

    def _ask(self, row: Row, rng: random.Random) -> Utterance:
        said = _utterance(row)
        return perturbed(said, SpeakerPerturbation.drawn(rng)) if rng.random() < self._perturbed else said

    def can_answer(self, text: str) -> bool:
        return text in self._agent_rows

    def answer(self, text: str) -> Utterance:
        if text not in self._answers:
            if text not in self._agent_rows:
                raise InputError(f"the agent has no clip of {text[:60]!r}")
            self._answers[text] = self._answer(self._agent_rows[text])
        return self._answers[text]

    def _answer(self, row: Row) -> Utterance:
        return _utterance(row)


def _utterance(row: Row) -> Utterance:
    words = [Word(text, start, end) for text, start, end in row.get("words") or []]
    return Utterance.of(row["text"], read_clip(row), words, row.get("voice", ""), row.get("key", ""))


def perturbed(utterance: Utterance, perturbation: SpeakerPerturbation) -> Utterance:
    """The utterance with speaker perturbation, and its word times."""
    pace = perturbation.pitch
    words = [Word(word.text, word.start / pace, word.end / pace) for word in utterance.words]
    return Utterance.of(utterance.text, perturbation(utterance.wav_S), words, utterance.voice, utterance.key)
