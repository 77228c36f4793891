import json
import random
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import tyro

from duologue.audio.files import read_audio
from duologue.cli.app import CONFIG
from duologue.cli.data import Synth as SynthVerb
from duologue.data.drawn import select
from duologue.data.manifest import read_manifest, read_transcript
from duologue.data.options import Situations, Timing
from duologue.data.script import Line, Script
from duologue.data.speakers import ClipSpeakers, SynthesisedSpeakers
from duologue.data.synth import Director, Synth, plans
from duologue.data.voices import SAMPLE_RATE
from duologue.errors import InputError
from duologue.types import AGENT, USER

from .sounds import clip_folder, spoken, utterance

LONG = "a robot worked in a garden and one day it smelled a flower that the children had painted for it"
ITEMS = [
    {"id": "capital-000", "user": ["What is the capital of France?", "Name the capital of France."], "moshi": "Paris."},
    {"id": "long-000", "user": ["Tell me a story.", "Tell me a story about robots."], "moshi": LONG},
    {"id": "long-001", "user": ["Tell me another story.", "One more story."], "moshi": LONG + " again"},
    {"id": "talk-000", "user": ["Stop.", "Stop talking.", "Please be quiet."], "moshi": "Okay."},
]  # fmt: skip


class Buzzer:
    """A synthesiser: one buzz a word."""

    def __init__(self):
        self.said = Counter()

    def speak(self, text, voice, speed=1.0):
        self.said[voice] += 1
        return spoken(text, word=0.25 / speed)[0]


@pytest.fixture
def script(tmp_path):
    (tmp_path / "script.jsonl").write_text("".join(json.dumps(item) + "\n" for item in ITEMS))
    return Script.read(tmp_path / "script.jsonl")


def director(script, situations=None, seconds=60.0):
    speakers = SynthesisedSpeakers(Buzzer(), script, "agent", ["ann", "bob"])
    return Director(speakers, script, situations or Situations(), Timing(), seconds)


def shares(script, situations, count=50):
    """How often each kind happens, for each exchange; and for each long answer that another exchange follows."""
    kinds, longs, ends = Counter(), 0, Counter()
    for seed in range(count):
        line = director(script, situations).direct(random.Random(seed))
        kinds.update(p.kind for p in line.placed)
        kinds.update(silence=len(line.silences), noise=len(line.noises))
        answers = sorted((p for p in line.placed if p.kind in ("answer", "cut")), key=lambda p: p.start)
        for answer, following in pairwise(answers):
            if answer.item.startswith("long"):
                longs += 1
                ends["stop" if answer.kind == "cut" and following.item == "talk-000" else answer.kind] += 1
                backchannels = [p for p in line.placed if p.kind == "backchannel" and p.item == answer.item]
                ends["backchannel"] += any(
                    answer.audible[0] < backchannel.audible[0] < answer.audible[1]
                    for backchannel in backchannels
                )
    total = kinds["question"]
    return {k: v / total for k, v in kinds.items()} | {f"long {k}": v / longs for k, v in ends.items()}


def test_situations_happen_as_often_as_asked(script):
    asked = Situations(
        pause_share=0.3,
        barge_in_share=0.3,
        stop_share=0.25,
        backchannel_share=0.3,
        silence_share=0.15,
        noise_share=0.1,
        long_share=0.5,
    )
    found = shares(script, asked)
    assert found["long stop"] == pytest.approx(
        0.25 + 0.3 * 0.25, abs=0.07
    )  # a barge-in may be "Stop." by chance
    assert found["long cut"] + found["long stop"] == pytest.approx(0.55, abs=0.07)
    assert found["long backchannel"] == pytest.approx(0.3, abs=0.07)
    apart = 1 - 0.5 * 0.55  # nobody waits before barging in
    assert found["silence"] == pytest.approx(0.15 * apart, abs=0.05)
    assert found["noise"] == pytest.approx(0.10 * apart, abs=0.05)
    assert 0.15 < found["pause"] <= 0.33  # one-word questions have no place for one


def test_nothing_happens_that_was_not_asked_for(script):
    quiet = Situations(
        pause_share=0,
        barge_in_share=0,
        stop_share=0,
        backchannel_share=0,
        silence_share=0,
        noise_share=0,
        long_share=0,
    )
    assert set(shares(script, quiet, 10)) == {
        "question",
        "answer",
        "silence",
        "noise",
        "long answer",
        "long backchannel",
    }
    assert shares(script, quiet, 10)["silence"] == 0


def test_no_pause_follows_a_complete_phrasing(script):
    often = Situations(pause_share=1, silence_share=0, noise_share=0)
    firsts = Counter()
    for seed in range(40):
        line = director(script, often).direct(random.Random(seed))
        firsts.update(p.utterance.text for p in line.placed if p.kind == "pause")
    assert "Stop" not in firsts
    assert "Tell me a story" not in firsts
    assert "Tell me a" in firsts


def test_a_conversation_has_one_user_and_about_the_length_asked_for(script):
    lengths, users = [], Counter()
    for seed in range(20):
        line = director(script, seconds=30.0).direct(random.Random(seed))
        (user,) = {p.utterance.voice for p in line.placed if p.role == "user"}
        users[user] += 1
        lengths.append(line.seconds)
    assert set(users) == {"ann", "bob"}
    assert 25 < np.mean(lengths) < 50


def test_given_conversations_are_followed_in_order(tmp_path):
    turns = [["how are you", "fine and you"], ["fine", "good"], ["bye", LONG], ["hello again", "hi"]]
    (tmp_path / "s.jsonl").write_text(json.dumps({"id": "c", "turns": turns}))
    script = Script.read(tmp_path / "s.jsonl")
    line = director(script, Situations(pause_share=0, barge_in_share=1)).direct(random.Random(0))
    said = [p for p in sorted(line.placed, key=lambda p: p.start) if p.kind != "backchannel"]
    assert [p.utterance.text for p in said if p.role == "user"] == [q for q, _ in turns]
    assert [p.kind for p in said if p.role == "agent"] == ["answer", "answer", "cut", "answer"]


def test_the_stage_writes_the_same_files_twice(tmp_path, script):
    rows = plans(2, seed=5)
    first = Synth(director(script), tmp_path / "a")(rows)
    again = Synth(director(script), tmp_path / "b", ".wav")(rows)
    for one, two in zip(first, again, strict=True):
        wav_CS = read_audio(one["path"])
        np.testing.assert_allclose(
            wav_CS, read_audio(two["path"]), atol=4e-5
        )  # flac and wav round differently
        assert wav_CS.shape == (2, round(one["duration"] * SAMPLE_RATE))
        assert read_transcript(one["path"]) == read_transcript(two["path"])
    assert not np.array_equal(
        read_audio(first[0]["path"])[1, :96000], read_audio(first[1]["path"])[1, :96000]
    )


def test_noise_alone_is_heard_from_the_user_only(tmp_path, script):
    noisy = Situations(
        pause_share=0, barge_in_share=0, stop_share=0, backchannel_share=0, silence_share=0, noise_share=1
    )
    (row,) = Synth(director(script, noisy), tmp_path)(plans(1, seed=1))
    wav_CS = read_audio(row["path"])
    for start, end in row["noises"]:
        part_CS = wav_CS[:, round((start + 0.2) * SAMPLE_RATE) : round((end - 0.2) * SAMPLE_RATE)]
        assert not part_CS[0].any()
        assert np.sqrt(np.mean(part_CS[1] ** 2)) > 10 ** (-47 / 20)


def test_clips_speak_what_they_are_clips_of(tmp_path, script):
    rows = [
        (f"{item['id']}-{k}", "user", "af_bella", text)
        for item in ITEMS
        for k, text in enumerate(item["user"])
    ]
    rows += [
        (f"capital-000-0-mix{n}", "user", f"af_sky:0.5+am_adam:0.{n}", ITEMS[0]["user"][0]) for n in range(2)
    ]
    rows += [("capital-000-1", "user", "af_river", ITEMS[0]["user"][1])]
    clip_folder(tmp_path / "user", [r for r in rows if r[2] != "af_river"])
    clip_folder(tmp_path / "valid", [r for r in rows if r[2] == "af_river"])
    clip_folder(tmp_path / "agent", [(item["id"], "moshi", "af_heart", item["moshi"]) for item in ITEMS])
    places = (tmp_path / "user", tmp_path / "valid", tmp_path / "agent")
    speakers = ClipSpeakers(select(places, "all"), script, "af_heart", perturbed=0, least=3)
    assert speakers.users() == ["*", "af_bella"]
    line = Line("capital-000", 0, ITEMS[0]["user"][0])
    assert speakers.lines("*") == [line, Line("capital-000", 1, ITEMS[0]["user"][1])]
    said = speakers.ask("af_bella", line, random.Random(0))
    assert said.text == line.text
    assert said.words == utterance(line.text).words
    assert len({speakers.ask("*", line, random.Random(n)).voice for n in range(9)}) == 2
    assert speakers.answer(LONG).voice == "af_heart"
    with pytest.raises(InputError, match="no clip"):
        speakers.answer("something else")
    users = {row["voice"] for row in select(places, "voice") if row["role"] == "user"}
    assert users == {"af_river"}
    assert "af_river" not in {row["voice"] for row in select(places, "train")}


def test_mixtures_ask_as_often_as_their_clips_are_many(tmp_path, script):
    text = ITEMS[0]["user"][0]
    lines = [(f"{item['id']}-{k}", t) for item in ITEMS for k, t in enumerate(item["user"])]
    clip_folder(tmp_path / "known", [(key, "user", "af_bella", t) for key, t in lines])
    mixtures = [f"af_sky:0.{n:03d}+am_adam:0.5" for n in range(3 * len(lines))]
    mixed = [(f"capital-000-0-mix{n}", "user", voice, text) for n, voice in enumerate(mixtures)]
    clip_folder(tmp_path / "mixed", mixed)
    speakers = ClipSpeakers(
        select((tmp_path / "known", tmp_path / "mixed"), "all"), script, "af_heart", least=3
    )
    assert speakers.users() == ["*", "af_bella", "*", "*"]
    # People who read one sentence each do not make the mixtures come more often.
    people = [(f"name-{n}-0", "user", f"reader:{n}", text) for n in range(9) for text in [lines[0][1]] * 3]
    clip_folder(tmp_path / "people", [(f"{key}-mix{n}", *rest) for n, (key, *rest) in enumerate(people)])
    places = (tmp_path / "known", tmp_path / "mixed", tmp_path / "people")
    speakers = ClipSpeakers(select(places, "all"), script, "af_heart", least=3)
    known, mixtures = len(lines), 3 * len(lines)
    assert speakers.users().count("*") == round(mixtures / ((known**2 + 9 * 3**2) / (known + 27)))


def test_the_verb_writes_a_manifest_that_is_resumed(tmp_path, script):
    clip_folder(
        tmp_path / "u",
        [(f"{i['id']}-{k}", "user", "af_sky", t) for i in ITEMS for k, t in enumerate(i["user"])],
    )
    clip_folder(tmp_path / "a", [(item["id"], "moshi", "af_heart", item["moshi"]) for item in ITEMS])
    args = [
        str(tmp_path / "script.jsonl"),
        str(tmp_path / "out"),
        "--clips",
        str(tmp_path / "u"),
        str(tmp_path / "a"),
    ]
    args += [
        "--seconds",
        "10",
        "--response",
        "0.4",
        "--pause-share",
        "0",
        "--barge-in-share",
        "0",
        "--stop-share",
        "0",
    ]
    tyro.cli(SynthVerb, args=[*args, "--count", "1"], config=CONFIG).run()
    first = (tmp_path / "out" / "talk-000000.flac").stat().st_mtime_ns
    tyro.cli(SynthVerb, args=[*args, "--count", "2"], config=CONFIG).run()
    rows = read_manifest(tmp_path / "out" / "manifest.jsonl")
    assert [row["id"] for row in rows] == ["talk-000000", "talk-000001"]
    assert (tmp_path / "out" / "talk-000000.flac").stat().st_mtime_ns == first
    turns = [turn for turn in rows[0]["turns"] if turn["kind"] in ("question", "answer")]
    assert turns[1]["start"] - turns[0]["end"] == pytest.approx(0.4, abs=0.045)
    assert {w.speaker for w in read_transcript(rows[0]["path"]).words} == {AGENT, USER}
    with pytest.raises(InputError, match="response was 0.4, is 0.5"):
        tyro.cli(SynthVerb, args=[*args, "--count", "2", "--response", "0.5"], config=CONFIG).run()
    Path(args[0]).write_text(Path(args[0]).read_text().replace("Paris", "Rome"))
    with pytest.raises(InputError, match="other settings .*script"):
        tyro.cli(SynthVerb, args=[*args, "--count", "2"], config=CONFIG).run()
    assert read_manifest(tmp_path / "out" / "manifest.jsonl") == rows


BAD_LINES = [
    "{}", '{"id": 1}', '{"id": "a", "turns": [["q"]]}', "nonsense", "[]", "[" * 100_000, "\udcff",
    '{"id": "a", "user": "Hello.", "moshi": "Hi."}', '{"id": "a", "user": [], "moshi": "Hi."}',
    '{"id": "a", "user": ["Hello."], "moshi": null}', '{"id": ["a"], "user": ["Hello."], "moshi": "Hi."}',
    '{"id": "a", "turns": [["q", 1]]}',
]  # fmt: skip


@pytest.mark.parametrize("line", BAD_LINES)
def test_a_bad_script_is_named(tmp_path, line):
    body = json.dumps(ITEMS[0]) + "\n" + line
    (tmp_path / "s.jsonl").write_bytes(body.encode(errors="surrogateescape"))
    with pytest.raises(InputError, match="line 2"):
        Script.read(tmp_path / "s.jsonl")
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(InputError, match="empty"):
        Script.read(tmp_path / "empty.jsonl")


def test_clips_without_word_times_are_told(tmp_path, script, caplog):
    text = ITEMS[0]["user"][0]
    clip_folder(tmp_path / "u", [("capital-000-0", "user", "af_sky", text)])
    rows = select((tmp_path / "u",), "all")
    ClipSpeakers(rows, script, "af_heart")
    assert not caplog.records
    ClipSpeakers([{**rows[0], "words": None}, *rows], script, "af_heart")
    assert "1 of 2 clips have no word times" in caplog.text
