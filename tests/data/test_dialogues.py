"""Conversations without sound, as shards."""

import json
import random

import numpy as np
import pytest
import tyro

from duologue.cli.app import CONFIG
from duologue.cli.data_shards import Dialogues
from duologue.data.dialogues import Confusions
from duologue.data.shards import ShardReader
from duologue.data.silent import EDGE_SECONDS, LETTERS_A_FRAME, SilentSpeakers, timed
from duologue.errors import InputError
from duologue.train.lm_batches import conversation_rows
from duologue.types import Word
from duologue.weights import load

from .test_director import ITEMS

TABLE = {"france": {"friends": 1.0}, "what": {"want": 3.0, "watt": 1.0}, "capital": {}}


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "s.jsonl"
    path.write_text("".join(json.dumps(item) + "\n" for item in ITEMS))
    return path


def made(script, *options):
    out = script.parent / f"out{len(list(script.parent.iterdir()))}"
    args = [str(script), str(out), "--seconds", "20", *options]
    tyro.cli(Dialogues, args=args, config=CONFIG).run()
    return [dict(sample) for sample in _all(out / "shards")]


def _all(folder):
    reader = ShardReader(folder, shuffle=False)
    return [next(reader) for _ in range(len(reader))]


def test_samples_hold_words_and_no_codes(script):
    samples = made(script, "--count", "5", "--per-shard", "2")
    assert len(samples) == 5
    for sample in samples:
        body = sample["json"]
        assert set(sample) == {"key", "json"} and "misheard" not in body
        assert body["frames"] * 0.08 == pytest.approx(body["duration"], abs=0.001)
        assert {who for _, _, who in body["alignments"]} >= {"SPEAKER_MAIN", "SPEAKER_USER"}
        assert max(end for _, (_, end), _ in body["alignments"]) < body["duration"]


@pytest.mark.parametrize("pace", ["1", "3"])
def test_a_question_is_written_down_before_its_answer_begins_and_no_word_is_dropped(script, pace):
    """Or what an answer begins with could only be guessed."""
    tokenizer = load("nano").tokenizer

    def pieces(words):
        return sum(len(tokenizer.encode_word(word.strip())) for word, _, _ in words)

    answers = soon = said = meant = 0
    for sample in made(script, "--count", "20", "--pace", pace):
        rows_KT, user_T = conversation_rows(sample, tokenizer, ahead=3, spoken=1, heard=1)
        written_T, read_T = rows_KT[0] > 3, user_T > 3
        body = sample["json"]
        users = [word for word in body["alignments"] if word[2] == "SPEAKER_USER"]
        agents = [word for word in body["alignments"] if word[2] == "SPEAKER_MAIN"]
        said, meant = said + written_T.sum(), meant + pieces(agents)
        for turn in body["turns"]:
            if turn["kind"] == "answer":
                begins = int(turn["start"] * 12.5) - 1  # a frame before it is heard
                asked = [word for word in users if word[1][1] < turn["start"]]
                answers, soon = answers + 1, soon + (read_T[:begins].sum() < pieces(asked))
    assert answers > 100 and soon < 0.03 * answers
    assert said > 0.97 * meant


def test_the_same_seed_gives_the_same_samples(script):
    first, second = made(script, "--count", "3", "--seed", "4"), made(script, "--count", "3", "--seed", "4")
    other = made(script, "--count", "3", "--seed", "5")
    assert first == second
    assert [s["json"]["alignments"] for s in first] != [s["json"]["alignments"] for s in other]


def test_a_share_of_the_words_is_misheard_and_the_truth_is_kept(script, tmp_path):
    (tmp_path / "c.json").write_text(json.dumps(TABLE))
    samples = made(script, "--count", "40", "--confusions", str(tmp_path / "c.json"), "--misheard", "0.5")
    true, read = [], []
    for sample in samples:
        body = sample["json"]
        assert not {" friends?", " Want"} & {word for word, _, _ in body["alignments"]}
        true += [word for word, _, who in body["alignments"] if who == "SPEAKER_USER"]
        read += [word for word, _, who in body["misheard"] if who == "SPEAKER_USER"]
    assert " Friends?" in read and " Want" in read  # capitals and punctuation stay
    right = read.count(" France?") / true.count(" France?")
    assert 0.6 < right < 0.9  # a quarter on average
    assert read.count(" of") == pytest.approx(true.count(" of"), abs=0.15 * true.count(" of"))


def test_heard_words_keep_their_times_and_some_are_lost():
    words = [Word("France?", k, k + 0.5) for k in range(2000)]
    heard = Confusions(TABLE, 1.0).heard(words, 0.5, random.Random(0))
    times = {word.start: word for word in words}
    assert all(times[word.start].end == word.end for word in heard)
    wrong = sum(word.text == "Friends?" for word in heard)
    assert wrong / len(words) == pytest.approx(0.5 * 0.85, abs=0.03)
    assert 1 - len(heard) / len(words) == pytest.approx(0.5 * 0.15, abs=0.03)
    assert Confusions(TABLE, 1.0).heard(words, 0.0, random.Random(0)) == words


@pytest.mark.parametrize("table", ["[]", '{"a": 1}', '{"a": {"b": 0}}', '{"a": {"b": "x"}}', "{"])
def test_a_bad_table_is_refused(tmp_path, table):
    (tmp_path / "c.json").write_text(table)
    with pytest.raises(InputError, match=r"c\.json"):
        Confusions.read(tmp_path / "c.json", 0.1)
    with pytest.raises(InputError, match="between 0 and 1"):
        Confusions(TABLE, 1.5)


def test_bad_counts_are_refused(script):
    with pytest.raises(InputError, match="--count"):
        made(script, "--count", "0")


def test_durations_follow_the_letters():
    rng = random.Random(0)
    lengths = [timed("The capital of France, is Paris.", 15.0, rng).seconds for _ in range(400)]
    assert np.mean(lengths) == pytest.approx(
        (25 + 6) / 15 * np.exp(0.25**2 / 2) + 0.18 + 2 * EDGE_SECONDS, rel=0.05
    )
    assert np.std(lengths) > 0.1
    said = timed("Hello, you there.", 15.0, rng)
    assert said.words[1].start - said.words[0].end == pytest.approx(0.18, abs=0.002)
    first, rest = said.before(said.boundaries()[0]), said.after(said.boundaries()[0])
    assert (first.text, rest.text) == ("Hello,", "you there.")
    assert first.seconds + rest.seconds == pytest.approx(said.seconds)
    assert rest.audible == (rest.words[0].start, rest.words[-1].end)


def test_the_agent_says_the_same_text_in_the_same_time(script):
    from duologue.data.script import Script

    one, two = SilentSpeakers(Script.read(script)), SilentSpeakers(Script.read(script))
    assert one.answer("The capital of France is Paris.") == two.answer("The capital of France is Paris.")


def test_pace_makes_words_shorter(script):
    from duologue.data.script import Script

    one, two = SilentSpeakers(Script.read(script)), SilentSpeakers(Script.read(script), pace=2.0)
    slow, fast = (who.answer("The capital of France is Paris.").words for who in (one, two))
    shortest = [-(-len(w.text) // LETTERS_A_FRAME) * 0.08 for w in slow]
    halves = [max((w.end - w.start) / 2, least) for w, least in zip(slow, shortest, strict=True)]
    assert [w.end - w.start for w in fast] == pytest.approx(halves, abs=0.002)
    assert sum(halves) < 0.7 * sum(w.end - w.start for w in slow)
