"""The discriminator: its shapes, and that it can learn to tell two sounds apart."""

import numpy as np
import pytest
import torch

from duologue.codec.discriminator import Discriminator, DiscriminatorConfig, StftDiscriminator
from duologue.errors import InputError
from duologue.train.losses import discriminator_loss

SMALL = DiscriminatorConfig(n_ffts=(256, 128), filters=4)


def tones(batch: int, samples: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    hz = 200 + 2000 * torch.rand(batch, 1, generator=generator)
    return 0.3 * torch.sin(2 * torch.pi * hz * torch.arange(samples) / 24_000)


def noise(batch: int, samples: int, seed: int) -> torch.Tensor:
    return 0.2 * torch.randn(batch, samples, generator=torch.Generator().manual_seed(seed))


def test_one_judgement_per_window_and_a_map_per_layer():
    torch.manual_seed(0)
    judged = Discriminator(SMALL)(noise(3, 2048, 0))
    assert len(judged.logits) == len(judged.features) == 2
    frames = [1 + (2048 - n) // (n // 4) for n in SMALL.n_ffts]
    assert [tuple(x.shape[:3]) for x in judged.logits] == [(3, 1, t) for t in frames]
    # Three of the five layers halve the frequencies; none shortens time.
    assert [x.shape[3] for x in judged.features[0]] == [129, 65, 33, 17, 17]
    assert {x.shape[2] for x in judged.features[0]} == {frames[0]}
    assert {x.shape[1] for x in judged.features[0]} == {4}


def test_spectrogram_is_of_the_tone_and_of_unit_energy():
    scale = StftDiscriminator(256, 2, (1,))
    spec_BCTF = scale.spectrogram(torch.cos(2 * torch.pi * 3000 * torch.arange(4096) / 24_000)[None])
    power_F = spec_BCTF.square().sum(1).mean(1)[0]
    assert power_F.argmax() == 3000 * 256 // 24_000
    white_F = scale.spectrogram(noise(8, 24_000, 1)).square().sum(1).mean((0, 1))
    assert white_F[2:-2].mean() == pytest.approx(0.2**2, rel=0.05)


def test_mels_are_of_what_is_heard_whatever_its_phase():
    """A loud tone in its band, nothing elsewhere, and the same for the tone of another phase."""
    scale = StftDiscriminator(1024, 2, (1,), mels=40)
    seconds_S = torch.arange(24_000) / 24_000
    found = [
        scale.spectrogram(0.5 * torch.sin(2 * torch.pi * 1500 * seconds_S + phase)[None])
        for phase in (0.0, 1.0)
    ]
    assert found[0].shape[:2] == (1, 1) and found[0].shape[3] <= 40
    torch.testing.assert_close(found[0], found[1], atol=5e-2, rtol=0)
    level_F = found[0].mean((0, 1, 2))
    assert level_F.max() - level_F.median() > 1
    assert level_F.median() == pytest.approx(np.log(1e-3) / 4 + 1, abs=0.05)  # the floor


def test_a_discriminator_of_mels_has_one_input_and_a_map_per_layer():
    torch.manual_seed(0)
    judged = Discriminator(DiscriminatorConfig((256, 128), 4, (1, 2), mels=24))(noise(2, 2048, 0))
    assert [len(layers) for layers in judged.features] == [4, 4]
    assert all(logits.requires_grad for logits in judged.logits)


def test_learns_to_tell_noise_from_tones_in_thirty_steps():
    torch.manual_seed(0)
    discriminator = Discriminator(SMALL)
    optimizer = torch.optim.AdamW(discriminator.parameters(), lr=3e-3, betas=(0.5, 0.9))
    for step in range(30):
        optimizer.zero_grad()
        discriminator_loss(discriminator, noise(8, 1024, step), tones(8, 1024, step)).backward()
        optimizer.step()
    with torch.no_grad():
        for real, fake in zip(
            discriminator(tones(8, 1024, 99)).logits, discriminator(noise(8, 1024, 99)).logits, strict=True
        ):
            assert real.mean((1, 2, 3)).min() > fake.mean((1, 2, 3)).max() + 0.5


@pytest.mark.parametrize(
    ("shape", "says"), [((1, 255), "at least 256"), ((1, 1, 512), r"\[batch, samples\]")]
)
def test_refuses_what_it_cannot_judge(shape: tuple[int, ...], says: str):
    with pytest.raises(InputError, match=says):
        Discriminator(SMALL)(torch.zeros(shape))
