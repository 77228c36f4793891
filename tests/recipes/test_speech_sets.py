"""What is to be spoken of the scripts, and the table of words that sound alike."""

import json
import shutil
from collections import Counter

import pytest

from duologue.data.script import Script
from duologue.data.split import TRAIN_VOICES, VALID_ROBOTS, VALID_VOICES, clip_set
from duologue.data.voices import Flite, parse_mixture
from duologue.errors import InputError
from duologue.eval.duplex_chains import kind_of
from duologue.eval.duplex_kinds import ASIDE, CHAINS
from recipes.nano import speech_sets
from recipes.nano.confusions import confusions, cost, distance
from recipes.nano.write_scripts import HERE


def clips(folder, texts):
    folder.mkdir(parents=True)
    for k, text in enumerate(texts):
        (folder / f"{k}.json").write_text(json.dumps({"text": text}))


def test_answers_that_are_spoken_already_are_left_out(tmp_path):
    script = Script.read(HERE)
    every = {item.answer for item in script.items.values()}
    known = sorted(every)[5:-1]
    clips(tmp_path / "agent", known)
    rows = list(speech_sets.agent_answers(HERE, tmp_path))
    texts = [row["text"] for row in rows]
    assert texts[0] == "I said:"
    assert set(texts) == {"I said:"} | {t for t in every - set(known) if t and "{answer}" not in t}
    assert len({row["key"] for row in rows}) == len(rows)


def test_phrasings_are_of_training_and_new_ones_first(tmp_path):
    script = Script.read(HERE)
    clips(tmp_path / "user-domain", ["What is the capital of Spain?", "Hello."])
    rows = list(speech_sets.user_phrasings(HERE, tmp_path, passes=2))
    assert len({row["key"] for row in rows}) == len(rows)
    assert {clip_set(row | {"place": "user-phrasings"}) for row in rows} == {"user"}
    assert all(set(parse_mixture(row["voice"])) <= set(TRAIN_VOICES) for row in rows)
    first = [row["text"] for row in rows if row["key"].endswith("-mix1")]
    second = [row["text"] for row in rows if row["key"].endswith("-mix2")]
    assert len(set(first)) == len(first)
    assert set(second) - set(first) == {"What is the capital of Spain?", "Hello."}
    topics = Counter(script.items[row["id"]].topic for row in rows[:400])
    assert max(topics.values()) < 40  # no family crowds out the rest


def test_held_out_voices_say_chains_in_full():
    script = Script.read(HERE)
    rows = list(speech_sets.evaluation(HERE))
    assert {clip_set(row | {"place": "user-eval"}) for row in rows} == {"voice", "phrasing"}
    assert len({row["key"] for row in rows}) == len(rows)
    for voice in VALID_VOICES:
        said = {row["text"] for row in rows if row["voice"] == voice}
        whole = 0
        for row in (row for row in rows if row["voice"] == voice):
            for question, answer in script.items[row["id"]].before or ():
                item = script.with_answer(question, answer)
                whole += 1
                assert item is None or item.phrasings[0] in said or question in said
        assert whole > 30
        kinds = Counter(kind_of(script.items[row["id"]]) for row in rows if row["voice"] == voice)
        assert all(kinds[kind] >= 8 for kind in (*CHAINS, ASIDE) if kind != "repetition")


def test_robots_of_the_test_never_speak_in_training():
    rows = list(speech_sets.robots(HERE, lines=20))
    of = {
        voice: {clip_set(r | {"place": "user-robots"}) for r in rows if r["voice"] == voice}
        for voice in {r["voice"] for r in rows}
    }
    assert set(of) == {*speech_sets.TRAIN_ROBOTS, *VALID_ROBOTS}
    for voice, sets in of.items():
        assert sets <= ({"voice", "phrasing"} if voice in VALID_ROBOTS else {"user"})


def test_near_misses_differ_in_one_word_that_sounds_alike():
    rows = list(speech_sets.near_misses(HERE, HERE / "confusions.json"))
    table = json.loads((HERE / "confusions.json").read_text())
    assert len(rows) > 100
    for one, other in zip(rows[::2], rows[1::2], strict=True):
        assert (one["voice"], one["speed"]) == (other["voice"], other["speed"])
        words = [(a, b) for a, b in zip(one["text"].split(), other["text"].split(), strict=True) if a != b]
        a, b = (word.strip("?").lower() for word in words[0])
        assert len(words) == 1 and (b in table[a] or a in table[b])


def test_distances_of_phonemes():
    assert cost("p", "p") == 0 < cost("p", "b") < cost("p", "l") and cost("ɪ", "ɛ") < 1
    assert distance("spɪn", "spɪn", 9) == 0
    assert distance("pɪn", "bɪn", 9) == pytest.approx(0.4)
    assert distance("spɪn", "pɪn", 9) == pytest.approx(0.8)
    assert distance("abcdef", "uvwxyz", 1) > 1  # given up


def test_the_table_names_what_sounds_alike():
    filler = {f"w{k}": "zɡ" * (k + 2) for k in range(60)}
    table = confusions({"pin": "pɪn", "bin": "bɪn", "spin": "spɪn", "elephant": "ɛlɪfənt"} | filler)
    assert list(table["pin"])[:2] == ["bin", "spin"]
    assert table["elephant"] == {}
    assert sum(table["pin"].values()) == pytest.approx(1, abs=0.01)


@pytest.mark.skipif(not shutil.which("flite"), reason="flite is not installed")
def test_flite_speaks():
    slow, fast = (Flite().speak("Hello there.", "kal", speed) for speed in (1.0, 1.5))
    assert len(slow) > 1.2 * len(fast) > 5000


def test_flite_that_is_not_there_is_named():
    with pytest.raises(InputError, match="apt install"):
        Flite("no-such-program").speak("Hello.")
