"""The language model's stage on made-up conversations, with the tiny model."""

from contextlib import closing
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from duologue import presets
from duologue.data.shards import ShardReader, write_shards
from duologue.errors import InputError
from duologue.lm import LM
from duologue.lm.tokenizer import Tokenizer
from duologue.train.lm import EARLY, LMLossConfig, LMStage, just_before
from duologue.train.lm_batches import AS_HEARD, LMBatchConfig, LMBatches, conversation_rows
from duologue.train.loop import LoopConfig, _feed
from duologue.train.optim import OptimConfig
from duologue.train.parallel import World

TOKENIZER = Tokenizer(Path(presets.__file__).parent / "assets" / "tiny" / "tokenizer.model")
FRAMES = 50


def conversation(seed: int) -> dict:
    rng = np.random.default_rng(seed)
    codes = np.zeros((2, 8, FRAMES), np.int16)
    codes[1, :, 5:15] = rng.integers(1, 32, (8, 10))
    codes[0, :, 20:40] = rng.integers(1, 32, (8, 20))
    words = [[" hello", [0.4, 1.2], "SPEAKER_USER"], [" yes", [1.68, 2.0], "SPEAKER_MAIN"]]
    return {"key": f"talk-{seed}", "codes.npy": codes, "json": {"alignments": words}}


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    write_shards(folder, [conversation(n) for n in range(6)], per_shard=4)
    return folder


def batches(shards: Path, **changes) -> LMBatches:
    config = LMBatchConfig(batch=3, frames=40, **changes)
    return LMBatches(ShardReader(shards, seed=1), TOKENIZER, config)


def test_the_agent_is_ahead_by_what_it_takes_to_be_heard() -> None:
    sample = conversation(0)
    rows_KT, user_text_T = conversation_rows(sample, TOKENIZER, user_text_delay=2)
    assert rows_KT.shape == (17, FRAMES - AS_HEARD)
    assert (rows_KT[1:9, 19] == sample["codes.npy"][0, :, 20]).all()
    assert (rows_KT[9:, 5] == sample["codes.npy"][1, :, 5]).all()
    yes = TOKENIZER.encode("yes")
    assert rows_KT[0, 19 : 21 + len(yes)].tolist() == [0, *yes, 3]  # 1.68 s is frame 21 as heard, 20 as said
    assert user_text_T[17 : 17 + len(TOKENIZER.encode("hello"))].tolist() == TOKENIZER.encode("hello")


def test_what_nobody_wrote_down_is_not_learnt_as_silence() -> None:
    sample = conversation(0)
    agent_alone = [word for word in sample["json"]["alignments"] if word[2] == "SPEAKER_MAIN"]
    sample["json"] = {"alignments": agent_alone}
    rows_KT, user_text_T = conversation_rows(sample, TOKENIZER)
    assert (rows_KT[0] >= 0).all() and (user_text_T == -1).all()
    sample["json"] = {"audio_only": True}
    rows_KT, user_text_T = conversation_rows(sample, TOKENIZER)
    assert (rows_KT[0] == -1).all() and (user_text_T == -1).all() and (rows_KT[1:] >= 0).all()
    batch = {key: torch.from_numpy(value)[None] for key, value in whole_piece(sample).items()}
    trained = stage(LMLossConfig(heard=1.0), valid=[batch])
    assert {name: float(weight) > 0 for name, (_, weight) in trained.terms(batch).items()} == {
        "text": False, "heard": False, "audio": True,
    }  # fmt: skip
    with torch.no_grad():
        assert trained.evaluate().keys() == {"audio_loss"}


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


def test_beside_a_users_speech_alone_the_agent_has_no_text_to_learn() -> None:
    sample = conversation(0)
    sample["json"]["alignments"] = [[" hello", [0.4, 1.2], "SPEAKER_USER"]]
    assert (whole_piece(sample)["codes"][0] == 3).all()  # it says nothing
    sample["codes.npy"] = sample["codes.npy"].copy()
    sample["codes.npy"][0] = -1
    crop = whole_piece(sample)
    assert (crop["codes"][:9] == -1).all() and (crop["inputs"][0] == 3).all()
    assert (crop["codes"][9:] >= 0).all() and (crop["heard"] > 3).any()


def test_a_batch_without_the_agents_sound_has_no_loss_of_it(shards: Path) -> None:
    trained = reading_stage(silent_frames=0.5)
    batch = next(iter(batches(shards, from_start=1.0)))
    assert "audio" in trained.terms(batch)
    batch["codes"][:, 1:9] = -1
    terms = trained.terms(batch)
    assert "audio" not in terms and "heard" in terms


def whole_piece(sample: dict) -> dict[str, np.ndarray]:
    batches = LMBatches(None, TOKENIZER, LMBatchConfig(batch=1, frames=40, from_start=1.0))  # type: ignore
    return batches.crop(sample, np.random.default_rng(0))


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
        ({"agent_frame_dropout": 0.5}, slice(1, 9)),
        ({"agent_stream_dropout": 1.0}, slice(1, 9)),
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
    if drop.get("agent_stream_dropout") == 1:
        assert (batch["inputs"][:, 1:9] == -1).all()
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


def test_a_share_of_the_spoken_frames_is_trained(shards: Path) -> None:
    batch = next(iter(batches(shards)))
    silence = torch.full((8,), 99)  # nothing is silent
    whole, half = (
        stage(LMLossConfig(spoken_frames=share), silence=silence)._frames(batch["codes"][:, 1:9]).sum()
        for share in (1.0, 0.5)
    )
    assert 0.3 * whole < half < 0.7 * whole


def stage(config: LMLossConfig, **changes) -> LMStage:
    torch.manual_seed(0)
    lm = LM(replace(presets.tiny_lm(), extra_heads=1, extra_heads_dim=420))
    return LMStage(lm, config, OptimConfig(lr=5e-3), **changes)


def test_what_was_heard_is_known_below_the_top(shards: Path) -> None:
    trained = stage(LMLossConfig(text=0.0, audio=0.0, asr_intermediate=1.0))
    batch = next(iter(batches(shards)))
    layers = trained.module.temporal.layers
    early = round(EARLY * len(layers))
    assert 0 < early < len(layers)
    terms = trained.terms(batch)
    assert terms.keys() == {"asr_intermediate"}
    terms["asr_intermediate"][0].backward()
    learns = [any(p.grad is not None for p in layer.parameters()) for layer in layers]
    assert learns == [n < early for n in range(len(layers))]
    assert trained.module.extra_heads[0].weight.grad is not None


def test_learns_to_hear_and_to_speak(shards: Path) -> None:
    data = batches(shards)
    trained = stage(LMLossConfig(heard=1.0), valid=[next(iter(data))])
    results = [trained.train_step([next(iter(data))], step) for step in range(25)]
    for name in ("text", "audio", "heard"):
        assert results[-1][name] < 0.7 * results[0][name], name
    trained.module.eval()
    with torch.no_grad():
        found = trained.evaluate()
    assert found["text_loss"] < results[0]["text"]
    assert found.keys() == {"text_loss", "audio_loss", "heard_loss", "text_accuracy", "heard_accuracy"}


def test_who_learns_with_a_bias_of_pad_holds_its_tongue_less_without(shards: Path) -> None:
    batch = next(iter(batches(shards)))

    def odds(bias: float) -> float:
        """Of PAD, after some learning, as a logarithm, in the mean of all frames."""
        trained = stage(LMLossConfig(audio=0.0, pad_bias=bias))
        for step in range(60):
            trained.train_step([batch], step)
        with torch.no_grad():
            z_BTD, _ = trained.module.context(batch["inputs"])
            chances = trained.module.text_head(z_BTD).softmax(-1)[..., trained.module.config.pad_id]
        return float(torch.logit(chances).mean())

    assert 1 < odds(0.0) - odds(2.0) < 3


def test_listening_only_leaves_the_depth_transformer_alone(shards: Path) -> None:
    trained = stage(LMLossConfig(audio=0.0, heard=1.0))
    assert trained.module.depth is not None
    before = {name: value.clone() for name, value in trained.module.depth.state_dict().items()}
    result = trained.train_step([next(iter(batches(shards)))], 0)
    assert "audio" not in result
    assert all(torch.equal(value, before[name]) for name, value in trained.module.depth.state_dict().items())


def test_losses_are_those_of_the_paper(shards: Path) -> None:
    """The stage trains depth on chosen frames of the delayed codes; on all frames it must be the plain loss."""
    batch = next(iter(batches(shards, user_frame_dropout=0.0, codebook_dropout=0.0)))
    trained = stage(LMLossConfig(semantic=100.0))
    trained.module.eval()
    with torch.no_grad():
        terms = trained.terms(batch)
        out = trained.module(batch["codes"])
    target = batch["codes"][:, 1:9]
    assert out.audio_BQTV is not None and out.audio_mask_BQT is not None
    nll = torch.nn.functional.cross_entropy(
        out.audio_BQTV.permute(0, 3, 1, 2), target.clamp(min=0), reduction="none"
    )
    weight = out.audio_mask_BQT * torch.tensor([100.0] + [1.0] * 7)[:, None]
    torch.testing.assert_close(terms["audio"][0] / terms["audio"][1], (nll * weight).sum() / weight.sum())
    text = batch["codes"][:, 0]
    nll = torch.nn.functional.cross_entropy(out.text_BTV.transpose(1, 2), text.clamp(min=0), reduction="none")
    weight = (text >= 0) * torch.where((text == 0) | (text == 3), 0.5, 1.0)
    torch.testing.assert_close(terms["text"][0] / terms["text"][1], (nll * weight).sum() / weight.sum())


def test_silent_frames_can_be_left_out(shards: Path) -> None:
    batch = next(iter(batches(shards)))
    trained = stage(LMLossConfig(silent_frames=0.0), silence=torch.zeros(8, dtype=torch.int64))
    full = stage(LMLossConfig())
    with torch.no_grad():
        assert trained.terms(batch)["audio"][1] < 0.8 * full.terms(batch)["audio"][1]


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


def reading_stage(**losses) -> LMStage:
    config = replace(presets.tiny_lm(), second_text_stream=True, extra_heads=1, extra_heads_dim=420)
    torch.manual_seed(0)
    return LMStage(LM(config), LMLossConfig(heard=1.0, **losses), OptimConfig(lr=1e-3))


def test_the_users_words_are_in_the_text_row_of_a_model_that_reads_them(shards: Path) -> None:
    trained = reading_stage()
    batch = next(iter(batches(shards, from_start=1.0)))
    inputs_BKT, _ = trained._inputs(batch)
    entries = trained.module.config.text_card + 1
    spoken_BT = (batch["user_text"] >= 0) & (batch["user_text"] != 3)
    assert spoken_BT.any()
    assert torch.equal(inputs_BKT[:, 0] % entries, batch["inputs"][:, 0])
    assert torch.equal((inputs_BKT[:, 0] // entries - 1)[spoken_BT], batch["user_text"][spoken_BT])
    assert (inputs_BKT[:, 0][~spoken_BT] < entries).all()
    assert torch.equal(inputs_BKT[:, 1:], batch["inputs"][:, 1:])


def test_it_may_read_what_it_writes_down_itself(shards: Path) -> None:
    """In training alone, and where there is a user's sound to write down."""
    trained = reading_stage(own_user_text=1.0)
    batch = next(iter(batches(shards, from_start=1.0)))
    batch["heard"][1:] = -1  # the others hear nobody
    told_BKT = trained._with_user_text(batch["inputs"], batch["user_text"])
    own_BKT, _ = trained._inputs(batch)
    with torch.no_grad():
        own_BT = trained.module.write_down(trained.module.context(told_BKT)[0])
    assert torch.equal(own_BKT[0], trained._with_user_text(batch["inputs"], own_BT)[0])
    assert not torch.equal(own_BKT[0], told_BKT[0])
    assert torch.equal(own_BKT[1:], told_BKT[1:])
    trained.module.eval()
    inputs_BKT, heard_BT = trained._inputs(batch)
    assert torch.equal(inputs_BKT, told_BKT) and torch.equal(heard_BT, batch["heard"])


def test_a_word_that_it_wrote_down_early_is_not_asked_for_again(shards: Path, monkeypatch) -> None:
    target_BT = torch.tensor([[3, 3, 3, 3, 7, 8, 3, 9, -1, 3]])
    own_BT = torch.tensor([[3, 3, 7, 8, 3, 3, 3, 9, 9, 3]])
    found_BT = just_before(own_BT, target_BT)
    assert found_BT[0, 4:8].tolist() == [
        True,
        True,
        True,
        False,
    ]  # 9 came at its time; to write PAD again is right
    assert not found_BT[target_BT == -1].any()
    trained = reading_stage(own_user_text=1.0)
    batch = next(iter(batches(shards, from_start=1.0)))
    early_BT = torch.roll(batch["heard"], -1, 1)
    monkeypatch.setattr(trained.module, "write_down", lambda z_BTD: early_BT)
    _, heard_BT = trained._inputs(batch)
    assert ((batch["heard"] > 3).any() and (heard_BT <= 3).all()) and (heard_BT == 3).any()


def test_the_users_tokens_may_be_left_out(shards: Path) -> None:
    all_given, none = (next(iter(batches(shards, user_text_dropout=p))) for p in (0.0, 1.0))
    assert (none["user_text"] == -1).all() and (all_given["user_text"] >= 0).any()
    assert torch.equal(none["heard"], all_given["heard"])


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
