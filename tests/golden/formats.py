"""What `make_mlx.py` and `make_hf.py` share: small models of Moshi's shape, their weights, a greedy conversation."""

from collections.abc import Callable
from typing import Any

import numpy as np

STEPS = 200
LEAST_GAP = 2e-4
CARD, TEXT_CARD = 24, 40


def config(dim: int, hidden: int, spoken: int, schedule: list[int] | None = None) -> dict:
    """A published config.json. `hidden`: width inside the gated blocks."""
    return {
        "card": CARD,
        "n_q": 2 * spoken,
        "dep_q": spoken,
        "delays": [0, *([0, *[1] * (spoken - 1)] * 2)],
        "text_card": TEXT_CARD,
        "existing_text_padding_id": 3,
        "dim": dim,
        "num_heads": 2,
        "num_layers": 1,
        "hidden_scale": 1.5 * hidden / dim,
        "causal": True,
        "layer_scale": None,
        "context": 250,
        "max_period": 10000,
        "gating": "silu",
        "norm": "rms_norm_f32",
        "positional_embedding": "rope",
        "depformer_dim": dim,
        "depformer_dim_feedforward": 3 * hidden // 2,
        "depformer_num_heads": 2,
        "depformer_num_layers": 1,
        "depformer_layer_scale": None,
        "depformer_multi_linear": True,
        "depformer_context": spoken,
        "depformer_max_period": 10000,
        "depformer_gating": "silu",
        "depformer_pos_emb": "none",
        "depformer_weights_per_step": True,
        "depformer_weights_per_step_schedule": schedule,
        "model_type": "moshi",
    }


def draw(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """float32 values of a weight, such that every weight moves the output and choices are clear."""
    if "norm" in name or len(shape) == 1:
        return rng.uniform(0.6, 1.4, shape).astype(np.float32)
    normal = rng.standard_normal(shape).astype(np.float32)
    if "emb" in name:
        return 0.6 * normal
    head = any(part in name for part in ("text_linear", "linear_out.weight", "lm_head", "linears"))
    gain = 3.0 if head and "gating" not in name and "mlp" not in name else 1.4
    return gain * normal / shape[-1] ** 0.5


class TooClose(Exception):
    """A choice that another order of summation could turn."""


class Conversation:
    """The tokens a model of these delays is given at each step, as the reference's generator gives them."""

    def __init__(self, values: dict, seed: int):
        self.delays = values["delays"]
        self.spoken = values["dep_q"]
        self.initial = [values["text_card"], *[values["card"]] * values["n_q"]]
        rng = np.random.default_rng(seed)
        self.seed = seed
        self.user = rng.integers(0, values["card"], (values["n_q"] - self.spoken, STEPS))
        self.text: list[int] = []
        self.audio: list[list[int]] = []
        self.gap = np.inf

    def inputs(self) -> list[int]:
        """The tokens of all streams at the next step."""
        s = len(self.text)
        tokens = []
        for k, delay in enumerate(self.delays):
            if s <= delay:
                tokens.append(self.initial[k])
            elif k == 0:
                tokens.append(self.text[-1])
            elif k <= self.spoken:
                tokens.append(self.audio[-1][k - 1])
            else:
                tokens.append(int(self.user[k - 1 - self.spoken, s - delay]))
        return tokens

    def choose(self, logits: np.ndarray) -> int:
        top = np.sort(logits)[-2:]
        self.gap = min(self.gap, float(top[1] - top[0]))
        return int(logits.argmax())

    def finish(self, name: str) -> dict[str, np.ndarray]:
        """What happened: user codes [Q, S], text [S], audio [Q, S]."""
        text, audio = np.array(self.text, np.int32), np.array(self.audio, np.int32).T
        print(f"{name}: smallest gap {self.gap:.1e}, tokens {len(set(self.text))}, {len(np.unique(audio))}")
        if self.gap < LEAST_GAP:
            raise TooClose
        return {"user": self.user.astype(np.int32), "text": text, "audio": np.ascontiguousarray(audio)} | {
            "seed": np.array(self.seed, np.int32)
        }


def first_clear(run: Callable[[int], dict[str, Any]], seed: int) -> dict[str, Any]:
    """What `run(seed)` gives for the first seed from `seed` on whose choices are all clear."""
    while True:
        try:
            return run(seed)
        except TooClose:
            seed += 100
