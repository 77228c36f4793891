"""Synthesise more speech for nano: the agent's voice, and users by mixed, held-out and robotic voices.

`python -m recipes.nano.extra_speech agent-answers user-phrasings --corpus DIR --kokoro DIR`: resumes where it stopped;
one clip = one .flac and one .json. Run with --part I/N to share the work among N processes.
"""

import argparse
import json
import random
import time
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

import numpy as np

from duologue.data.script import BACKCHANNELS, Script
from duologue.data.split import AGENT_VOICE, TRAIN_VOICES, VALID_ROBOTS, valid_phrasing
from duologue.data.voices import Espeak, Flite, Kokoro, Piper, write_clip
from duologue.errors import InputError
from duologue.types import Word
from recipes.nano import speech_sets


def _texts(folder: Path) -> list[str]:
    return [json.loads(path.read_text())["text"] for path in sorted(folder.glob("*.json"))]


def sentence_case(text: str) -> str:
    """ "NORTHANGER ABBEY" -> "Northanger abbey.": what a phonemiser reads as a sentence."""
    text = text.lower().replace(" i ", " I ").replace(" i'", " I'")
    return text[:1].upper() + text[1:] + "."


def agent_more(corpus: Path, dialogues: Path) -> Iterator[dict]:
    """Sentences that the agent's voice has not spoken: user phrasings, ARCTIC, then LibriSpeech texts."""
    spoken = set(_texts(corpus / "agent") + _texts(corpus / "agent-extra"))
    items = [json.loads(line) for line in dialogues.read_text().splitlines()]
    texts = [(f"{item['id']}-{k}", text) for item in items for k, text in enumerate(item["user"])]
    texts += [(f"arctic-{k:04d}", t) for k, t in enumerate(dict.fromkeys(_texts(corpus / "kathleen")))]
    libri = [(f"libri-{k:04d}", sentence_case(t)) for k, t in enumerate(_texts(corpus / "libri-walleclipse"))]
    texts += sorted((pair for pair in libri if len(pair[1]) < 260), key=lambda pair: len(pair[1]))
    for key, text in texts:
        if text not in spoken:
            spoken.add(text)
            yield dict(key=key, id="extra", role="agent", text=text, voice=AGENT_VOICE, speed=1.0)


def user_mix(dialogues: Path, passes: int = 5) -> Iterator[dict]:
    """Each training phrasing by a few random mixtures of two training voices, at random speeds.

    Short lines that must be distinguished at once ("Stop.", "Mm-hm.") come more often.
    """
    items = Script.read(dialogues).items.values()
    texts = [(i, k, text) for i in items for k, text in enumerate(i.phrasings) if not valid_phrasing(i.id, k)]
    lines = [(i.id, k, text) for i, k, text in texts] + [
        (i.id, k, text) for i, k, text in texts if i.stops
    ] * 16
    lines += [("backchannel", k, text) for k, text in enumerate(BACKCHANNELS)] * 5
    for turn in range(passes):
        rng = random.Random(1000 + turn)
        for number, (item, k, text) in enumerate(rng.sample(lines, len(lines))):
            first, second = rng.sample(TRAIN_VOICES, 2)
            share = round(rng.uniform(0.3, 0.7), 2)
            voice = f"{first}:{share}+{second}:{1 - share:.2f}"
            speed = round(rng.uniform(0.8, 1.3), 2)
            key = f"{item}-{k}-mix{turn}-{number}"
            yield dict(key=key, id=item, index=k, role="user", text=text, voice=voice, speed=speed)


SETS = (
    "agent-more", "user-mix", "agent-answers", "user-phrasings", "user-eval", "user-robots", "user-robots-eval",
    "user-near", "user-joe",
)  # fmt: skip


def lines_of(name: str, corpus: Path, scripts: Path) -> Iterator[dict]:
    """The rows of a set (see `speech_sets` for those of the scripts)."""
    made = {
        "agent-more": lambda: agent_more(corpus, scripts / "dialogues.jsonl"),
        "user-mix": lambda: user_mix(scripts / "dialogues.jsonl"),
        "agent-answers": lambda: speech_sets.agent_answers(scripts, corpus),
        "user-phrasings": lambda: speech_sets.user_phrasings(scripts, corpus),
        "user-eval": lambda: speech_sets.evaluation(scripts),
        "user-robots": lambda: speech_sets.robots(scripts),
        "user-robots-eval": lambda: speech_sets.evaluation(scripts, VALID_ROBOTS),
        "user-joe": lambda: speech_sets.user_phrasings(scripts, corpus, 3, speech_sets.joe),
        "user-near": lambda: speech_sets.near_misses(scripts, scripts / "confusions.json"),
    }
    return made[name]()


class Speakers:
    """All voices: "espeak:en-us" and "flite:kal" are programs, "piper:joe@1.1" is Piper's, everything else is Kokoro;
    both are loaded when needed."""

    def __init__(self, kokoro: Path | None, piper: Path | None = None):
        self._folder, self._kokoro = kokoro, None
        self._piper_folder, self._piper = piper, None

    def say(self, text: str, voice: str, speed: float) -> tuple[np.ndarray, list[Word]]:
        """As `TimedVoice.say`; no words if the voice does not tell their times."""
        program, _, name = voice.partition(":")
        if program == "espeak":
            return Espeak().speak(text, name, speed), []
        if program == "flite":
            return Flite().speak(text, name, speed), []
        if program == "piper":
            if self._piper_folder is None:
                raise InputError(f"{voice} is a voice of Piper: name its folder with --piper")
            self._piper = self._piper or Piper(self._piper_folder)
            return self._piper.say(text, name, speed)
        if self._folder is None:
            raise InputError(f"{voice} is a voice of Kokoro: name its folder with --kokoro")
        self._kokoro = self._kokoro or Kokoro(self._folder)
        return self._kokoro.speak(text, voice, speed), []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sets", nargs="+", choices=SETS)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--scripts", type=Path, default=Path(__file__).parent)
    parser.add_argument("--kokoro", type=Path)
    parser.add_argument("--piper", type=Path)
    parser.add_argument(
        "--minutes", type=float, nargs="+", default=[], help="of speech, for each set; else all of it"
    )
    parser.add_argument("--part", default="0/1")
    args = parser.parse_args()
    part, parts = map(int, args.part.split("/"))
    speakers = Speakers(args.kokoro, args.piper)
    for name, minutes in zip_longest(args.sets, args.minutes, fillvalue=float("inf")):
        folder, spoken, began = args.corpus / name, 0.0, time.time()
        for number, row in enumerate(lines_of(name, args.corpus, args.scripts)):
            if spoken >= minutes * 60 / parts:
                break
            if number % parts != part:
                continue
            done = folder / f"{row['key']}.json"
            if done.exists():
                spoken += json.loads(done.read_text())["seconds"]
                continue
            try:
                wav_S, words = speakers.say(row["text"], row["voice"], row["speed"])
            except InputError as error:
                print(f"skipped {row['key']}: {error}", flush=True)
                continue
            timed = [[word.text, round(word.start, 3), round(word.end, 3)] for word in words]
            whole = row | {"key": f"{name}/{row['key']}"} | ({"words": timed} if words else {})
            write_clip(folder, row["key"], wav_S, whole)
            spoken += len(wav_S) / 24_000
            if number % 20 == 0:
                print(
                    f"{name} {number}: {spoken / 60:.1f} min spoken, {time.time() - began:.0f} s", flush=True
                )


if __name__ == "__main__":
    main()
