from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from duologue.config import TransformerConfig
from duologue.nn.attention import SelfAttention
from duologue.nn.mlp import gated_hidden
from duologue.nn.norm import make_norm
from duologue.nn.rope import rotate, turns
from duologue.nn.transformer import Transformer
from tests.nn.streaming import Layer, check_all, check_pauses

BASE = TransformerConfig(16, 4, 2, 32, context=7, norm="rms_norm_f32", gated=True)
CUTS = {
    "1": [1] * 40,
    "2": [2] * 20,
    "3": [3] * 13 + [1],
    "mixed": [3, 1, 1, 2, 3, 3, 2, 1, 1, 1, 3, 3, 3, 3, 3, 3, 2, 2],
}
KINDS = {
    "rope": BASE,
    "rope_concat": replace(BASE, positions="rope_concat", max_period=2e4),
    "none": replace(BASE, positions="none"),
    "grouped keys": replace(BASE, kv_repeat=2),
    "one key head": replace(BASE, kv_repeat=4),
    "layer scale, GELU": replace(BASE, gated=False, norm="layer_norm", layer_scale=0.5),
    "cross-attention": replace(BASE, cross_attention=True, layer_scale=0.5),
    "context of 1": replace(BASE, context=1),
    "longer than the context": replace(BASE, context=60),
    "biases": replace(BASE, gated=False, norm="layer_norm", bias=True),
}
BLOCKS = {"4": [4] * 10, "8": [8] * 5, "mixed": [4, 12, 8, 4, 12]}


def seeded(make: Callable[[], nn.Module]):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        module = make()
        with torch.no_grad():
            for parameter in module.parameters():  # so that every weight matters
                parameter.add_(torch.randn_like(parameter), alpha=0.2)
    return module


def gaussian(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("cuts", CUTS)
@pytest.mark.parametrize("context", [1, 5, 39, 80])
def test_context(context: int, cuts: str) -> None:
    steps = CUTS[cuts]
    transformer = seeded(lambda: Transformer(replace(BASE, context=context, layers=1)))
    state = partial(transformer.init_state, max_step=max(steps))
    check_all(Layer(transformer, state, transformer.step, gaussian(4, sum(steps), 16), steps, 1))


def test_attention_sees_itself_and_the_context_before_it() -> None:
    """Against a softmax written out, one query at a time."""
    attention = seeded(lambda: SelfAttention(8, 2, 5))
    x_BTD = gaussian(1, 12, 8)
    with torch.no_grad():
        q, k, v = attention._qkv(x_BTD, attention.turns(torch.arange(12)[None]))
        out = attention(x_BTD)
        for t in range(12):
            first = max(0, t - 4)
            scores = (q[..., t : t + 1, :] @ k[..., first : t + 1, :].transpose(-1, -2)) / 2
            heads = (scores.softmax(-1) @ v[..., first : t + 1, :]).transpose(1, 2).flatten(-2)
            assert_close(attention.out_proj(heads)[:, 0], out[:, t])


@pytest.mark.parametrize("cuts", ["1", "mixed"])
@pytest.mark.parametrize("kind", KINDS)
def test_transformer(kind: str, cuts: str) -> None:
    steps, config = CUTS[cuts], KINDS[kind]
    transformer = seeded(lambda: Transformer(config))
    condition = transformer.keys_values(gaussian(4, 6, 16)) if config.cross_attention else None
    layer = Layer(
        lambda x: transformer(x, condition),
        partial(transformer.init_state, max_step=max(steps)),
        lambda state, x, exec_B: transformer.step(state, x, exec_B, condition),
        gaussian(4, sum(steps), 16),
        steps,
        1,
    )
    check_all(layer)


@pytest.mark.parametrize("cuts", BLOCKS)
@pytest.mark.parametrize("context", [4, 7, 60])
def test_blocks_streamed(context: int, cuts: str) -> None:
    steps, config = BLOCKS[cuts], replace(BASE, context=context, positions="none", block=4, bias=True)
    transformer = seeded(lambda: Transformer(config))
    state = partial(transformer.init_state, max_step=max(steps))
    check_all(Layer(transformer, state, transformer.step, gaussian(4, sum(steps), 16), steps, 1))


@pytest.mark.parametrize("context", [4, 6, 20])
def test_a_position_sees_its_block_and_the_context_before_the_blocks_last(context: int) -> None:
    """Which outputs change when one input does."""
    attention = seeded(lambda: SelfAttention(8, 2, context, None, block=4, bias=True))
    x_BTD = gaussian(1, 16, 8)
    with torch.no_grad():
        before = attention(x_BTD)
        for t in range(16):
            changed = x_BTD.clone()
            changed[0, t] += 1
            seen_T = (attention(changed) != before).any(-1)[0].tolist()
            last = [4 * (i // 4) + 3 for i in range(16)]
            assert seen_T == [last[i] - context < t <= last[i] for i in range(16)]


def test_a_step_is_of_whole_blocks() -> None:
    transformer = seeded(lambda: Transformer(replace(BASE, block=4)))
    with pytest.raises(ValueError, match="6 positions is no multiple of a block of 4"):
        transformer.step(transformer.init_state(1, 8), gaussian(1, 6, 16))


@pytest.mark.parametrize("step", [1, 2])
def test_slots_pause_on_their_own(step: int) -> None:
    transformer = seeded(lambda: Transformer(BASE))
    state = partial(transformer.init_state, max_step=step)
    check_pauses(Layer(transformer, state, transformer.step, gaussian(4, 40, 16), [step] * (40 // step), 1))


def test_streaming_needs_a_context() -> None:
    with pytest.raises(ValueError, match="bounded context"):
        Transformer(replace(BASE, context=None)).init_state(1)


def test_recomputing_activations_changes_nothing() -> None:
    transformer = seeded(lambda: Transformer(BASE)).train()
    gradients = []
    for transformer.checkpointing in (False, True):
        x_BTD = gaussian(2, 9, 16).requires_grad_()
        transformer(x_BTD).square().sum().backward()
        gradients.append(x_BTD.grad)
    assert torch.equal(*gradients)


@pytest.mark.parametrize("interleaved", [True, False])
def test_rotary_scores_depend_on_the_distance_alone(interleaved: bool) -> None:
    q, k = gaussian(1, 1, 6, 8).split([3, 3], 2)

    def scores(shift: int) -> Tensor:
        position_BT = torch.tensor([[0, 5, 11]]) + shift
        rotation = turns(position_BT, 8, 100.0, interleaved)
        return rotate(q, rotation, interleaved) @ rotate(k, rotation, interleaved).transpose(-1, -2)

    assert_close(scores(0), scores(40), atol=1e-5, rtol=0)
    assert (scores(0) - q @ k.transpose(-1, -2)).abs().max() > 0.1
    assert_close(rotate(q, turns(torch.zeros(1, 3), 8, 100.0, interleaved), interleaved), q)


def test_the_two_rotary_layouts_are_one_rotation() -> None:
    x = gaussian(1, 2, 5, 8)
    position_BT = torch.arange(5)[None] * 3
    order = [0, 4, 1, 5, 2, 6, 3, 7]
    halves = rotate(x, turns(position_BT, 8, 50.0, False), False)
    assert_close(halves[..., order], rotate(x[..., order], turns(position_BT, 8, 50.0)))


@pytest.mark.parametrize(
    ("dim", "feedforward", "hidden"),
    [(4096, 16896, 11264), (1024, 4224, 2816), (512, 2048, 1344), (2048, 12288, 8192)],
)
def test_gated_width(dim: int, feedforward: int, hidden: int) -> None:
    """Helium, the depth transformer, ff = 4 * dim, Hibiki-Zero."""
    assert gated_hidden(dim, feedforward) == hidden


@pytest.mark.parametrize(
    ("kind", "eps"),
    [("layer_norm", 1e-5), ("layer_norm_f32", 1e-8), ("rms_norm", 1e-5), ("rms_norm_f32", 1e-8)],
)
def test_norms(kind: str, eps: float) -> None:
    """On an input so small that the floor counts."""
    norm = seeded(lambda: make_norm(kind, 6))
    x = 1e-3 * gaussian(3, 6).double()
    centred = x - x.mean(-1, keepdim=True) if kind.startswith("layer") else x
    expected = centred / (eps + centred.square().mean(-1, keepdim=True)).sqrt() * norm.weight
    expected = expected + norm.bias if kind.startswith("layer") else expected
    assert_close(norm(x.float()).double(), expected.double(), atol=1e-4, rtol=1e-4)


def test_a_norm_in_half_precision_is_computed_in_full() -> None:
    x = gaussian(64, 33).bfloat16()
    norm = make_norm("rms_norm_f32", 33)
    assert torch.equal(norm.bfloat16()(x), norm.float()(x.float()).bfloat16())
