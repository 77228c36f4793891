"""A causal transformer that gives the same outputs offline (`forward`) and streamed (`step`)."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from duologue.config import TransformerConfig
from duologue.nn.attention import CrossAttention, SelfAttention, first_weight
from duologue.nn.kv_cache import CacheRows, KeysValues, KVCache, Place, Ring
from duologue.nn.mlp import MLP, GatedMLP
from duologue.nn.norm import add_scaled, make_norm, make_scale
from duologue.nn.rope import Rotation, sinusoids
from duologue.nn.stack import Stack
from duologue.nn.state import State


@dataclass
class TransformerState(State):
    ring: Ring
    caches: list[KVCache] | list[CacheRows]  # one a layer

    def reset(self, mask_B: Tensor | None = None) -> None:
        for cache in self.caches:
            assert isinstance(cache, KVCache)
            cache.forget(mask_B, self.ring.used)
        self.ring.reset(mask_B)


class Layer(nn.Module):
    """Pre-norm block: self-attention, attention to a condition (if configured), feed-forward."""

    def __init__(self, config: TransformerConfig):
        super().__init__()
        dim = config.dim
        self.norm1 = make_norm(config.norm, dim)
        self.attention = SelfAttention(
            dim,
            config.heads,
            config.context,
            config.max_period if config.rotary else None,
            config.positions != "rope_concat",
            config.kv_repeat,
            config.bias,
            config.block,
        )
        if config.cross_attention:
            self.norm_cross = nn.LayerNorm(dim, eps=1e-5)
            self.cross_attention = CrossAttention(dim, config.heads)
            self.scale_cross = make_scale(dim, config.layer_scale)
        self.norm2 = make_norm(config.norm, dim)
        self.mlp = (
            GatedMLP(dim, config.feedforward) if config.gated else MLP(dim, config.feedforward, config.bias)
        )
        self.scale1, self.scale2 = make_scale(dim, config.layer_scale), make_scale(dim, config.layer_scale)

    def _after_attention(self, x_BTD: Tensor, update_BTD: Tensor, condition: KeysValues | None) -> Tensor:
        x_BTD = add_scaled(x_BTD, self.scale1, update_BTD)
        if condition is not None:
            x_BTD = x_BTD + self.scale_cross(self.cross_attention(self.norm_cross(x_BTD), condition))
        return add_scaled(x_BTD, self.scale2, self.mlp(self.norm2(x_BTD)))

    def forward(self, x_BTD: Tensor, condition: KeysValues | None = None) -> Tensor:
        return self._after_attention(x_BTD, self.attention(self.norm1(x_BTD)), condition)

    def step(
        self,
        cache: KVCache | CacheRows,
        x_BTD: Tensor,
        place: Place,
        rotation: Rotation | None,
        condition: KeysValues | None = None,
    ) -> Tensor:
        update_BTD = self.attention.step(cache, self.norm1(x_BTD), place, rotation)
        return self._after_attention(x_BTD, update_BTD, condition)


class Transformer(nn.Module):
    """A stack of layers; each frame attends to itself and to the `context - 1` frames before it.

    `condition` is, for a model with cross-attention, the keys and values of each layer (`keys_values`).
    """

    def __init__(self, config: TransformerConfig):
        super().__init__()
        self.context, self.block = config.context, config.block
        self.added_period = config.max_period if config.positions == "sin" else None
        self.layers = Stack(Layer(config) for _ in range(config.layers))
        self.checkpointing = (
            False  # recompute activations in the backward pass: less memory, a third more compute
        )

    def keys_values(self, source_BSD: Tensor) -> list[KeysValues]:
        """Keys and values of a conditioning sequence, for every layer."""
        return [layer.cross_attention.keys_values(source_BSD) for layer in self.layers]

    def _placed(self, x_BTD: Tensor, position_BT: Tensor) -> Tensor:
        """The input plus sinusoidal positions, if the model uses them."""
        if self.added_period is None:
            return x_BTD
        return x_BTD + sinusoids(position_BT, x_BTD.shape[-1], self.added_period).to(x_BTD.dtype)

    def forward(self, x_BTD: Tensor, condition: list[KeysValues] | None = None) -> Tensor:
        x_BTD = self._placed(x_BTD, torch.arange(x_BTD.shape[1], device=x_BTD.device)[None])
        for i, layer in enumerate(self.layers):
            args = (x_BTD,) if condition is None else (x_BTD, condition[i])
            if self.checkpointing and self.training:
                x_BTD = checkpoint(layer, *args, use_reentrant=False)
            else:
                x_BTD = layer(*args)
        return x_BTD

    def init_state(self, batch: int, max_step: int = 1) -> TransformerState:
        """State for steps of up to `max_step` frames."""
        context = self.context
        if context is None:
            raise ValueError("streaming needs a bounded context")
        capacity = context + max_step - 1
        like = first_weight(self)
        seen_B = torch.zeros(batch, dtype=torch.int64, device=like.device)
        caches = [layer.attention.init_cache(batch, capacity, like) for layer in self.layers]
        return TransformerState(Ring(seen_B, capacity, context, self.block), caches)

    def step(
        self,
        state: TransformerState,
        x_BTD: Tensor,
        exec_B: Tensor | None = None,
        condition: list[KeysValues] | None = None,
    ) -> Tensor:
        """The next positions `[B, T, D]`; T is a multiple of `config.block`."""
        if x_BTD.shape[1] % self.block:
            raise ValueError(
                f"a step of {x_BTD.shape[1]} positions is no multiple of a block of {self.block}"
            )
        place = state.ring.advance(x_BTD.shape[1], exec_B, x_BTD.dtype)
        x_BTD = self._placed(x_BTD, place.position_BT)
        rotation = self.layers[0].attention.step_rotation(place.position_BT)
        for i, layer in enumerate(self.layers):
            told = None if condition is None else condition[i]
            x_BTD = layer.step(state.caches[i], x_BTD, place, rotation, told)
        return x_BTD
