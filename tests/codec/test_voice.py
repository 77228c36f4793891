"""The voice by source and filter: what is asked for is heard, streamed as offline, and nothing before its time."""

import math

import pytest
import torch
from torch import Tensor

from duologue.codec.voice import MIDDLE, SourceFilter

RATE, HOP, TAPS, DIM = 24_000, 240, 256, 12
BINS = TAPS // 2 + 1
NOTHING = -100.0


def asked(
    pulses: float | Tensor = NOTHING, noise: float | Tensor = NOTHING, hertz: float = MIDDLE
) -> SourceFilter:
    """A voice that does this whatever it is told: gains as natural logarithms, one or `[F]`."""
    voice = SourceFilter(DIM, HOP, TAPS, RATE)
    voice.linear.weight.data.zero_()
    voice.linear.bias.data[0] = math.log2(hertz / MIDDLE)
    voice.linear.bias.data[1 : 1 + BINS] = pulses
    voice.linear.bias.data[1 + BINS :] = noise
    return voice.eval()


@torch.no_grad()
def heard(voice: SourceFilter, stretches: int = 150) -> Tensor:
    """A second `[S]`, half a second after the beginning."""
    return voice(torch.zeros(1, stretches, DIM))[0, -RATE:]


def lively(gain: float = -2.0) -> SourceFilter:
    """One that moves with what it is told, about as loud as speech."""
    torch.manual_seed(0)
    voice = SourceFilter(DIM, HOP, TAPS, RATE)
    voice.linear.weight.data.mul_(5)
    voice.linear.bias.data[1:] = gain
    return voice.eval()


def told(batch: int = 2, stretches: int = 32) -> Tensor:
    return torch.randn(batch, stretches, DIM, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("size", [1, 8])
@torch.no_grad()
def test_streamed_is_offline(size: int) -> None:
    voice, x_BTD = lively(), told()
    offline, state = voice(x_BTD), voice.init_state(2)
    streamed = torch.cat([voice.step(state, part_BTD) for part_BTD in x_BTD.split(size, 1)], 1)
    assert offline.shape == (2, 32 * HOP) and 0.05 < offline.std() < 0.5
    torch.testing.assert_close(streamed, offline, rtol=0, atol=1e-3)


@torch.no_grad()
def test_a_slot_is_alone_waits_and_starts_anew() -> None:
    voice, x_BTD = lively(), told(2, 40)
    first, alone = torch.tensor([True, False]), voice.init_state(2)
    state = voice.init_state(2)
    voice.step(state, x_BTD[:, :8])
    state.reset(first)
    for t in range(8, 40, 8):
        voice.step(state, x_BTD[:, t - 8 : t], ~first)
        wav_BS = voice.step(state, x_BTD[:, t : t + 8], first)
        assert torch.equal(wav_BS[0], voice.step(alone, x_BTD[:, t : t + 8])[0])
    assert all(torch.equal(a[0], b[0]) for a, b in zip(state.tensors(), alone.tensors(), strict=True))
    assert not torch.equal(state.past_BPS[1], alone.past_BPS[1])


@pytest.mark.parametrize("hertz", [61, 127, 310])
def test_all_energy_is_at_multiples_of_the_pitch(hertz: int) -> None:
    power_F = torch.fft.rfft(heard(asked(pulses=0.0, hertz=hertz))).abs().square()
    lines = power_F[hertz::hertz]
    assert lines.sum() / power_F.sum() > 0.999
    assert lines.max() < 1.05 * lines.min() and len(lines) == RATE // 2 // hertz


@pytest.mark.parametrize("hertz", [61, 127, 310])
def test_sources_have_unit_power(hertz: int) -> None:
    assert heard(asked(pulses=0.0, hertz=hertz)).square().mean() == pytest.approx(1, abs=0.01)
    assert heard(asked(noise=0.0, hertz=hertz)).square().mean() == pytest.approx(1, abs=0.03)


def test_noise_is_white() -> None:
    noise = asked().noise
    power = torch.fft.rfft(noise).abs().square()[1:].unflatten(0, (16, -1)).mean(1) / len(noise)
    assert noise.mean().abs() < 0.01 and (power - 1).abs().max() < 0.1
    assert torch.equal(noise, lively().noise)


def test_gains_scale_what_is_heard() -> None:
    hertz, gains_F = 127, -1 - 2 * torch.sin(torch.arange(BINS) / (BINS - 1) * math.pi) ** 2
    flat, shaped = (torch.fft.rfft(heard(asked(pulses=g, hertz=hertz))).abs() for g in (0.0, gains_F))
    at_N = torch.arange(hertz, RATE // 2, hertz)
    expected_N = -1 - 2 * torch.sin(at_N / (RATE / 2) * math.pi) ** 2
    torch.testing.assert_close((shaped[at_N] / flat[at_N]).log(), expected_N, rtol=0, atol=0.02)
    loud, soft = heard(asked(noise=0.0)), heard(asked(noise=math.log(0.25)))
    torch.testing.assert_close(soft, 0.25 * loud, rtol=0, atol=1e-5)


@torch.no_grad()
def test_filters_are_of_minimum_phase() -> None:
    gains_BTPF = -3 * torch.rand(1, 1, 2, 9, generator=torch.Generator().manual_seed(0))
    gains_BTPF = torch.nn.functional.interpolate(gains_BTPF[0], BINS, mode="linear", align_corners=True)[None]
    voice = asked()
    spectra = torch.view_as_complex(voice._filters(gains_BTPF))
    impulse_PS = torch.fft.irfft(spectra, voice.size)[0, 0]
    assert impulse_PS[:, : TAPS // 8].square().sum() / impulse_PS.square().sum() > 0.99
    assert impulse_PS[:, TAPS // 2 :].abs().max() < 1e-3 < impulse_PS[:, 0].abs().min()


@torch.no_grad()
def test_nothing_is_heard_before_its_time() -> None:
    voice = asked(pulses=NOTHING)
    voice.linear.weight.data[1:, 0] = -NOTHING
    x_BTD = torch.zeros(1, 12, DIM)
    x_BTD[:, 6:, 0] = 1
    wav_BS = voice(x_BTD)
    assert wav_BS[:, : 6 * HOP].abs().max() < 1e-6
    assert wav_BS[:, 6 * HOP : 7 * HOP].abs().max() > 0.1


def test_low_gains_are_silence() -> None:
    assert heard(asked(pulses=-30.0, noise=-30.0)).abs().max() < 1e-6


@torch.no_grad()
def test_extreme_controls_give_finite_sound() -> None:
    voice = asked()
    for scale in (1e2, 1e5, 1e9):
        voice.linear.weight.data.normal_(std=scale, generator=torch.Generator().manual_seed(0))
        assert voice(told()).isfinite().all()


def test_gradients_reach_all_gains_and_no_pitch() -> None:
    voice = lively()
    voice(told()).square().sum().backward()
    gradient_D = voice.linear.weight.grad
    assert gradient_D is not None and gradient_D.isfinite().all()
    assert (gradient_D[1:].abs().sum(1) > 0).all()
    assert not gradient_D[0].any(), "the pitch is learned from the original's, not through the phase"


@torch.no_grad()
def test_a_given_pitch_is_spoken() -> None:
    voice = asked(pulses=0.0, hertz=127)
    pitch_BT = torch.full((1, 150), math.log2(310 / MIDDLE))
    given = voice(torch.zeros(1, 150, DIM), pitch_BT)[0, -RATE:]
    torch.testing.assert_close(given, heard(asked(pulses=0.0, hertz=310)), rtol=0, atol=1e-2)
