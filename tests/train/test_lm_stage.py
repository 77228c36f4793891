"""The language model's stage on made-up conversations, with the tiny model."""

from dataclasses import replace
from pathlib import Path

import torch

from duologue import presets
from duologue.lm import LM
from duologue.lm.model import NO_INPUT
from duologue.train.lm import EARLY, LMLossConfig, LMStage, after_missed, just_before
from duologue.train.lm_batches import conversation_rows
from duologue.train.lm_plans import hear_own
from duologue.train.optim import OptimConfig
from duologue.weights.random import random_lm
from tests.train.conversations import TOKENIZER, batches, conversation, whole_piece


def test_a_batch_without_the_agents_sound_has_no_loss_of_it(shards: Path) -> None:
    trained = reading_stage(silent_frames=0.5)
    batch = next(iter(batches(shards, from_start=1.0)))
    assert "audio" in trained.terms(batch)
    batch["codes"][:, 1:9] = -1
    terms = trained.terms(batch)
    assert "audio" not in terms and "heard" in terms


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
    trained = stage(LMLossConfig(codebooks=(100.0, 1.0)))
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


def test_a_model_hears_as_many_of_its_own_codebooks_as_it_is_told() -> None:
    lm = random_lm(presets.tiny_lm())
    codes_BKT = torch.randint(0, 32, (1, 17, 12), generator=torch.Generator().manual_seed(0))

    def context(*changed: int) -> torch.Tensor:
        other_BKT = codes_BKT.clone()
        other_BKT[:, list(changed)] = (other_BKT[:, list(changed)] + 1) % 32
        return lm.context(other_BKT)[0]

    assert not torch.allclose(context(), context(2))
    hear_own(lm, 1)
    assert torch.equal(context(), context(2, 8))
    assert all(not torch.allclose(context(), context(stream)) for stream in (0, 1, 9, 12))
    hidden_BKT = codes_BKT.clone()
    hidden_BKT[:, 2:9] = NO_INPUT  # as its batches hide them
    torch.testing.assert_close(lm.context(hidden_BKT)[0], context())


def test_the_first_codebook_is_read_as_the_model_would_have_chosen_it(shards: Path) -> None:
    trained = reading_stage(own_voice=1.0)
    batch = next(iter(batches(shards, own_codebooks=1, from_start=1.0)))
    torch.manual_seed(1)
    plain_BKT, own_BKT = (
        trained._with_user_text(batch["inputs"], batch["user_text"]),
        trained._inputs(batch)[0],
    )
    changed = plain_BKT != own_BKT
    assert changed[:, 1].any() and not changed[:, [0, *range(2, 17)]].any()
    assert not changed[:, 1][plain_BKT[:, 1] < 0].any()
    tokens_BKT = torch.cat([plain_BKT[:, :1], batch["codes"][:, 1:]], 1)
    with torch.no_grad():
        logits_BQTV = trained.module.depth(
            trained.module.context(plain_BKT)[0], trained.module.delayed(tokens_BKT)
        )
    assert (logits_BQTV[:, 0].argmax(-1) == own_BKT[:, 1])[changed[:, 1]].all()
    trained.module.eval()
    assert torch.equal(trained._inputs(batch)[0], plain_BKT)


def test_of_most_frames_the_first_codebook_is_trained_alone(shards: Path) -> None:
    torch.manual_seed(0)
    batch = next(iter(batches(shards)))
    whole, few = stage(LMLossConfig()), stage(LMLossConfig(acoustic_frames=0.25))
    (all_loss, all_weight), (loss, weight) = whole.terms(batch)["audio"], few.terms(batch)["audio"]
    known_BQT = whole.module.delayed(batch["codes"])[:, 1:9] >= 0  # not all eight in a row's first frames
    frames, first = int(known_BQT.any(1).sum()), int(known_BQT[:, 0].sum())
    assert first <= weight <= first + 7 * (0.25 * frames + 1) < all_weight and loss < all_loss
    loss.backward()
    assert few.module.depth.heads[7].weight.grad.abs().sum() > 0
    few.module.eval()
    torch.testing.assert_close(few.terms(batch)["audio"], (all_loss, all_weight))
    z_BTD, delayed_BKT = whole.module.context(batch["codes"])
    depth = whole.module.depth
    torch.testing.assert_close(depth(z_BTD, delayed_BKT, 2), depth(z_BTD, delayed_BKT)[:, :2])


def test_silent_frames_can_be_left_out(shards: Path) -> None:
    batch = next(iter(batches(shards)))
    known_BT = (batch["codes"][:, 1:9] >= 0).any(1)
    full, half, none = (
        stage(LMLossConfig(silent_frames=share))._frames(batch["codes"][:, 1:9], batch["speaks"])
        for share in (1.0, 0.5, 0.0)
    )
    assert torch.equal(full, known_BT) and torch.equal(none, known_BT & batch["speaks"])
    silent = int((known_BT & ~batch["speaks"]).sum())
    assert 0 < none.sum() < full.sum() and 0.2 * silent < half.sum() - none.sum() < 0.8 * silent


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


def test_what_follows_a_missed_token_is_no_target(shards: Path, monkeypatch) -> None:
    trained = reading_stage(own_user_text=1.0)
    batch = next(iter(batches(shards, from_start=1.0)))
    deaf_BT = torch.full_like(batch["heard"], 3)
    monkeypatch.setattr(trained.module, "write_down", lambda z_BTD: deaf_BT)
    _, heard_BT = trained._inputs(batch)
    assert heard_BT is not None
    words_BT = batch["heard"] > 3
    first_BT = words_BT.clone()
    first_BT[:, 1:] &= ~words_BT[:, :-1] | (batch["heard"][:, 1:] == batch["heard"][:, :-1])
    assert torch.equal(heard_BT > 3, first_BT) and (words_BT & ~first_BT).any()
    assert (heard_BT[words_BT & ~first_BT] == -1).all()


def test_a_word_whose_beginning_it_missed_is_not_asked_for() -> None:
    target_BT = torch.tensor([[3, 7, 8, 9, 3, 5, 5, 6, -1, 7]])
    own_BT = torch.tensor([[3, 3, 8, 3, 3, 3, 3, 6, 3, 3]])
    # 8 after a missed 7; not 9 after 8, nor the second 5, which is the first one still due; 6 after a missed 5.
    found_BT = after_missed(own_BT, target_BT, 3)
    assert found_BT[0].nonzero().flatten().tolist() == [2, 7]


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
