import pytest
import torch
from torch.testing import assert_close

from duologue.config_conditions import ConditionerConfig, ConditioningConfig
from duologue.errors import InputError
from duologue.lm import LM, Sampling
from duologue.lm.condition import Conditioning, bin_of
from duologue.lm.embedding import TokenEmbedding
from duologue.lm.step import init_state, step
from duologue.nn.rope import sinusoids
from tests import golden

TABLE = ConditionerConfig("mood", "lut", 3, 4, ("sad", "glad"))
ANY = ConditionerConfig("name", "lut", 3, 10)
VOICE = ConditionerConfig("voice", "tensor", 5)
CONFIG = ConditioningConfig((TABLE, ANY, VOICE), ("mood", "name"), ("voice", "mood"), 0.5)


def conditioning(config: ConditioningConfig = CONFIG) -> Conditioning:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Conditioning(config, 8)


@torch.no_grad()
def test_what_conditions_add_up_to() -> None:
    module, voice = conditioning(), torch.arange(10.0).view(2, 5)
    parts = module.conditioners
    out = module({"mood": "glad", "voice": voice})
    mood = parts["mood"].projection(parts["mood"].table.weight[1])
    assert_close(out.summed_B1D[0, 0], mood + parts["name"].missing)
    expected = torch.cat([parts["voice"].projection(voice), mood[None]])
    assert_close(out.crossed_BSD[0], expected + 0.5 * sinusoids(torch.arange(3)[None], 8)[0])


@torch.no_grad()
def test_vectors_that_are_masked_count_as_missing() -> None:
    module, voice = conditioning(), torch.ones(2, 4, 5)
    mask = torch.tensor([[True, True, False, False], [True] * 4])
    full, part = module({"voice": voice}).crossed_BSD, module({"voice": (voice, mask)}).crossed_BSD
    assert torch.equal(part[1], full[1])
    assert torch.equal(part[0, :2], full[0, :2])
    assert_close(
        part[0, 2] - 0.5 * sinusoids(torch.arange(3)[None], 8)[0, 2], module.conditioners["voice"].missing
    )


def test_any_text_falls_into_a_bin() -> None:
    assert {bin_of(ANY, f"text {i}") for i in range(200)} == set(range(10))
    assert bin_of(ANY, "the same") == bin_of(ANY, "the same")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"loudness": "high"}, "unknown condition 'loudness'.* mood, name, voice"),
        ({"mood": "angry"}, "one of sad, glad; got 'angry'"),
        ({"mood": torch.ones(2, 3)}, "takes a text"),
        ({"voice": torch.ones(2, 4)}, "vectors of 5 values"),
        ({"voice": "mine"}, "vectors of 5 values"),
    ],
)
def test_conditions_that_make_no_sense(values: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        conditioning()(values)


def test_a_model_that_attends_to_a_condition_must_have_one() -> None:
    lm: LM = golden.lm("lm_cond")
    with pytest.raises(ValueError, match="attends to a condition"):
        init_state(lm, [Sampling()])


@torch.no_grad()
def test_one_condition_holds_for_all_slots_and_outlives_a_reset() -> None:
    lm: LM = golden.lm("lm_cond")
    voice = torch.randn(4, 12, generator=torch.Generator().manual_seed(0))
    conditions = lm.conditioning({"speaker_wavs": voice, "cfg": "2.0", "control": "ok"})
    untold = lm.conditioning({"speaker_wavs": -voice})
    heard_BQ = torch.zeros(2, 0, dtype=torch.int64)
    state = init_state(lm, [Sampling.greedy()] * 2, conditions)
    first = step(lm, state, heard_BQ).hidden_BD
    assert_close(first[0], first[1])
    state.reset()
    assert torch.equal(step(lm, state, heard_BQ).hidden_BD, first)
    other = step(lm, init_state(lm, [Sampling.greedy()] * 2, untold), heard_BQ).hidden_BD
    assert (first - other).abs().max() > 1e-3


@torch.no_grad()
def test_two_tokens_in_one_id() -> None:
    table = TokenEmbedding(10, 4, two_streams=True)
    first, ahead = table.first(table.weight[7]), table.second(table.weight[2])
    out = table(torch.tensor([7, 3 * 10 + 7, -1]))
    assert_close(out, torch.stack([first, first + ahead, torch.zeros(4)]))


@torch.no_grad()
def test_low_rank_tokens() -> None:
    table = TokenEmbedding(10, 6, low_rank=2)
    assert table.weight.shape == (10, 2)
    expected = torch.stack([table.projection(table.weight[7]), torch.zeros(6)])
    assert_close(table(torch.tensor([7, -1])), expected)
