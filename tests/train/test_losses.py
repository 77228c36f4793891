"""Codec losses: what each is zero for, what makes it grow, and how the balancer weighs them."""

import math

import pytest
import torch

from duologue.codec.discriminator import Discriminator, DiscriminatorConfig
from duologue.errors import InputError
from duologue.train import losses
from duologue.train.losses import (
    BalancerConfig,
    CodecLossConfig,
    MultiScaleMel,
    balance,
    cosine_distance,
    ctc_greedy,
    ctc_loss,
    feature_loss,
    init_balancer,
    mel_filterbank,
)

DISCRIMINATOR = DiscriminatorConfig(n_ffts=(128,), filters=2)


def tone(hz: float, batch: int = 1, samples: int = 6000) -> torch.Tensor:
    return 0.3 * torch.sin(2 * torch.pi * hz * torch.arange(samples) / 24_000).expand(batch, -1)


# Balancer


def pulls(wav: torch.Tensor, scale_a: float, scale_b: float) -> dict[str, torch.Tensor]:
    """Two losses whose gradients are at right angles: "a" on the first half of the samples, "b" on the second."""
    half = wav.shape[1] // 2
    return {"a": scale_a * wav[:, :half].sum(), "b": scale_b * wav[:, half:].square().sum()}


def test_balancer_gives_each_loss_its_share_whatever_its_scale():
    weights, wav = {"a": 3.0, "b": 1.0}, torch.ones(4, 10, requires_grad=True)
    gradient, norms = balance(BalancerConfig(), init_balancer(weights), weights, pulls(wav, 1e-3, 50.0), wav)
    assert norms["a"] == pytest.approx(1e-3 * math.sqrt(5))
    assert norms["b"] == pytest.approx(100 * math.sqrt(5))
    assert torch.allclose(gradient[:, :5].norm(dim=1), torch.tensor(0.75))
    assert torch.allclose(gradient[:, 5:].norm(dim=1), torch.tensor(0.25))
    assert wav.grad is None


def test_balancer_remembers_norms():
    weights, wav = {"a": 1.0}, torch.ones(2, 4, requires_grad=True)
    config, state = BalancerConfig(total_norm=2.0, ema=0.9), init_balancer(weights)
    for scale in (1.0, 10.0):
        gradient, _ = balance(config, state, weights, {"a": scale * wav.sum()}, wav)
    remembered = (0.9 * 1 + 10) / 1.9 * 2  # in units of sqrt(4), the norm of a gradient of ones
    assert gradient.norm(dim=1)[0].item() == pytest.approx(2.0 * 20 / remembered)


def test_balancer_shares_among_the_losses_present():
    weights, wav = {"a": 1.0, "late": 9.0}, torch.ones(2, 4, requires_grad=True)
    state = init_balancer(weights)
    gradient, _ = balance(BalancerConfig(), state, weights, {"a": wav.sum()}, wav)
    assert torch.allclose(gradient.norm(dim=1), torch.ones(2))
    assert state["late"].tolist() == [0, 0]


def test_balancer_forgets_a_norm_that_is_no_number():
    weights, wav = {"a": 1.0}, torch.ones(1, 4, requires_grad=True)
    state = init_balancer(weights)
    _, norms = balance(BalancerConfig(), state, weights, {"a": (wav * math.nan).sum()}, wav)
    assert math.isnan(norms["a"])
    gradient, _ = balance(BalancerConfig(), state, weights, {"a": wav.sum()}, wav)
    assert torch.isfinite(gradient).all()


def test_balancer_names_the_loss_without_a_weight():
    wav = torch.ones(1, 4, requires_grad=True)
    with pytest.raises(InputError, match="'mel'"):
        balance(BalancerConfig(), init_balancer({"a": 1}), {"a": 1}, {"mel": wav.sum()}, wav)


def test_balancer_gives_the_discriminator_no_gradient():
    torch.manual_seed(0)
    discriminator, wav = Discriminator(DISCRIMINATOR), 0.1 * torch.randn(2, 1000)
    wav_hat = (wav + 0.1 * torch.randn(2, 1000)).requires_grad_()
    config = CodecLossConfig()
    found = losses.adversarial_losses(config, discriminator, wav_hat, wav)
    balance(BalancerConfig(), init_balancer(config.weights()), config.weights(), found, wav_hat)
    assert set(found) == {"adversarial", "feature"}
    assert all(p.grad is None for p in discriminator.parameters())


# Adversarial


def test_hinge_is_zero_beyond_the_margin_and_spares_the_codec():
    class Sure(torch.nn.Module):
        def forward(self, wav_BS: torch.Tensor):
            from duologue.codec.discriminator import Judgement

            return Judgement([margin * wav_BS.mean(1)[:, None, None, None]], [])

    wav, wav_hat = torch.ones(2, 8), -torch.ones(2, 8, requires_grad=True)
    margin = 1.5
    assert losses.discriminator_loss(Sure(), wav_hat, wav) == 0  # pyright: ignore[reportArgumentType]
    margin = -1.0
    loss = losses.discriminator_loss(Sure(), wav_hat, wav)  # pyright: ignore[reportArgumentType]
    assert loss == 4
    assert not loss.requires_grad


def test_feature_loss_is_relative():
    torch.manual_seed(0)
    real, fake = [[torch.randn(2, 3, 4, 5)]], [[torch.randn(2, 3, 4, 5)]]
    loss = feature_loss(fake, real)
    assert feature_loss(real, real) == 0
    assert torch.allclose(feature_loss([[10 * fake[0][0]]], [[10 * real[0][0]]]), loss)
    assert feature_loss([[10 * fake[0][0]]], real) > 2 * loss


def test_a_loss_of_weight_zero_is_not_computed():
    config = losses.CodecLossConfig(waveform=0.0, mel=0.0)
    wav = tone(440)
    assert losses.reconstruction_losses(config, MultiScaleMel(), wav, -wav) == {}
    assert set(config.weights()) == {"adversarial", "feature"}


# Mel


@pytest.fixture(scope="module")
def mel() -> MultiScaleMel:
    return MultiScaleMel()


def test_mel_is_zero_for_the_same_and_grows_with_the_distance(mel: MultiScaleMel):
    here = tone(440)
    distances = [mel(tone(hz), here).item() for hz in (440, 450, 520, 900)]
    assert distances[0] == 0
    assert distances == sorted(distances)
    assert len(set(distances)) == 4


def test_mel_has_a_gradient_for_silence_and_leads_to_the_target(mel: MultiScaleMel):
    wav_hat = torch.zeros(1, 6000, requires_grad=True)
    (gradient,) = torch.autograd.grad(mel(wav_hat, tone(440)), [wav_hat])
    assert torch.isfinite(gradient).all()
    target = tone(440, samples=2048)
    wav_hat = (0.1 * torch.randn(1, 2048, generator=torch.Generator().manual_seed(0))).requires_grad_()
    optimizer = torch.optim.Adam([wav_hat], 0.01)
    before = mel(wav_hat, target).item()
    for _ in range(20):
        optimizer.zero_grad()
        mel(wav_hat, target).backward()
        optimizer.step()
    assert mel(wav_hat, target).item() < 0.7 * before


def test_mel_refuses_a_segment_shorter_than_its_window(mel: MultiScaleMel):
    with pytest.raises(InputError, match="too short"):
        mel(torch.zeros(1, 1024), torch.zeros(1, 1024))


def test_mel_filters_follow_slaneys_scale():
    filters_FM = mel_filterbank(8000, 80, 16_000)  # bins 2 Hz apart
    assert filters_FM.shape == (4001, 80)
    assert torch.allclose(filters_FM.sum(0) * 2, torch.ones(80), atol=0.01)
    # Equal steps below 1 kHz, equal ratios above: 15 mels reach 1 kHz, 27 more multiply it by 6.4.
    peaks_hz = 2.0 * filters_FM.argmax(0)
    step = (15 + 27 * math.log(8) / math.log(6.4)) / 81
    assert abs(peaks_hz[9] - 10 * step * 1000 / 15) <= 1
    assert abs(peaks_hz[69] - 1000 * 6.4 ** ((70 * step - 15) / 27)) <= 1


# Meaning


def test_cosine_distance_sees_direction_only_and_only_where_asked():
    torch.manual_seed(0)
    teacher = torch.randn(2, 3, 8)
    assert cosine_distance(5 * teacher, teacher).abs() < 1e-6
    assert cosine_distance(-teacher, teacher) == pytest.approx(2.0)
    guess = teacher.clone()
    guess[0, 0] *= -1
    mask = torch.ones(2, 3, dtype=torch.bool)
    assert cosine_distance(guess, teacher, mask) == pytest.approx(2 / 6, abs=1e-6)
    mask[0, 0] = False
    assert cosine_distance(guess, teacher, mask).abs() < 1e-6


def test_ctc_reads_back_a_sure_path():
    path = torch.tensor([[0, 3, 3, 0, 3, 5, 0, 0], [2, 2, 0, 4, 0, 0, 7, 7]])
    logits = 20.0 * torch.nn.functional.one_hot(path, 8).float()
    frames, lengths = torch.tensor([8, 6]), torch.tensor([3, 2])
    tokens = torch.tensor([[3, 3, 5], [2, 4, 0]])
    assert ctc_greedy(logits, frames) == [[3, 3, 5], [2, 4]]
    assert ctc_loss(logits, tokens, frames, lengths) < 1e-3
    assert ctc_loss(logits, tokens.flip(0), frames, lengths.flip(0)) > 5


def test_ctc_skips_a_text_that_cannot_fit_and_takes_an_empty_one():
    logits = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0), requires_grad=True)
    tokens, frames = torch.tensor([[1, 1, 1], [0, 0, 0]]), torch.tensor([3, 3])
    loss = ctc_loss(logits, tokens, frames, torch.tensor([3, 0]))
    expected = -logits[1].log_softmax(-1)[:, 0].sum() / 2  # blanks alone; the other row counts 0
    assert torch.allclose(loss, expected)
    loss.backward()
    assert torch.isfinite(logits.grad).all()  # pyright: ignore[reportArgumentType]
