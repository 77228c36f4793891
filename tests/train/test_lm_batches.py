"""Rows and batches of made-up conversations."""

from contextlib import closing
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from duologue.data.manifest import CONTINUATION
from duologue.errors import InputError
from duologue.train.lm_batches import AS_HEARD, LMBatchConfig, LMBatches, conversation_rows, written_late
from duologue.train.loop import LoopConfig, _feed
from duologue.train.parallel import World
from tests.train.conversations import FRAMES, TOKENIZER, batches, conversation, whole_piece


def test_the_agent_is_ahead_by_what_it_takes_to_be_heard() -> None:
    sample = conversation(0)
    rows_KT, user_text_T = conversation_rows(sample, TOKENIZER, user_text_delay=2)
    assert rows_KT.shape == (17, FRAMES - AS_HEARD)
    assert (rows_KT[1:9, 19] == sample["codes.npy"][0, :, 20]).all()
    assert (rows_KT[9:, 5] == sample["codes.npy"][1, :, 5]).all()
    yes = TOKENIZER.encode("yes")
    assert rows_KT[0, 19 : 21 + len(yes)].tolist() == [0, *yes, 3]  # 1.68 s is frame 21 as heard, 20 as said
    assert user_text_T[17 : 17 + len(TOKENIZER.encode("hello"))].tolist() == TOKENIZER.encode("hello")


def test_when_the_agent_speaks_is_known_by_its_words() -> None:
    sample = conversation(0)
    heard = [*range(17, 29)]  # 1.48 to 2.4 s, a frame earlier
    assert np.flatnonzero(whole_piece(sample)["speaks"]).tolist() == heard
    sample["json"]["alignments"][1][2] = CONTINUATION  # what it would have said, had it not been cut off
    assert not whole_piece(sample)["speaks"].any()
    del sample["json"]["alignments"]
    assert whole_piece(sample)["speaks"].all()  # nobody knows


def test_of_speech_alone_every_word_is_there() -> None:
    sample = conversation(0)
    words = [[" hello", [0.4, 1.2], "SPEAKER_USER"], [" yes", [1.68, 2.0], "SPEAKER_MAIN"]]
    sample["json"]["alignments"] = [*words, [" yes", [3.2, 3.4], "SPEAKER_USER"]]
    config = LMBatchConfig(batch=1, frames=40, from_start=1.0, user_speech_only=True)
    assert config.whole().user_speech_only
    crop = LMBatches(None, TOKENIZER, config).crop(sample, np.random.default_rng(0))  # type: ignore
    spoken = [*range(1, 25), *range(36, 49)]  # 0.1 to 2.0 s, 2.9 s to the end
    assert (crop["codes"][1:9] == -1).all()  # the agent
    assert (crop["inputs"][0, : len(spoken)] == 3).all()  # its text: the user's is read in the same row
    assert (crop["codes"][9:, : len(spoken)] == sample["codes.npy"][1][:, spoken]).all()
    assert (crop["codes"][9:, len(spoken) :] == -1).all()
    assert [t for t in crop["heard"] if t > 3] == TOKENIZER.encode("hello") + TOKENIZER.encode("yes")
    assert crop["heard"][17 - 1] == TOKENIZER.encode("hello")[0]  # 1.2 s is frame 15, two frames later


def unrelated(sample: dict, hears_the_user: bool) -> dict[str, np.ndarray]:
    crops = [whole_piece(sample, seed) for seed in range(40)]
    found = [c for c in crops if (c["inputs"][9:] >= 0).any() == hears_the_user]
    assert 10 < len(found) < 30
    return found[0]


def test_beside_an_unrelated_user_the_agents_text_is_no_target() -> None:
    """It would learn to go on whatever the user says."""
    sample = conversation(0)
    asked = whole_piece(sample)
    sample["json"]["unrelated"] = True
    crop = unrelated(sample, True)
    assert (crop["codes"][0] == -1).all() and (crop["codes"][1:] == asked["codes"][1:]).all()
    assert (crop["inputs"] == asked["inputs"]).all() and (crop["user_text"] == asked["user_text"]).all()
    assert (crop["heard"] == asked["heard"]).all() and (crop["heard"] > 3).any()


def test_without_the_unrelated_user_the_agents_text_is_read_and_what_begins_it_no_target() -> None:
    sample = conversation(0)
    asked = whole_piece(sample)
    assert (asked["codes"][0] >= 0).all()
    sample["json"]["unrelated"] = True
    crop = unrelated(sample, False)
    assert (crop["codes"][1:] == asked["codes"][1:]).all()
    assert all((crop[key] == -1).all() for key in ("heard", "user_text"))
    assert (crop["inputs"][0] == asked["codes"][0]).all()
    said = np.flatnonzero(asked["codes"][0] > 3)  # yes, without a stop: all after its first token
    assert (crop["codes"][0, : said[0] + 1] == -1).all()
    assert (crop["codes"][0, said[0] + 1 :] == asked["codes"][0, said[0] + 1 :]).all()


def test_a_sentence_of_unrelated_speech_is_a_target_from_its_second_token_to_its_stop() -> None:
    sample = conversation(0)
    words = [
        [" Yes.", [0.8, 1.0], "SPEAKER_MAIN"],
        [" Yes", [1.6, 1.8], "SPEAKER_MAIN"],
        [" no!", [2.4, 2.6], "SPEAKER_MAIN"],
    ]
    sample["json"] |= {"alignments": words, "unrelated": True}
    crop = unrelated(sample, False)
    read_T, target_T = crop["inputs"][0], crop["codes"][0]
    starts = [int((start - 0.08) * 12.5) for _, (start, _), _ in words]  # as said, a frame before it is heard
    assert all(read_T[start] > 3 and target_T[start] == -1 for start in starts[:2])
    tokens = [np.flatnonzero(read_T[a : a + 6] > 3)[-1] + a for a in starts]  # the last of each word
    known = target_T >= 0
    assert known[starts[0] + 1 : tokens[0] + 1].all() and not known[tokens[0] + 1 : starts[1] + 1].any()
    assert known[starts[1] + 1 : tokens[2] + 1].all() and not known[tokens[2] + 1 :].any()
    assert (target_T[known] == read_T[known]).all()


def test_speech_of_one_side_alone() -> None:
    """The other side is unknown: a user's words are written down, the agent's are spoken."""
    sample = conversation(0)
    sample["json"]["unrelated"] = True
    codes_CQT = sample["codes.npy"]
    sample["codes.npy"] = codes_CQT.copy()
    sample["codes.npy"][0] = -1
    crop = unrelated(sample, True)
    assert (crop["codes"][1:9] == -1).all() and (crop["codes"][9:] >= 0).all() and (crop["heard"] > 3).any()
    sample["codes.npy"] = codes_CQT.copy()
    sample["codes.npy"][1] = -1
    crop = whole_piece(sample)
    assert (crop["codes"][1:9] >= 0).all() and (crop["codes"][9:] == -1).all() and (crop["heard"] == -1).all()


def test_a_word_of_no_length_is_said() -> None:
    sample = conversation(0)
    sample["json"]["alignments"][1][1] = [1.68, 1.68]
    yes = TOKENIZER.encode("yes")
    assert conversation_rows(sample, TOKENIZER)[0][0, 20 : 20 + len(yes)].tolist() == yes


def test_batches_resume_at_the_next_sample(shards: Path) -> None:
    one, two = batches(shards), batches(shards)
    for _, _ in zip(range(3), one, strict=False):
        pass
    two.load_state_dict(one.state_dict())
    a, b = next(iter(one)), next(iter(two))
    assert all(torch.equal(a[key], b[key]) for key in a)


def test_text_may_stand_ahead_of_the_voice() -> None:
    sample = conversation(0)
    first, second = sample["json"]["alignments"], [[" yes", [2.3, 2.6], "SPEAKER_MAIN"]]
    sample["json"]["alignments"] = [*first, *second]
    plain, ahead = (conversation_rows(sample, TOKENIZER, ahead=frames)[0] for frames in (0, 3))
    assert (plain[1:] == ahead[1:]).all()
    yes = TOKENIZER.encode("yes")[0]
    (one, two), (same, moved) = (np.flatnonzero(row == yes) for row in (plain[0], ahead[0]))
    assert same == one < moved == max(two - 3, one + len(TOKENIZER.encode("yes")))


def test_text_ahead_of_the_voice_stops_where_the_voice_is_cut() -> None:
    sample = conversation(0)
    said = [[" yes", [1.68, 2.0], "SPEAKER_MAIN"], [" yes", [2.0, 2.2], "SPEAKER_MAIN"]]
    continuation = [[" yes", [2.35, 2.6], "SPEAKER_UNSAID"], [" yes", [2.6, 2.9], "SPEAKER_UNSAID"]]
    again = [[" yes", [3.2, 3.5], "SPEAKER_MAIN"]]
    yes = TOKENIZER.encode("yes")[0]

    def places(words: list, cuts: list[float], ahead: int = 3) -> list[int]:
        sample["json"] = {"alignments": words, "cuts": cuts}
        return np.flatnonzero(conversation_rows(sample, TOKENIZER, ahead=ahead)[0][0] == yes).tolist()

    whole = places([*said, *((w, t, "SPEAKER_MAIN") for w, t, _ in continuation), *again], [])
    cut = places([*said, *continuation, *again], [2.24])
    assert len(whole) == 5
    # the third word would be written before 2.24 s (frame 28 as heard, 27 as said), the fourth after it
    assert cut[:3] == whole[:3]
    assert cut[2] < 27 <= whole[3]
    assert cut[3:] == [int((3.2 - 0.08) * 12.5)]
    assert places([*said, *continuation, *again], [2.24], ahead=0) == places([*said, *again], [2.24], ahead=0)


@pytest.mark.parametrize(
    ("drop", "streams"),
    [
        ({"user_frame_dropout": 0.5}, slice(9, 17)),
        ({"codebook_dropout": 1.0}, slice(10, 17)),
        ({"own_codebooks": 0}, slice(1, 9)),
        ({"own_codebooks": 1}, slice(2, 9)),
        ({"user_stream_dropout": 1.0}, slice(9, 17)),
    ],
)
def test_what_is_not_heard_is_still_learnt(shards: Path, drop: dict[str, float], streams: slice) -> None:
    batch, plain = next(iter(batches(shards, **drop))), next(iter(batches(shards)))
    assert torch.equal(plain["codes"], plain["inputs"])
    gone = batch["codes"] != batch["inputs"]
    assert (batch["inputs"][gone] == -1).all()
    assert gone[:, streams].any()
    gone[:, streams] = False
    assert not gone.any()
    if (own := drop.get("own_codebooks")) is not None:
        assert (batch["inputs"][:, 1 + int(own) : 9] == -1).all()
    if drop.get("user_stream_dropout") == 1:
        assert (batch["inputs"][:, 9:] == -1).all() and (batch["heard"] == -1).all()
    if drop.get("codebook_dropout") == 1:
        assert (batch["inputs"][:, 12:] == -1).all()


def test_a_blurred_user_says_codes_of_other_frames(shards: Path) -> None:
    batch = next(iter(batches(shards, blur=0.8)))
    odd = batch["codes"] != batch["inputs"]
    assert not odd[:, :9].any()
    assert 0.02 < odd[:, 9:].float().mean() < 0.8
    for said, heard in zip(
        batch["codes"][:, 9:].flatten(0, 1), batch["inputs"][:, 9:].flatten(0, 1), strict=True
    ):
        assert set(heard.tolist()) <= set(said.tolist())


def test_a_conversation_without_sound_has_both_texts_and_no_codes() -> None:
    whole = conversation(0)
    sample = {"key": "text", "json": whole["json"] | {"frames": FRAMES}}
    rows_KT, user_text_T = conversation_rows(sample, TOKENIZER)
    spoken_KT, spoken_T = conversation_rows(whole, TOKENIZER)
    assert rows_KT.shape == spoken_KT.shape and (rows_KT[1:] == -1).all()
    assert (rows_KT[0] == spoken_KT[0]).all() and (user_text_T == spoken_T).all()
    found = whole_piece(sample)
    assert (found["heard"] == -1).all()  # nothing to hear it from
    assert (found["user_text"][: FRAMES - AS_HEARD] == spoken_T[:40]).all()


def test_what_was_misheard_is_read_and_what_was_said_is_learnt() -> None:
    sample = conversation(0)
    words = [word for word in sample["json"]["alignments"] if word[2] == "SPEAKER_USER"]
    sample["json"]["misheard"] = [[" yellow", times, who] for _, times, who in words]
    _, user_text_T = conversation_rows(sample, TOKENIZER)
    found = whole_piece(sample)
    assert (found["heard"] == user_text_T[:40]).all()
    yellow = TOKENIZER.encode("yellow")
    assert found["user_text"][found["user_text"] > 3].tolist() == yellow * len(words)


def test_a_token_that_is_not_written_in_time_stays_due() -> None:
    row_T = np.array([3, 8, 9, 3, 3, 3, 7, 3, 3, 3, -1, -1])
    rng = np.random.default_rng(0)
    for share in (0.0, 0.5, 1.0):
        for _ in range(20):
            due_T, written_T = written_late(row_T, share, rng)
            assert ((due_T == -1) == (row_T == -1)).all() and ((written_T == -1) == (row_T == -1)).all()
            assert written_T[written_T > 3].tolist() == [8, 9, 7]  # all of it, in order
            frames = np.flatnonzero(written_T > 3)
            due = np.maximum([1, 2, 6], [0, *(frames[:-1] + 1)])  # not before the one before it
            late = frames - due
            assert (late >= 0).all() and (late <= 2).all()
            assert share > 0 or not late.any()
            assert share < 1 or late.all()
            # From then on it is what is due, until it is written, and nothing else is.
            assert due_T[due_T > 3].tolist() == [*np.repeat([8, 9, 7], late + 1)]


def test_the_users_words_may_be_written_late(shards: Path) -> None:
    in_time, late = (next(iter(batches(shards, user_text_late=p))) for p in (0.0, 1.0))
    assert torch.equal(in_time["heard"], in_time["user_text"])
    assert not torch.equal(in_time["user_text"], late["user_text"])
    assert (late["heard"][late["user_text"] > 3] == late["user_text"][late["user_text"] > 3]).all()
    assert (late["heard"] > 3).sum() > (in_time["heard"] > 3).sum()


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # where the machine has one core
def test_other_processes_make_the_same_batches(shards: Path) -> None:
    """And a run goes on behind what was used, not behind what was made."""

    def taken(workers: int, count: int, place: dict | None = None) -> list:
        data = batches(shards, from_start=0.3, user_frame_dropout=0.2)
        if place is not None:
            data.load_state_dict(place)
        config = LoopConfig(steps=9, accumulate=2, workers=workers)
        with closing(_feed(data, config, World())) as feed:
            return list(islice(feed, count))

    here, there = taken(0, 5), taken(2, 5)
    assert [place for _, place in here] == [place for _, place in there]
    for (a, _), (b, _) in zip(here, there, strict=True):
        assert all(torch.equal(x[key], y[key]) for x, y in zip(a, b, strict=True) for key in x)
    ((again, _),) = taken(1, 1, here[2][1])
    assert all(torch.equal(x[key], y[key]) for x, y in zip(again, here[3][0], strict=True) for key in x)


@pytest.mark.parametrize(
    "body", [{}, {"frames": 10**12}, {"frames": -1}, {"frames": 3.5}, {"frames": True}, {"frames": "9"}, [1]]
)
def test_a_sample_that_is_no_conversation_is_refused_before_room_is_made_for_it(body) -> None:
    with pytest.raises(InputError, match="the sample x has no codes, so it must have from 2"):
        conversation_rows({"key": "x", "json": body}, TOKENIZER)


def test_codes_alone_are_a_conversation_whose_words_are_unknown() -> None:
    sample = conversation(0)
    rows_KT, user_text_T = conversation_rows({"key": "x", "codes.npy": sample["codes.npy"]}, TOKENIZER)
    assert (rows_KT[0] == -1).all() and (user_text_T == -1).all() and (rows_KT[1:] >= 0).all()
