"""What every streaming layer promises, checked the same way for all of them."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.testing import assert_close

from duologue.nn.state import State


@dataclass
class Layer:
    """A layer as the checks see it: `forward(x)` whole, `step(state, x, exec_B)` in pieces along `axis`."""

    forward: Callable[[Tensor], Tensor]
    init_state: Callable[[int], State]
    step: Callable[..., Tensor]
    x: Tensor  # an input of 4 slots
    steps: list[int]  # how `x` is cut
    axis: int
    remembers: bool = True


def same_bits(a: Tensor, b: Tensor) -> bool:
    """Equality that also tells NaN from NaN."""
    return a.shape == b.shape and a.numpy(force=True).tobytes() == b.numpy(force=True).tobytes()


def run(layer: Layer, state: State, x: Tensor, exec_TB: Tensor | None = None) -> Tensor:
    """The outputs of all steps, put together."""
    out = []
    for t, part in enumerate(x.split(layer.steps, layer.axis)):
        out.append(layer.step(state, part, None if exec_TB is None else exec_TB[t]))
    return torch.cat(out, layer.axis)


def check_streamed_equals_offline(layer: Layer) -> None:
    offline, streamed = layer.forward(layer.x), run(layer, layer.init_state(len(layer.x)), layer.x)
    assert streamed.isfinite().all()
    assert streamed.std() > 1e-3, "nothing to compare"
    assert_close(streamed, offline, atol=2e-5, rtol=1e-4)


def check_mask_keeps_every_bit(layer: Layer) -> None:
    """What a resting slot hears leaves no trace, whatever it is, and the others do not notice that it rests."""
    exec_B = torch.tensor([True, False, True, False])
    state, twin = layer.init_state(4), layer.init_state(4)
    for part in layer.x.split(layer.steps, layer.axis):
        before = [t.clone() for t in state.tensors()]
        masked = layer.step(
            state, torch.where(exec_B.view(-1, *[1] * (part.dim() - 1)), part, torch.nan), exec_B
        )
        whole = layer.step(twin, part, None)
        for old, new, free in zip(before, state.tensors(), twin.tensors(), strict=True):
            assert same_bits(old[~exec_B], new[~exec_B])
            assert same_bits(new[exec_B], free[exec_B])
        assert same_bits(masked[exec_B], whole[exec_B])
    remembered = any(not torch.equal(t[0], t[1]) for t in state.tensors())
    assert remembered == layer.remembers


def check_reset_equals_fresh(layer: Layer) -> None:
    """A slot that heard NaN and was reset is as new, and the others have kept every bit."""
    state, fresh = layer.init_state(4), layer.init_state(4)
    x = layer.x.clone()
    x[1] = torch.nan
    run(layer, state, x)
    before = [t.clone() for t in state.tensors()]
    state.reset(torch.tensor([False, True, True, False]))
    for old, new, first in zip(before, state.tensors(), fresh.tensors(), strict=True):
        assert same_bits(new[1:3], first[1:3])
        assert same_bits(new[::3], old[::3])
    again, new = run(layer, state, layer.x), run(layer, fresh, layer.x)
    assert same_bits(again[1:3], new[1:3])
    state.reset()
    assert all(same_bits(a, b) for a, b in zip(state.tensors(), layer.init_state(4).tensors(), strict=True))
    assert same_bits(run(layer, state, layer.x), new)


def check_pauses(layer: Layer) -> None:
    """Slots that pause now and then say, when they do not, what they would have said without pausing."""
    pieces = layer.x.split(layer.steps, layer.axis)
    offline = layer.forward(layer.x)
    ends = offline.split(offline.shape[layer.axis] // len(pieces), layer.axis)  # all steps have one length
    state, done = layer.init_state(4), [0, 0, 0, 0]
    pattern = torch.Generator().manual_seed(0)
    while min(done) < len(pieces):
        exec_B = torch.rand(4, generator=pattern) < 0.6
        exec_B &= torch.tensor([d < len(pieces) for d in done])
        part = torch.stack([pieces[min(done[b], len(pieces) - 1)][b] for b in range(4)])
        out = layer.step(state, part, exec_B)
        for b in exec_B.nonzero()[:, 0].tolist():
            assert_close(out[b], ends[done[b]][b], atol=2e-5, rtol=1e-4)
            done[b] += 1


def check_all(layer: Layer) -> None:
    with torch.no_grad():
        check_streamed_equals_offline(layer)
        check_mask_keeps_every_bit(layer)
        check_reset_equals_fresh(layer)
