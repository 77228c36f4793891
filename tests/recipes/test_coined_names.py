"""People and pets with coined names: what is told is what is recalled, and conversations can be made of it."""

import json
from pathlib import Path

from duologue.data.dialogues import silent_samples
from duologue.data.director import Director, Situations, Timing
from duologue.data.script import Script
from duologue.data.silent import SilentSpeakers
from recipes.nano.coined_names import rows


def test_the_name_that_was_told_is_recalled() -> None:
    found = list(rows(40, seed=1))
    assert found == list(rows(40, seed=1)) != list(rows(40, seed=2))
    recalls = [row for row in found if row.get("slot") and row.get("before")]
    assert len(recalls) == 50
    for row in recalls:
        told, _ = row["before"][-1]
        name = row["agent"].split()[-1]
        assert name[0].isupper() and name.strip(".") in told
    names = {row["agent"].split()[-1] for row in found if row["agent"].startswith("Your name is")}
    assert len(names) > 35


def test_conversations_can_be_made_of_it(tmp_path: Path) -> None:
    script = tmp_path / "coined.jsonl"
    script.write_text("".join(json.dumps(row) + "\n" for row in rows(10, seed=1)))
    read = Script.read(script)
    names = {item.answer.split()[-1] for item in read.items.values() if item.topic.startswith("coined")}
    samples = list(silent_samples(Director(SilentSpeakers(read), read, Situations(), Timing()), 8, seed=1))
    said = {
        text.strip()
        for sample in samples
        for text, _, who in sample["json"]["alignments"]
        if who == "SPEAKER_MAIN"
    }
    assert len(said & names) > 5
