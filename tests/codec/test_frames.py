"""The decoder by frames: streamed as offline, each slot alone, nothing of the future."""

from dataclasses import replace

import pytest
import torch

from duologue import presets
from duologue.codec import Codec
from duologue.config import FramesConfig
from duologue.errors import InputError

CONFIG = replace(presets.tiny_codec(), frames=FramesConfig(24, 48, 3, 5, 240))


@pytest.fixture(scope="module")
def codec() -> Codec:
    codec = presets.random_codec(CONFIG)
    for block in codec.decoder.blocks:  # pyright: ignore
        block.scale.scale.data.fill_(1.0)
    return codec


def codes(batch: int = 2, frames: int = 9) -> torch.Tensor:
    return torch.randint(0, 32, (batch, 8, frames), generator=torch.Generator().manual_seed(0))


def test_streamed_is_offline(codec: Codec) -> None:
    state = codec.init_state(2)
    offline = codec.decode(codes())
    streamed = [codec.decode_step(state, codes()[..., t : t + 1]) for t in range(9)]
    assert offline.shape == (2, 9 * 1920) and offline.std() > 1e-3
    torch.testing.assert_close(torch.cat(streamed, -1), offline, rtol=1e-4, atol=1e-5)


def test_a_slot_is_alone_and_waits_when_told_to(codec: Codec) -> None:
    both, alone = codec.init_state(2), codec.init_state(1)
    x = codes()
    codec.decode_step(both, x[..., :1])
    codec.decode_step(alone, x[:1, :, :1])
    codec.decode_step(both, x[..., 1:2], torch.tensor([False, True]))
    a = codec.decode_step(both, x[..., 2:3])[:1]
    torch.testing.assert_close(a, codec.decode_step(alone, x[:1, :, 2:3]), rtol=1e-4, atol=1e-6)
    both.reset(torch.tensor([True, False]))
    fresh = codec.decode_step(codec.init_state(1), x[:1, :, 3:4])
    torch.testing.assert_close(codec.decode_step(both, x[..., 3:4])[:1], fresh, rtol=1e-4, atol=1e-6)


def test_nothing_of_the_future_is_heard(codec: Codec) -> None:
    x = codes()
    changed = x.clone()
    changed[..., 5:] = (changed[..., 5:] + 7) % 32
    before, after = codec.decode(x), codec.decode(changed)
    assert torch.equal(before[:, : 5 * 1920], after[:, : 5 * 1920])
    assert not torch.equal(before[:, 5 * 1920 : 6 * 1920], after[:, 5 * 1920 : 6 * 1920])


def test_every_weight_matters(codec: Codec) -> None:
    trained = Codec(CONFIG)
    trained.to_wave(torch.randn(1, 16, 4)).square().sum().backward()
    for name, weight in trained.decoder.named_parameters():
        assert weight.grad is not None and weight.grad.abs().sum() > 0, name


def test_a_stretch_that_does_not_fit_is_refused() -> None:
    with pytest.raises(InputError, match="960 samples are no multiple of 250"):
        replace(CONFIG, frames=FramesConfig(samples=250))
