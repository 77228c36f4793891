import json
import random

import numpy as np
import pytest

from duologue.data.segments import SEGMENT, Pool, load_blocks, load_corpus, pack, write_block
from duologue.data.split import (
    TRAIN_VOICES,
    VALID_VOICES,
    clip_set,
    fraction,
    valid_agent_text,
    valid_phrasing,
)
from duologue.data.voices import SAMPLE_RATE, read_clip
from duologue.errors import InputError
from recipes.nano.segments import agent_segments, train_segments, valid_segments
from tests.data.sounds import clip_folder

NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight")
SENTENCES = [f"sentence number {word} of the agent" for word in NUMBERS]


def row(place, key, role="user", voice="af_bella", text="hello", item="", speaker=""):
    return {
        "place": f"/x/{place}",
        "key": key,
        "role": role,
        "voice": voice,
        "text": text,
        "id": item,
        "speaker": speaker,
    }


def held_out():
    """An item and index that are kept for validation, and ones that are not."""
    names = [(f"plus-{n:03d}", 1) for n in range(60)]
    return next(n for n in names if valid_phrasing(*n)), next(n for n in names if not valid_phrasing(*n))


def test_the_split_is_a_function_of_names():
    (item, index), (seen, _) = held_out()
    assert clip_set(row("user-af_bella", f"user/af_bella/{item}-{index}", item=item)) == "phrasing"
    assert clip_set(row("user-af_bella", f"user/af_bella/{item}-0", item=item)) == "user"
    assert clip_set(row("user-af_river", f"user/af_river/{seen}-1", voice="af_river", item=seen)) == "voice"
    assert (
        clip_set(row("user-mix", f"user-mix/{item}-{index}-mix2", voice="a:1+b:1", item=item)) == "phrasing"
    )
    assert clip_set(row("user-mix", f"user-mix/{seen}-1-mix2", voice="a:1+b:1", item=seen)) == "user"
    assert clip_set(row("user-af_bella", "user/af_bella/backchannel-3", item="backchannel")) == "user"
    assert (
        clip_set(row("agent-more", f"agent-more/{item}-{index}", "agent", "af_heart", item="extra"))
        == "valid-agent"
    )
    texts = [f"some text {n}" for n in range(200)]
    kept = next(text for text in texts if valid_agent_text(text))
    assert clip_set(row("agent", "moshi/x-1", "agent", "af_heart", kept, "x-1")) == "valid-agent"
    assert valid_agent_text(kept.upper() + "!")
    assert clip_set(row("agent", f"moshi/{item}", "agent", "af_heart", "hi there", item)) == "agent"
    speakers = {clip_set(row("alphanum.tar", f"k{n}", speaker=f"s{n}")) for n in range(200)}
    assert speakers == {"human", "valid-human"}


@pytest.mark.parametrize("split", ["human", "voice", "valid-agent", "user"])
def test_the_split_of_a_row_takes_precedence(split):
    mine = row("my-corpus", "my-corpus/one", voice="af_river") | {"split": split}
    assert clip_set(mine) == split
    assert clip_set(row("my-corpus", "my-corpus/one", voice="af_river")) == "voice"


def test_the_held_out_shares_are_as_meant():
    assert len(TRAIN_VOICES) == 19
    assert not set(TRAIN_VOICES) & set(VALID_VOICES)
    phrasings = [valid_phrasing(f"item-{n}", k) for n in range(2000) for k in range(2)]
    assert not any(phrasings[::2])  # the first phrasing is always for training
    assert 0.07 < np.mean(phrasings) < 0.12
    assert 0.03 < np.mean([valid_agent_text(f"text {n}") for n in range(2000)]) < 0.07
    assert 0 <= min(fraction(str(n)) for n in range(100)) < max(fraction(str(n)) for n in range(100)) < 1


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    place = tmp_path_factory.mktemp("corpus")
    (item, _), (seen, _) = held_out()
    for voice in ("af_bella", "am_adam", "af_river"):
        said = [
            (f"{name}-{k}", "user", voice, f"what is {name} {k} then")
            for name in (item, seen)
            for k in range(2)
        ]
        clip_folder(place / f"user-{voice}", said)
    clip_folder(
        place / "agent", [(f"long-{n:03d}", "moshi", "af_heart", text) for n, text in enumerate(SENTENCES)]
    )
    people = place / "speechocean762"
    clip_folder(people, [(f"p-{n}", "user", "x", "I HAVE 2 DOGS") for n in range(3)])
    for number, path in enumerate(sorted(people.glob("*.json"))):
        path.write_text(
            json.dumps({"key": path.stem, "speaker": f"spk{number}", "text": "I HAVE 2 DOGS", "seconds": 1.3})
        )
    return place


def test_a_training_strip_holds_what_its_meta_says(corpus):
    sets = load_corpus(corpus)
    rng = random.Random(0)
    pool = Pool(sets, {"user": 0.5, "human": 0.5}, rng)
    rows = {row["key"]: row for rows in sets.values() for row in rows}
    for _ in range(3):
        wav_S, meta = pack(pool, rng, "speech", vary=True)
        assert wav_S.shape == (SEGMENT,)
        assert wav_S.dtype == np.int16
        assert np.abs(wav_S.astype(int)).max() < 32767
        assert meta["clips"][-1]["end"] > 26
        ends = 0.0
        for clip in meta["clips"]:
            assert clip["start"] >= ends + 0.0999 or ends == 0
            ends = clip["end"]
            assert ends <= 29.91
            assert clip["voice"] != "af_river"
            assert 0.87 <= clip["speed"] <= 1.15
            assert -18 <= clip["gain_db"] <= 3
            inside = wav_S[round(clip["start"] * SAMPLE_RATE) : round(ends * SAMPLE_RATE)] / 32768
            peak = np.abs(read_clip(rows[clip["key"]])).max()  # resampling moves it a little
            assert 20 * np.log10(np.abs(inside).max() / peak) == pytest.approx(clip["gain_db"], abs=2)
            if clip["set"] == "human":
                assert clip["words"] == ["i", "have", "two", "dogs"]
        assert {clip["set"] for clip in meta["clips"]} == {"user", "human"}


def test_what_the_agent_says_lies_as_conversations_have_it(corpus):
    """From a frame boundary on, some digital silence before each; held-out ones are not there."""
    segments, known = agent_segments(corpus), {row["key"]: row for row in load_corpus(corpus)["agent"]}
    seen = []
    for segment_S, meta in segments:
        assert (segment_S.shape, segment_S.dtype, meta["kind"]) == ((SEGMENT,), np.int16, "agent")
        ends = 0
        for clip in meta["clips"]:
            start, end = (round(clip[name] * SAMPLE_RATE) for name in ("start", "end"))
            assert start % 1920 == 0 and 5 * 1920 <= start - ends < 15 * 1920
            assert not segment_S[ends:start].any()
            np.testing.assert_allclose(segment_S[start:end] / 32767, read_clip(known[clip["key"]]), atol=1e-4)
            ends = end
        assert not segment_S[ends:].any()
        seen += [clip["key"] for clip in meta["clips"]]
    assert sorted(seen) == sorted(known) and len(segments) > 0


def test_a_pool_gives_every_clip_before_it_repeats(corpus):
    sets = load_corpus(corpus)
    pool = Pool(sets, {"agent": 1}, random.Random(0))
    count = len(sets["agent"])
    assert len({pool.draw()["key"] for _ in range(count)}) == count
    drawn = pool.draw()
    pool.put_back(drawn)
    assert pool.draw()["key"] == drawn["key"]


def test_blocks_are_written_whole_and_read_back(corpus, tmp_path, capsys):
    def teacher(wav_S):
        assert wav_S.shape == (SEGMENT,)
        return np.full((1500, 4), wav_S[12_000:].astype(np.float32).std(), np.float16)

    segments = train_segments(corpus, 0, 4, 0.5)
    assert sorted(meta["kind"] for _, meta in segments) == ["agent", "speech", "speech", "speech"]
    write_block(tmp_path / "train" / "block-001", segments, teacher)
    write_block(tmp_path / "train" / "block-000", segments[:1], teacher)
    (tmp_path / "train" / "block-002.part").mkdir()
    blocks = load_blocks(tmp_path / "train")
    assert [len(block.meta) for block in blocks] == [1, 4]
    np.testing.assert_array_equal(blocks[1].wav[2], segments[2][0])
    assert blocks[1].teacher.shape == (4, 1500, 4)
    assert blocks[1].teacher[3, 0, 0] == np.float16(segments[3][0][12_000:].astype(np.float32).std())
    with pytest.raises(InputError, match="no finished block"):
        load_blocks(tmp_path)
    again = train_segments(corpus, 0, 4, 0.5)
    assert all(np.array_equal(a[0], b[0]) and a[1] == b[1] for a, b in zip(segments, again, strict=True))


def test_validation_strips_are_clean_and_of_one_set(corpus):
    segments = valid_segments(corpus, ["voice", "phrasing"])
    assert [meta["kind"] for _, meta in segments] == ["voice", "phrasing"]
    for _, meta in segments:
        for clip in meta["clips"]:
            assert clip["set"] == meta["kind"]
            assert clip["speed"] == 1.0
            assert clip["gain_db"] == 0.0
