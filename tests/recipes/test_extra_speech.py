"""What Kokoro is asked to say more of."""

from collections import Counter
from pathlib import Path

from duologue.data.script import BACKCHANNELS, Script
from duologue.data.split import TRAIN_VOICES, clip_set, valid_phrasing
from duologue.data.voices import parse_mixture
from recipes.nano.extra_speech import user_mix

DIALOGUES = Path(__file__).parents[2] / "recipes" / "nano" / "dialogues.jsonl"


def test_mixtures_say_training_phrasings_and_short_ones_most_often():
    rows = list(user_mix(DIALOGUES, passes=2))
    assert len({row["key"] for row in rows}) == len(rows)
    assert {clip_set(row | {"place": "user-mix"}) for row in rows} == {"user"}
    assert all(set(parse_mixture(row["voice"])) <= set(TRAIN_VOICES) for row in rows)
    items = Script.read(DIALOGUES).items
    known = {
        (i.id, k) for i in items.values() for k in range(len(i.phrasings)) if not valid_phrasing(i.id, k)
    }
    said = Counter((row["id"], row["index"]) for row in rows)
    assert said.keys() == known | {("backchannel", k) for k in range(len(BACKCHANNELS))}
    often = {key: count for key, count in said.items() if count > 2}
    assert {items[item].stops for item, _ in often if item in items} == {True}
    assert set(often.values()) == {10, 34}
