"""The core of the scripts: what is asked first, so that a small model meets it often.

    python -m recipes.nano.core_scripts RUNS/scripts RUNS/scripts-core

Reads dialogues, domain, everyday, paraphrases and human.jsonl. Kept are the facts of dialogues.jsonl (also in other
words, as follow-ups and as corrections), small talk, what the user tells about themselves, and what nano does not know.
Among conversations about everything those facts were a sixth of the questions, and half of its answers to them were
wrong.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from duologue.files import atomic_write

Row = dict[str, Any]
TALK = frozenset(
    {"name", "recall", "favorite", "pet", "meta", "like", "who", "unknown", "joke2"}
)  # of domain.jsonl
FACTS = frozenset({"define", "fact3", "why"})  # of everyday.jsonl: further facts
# Topics of everyday.jsonl that ask for a fact of any script.
ABOUT_FACTS = ("there-", "and-", "then-", "correct-", "not-", "it-", "negation", "between", "breath")


def core(scripts: dict[str, Sequence[Row]]) -> dict[str, list[Row]]:
    """The items to keep of each script, by its name."""
    known = {answer(row) for row in scripts["dialogues"]}

    def is_known(row: Row) -> bool:
        return answer(row) in known and all(said in known for _, said in row.get("before") or [])

    def of_everyday(row: Row) -> bool:
        return row["topic"] not in FACTS and (not row["topic"].startswith(ABOUT_FACTS) or is_known(row))

    return {
        "dialogues": list(scripts["dialogues"]),
        "paraphrases": [row for row in scripts["paraphrases"] if answer(row) in known],
        "everyday": [row for row in scripts["everyday"] if of_everyday(row)],
        "domain": [
            row
            for row in scripts["domain"]
            if row["topic"] in TALK or (row["topic"] in ("and", "correct") and is_known(row))
        ],
        "human": list(scripts["human"]),
    }


def answer(row: Row) -> str:
    return row.get("agent", row.get("moshi"))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scripts", type=Path, help="the folder of all scripts")
    parser.add_argument("out", type=Path, help="the folder to write them to")
    options = parser.parse_args()
    names = ("dialogues", "paraphrases", "everyday", "domain", "human")
    read = {name: (options.scripts / f"{name}.jsonl").read_text().splitlines() for name in names}
    options.out.mkdir(parents=True, exist_ok=True)
    for name, rows in core({name: [json.loads(line) for line in read[name]] for name in names}).items():
        with atomic_write(options.out / f"{name}.jsonl") as temporary:
            temporary.write_text("".join(json.dumps(row) + "\n" for row in rows))


if __name__ == "__main__":
    main()
