"""Scripts -> two-channel conversations: chooses what is said, by whom and in which situation; `timeline` places it.

A script is a .jsonl of items {"id", "user": [phrasing, ...], "moshi": answer} from which conversations are drawn at
random, or of whole conversations {"id", "turns": [[question, answer], ...]}.
"""

import json
import random
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from duologue.audio.files import write_audio
from duologue.data.augment import NOISES, change_speed, noise
from duologue.data.manifest import Row, Word, write_transcript
from duologue.data.text import spoken_words
from duologue.data.timeline import Exchange, Timeline, Timing, Utterance, lay_out, pause_points
from duologue.data.voices import SAMPLE_RATE, Voice, read_clip
from duologue.errors import InputError
from duologue.types import StrPath

BACKCHANNELS = ("Mm-hm.", "Uh-huh.", "Yeah.", "Right.", "Okay.", "I see.", "Oh, really?", "Wow.")
STOPS = ("stop", "wait")


@dataclass(frozen=True)
class Line:
    """One thing a user may say: phrasing `index` of item `item` ("" for a backchannel)."""

    item: str
    index: int
    text: str


@dataclass(frozen=True)
class Item:
    """A question in several phrasings, and its answer."""

    id: str
    phrasings: tuple[str, ...]
    answer: str

    @property
    def stops(self) -> bool:
        """Whether it is about falling silent ("Stop.", "Wait."): said over an answer, mostly."""
        return spoken_words(self.phrasings[0])[:1] in [[word] for word in STOPS]


@dataclass
class Script:
    """Items to draw from, and whole conversations to follow (lists of item ids and phrasing numbers)."""

    items: dict[str, Item] = field(default_factory=dict)
    conversations: list[list[Line]] = field(default_factory=list)

    @classmethod
    def read(cls, path: StrPath) -> "Script":
        """InputError, with the number of the line, if a line is neither an item nor a conversation."""
        script = cls()
        if not Path(path).exists():
            raise InputError(f"there is no script {path}")
        for number, text in enumerate(Path(path).read_text().splitlines(), 1):
            try:
                script._add(json.loads(text))
            except (ValueError, KeyError, TypeError):
                raise InputError(
                    f'{path}, line {number}: expected {{"id", "user": [..], "moshi"}} or {{"id", "turns": [[q, a], ..]}}'
                ) from None
        if not script.items:
            raise InputError(f"{path} is empty")
        return script

    def _add(self, row: dict[str, Any]) -> None:
        if "turns" not in row:
            self.items[row["id"]] = Item(row["id"], tuple(row["user"]), row["moshi"])
            return
        lines = []
        for k, (question, answer) in enumerate(row["turns"]):
            self.items[f"{row['id']}.{k}"] = Item(f"{row['id']}.{k}", (question,), answer)
            lines.append(Line(f"{row['id']}.{k}", 0, question))
        self.conversations.append(lines)


class Cast(Protocol):
    """Who may speak: gives utterances of the agent and of users."""

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


class SpokenCast:
    """Everything by a synthesiser; answers are kept, since they come again and again."""

    def __init__(self, voice: Voice, script: Script, agent: str, users: list[str]):
        self._voice, self._agent, self._users = voice, agent, users
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


class ClipCast:
    """Ready clips (rows of `voices.read_index`): a voice says what there is a clip of, at times a little faster.

    Voices with fewer than `least` clips, such as mixtures that spoke once, make up one user "*": a new voice each turn.
    """

    def __init__(self, clips: list[Row], script: Script, agent: str, shift: float = 0.5, least: int = 20):
        texts = {
            text: Line(i.id, k, text) for i in script.items.values() for k, text in enumerate(i.phrasings)
        }
        texts |= {text: Line("", k, text) for k, text in enumerate(BACKCHANNELS)}
        said: dict[str, list[tuple[Line, Row]]] = {}
        self._agent_rows = {
            row["text"]: row for row in clips if row["role"] == "moshi" and row["voice"] == agent
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
        self._shift = shift
        self._answers: dict[str, Utterance] = {}

    def users(self) -> list[str]:
        return sorted(self._rows)

    def lines(self, user: str) -> list[Line]:
        return sorted(self._rows[user], key=lambda line: (line.item, line.index))

    def ask(self, user: str, line: Line, rng: random.Random) -> Utterance:
        speed = rng.uniform(0.87, 1.15) if rng.random() < self._shift else 1.0
        return faster(_utterance(rng.choice(self._rows[user][line])), speed)

    def answer(self, text: str) -> Utterance:
        if text not in self._answers:
            if text not in self._agent_rows:
                raise InputError(f"the agent has no clip of {text[:60]!r}")
            self._answers[text] = _utterance(self._agent_rows[text])
        return self._answers[text]


def _utterance(row: Row) -> Utterance:
    words = [Word(text, start, end) for text, start, end in row.get("words") or []]
    return Utterance.of(row["text"], read_clip(row), words, row.get("voice", ""), row.get("key", ""))


def faster(utterance: Utterance, factor: float) -> Utterance:
    """The utterance at another speed and pitch, with its word times."""
    if factor == 1:
        return utterance
    words = [Word(word.text, word.start / factor, word.end / factor) for word in utterance.words]
    wav_S = change_speed(utterance.wav_S, factor)
    return Utterance.of(utterance.text, wav_S, words, utterance.voice, utterance.key)


@dataclass(frozen=True)
class Situations:
    """How often each happens; a share of exchanges unless it says otherwise."""

    pause: float = 0.2
    """A pause inside a question that has a place for one."""
    barge_in: float = 0.35
    """The next question cuts a long answer. Share of long answers, as are the next two."""
    stop: float = 0.2
    """ "Stop." or "Wait." cuts it."""
    backchannel: float = 0.3
    """The user hums along and the answer goes on."""
    silence: float = 0.06
    """Nobody speaks for long."""
    noise: float = 0.06
    """A noise alone, which is no question."""
    long: float = 0.3
    """An item with a long answer is drawn on purpose."""
    long_letters: int = 75
    """From how many letters on an answer is long (about 5 s)."""


class Director:
    """Chooses what is said in a conversation of about `seconds`, and has it placed."""

    def __init__(
        self, cast: Cast, script: Script, situations: Situations, timing: Timing, seconds: float = 60.0
    ):
        self.cast, self.script, self.situations, self.timing, self.seconds = (
            cast,
            script,
            situations,
            timing,
            seconds,
        )
        self._complete = {" ".join(spoken_words(text)) for i in script.items.values() for text in i.phrasings}

    def direct(self, rng: random.Random) -> Timeline:
        """One conversation. The same `rng` state gives the same one."""
        user = rng.choice(self.cast.users())
        lines = [line for line in self.cast.lines(user) if line.item]
        hums = [line for line in self.cast.lines(user) if not line.item]
        chosen: list[Line] = list(rng.choice(self.script.conversations)) if self.script.conversations else []
        given = bool(chosen)
        exchanges: list[Exchange] = []
        length, end = 0.0, "full"
        while chosen if given else length < self.seconds:
            line = chosen.pop(0) if given else self._draw(lines, end == "stop", rng)
            question = self.cast.ask(user, line, rng)
            answer = self.cast.answer(self.script.items[line.item].answer)
            exchange = Exchange(
                question, answer, line.item, self._pause(question, rng), self._before(rng), end != "full"
            )
            end = self._end(answer.text, chosen if given else lines, hums, rng)
            if end == "backchannel":
                count = rng.choice([1, 1, 2])
                said = tuple(self.cast.ask(user, rng.choice(hums), rng) for _ in range(count))
                exchange = replace(exchange, backchannels=said)
                end = "full"
            exchanges.append(exchange)
            length += question.seconds + answer.seconds * (1 if end == "full" else 0.5) + 2.0
        return lay_out(exchanges, self.timing, rng)

    def _draw(self, lines: list[Line], stop: bool, rng: random.Random) -> Line:
        items = self.script.items
        pool: list[Line] = []
        if stop:
            pool = [line for line in lines if items[line.item].stops]
        elif rng.random() < self.situations.long:
            pool = [line for line in lines if self._is_long(items[line.item].answer)]
        return rng.choice(pool or lines)

    def _is_long(self, answer: str) -> bool:
        return len(answer) >= self.situations.long_letters

    def _pause(self, question: Utterance, rng: random.Random) -> float | None:
        if rng.random() >= self.situations.pause:
            return None
        points = pause_points(question, self._complete, lambda text: " ".join(spoken_words(text)))
        return rng.choice(points) if points else None

    def _before(self, rng: random.Random) -> str:
        draw = rng.random()
        if draw < self.situations.silence:
            return "silence"
        return "noise" if draw < self.situations.silence + self.situations.noise else ""

    def _end(self, answer: str, lines: list[Line], hums: list[Line], rng: random.Random) -> str:
        """What becomes of an answer: "full", "backchannel", or cut by a "barge_in" or a "stop"."""
        how = self.situations
        if not self._is_long(answer) or not lines:
            return "full"
        draw = rng.random()
        if draw < how.barge_in:
            return "barge_in"
        if draw < how.barge_in + how.stop:
            able = any(self.script.items[line.item].stops for line in lines)
            return "stop" if able and not self.script.conversations else "barge_in"
        return "backchannel" if hums and draw < how.barge_in + how.stop + how.backchannel else "full"


class Synth:
    """Stage: rows {"id", "seed"} -> stereo files in `folder` with transcripts, rows with "path", "duration", "turns".

    `babble` are clips of other people to make background noise of.
    """

    def __init__(
        self,
        director: Director,
        folder: StrPath,
        suffix: str = ".flac",
        babble: list[np.ndarray] | None = None,
    ):
        self.director, self.folder, self.suffix, self.babble = director, Path(folder), suffix, babble

    def __call__(self, rows: list[Row]) -> list[Row]:
        self.folder.mkdir(parents=True, exist_ok=True)
        return [self._one(row) for row in rows]

    def _one(self, row: Row) -> Row:
        rng = random.Random(f"{row['seed']} {row['id']}")
        line = self.director.direct(rng)
        wav_CS = line.channels()
        for start, end in line.noises:
            self._add_noise(wav_CS[1], start, end, np.random.default_rng(rng.getrandbits(32)))
        path = self.folder / f"{row['id']}{self.suffix}"
        write_transcript(path, line.transcript())
        write_audio(path, wav_CS)
        spans = {"noises": line.noises, "silences": line.silences}
        rounded = {name: [[round(t, 3) for t in span] for span in found] for name, found in spans.items()}
        return row | {"path": str(path), "duration": round(line.seconds, 3), "turns": line.turns()} | rounded

    def _add_noise(self, user_S: np.ndarray, start: float, end: float, rng: np.random.Generator) -> None:
        part_S = user_S[round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)]
        ramp_S = np.minimum(1, np.minimum(np.arange(len(part_S)), np.arange(len(part_S))[::-1]) / 2400)
        level = 10 ** (rng.uniform(-45, -20) / 20)
        part_S += (
            noise(NOISES[rng.integers(len(NOISES))], len(part_S), rng, self.babble) * ramp_S * level
        ).clip(-0.9, 0.9)


def plans(count: int, seed: int, prefix: str = "talk") -> list[Row]:
    """Rows for `Synth`: `count` conversations, each with its own id."""
    return [{"id": f"{prefix}-{number:06d}", "path": "", "seed": seed} for number in range(count)]
