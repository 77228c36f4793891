"""Who may speak: a synthesiser or ready clips, behind one interface that gives utterances."""

import random
from typing import Protocol

from duologue.data.fingerprint import fingerprint
from duologue.data.manifest import Row
from duologue.data.perturb import SpeakerPerturbation
from duologue.data.script import BACKCHANNELS, Line, Script
from duologue.data.timeline import Utterance
from duologue.data.voices import Voice, read_clip
from duologue.errors import InputError
from duologue.types import Word


class SpeakerSource(Protocol):
    """Who may speak: gives utterances of the agent and of users. `settings`: what they depend on."""

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

    def answer(self, text: str) -> Utterance:
        """The agent says a text."""
        ...


class SynthesisedSpeakers:
    """Everything by a synthesiser; answers are kept, since they come again and again."""

    def __init__(self, voice: Voice, script: Script, agent: str, users: list[str]):
        self._voice, self._agent, self._users = voice, agent, users
        self.settings = {"voice": type(voice).__name__, "agent": agent, "users": " ".join(users)}
        self._lines = [
            Line(item.id, k, text) for item in script.items.values() for k, text in enumerate(item.phrasings)
        ]
        self._lines += [Line("", k, text) for k, text in enumerate(BACKCHANNELS)]
        self._answers: dict[str, Utterance] = {}

    def users(self) -> list[str]:
        return self._users

    def lines(self, user: str) -> list[Line]:
        return self._lines

    def ask(self, user: str, line: Line, rng: random.Random) -> Utterance:
        speed = round(rng.uniform(0.9, 1.2), 2)
        return Utterance.of(line.text, self._voice.speak(line.text, user, speed), voice=user)

    def answer(self, text: str) -> Utterance:
        if text not in self._answers:
            self._answers[text] = Utterance.of(text, self._voice.speak(text, self._agent), voice=self._agent)
        return self._answers[text]


class ClipSpeakers:
    """Ready clips (rows of `voices.read_index`): a voice says what there is a clip of, at times in disguise.

    Voices with fewer than `least` clips, such as mixtures that spoke once, make up one user "*", a new voice each turn,
    who comes as often as their clips are many.
    """

    def __init__(self, clips: list[Row], script: Script, agent: str, perturbed: float = 0.6, least: int = 20):
        told = [{name: value for name, value in row.items() if name != "place"} for row in clips]
        self.settings = {"clips": fingerprint(told), "agent": agent, "disguised": str(perturbed)}
        texts = {
            text: Line(i.id, k, text) for i in script.items.values() for k, text in enumerate(i.phrasings)
        }
        texts |= {text: Line("", k, text) for k, text in enumerate(BACKCHANNELS)}
        said: dict[str, list[tuple[Line, Row]]] = {}
        self._agent_rows = {
            row["text"]: row for row in clips if row["role"] == "agent" and row["voice"] == agent
        }
        for row in clips:
            if row["role"] == "user" and row["text"] in texts:
                said.setdefault(row["voice"], []).append((texts[row["text"]], row))
        if not said:
            raise InputError("none of the clips is a question of this script")
        mixed = [pair for voice in list(said) if len(said[voice]) < least for pair in said.pop(voice)]
        self._rows: dict[str, dict[Line, list[Row]]] = {}
        for voice, pairs in (said | ({"*": mixed} if mixed else {})).items():
            for line, row in pairs:
                self._rows.setdefault(voice, {}).setdefault(line, []).append(row)
        usual = sum(map(len, said.values())) / max(1, len(said))
        self._crowd = max(1, round(len(mixed) / usual)) if usual else 1
        self._disguised = perturbed
        self._answers: dict[str, Utterance] = {}

    def users(self) -> list[str]:
        return sorted(self._rows) + ["*"] * (self._crowd - 1)

    def lines(self, user: str) -> list[Line]:
        return sorted(self._rows[user], key=lambda line: (line.item, line.index))

    def ask(self, user: str, line: Line, rng: random.Random) -> Utterance:
        said = _utterance(rng.choice(self._rows[user][line]))
        return perturbed(said, SpeakerPerturbation.drawn(rng)) if rng.random() < self._disguised else said

    def answer(self, text: str) -> Utterance:
        if text not in self._answers:
            if text not in self._agent_rows:
                raise InputError(f"the agent has no clip of {text[:60]!r}")
            self._answers[text] = _utterance(self._agent_rows[text])
        return self._answers[text]


def _utterance(row: Row) -> Utterance:
    words = [Word(text, start, end) for text, start, end in row.get("words") or []]
    return Utterance.of(row["text"], read_clip(row), words, row.get("voice", ""), row.get("key", ""))


def perturbed(utterance: Utterance, perturbation: SpeakerPerturbation) -> Utterance:
    """The utterance by another throat, with its word times."""
    pace = perturbation.pitch
    words = [Word(word.text, word.start / pace, word.end / pace) for word in utterance.words]
    return Utterance.of(utterance.text, perturbation(utterance.wav_S), words, utterance.voice, utterance.key)
