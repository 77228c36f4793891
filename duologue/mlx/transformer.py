"""A causal transformer that gives the same outputs offline and streamed (`nn/transformer.py`)."""

from dataclasses import dataclass

import mlx.core as mx
import mlx.nn as nn

from duologue.config import TransformerConfig
from duologue.mlx.attention import CrossAttention, KVCache, SelfAttention
from duologue.mlx.layers import MLP, GatedMLP, make_norm, make_scale, sinusoids
from duologue.mlx.state import State

KeysValues = tuple[mx.array, mx.array]


@dataclass
class TransformerState(State):
    caches: list[KVCache]  # one a layer


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

    def _after_attention(
        self, x_BTD: mx.array, update_BTD: mx.array, condition: KeysValues | None
    ) -> mx.array:
        x_BTD = x_BTD + self.scale1(update_BTD)
        if condition is not None:
            x_BTD = x_BTD + self.scale_cross(self.cross_attention(self.norm_cross(x_BTD), condition))
        return x_BTD + self.scale2(self.mlp(self.norm2(x_BTD)))

    def __call__(self, x_BTD: mx.array, condition: KeysValues | None = None) -> mx.array:
        return self._after_attention(x_BTD, self.attention(self.norm1(x_BTD)), condition)

    def step(
        self,
        cache: KVCache,
        x_BTD: mx.array,
        exec_B: mx.array | None,
        condition: KeysValues | None = None,
    ) -> mx.array:
        return self._after_attention(x_BTD, self.attention.step(cache, self.norm1(x_BTD), exec_B), condition)


class Transformer(nn.Module):
    """A stack of layers; each frame attends to itself and to the `context - 1` frames before it."""

    def __init__(self, config: TransformerConfig):
        super().__init__()
        self.block = config.block
        self.layers = [Layer(config) for _ in range(config.layers)]
        self.added_period = config.max_period if config.positions == "sin" else None

    def keys_values(self, source_BSD: mx.array) -> list[KeysValues]:
        """Keys and values of a conditioning sequence, for every layer."""
        return [layer.cross_attention.keys_values(source_BSD) for layer in self.layers]

    def _placed(self, x_BTD: mx.array, position_BT: mx.array) -> mx.array:
        """The input plus sinusoidal positions, if the model uses them."""
        if self.added_period is None:
            return x_BTD
        return x_BTD + sinusoids(position_BT, x_BTD.shape[-1], self.added_period).astype(x_BTD.dtype)

    def __call__(self, x_BTD: mx.array, condition: list[KeysValues] | None = None) -> mx.array:
        x_BTD = self._placed(x_BTD, mx.arange(x_BTD.shape[1])[None])
        for i, layer in enumerate(self.layers):
            x_BTD = layer(x_BTD, None if condition is None else condition[i])
        return x_BTD

    def init_state(self, batch: int, max_step: int = 1, dtype: mx.Dtype = mx.float32) -> TransformerState:
        """State for steps of up to `max_step` positions."""
        return TransformerState([layer.attention.init_state(batch, max_step, dtype) for layer in self.layers])

    def step(
        self,
        state: TransformerState,
        x_BTD: mx.array,
        exec_B: mx.array | None = None,
        condition: list[KeysValues] | None = None,
    ) -> mx.array:
        """The next positions `[B, T, D]`; T is a multiple of `config.block`."""
        if x_BTD.shape[1] % self.block:
            raise ValueError(
                f"a step of {x_BTD.shape[1]} positions is no multiple of a block of {self.block}"
            )
        x_BTD = self._placed(x_BTD, state.caches[0].positions(x_BTD.shape[1]))
        for i, layer in enumerate(self.layers):
            x_BTD = layer.step(state.caches[i], x_BTD, exec_B, None if condition is None else condition[i])
        return x_BTD
