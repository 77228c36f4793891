"""The voice by source and filter in MLX, against torch's."""

import pytest
import torch

pytest.importorskip("mlx.core")

import mlx.core as mx

from duologue.codec.voice import SourceFilter
from duologue.mlx import voice as mirrored
from tests.mlx.mirror import back, filled, of, same_bits


@pytest.fixture(scope="module")
def twin() -> SourceFilter:
    torch.manual_seed(0)
    twin = SourceFilter(12, 240, 256, 24_000)
    twin.linear.weight.data.mul_(5)
    twin.linear.bias.data[1:] = -2
    return twin.eval()


@pytest.fixture(scope="module")
def voice(twin: SourceFilter) -> mirrored.SourceFilter:
    voice = filled(mirrored.SourceFilter(12, 240, 256, 24_000), twin)
    assert isinstance(voice, mirrored.SourceFilter)
    return voice


def told(stretches: int = 320) -> torch.Tensor:
    return torch.randn(2, stretches, 12, generator=torch.Generator().manual_seed(1))


def check_close(wav_BS: torch.Tensor, expected_BS: torch.Tensor) -> None:
    """To -60 dB; of single samples rounding decides whether a harmonic is still below half the sample rate."""
    assert (wav_BS - expected_BS).std() < 1e-3 * expected_BS.std()


@torch.no_grad()
def test_offline_it_equals_torch(twin: SourceFilter, voice: mirrored.SourceFilter) -> None:
    """For longer than the noise lasts."""
    expected = twin(told())
    assert expected.std() > 0.05, "nothing to compare"
    check_close(back(voice(of(told()))), expected)


@torch.no_grad()
def test_streamed_it_equals_torch_offline(twin: SourceFilter, voice: mirrored.SourceFilter) -> None:
    state, wavs = voice.init_state(2), []
    for part_BTD in told().split(8, 1):
        wavs.append(voice.step(state, of(part_BTD)))
        mx.eval(wavs[-1], state.arrays())
    check_close(back(mx.concatenate(wavs, 1)), twin(told()))


def test_a_slot_waits_and_starts_anew(voice: mirrored.SourceFilter) -> None:
    x_BTD, first = of(told(40)), mx.array([True, False])
    alone, state = voice.init_state(2), voice.init_state(2)
    voice.step(state, x_BTD[:, :8])
    state.reset(first)
    for t in range(8, 40, 8):
        voice.step(state, x_BTD[:, t - 8 : t], mx.array([False, True]))
        wav_BS = voice.step(state, x_BTD[:, t : t + 8], first)
        assert same_bits(wav_BS[0], voice.step(alone, x_BTD[:, t : t + 8])[0])
    assert all(same_bits(a[:1], b[:1]) for a, b in zip(state.arrays(), alone.arrays(), strict=True))


def test_extreme_controls_give_finite_sound(voice: mirrored.SourceFilter) -> None:
    loud_BTD = 1e9 * of(told(16))
    assert mx.isfinite(voice(loud_BTD)).all().item()
