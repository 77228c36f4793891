"""The core of the scripts is what its docstring says."""

import json
from pathlib import Path

from recipes.nano.core_scripts import answer, core

SCRIPTS = Path(__file__).parents[2] / "recipes/nano"
HUMAN = [
    {
        "id": "human-0",
        "topic": "human",
        "user": ["Not a question."],
        "agent": "I do not know.",
        "split": ["train"],
    }
]


def test_it_keeps_small_talk_and_what_needs_no_further_fact() -> None:
    scripts = {
        name: [json.loads(line) for line in (SCRIPTS / f"{name}.jsonl").read_text().splitlines()]
        for name in ("dialogues", "paraphrases", "everyday", "domain")
    }
    kept = core({**scripts, "human": HUMAN})
    assert kept["dialogues"] == scripts["dialogues"] and kept["human"] == HUMAN
    known = {answer(row) for row in scripts["dialogues"]}
    assert {answer(row) for row in kept["paraphrases"]} <= known
    topics = {name: {row["topic"] for row in rows} for name, rows in kept.items()}
    assert topics["everyday"] >= {
        "open",
        "request",
        "unknown",
        "feel",
        "recall-name",
        "and-capital",
        "breath",
        "aside",
    }
    assert not topics["everyday"] & {"define", "fact3", "why", "and-money", "correct-continent"}
    assert topics["domain"] >= {"unknown", "recall", "who"} and not topics["domain"] & {
        "times",
        "capital2",
        "money",
    }
    for row in kept["everyday"] + kept["domain"]:
        if row["topic"].startswith(("and", "correct", "breath")):
            assert answer(row) in known and all(said in known for _, said in row.get("before") or [])
    assert 0 < len(kept["everyday"]) < len(scripts["everyday"])
