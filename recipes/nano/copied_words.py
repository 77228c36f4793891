"""A script of words to say again, for conversations without sound (`duologue data dialogues`).

    python -m recipes.nano.copied_words RUNS/scripts RUNS/scripts-copy/copy.jsonl --count 12000 --seed 7

"Copy: pain yell." - "Pain yell.", of random words of the scripts in RUNS/scripts. A model that meets a few thousand
answers learns which are likely, and not to look the asked word up in what it wrote down of the question ("A cat eats
hay", of a horse). Where every word is as likely as any other, looking is all there is to learn.
"""

import argparse
import json
import random
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from duologue.data.script import Script
from duologue.files import atomic_write

WORDS = (1, 1, 2, 2, 3, 4, 5)  # of a copy; drawn alike


def words_of(script: Script) -> list[str]:
    """All words of a script, as they are written, sorted."""
    texts = (text for item in script.items.values() for text in (*item.phrasings, item.answer))
    return sorted({word for text in texts for word in re.findall(r"[A-Za-z']+", text)})


def rows(words: Sequence[str], count: int, seed: int) -> Iterator[dict[str, Any]]:
    """`count` items of random words."""
    rng = random.Random(seed)
    for number in range(count):
        said = " ".join(rng.choice(words) for _ in range(rng.choice(WORDS)))
        said = said[0].upper() + said[1:] + "."
        key = {"id": f"copy-{number:05d}", "topic": "copy"}
        yield key | {"user": [f"Copy: {said}"], "agent": said, "split": ["train"]}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scripts", type=Path, help="a script, or a folder of scripts")
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=12_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    words = words_of(Script.read(options.scripts))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(options.out) as temporary:
        lines = (json.dumps(row) + "\n" for row in rows(words, options.count, options.seed))
        temporary.write_text("".join(lines))


if __name__ == "__main__":
    main()
