"""The frame decoder: streamed as offline, each slot alone, nothing of the future."""

import copy
from dataclasses import replace

import pytest
import torch

from duologue import presets
from duologue.codec import Codec
from duologue.config import FramesConfig
from duologue.errors import InputError
from duologue.weights.random import random_codec

CONFIG = replace(presets.tiny_codec(), frames=FramesConfig(24, 48, 3, 5, 240))


@pytest.fixture(scope="module")
def codec() -> Codec:
    codec = random_codec(CONFIG)
    for block in codec.decoder.blocks:  # pyright: ignore
        block.scale.scale.data.uniform_(0.5, 1.5, generator=torch.Generator().manual_seed(0))
    return codec


def codes(batch: int = 2, frames: int = 9) -> torch.Tensor:
    return torch.randint(0, 32, (batch, 8, frames), generator=torch.Generator().manual_seed(0))


def test_streamed_is_offline(codec: Codec) -> None:
    state = codec.init_state(2)
    offline = codec.decode(codes())
    streamed = [codec.decode_step(state, codes()[..., t : t + 1]) for t in range(9)]
    assert offline.shape == (2, 9 * 1920) and offline.std() > 0.05
    torch.testing.assert_close(torch.cat(streamed, -1), offline, rtol=0, atol=1e-3)


def test_a_slot_is_alone_and_waits_when_told_to(codec: Codec) -> None:
    both, alone = codec.init_state(2), codec.init_state(1)
    x = codes()
    codec.decode_step(both, x[..., :1])
    codec.decode_step(alone, x[:1, :, :1])
    codec.decode_step(both, x[..., 1:2], torch.tensor([False, True]))
    a = codec.decode_step(both, x[..., 2:3])[:1]
    torch.testing.assert_close(a, codec.decode_step(alone, x[:1, :, 2:3]), rtol=0, atol=1e-3)
    both.reset(torch.tensor([True, False]))
    fresh = codec.decode_step(codec.init_state(1), x[:1, :, 3:4])
    torch.testing.assert_close(codec.decode_step(both, x[..., 3:4])[:1], fresh, rtol=0, atol=1e-3)


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("batch", [1, 3, 20])
def test_weights_laid_ready_give_the_same(codec: Codec, batch: int, half: bool) -> None:
    """In a conversation the weights lie as its kernels read them; where gradients may be asked for, as they are."""
    decoder = copy.deepcopy(codec.decoder)
    decoder = decoder.half().float() if half else decoder
    z_TBD = torch.randn(6, batch, 2, 16, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        state = decoder.init_state(batch)
        ready = torch.cat([decoder.step(state, z_BTD) for z_BTD in z_TBD], 1)
    with torch.no_grad():
        state = decoder.init_state(batch)
    with torch.enable_grad():
        y_BSC = decoder.step(state, z_TBD[0])
        assert y_BSC.requires_grad
        plain = [y_BSC, *(decoder.step(state, z_BTD) for z_BTD in z_TBD[1:])]
    offline = decoder(z_TBD.transpose(0, 1).flatten(1, 2).mT)[:, 0]
    torch.testing.assert_close(ready, torch.cat(plain, 1), rtol=0, atol=1e-3)
    torch.testing.assert_close(ready[..., 0], offline, rtol=0, atol=1e-3)


def test_bit_for_bit_whatever_the_neighbours_say(codec: Codec) -> None:
    """After a pause and a reset too, beside neighbours that go on."""
    first, nobody = torch.tensor([True, False, False]), torch.zeros(3, dtype=torch.bool)
    a, b, x = codec.init_state(3), codec.init_state(3), codes(3)
    other = torch.cat([x[:1], (x[1:] + 5) % 32])
    codec.decode_step(b, other[..., :1])
    b.reset(first)
    for t in range(9):
        codec.decode_step(b, other[..., t : t + 1], ~first)
        codec.decode_step(b, other[..., t : t + 1], nobody)
        one, two = codec.decode_step(a, x[..., t : t + 1]), codec.decode_step(b, other[..., t : t + 1], first)
        assert torch.equal(one[0], two[0])
        assert not torch.equal(one[1], two[1])
    assert all(torch.equal(p[0], q[0]) for p, q in zip(a.decode.tensors(), b.decode.tensors(), strict=True))


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


@pytest.mark.parametrize("taps", [0, 14, 33])
def test_filters_of_an_odd_size_are_refused(taps: int) -> None:
    with pytest.raises(InputError, match=f"an even number from 16 to 65536, not {taps}"):
        FramesConfig(taps=taps)


def test_a_stretch_that_does_not_fit_is_refused() -> None:
    with pytest.raises(InputError, match="960 samples are no multiple of 250"):
        replace(CONFIG, frames=FramesConfig(samples=250))
