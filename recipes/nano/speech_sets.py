"""The lines to synthesise: the agent's answers, users' phrasings by many voices, robotic voices, near misses.

Each set is a list of clip rows, the most useful first; rows carry their "split".
"""

import json
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from duologue.data.director import ROOT_WEIGHT
from duologue.data.script import BACKCHANNELS, LAST_ANSWER, Item, Script
from duologue.data.split import AGENT_VOICE, TRAIN_VOICES, VALID_ROBOTS, VALID_VOICES
from duologue.eval.duplex_chains import is_plain, kind_of
from recipes.nano.families import Family, families

Row = dict
TRAIN_ROBOTS = (
    "espeak:en-us", "espeak:en-us+f2", "espeak:en-us+m3", "espeak:en-gb", "espeak:en-gb+f4", "espeak:en-us+m7",
    "espeak:en-gb-x-rp", "flite:kal", "flite:kal16", "flite:rms", "flite:slt",
)  # fmt: skip
EVALUATED = 12  # lines of each kind of scene that each held-out voice says
NEAR_MISSES = ("capital", "opposite", "plus", "legs", "color", "sound", "language")


def agent_answers(scripts: Path, corpus: Path) -> Iterator[Row]:
    """Every answer that the agent's voice has not spoken, those first that are given to the most phrasings."""
    spoken = {
        json.loads(path.read_text())["text"]
        for folder in ("agent", "agent-domain")
        for path in sorted((corpus / folder).glob("*.json"))
    }
    uses: dict[str, tuple[int, str]] = {"I said:": (10**6, "repeat")}
    for item in Script.read(scripts).items.values():
        count, first = uses.get(item.answer, (0, item.id))
        uses[item.answer] = (count + len(item.phrasings), first)
    wanted = [text for text in uses if text and LAST_ANSWER not in text and text not in spoken]
    for text in sorted(wanted, key=lambda text: (-uses[text][0], text)):
        item = uses[text][1]
        yield dict(key=item, id=item, role="agent", text=text, voice=AGENT_VOICE, speed=1.0)


def user_phrasings(
    scripts: Path, corpus: Path, passes: int = 4, speaker: Callable[[random.Random], str] | None = None
) -> Iterator[Row]:
    """Training phrasings by a `speaker` drawn for each, or else mixtures of two training voices, topics by the square
    root of what there is to say; first what nobody has said yet."""
    texts = {
        json.loads(path.read_text())["text"]
        for folder in sorted(corpus.glob("user-*"))
        if folder.name not in ("user-phrasings", "user-joe")
        for path in folder.glob("*.json")
    }
    every: dict[str, list[tuple[Item, int]]] = {}
    unsaid: dict[str, list[tuple[Item, int]]] = {}
    once: set[str] = set()
    for item in Script.read(scripts).items.values():
        for k, text in enumerate(item.phrasings):
            if not item.held_out(k) and text not in once:
                once.add(text)
                every.setdefault(item.topic, []).append((item, k))
                if text not in texts:
                    unsaid.setdefault(item.topic, []).append((item, k))
    for turn in range(passes):
        topics = every if turn else unsaid
        rng = random.Random(f"phrasings {turn}")
        order = [
            (place / len(lines) ** ROOT_WEIGHT, pair)
            for lines in topics.values()
            for place, pair in enumerate(rng.sample(lines, len(lines)))
        ]
        for _, (item, k) in sorted(order, key=lambda found: (found[0], found[1][0].id, found[1][1])):
            yield _row(
                item, k, (speaker or mixture)(rng), rng, f"{speaker.__name__ if speaker else 'mix'}{turn + 1}"
            )


def evaluation(scripts: Path, voices: Sequence[str] = VALID_VOICES) -> Iterator[Row]:
    """Lines of the new kinds by each held-out voice, with all that must come before them."""
    script = Script.read(scripts)
    by_kind: dict[str, list[Item]] = {}
    for item in script.items.values():
        if kind := kind_of(item):
            by_kind.setdefault(kind, []).append(item)
    plain = [item for item in script.items.values() if is_plain(item)]
    for voice in voices:
        name = file_name(voice)
        rng = random.Random(f"evaluation {voice}")
        pools = [*by_kind.values(), plain]
        chosen = [item for items in pools for item in rng.sample(items, min(EVALUATED, len(items)))]
        done: set[str] = set()
        for item in chosen:
            earlier = [script.with_answer(*exchange) for exchange in item.before or ()]
            for one in [*filter(None, earlier), item]:
                k = rng.randrange(len(one.phrasings)) if one is item else _phrasing(one, item)
                if one.phrasings[k] not in done:
                    done.add(one.phrasings[k])
                    yield _row(one, k, voice, rng, name)


def robots(scripts: Path, lines: int = 60) -> Iterator[Row]:
    """Phrasings by robotic voices; the held-out ones too."""
    items = [item for item in Script.read(scripts).items.values() if not item.before]
    for voice in (*TRAIN_ROBOTS, *VALID_ROBOTS):
        rng = random.Random(f"robot {voice}")
        name = file_name(voice)
        for item in rng.sample(items, min(lines, len(items))):
            k = rng.randrange(len(item.phrasings))
            if voice in VALID_ROBOTS or not item.held_out(k):
                yield _row(item, k, voice, rng, name)
        for k, text in enumerate(BACKCHANNELS):
            yield dict(
                key=f"backchannel-{k}-{name}",
                id="backchannel",
                index=k,
                role="user",
                text=text,
                voice=voice,
                speed=1.0,
            )


def near_misses(scripts: Path, confusions: Path) -> Iterator[Row]:
    """The same sentence by the same voice at the same speed with two key words that sound alike."""
    table = json.loads(confusions.read_text())
    script = Script.read(scripts)
    found = families(
        {
            "user": list(i.phrasings),
            "topic": i.topic,
            "agent": i.answer,
            **({"before": 1} if i.before is not None else {}),
        }
        for i in script.items.values()
    )
    rng = random.Random("near misses")
    pairs = [
        (family, *pair) for name in NEAR_MISSES for family in [found[name]] for pair in alike(family, table)
    ]
    for number, (family, *keys) in enumerate(rng.sample(pairs, len(pairs))):
        voice, speed = mixture(rng), round(rng.uniform(0.85, 1.2), 2)
        for key in keys:
            item = script.with_answer(family.ask(key), family.answers[key])
            if item is not None:
                yield dict(
                    key=f"{item.id}-0-near{number}", id=item.id, index=0, role="user", text=family.ask(key),
                    voice=voice, speed=speed, split="train",
                )  # fmt: skip


def alike(family: Family, table: dict[str, dict[str, float]]) -> list[tuple[str, str]]:
    """Keys of a family that differ in one word, and whose words are taken for each other."""
    keys = list(family.answers)
    found = []
    for i, one in enumerate(keys):
        for other in keys[i + 1 :]:
            words = [(a, b) for a, b in zip(one.split(), other.split(), strict=False) if a != b]
            if len(one.split()) == len(other.split()) and len(words) == 1:
                a, b = words[0][0].lower(), words[0][1].lower()
                if b in table.get(a, ()) or a in table.get(b, ()):
                    found.append((one, other))
    return found


def file_name(voice: str) -> str:
    """ "espeak:en-us+f2" -> "espeak-en-us-f2"."""
    return voice.replace(":", "-").replace("+", "-")


def mixture(rng: random.Random) -> str:
    """A new speaker: two training voices, mixed."""
    first, second = rng.sample(TRAIN_VOICES, 2)
    share = round(rng.uniform(0.3, 0.7), 2)
    return f"{first}:{share}+{second}:{1 - share:.2f}"


def joe(rng: random.Random) -> str:
    """Piper's voice, with a head of another size each time: one speaker alone would be learnt by heart."""
    return f"piper:joe@{rng.uniform(0.9, 1.3):.2f}"


def _phrasing(earlier: Item, item: Item) -> int:
    """The phrasing by which an item is led up to."""
    asked = {question for question, _ in item.before or ()}
    return next((k for k, text in enumerate(earlier.phrasings) if text in asked), 0)


def _row(item: Item, k: int, voice: str, rng: random.Random, tail: str) -> Row:
    return dict(
        key=f"{item.id}-{k}-{tail}", id=item.id, index=k, role="user", text=item.phrasings[k], voice=voice,
        speed=round(rng.uniform(0.85, 1.25), 2), split="valid" if item.held_out(k) else "train",
    )  # fmt: skip
