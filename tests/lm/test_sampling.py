"""The choice of tokens: its distribution, and that nothing but the conversation decides it."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from duologue.errors import InputError
from duologue.lm.sampling import Sampling, SlotSampling, hashed_uniform, mix

CPU = torch.device("cpu")
V = 12
LOGITS = torch.randn(V, generator=torch.Generator().manual_seed(4))
DRAWS = 4000
PAD = 3


def draw(settings: Sampling, logits_V: Tensor = LOGITS, *, text: bool = False, stream: int = 0) -> Tensor:
    """Tokens of `DRAWS` steps of one conversation."""
    step_B = torch.arange(DRAWS)
    slots = SlotSampling.of([settings], CPU)
    for name in ("temperature_B", "top_k_B", "text_temperature_B", "text_top_k_B", "pad_bias_B", "seed_B"):
        setattr(slots, name, getattr(slots, name).expand(DRAWS))
    logits_BV = logits_V.expand(DRAWS, -1)
    return (
        slots.choose_text(logits_BV, step_B, PAD) if text else slots.choose_audio(logits_BV, step_B, stream)
    )


def chi_square(tokens: Tensor, probabilities_V: Tensor) -> float:
    """Pearson's statistic over the entries that can be drawn."""
    counts = torch.bincount(tokens, minlength=len(probabilities_V)).double()
    possible = probabilities_V > 0
    assert counts[~possible].sum() == 0
    expected = probabilities_V.double()[possible] * len(tokens)
    return float(((counts[possible] - expected) ** 2 / expected).sum())


def top(k: int, logits_V: Tensor) -> Tensor:
    return torch.where(logits_V >= logits_V.topk(k).values[-1], logits_V, -torch.inf)


# The 99.9 % point of chi-square with 11 degrees of freedom is 31.3, with fewer it is less.
@pytest.mark.parametrize("seed", [0, 1, -5, 2**40 + 7])
@pytest.mark.parametrize(("temperature", "k"), [(1.0, 0), (0.8, 250), (0.5, 5), (2.0, V), (0.8, 2)])
def test_distribution(temperature: float, k: int, seed: int) -> None:
    expected_V = (top(min(k or V, V), LOGITS) / temperature).softmax(-1)
    audio = Sampling(temperature, k, seed=seed)
    assert chi_square(draw(audio), expected_V) < 31.3
    assert chi_square(draw(audio, stream=7), expected_V) < 31.3
    text = Sampling(text_temperature=temperature, text_top_k=k, seed=seed)
    assert chi_square(draw(text, text=True), expected_V) < 31.3


def test_the_distribution_of_many_seeds_at_one_step() -> None:
    slots = SlotSampling.of([Sampling(1.0, 0, seed=seed) for seed in range(DRAWS)], CPU)
    tokens = slots.choose_audio(LOGITS.expand(DRAWS, -1), torch.full((DRAWS,), 17), 2)
    assert chi_square(tokens, LOGITS.softmax(-1)) < 31.3


def test_a_wide_vocabulary_is_drawn_in_proportion() -> None:
    """Rare tokens of a large vocabulary too: a third of the mass lies on 3000 tokens of 1e-4 each."""
    logits_V = torch.cat([torch.zeros(3000), torch.tensor([6000.0]).log()])
    tokens = draw(Sampling(1.0, 0), logits_V)
    assert abs((tokens == 3000).float().mean() - 2 / 3) < 0.03
    assert len(tokens[tokens < 3000].unique()) > 950


def test_greedy() -> None:
    assert (draw(Sampling.greedy()) == LOGITS.argmax()).all()
    assert (draw(Sampling.greedy(), text=True) == LOGITS.argmax()).all()
    assert (draw(Sampling(top_k=1)) == LOGITS.argmax()).all()
    only_audio = Sampling(temperature=0.0, text_temperature=1.0, text_top_k=0)
    assert (draw(only_audio) == LOGITS.argmax()).all()
    assert len(draw(only_audio, text=True).unique()) > 5


def test_pad_bias() -> None:
    """It moves the odds of PAD by exp(bias / temperature), of nothing else, and does not touch the audio."""
    biased_V = LOGITS.clone()
    biased_V[PAD] += 1.5
    settings = Sampling(0.9, 0, 0.9, 0, pad_bias=1.5)
    assert chi_square(draw(settings, text=True), (biased_V / 0.9).softmax(-1)) < 31.3
    assert chi_square(draw(settings), (LOGITS / 0.9).softmax(-1)) < 31.3
    assert (draw(Sampling.greedy(pad_bias=100), text=True) == PAD).all()
    kept = LOGITS.clone()
    draw(Sampling.greedy(pad_bias=100), kept, text=True)
    assert torch.equal(kept, LOGITS), "the caller's logits"


def mixed() -> list[Sampling]:
    return [
        Sampling(seed=1),
        Sampling.greedy(),
        Sampling(1.2, 3, 0.4, 2, seed=9),
        Sampling(0.7, 0, 0.0, 25, pad_bias=1.0, seed=2**60),
    ]


def test_a_slot_draws_the_same_in_any_company() -> None:
    settings, step_B = mixed(), torch.tensor([0, 5, 77, 40_000])
    logits_BV = torch.randn(4, 300, generator=torch.Generator().manual_seed(0))
    together = SlotSampling.of(settings, CPU)
    for stream in range(8):
        tokens_B = together.choose_audio(logits_BV, step_B, stream)
        text_B = together.choose_text(logits_BV, step_B, PAD)
        for b in range(4):
            alone = SlotSampling.of(settings[b : b + 1], CPU)
            assert alone.choose_audio(logits_BV[b : b + 1], step_B[b : b + 1], stream) == tokens_B[b]
            assert alone.choose_text(logits_BV[b : b + 1], step_B[b : b + 1], PAD) == text_B[b]


def test_settings_can_be_changed_and_outlive_a_reset() -> None:
    slots, step_B = SlotSampling.of([Sampling()] * 4, CPU), torch.tensor([0, 5, 77, 40_000])
    logits_BV = torch.randn(4, 300, generator=torch.Generator().manual_seed(0))
    for slot, settings in enumerate(mixed()):
        slots.set(slot, settings)
    slots.reset(torch.ones(4, dtype=torch.bool))
    slots.reset()
    expected = SlotSampling.of(mixed(), CPU)
    assert torch.equal(slots.choose_audio(logits_BV, step_B, 1), expected.choose_audio(logits_BV, step_B, 1))
    assert torch.equal(
        slots.choose_text(logits_BV, step_B, PAD), expected.choose_text(logits_BV, step_B, PAD)
    )


@pytest.mark.parametrize("change", [{"seed": 1}, {"stream": 1}, {"step": 1}])
def test_seed_step_and_stream_each_change_the_noise(change: dict[str, int]) -> None:
    token = torch.arange(DRAWS)

    def noise(seed: int = 0, step: int = 0, stream: int = 0) -> Tensor:
        return hashed_uniform(torch.tensor(seed), torch.tensor(step), stream, token)

    a, b = noise(), noise(**change)
    assert abs(torch.corrcoef(torch.stack([a, b]))[0, 1]) < 0.06
    assert (a == b).float().mean() < 0.01


def test_the_noise_is_uniform_and_uncorrelated() -> None:
    step, token = torch.arange(300)[:, None], torch.arange(300)[None]
    u = hashed_uniform(torch.tensor(3), step, 4, token).double()
    assert abs(u.mean() - 0.5) < 0.003
    assert abs(u.var() - 1 / 12) < 0.002
    counts = torch.bincount((u.flatten() * 50).long(), minlength=50).double()
    expected = u.numel() / 50
    assert ((counts - expected) ** 2 / expected).sum() < 86  # 99.9 % point for 49 degrees of freedom
    for a, b in ((u[1:], u[:-1]), (u[:, 1:], u[:, :-1]), (u[10:], u[:-10])):
        assert abs(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1]) < 0.012


def test_the_noise_is_the_one_it_was() -> None:
    """Conversations that were recorded replay: these numbers may never change."""
    u = hashed_uniform(
        torch.tensor([0, 1, -1, 2**40]), torch.tensor([0, 1, 2, 45_000]), 3, torch.tensor([0, 1, 31_999, 5])
    )
    assert (u.double() * 2**32).round().tolist() == NOISE


NOISE = [1736833408, 3561587968, 3472974592, 2448315648]


@given(st.integers(0, 2**32 - 1))
def test_mixing_is_the_published_function(x: int) -> None:
    """Against Python's own integers, which do not overflow."""
    y = x ^ x >> 16
    y = y * 0x7FEB352D % 2**32
    y ^= y >> 15
    y = y * 0x846CA68B % 2**32
    assert mix(torch.tensor(x)).item() == y ^ y >> 16


@given(st.integers(-(2**63), 2**63 - 1), st.integers(0, 2**31), st.integers(0, 64), st.integers(0, 2**20))
def test_the_noise_is_strictly_between_0_and_1(seed: int, step: int, stream: int, token: int) -> None:
    u = hashed_uniform(torch.tensor(seed), torch.tensor(step), stream, torch.tensor(token))
    assert u.dtype == torch.float32
    assert 0 < u < 1


def test_the_ends_of_the_noise_are_finite(monkeypatch: pytest.MonkeyPatch) -> None:
    for extreme in (0, 2**32 - 1):
        monkeypatch.setattr("duologue.lm.sampling.mix", lambda x, to=extreme: torch.full_like(x, to))
        u = hashed_uniform(torch.tensor(0), torch.tensor(0), 0, torch.arange(2))
        assert (-(-u.log()).log()).isfinite().all()


@pytest.mark.parametrize(
    "wrong", [{"temperature": -0.1}, {"text_temperature": float("nan")}, {"top_k": -1}, {"text_top_k": -3},
              {"pad_bias": float("inf")}, {"seed": 2**63}, {"seed": -(2**63) - 1}],
)  # fmt: skip
def test_settings_that_make_no_sense(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        replace(Sampling(), **wrong)
