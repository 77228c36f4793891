"""Scripts -> two-channel conversations: chooses what is said and in which situation; `timeline` places it."""

import random
from dataclasses import asdict
from pathlib import Path

import numpy as np

from duologue.audio.files import write_audio
from duologue.data.augment import NOISES, noise
from duologue.data.cast import Cast
from duologue.data.fingerprint import fingerprint
from duologue.data.manifest import Row, write_transcript
from duologue.data.options import Situations, Timing
from duologue.data.script import Line, Script
from duologue.data.text import spoken_words
from duologue.data.timeline import Exchange, Timeline, Utterance, lay_out, pause_points
from duologue.data.voices import SAMPLE_RATE
from duologue.types import StrPath


class Director:
    """Chooses what is said in a conversation of about `seconds`, and has it placed."""

    def __init__(
        self, cast: Cast, script: Script, situations: Situations, timing: Timing, seconds: float = 60.0
    ):
        self.cast, self.script, self.seconds = cast, script, seconds
        self.situations, self.timing = situations, timing
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
            barges_in = end != "full"
            end = self._end(answer.text, chosen if given else lines, hums, rng)
            said: tuple[Utterance, ...] = ()
            if end == "backchannel":
                said = tuple(self.cast.ask(user, rng.choice(hums), rng) for _ in range(rng.choice([1, 1, 2])))
                end = "full"
            pause, before = self._pause(question, rng), self._before(rng)
            exchanges.append(Exchange(question, answer, line.item, pause, before, barges_in, said))
            length += question.seconds + answer.seconds * (1 if end == "full" else 0.5) + 2.0
        return lay_out(exchanges, self.timing, rng)

    def _draw(self, lines: list[Line], stop: bool, rng: random.Random) -> Line:
        items = self.script.items
        pool: list[Line] = []
        if stop:
            pool = [line for line in lines if items[line.item].stops]
        elif rng.random() < self.situations.long_share:
            pool = [line for line in lines if self._is_long(items[line.item].answer)]
        return rng.choice(pool or lines)

    def _is_long(self, answer: str) -> bool:
        return len(answer) >= self.situations.long_letters

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

    def _end(self, answer: str, lines: list[Line], hums: list[Line], rng: random.Random) -> str:
        """What becomes of an answer: "full", "backchannel", or cut by a "barge_in" or a "stop"."""
        how = self.situations
        if not self._is_long(answer) or not lines:
            return "full"
        draw = rng.random()
        if draw < how.barge_in_share:
            return "barge_in"
        if draw < how.barge_in_share + how.stop_share:
            able = any(self.script.items[line.item].stops for line in lines)
            return "stop" if able and not self.script.conversations else "barge_in"
        return (
            "backchannel"
            if hums and draw < how.barge_in_share + how.stop_share + how.backchannel_share
            else "full"
        )


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
        self.settings = {
            **director.cast.settings, **asdict(director.situations), **asdict(director.timing),
            "seconds": director.seconds, "script": fingerprint(asdict(director.script)),
            "babble": fingerprint(*(babble or [])), "format": suffix,
        }  # fmt: skip

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
        noise_S = noise(NOISES[rng.integers(len(NOISES))], len(part_S), rng, self.babble)
        part_S += (noise_S * ramp_S * level).clip(-0.9, 0.9)


def plans(count: int, seed: int, prefix: str = "talk") -> list[Row]:
    """Rows for `Synth`: `count` conversations, each with its own id."""
    return [{"id": f"{prefix}-{number:06d}", "path": "", "seed": seed} for number in range(count)]
