"""Make the golden files of MLX: small random models written and run by `moshi_mlx==0.3.0`.

Run in an environment of its own (moshi_mlx pins old versions):

    python tests/golden/make_mlx.py tests/golden [FOLDER]

With FOLDER, what `duologue convert` made of the same models is checked instead: `FOLDER/CASE` must open in the
reference with strict=True and give the same tokens.
"""

import json
import sys
from pathlib import Path
from typing import Any

import mlx.core as mx  # pyright: ignore[reportMissingImports]
import mlx.nn as nn  # pyright: ignore[reportMissingImports]
import numpy as np
from formats import STEPS, Conversation, config, draw, first_clear  # pyright: ignore[reportMissingImports]
from mlx.utils import tree_flatten  # pyright: ignore[reportMissingImports]
from moshi_mlx import models  # pyright: ignore[reportMissingImports]
from moshi_mlx.models.lm import DepFormerConfig, LmConfig  # pyright: ignore[reportMissingImports]
from moshi_mlx.modules.transformer import TransformerConfig  # pyright: ignore[reportMissingImports]
from safetensors.numpy import save_file

CASES: dict[str, dict[str, Any]] = {
    "mlx_bf16": {"config": config(32, 48, 3), "bits": None, "group": None, "seed": 11},
    "mlx_q8": {"config": config(64, 64, 3, [0, 1, 1]), "bits": 8, "group": 64, "seed": 12},
    "mlx_q4": {"config": config(64, 64, 3, [0, 1, 1]), "bits": 4, "group": 32, "seed": 13},
}
FILES = {None: "model.safetensors", 8: "model.q8.safetensors", 4: "model.q4.safetensors"}


def build(values: dict) -> Any:
    """The reference's model. Its own reading of config.json fixes the width of the feed-forward blocks."""

    def transformer(dim: int, heads: int, layers: int, feedforward: int, positions: str) -> Any:
        return TransformerConfig(
            d_model=dim, num_heads=heads, num_layers=layers, dim_feedforward=feedforward, causal=True, norm_first=True,
            bias_ff=False, bias_attn=False, layer_scale=None, context=values["context"],
            max_period=values["max_period"], use_conv_block=False, use_conv_bias=True, cross_attention=False,
            gating=True, norm="rms_norm", positional_embedding=positions, conv_layout=False, conv_kernel_size=3,
            kv_repeat=1, max_seq_len=4096,
        )  # fmt: skip

    dim = values["dim"]
    width = int(values["hidden_scale"] * dim)
    main = transformer(dim, values["num_heads"], values["num_layers"], width, "rope")
    depth = transformer(
        values["depformer_dim"],
        values["depformer_num_heads"],
        values["depformer_num_layers"],
        values["depformer_dim_feedforward"],
        "none",
    )
    schedule = values["depformer_weights_per_step_schedule"]
    return models.Lm(
        LmConfig(
            transformer=main,
            depformer=DepFormerConfig(depth, values["dep_q"], schedule),
            text_in_vocab_size=values["text_card"] + 1,
            text_out_vocab_size=values["text_card"],
            audio_vocab_size=values["card"] + 1,
            audio_codebooks=values["n_q"],
            audio_delays=values["delays"][1:],
            conditioners={},
        )
    )


def shared_name(name: str, schedule: list[int]) -> str:
    """One name for the weights that slices share."""
    if not name.startswith("depformer.slices."):
        return name
    _, _, k, rest = name.split(".", 3)
    if "norm" in rest:
        return "depth " + rest
    own = rest.startswith(("emb.", "linear_out."))
    return f"{k} {rest}" if own else f"set {schedule[int(k)]} {rest}"


def randomise(model: Any, values: dict, seed: int) -> None:
    rng = np.random.default_rng(seed)
    schedule = values["depformer_weights_per_step_schedule"] or list(range(values["dep_q"]))
    drawn: dict[str, mx.array] = {}
    for name, old in tree_flatten(model.parameters()):
        key = shared_name(name, schedule)
        if key not in drawn:
            drawn[key] = mx.array(draw(name, old.shape, rng)).astype(mx.bfloat16)
    named = [(name, drawn[shared_name(name, schedule)]) for name, _ in tree_flatten(model.parameters())]
    model.load_weights(named, strict=True)


def run(model: Any, values: dict, seed: int, name: str) -> dict[str, np.ndarray]:
    """A greedy conversation in float32; the logits of some steps."""
    model.set_dtype(mx.float32)
    talk = Conversation(values, seed)
    kept = [0, 1, 2, 100, STEPS - 1]
    text_logits, audio_logits = [], []
    for cache in model.transformer_cache:
        cache.reset()
    for s in range(STEPS):
        tokens = mx.array(talk.inputs())
        x = model.text_emb(tokens[0].reshape(1, 1))
        for k, emb in enumerate(model.audio_embs):
            x = x + emb(tokens[k + 1].reshape(1, 1))
        z = model.out_norm(model.transformer(x, cache=model.transformer_cache))
        logits = [np.array(model.text_linear(z)[0, 0])]
        last = talk.choose(logits[0])
        talk.text.append(last)
        codes = []
        for cache in model.depformer_cache:
            cache.reset()
        for part in model.depformer.slices:
            y = part.linear_in(z) + part.emb(mx.array([[last]]))
            y = part.linear_out(part.transformer(y, cache=model.depformer_cache))
            logits.append(np.array(y[0, 0]))
            last = talk.choose(logits[-1])
            codes.append(last)
        talk.audio.append(codes)
        if s in kept:
            text_logits.append(logits[0])
            audio_logits.append(np.stack(logits[1:]))
    out = {"kept_steps": np.array(kept, np.int32), "text_logits": np.stack(text_logits)}
    return talk.finish(name) | out | {"audio_logits": np.stack(audio_logits)}


def quantised(seed: int) -> dict[str, np.ndarray]:
    """What the reference's own quantiser makes of a matrix, with a row of zeros and one of a single sign."""
    w = np.random.default_rng(seed).standard_normal((6, 128)).astype(np.float32)
    w[1], w[2] = 0, np.abs(w[2])
    out = {"w": w}
    for bits, group in ((8, 64), (4, 32), (6, 64), (3, 64), (2, 64)):
        data, scales, biases = mx.quantize(mx.array(w), group_size=group, bits=bits)
        out |= {
            f"{bits}.data": np.array(data),
            f"{bits}.scales": np.array(scales),
            f"{bits}.biases": np.array(biases),
        }
    half = mx.array(w).astype(mx.float16)
    data, scales, biases = mx.quantize(half, group_size=64, bits=8)
    return out | {
        "half.data": np.array(data),
        "half.scales": np.array(scales),
        "half.biases": np.array(biases),
    }


def make(folder: Path, name: str) -> None:
    case = CASES[name]
    values, path = case["config"], folder / name
    path.mkdir(exist_ok=True)
    model = build(values)
    randomise(model, values, case["seed"])
    model.set_dtype(mx.bfloat16)
    if case["bits"]:
        nn.quantize(model, bits=case["bits"], group_size=case["group"])
    model.save_weights(str(path / FILES[case["bits"]]))
    (path / "config.json").write_text(json.dumps(values, indent=1) + "\n")
    io = first_clear(lambda seed: run(model, values, seed, name), case["seed"])
    save_file(io, path / "io.safetensors")


def check(folder: Path, converted: Path, name: str) -> None:
    """Whether the reference opens what was written of this model, and says the same."""
    case = CASES[name]
    model = build(case["config"])
    model.set_dtype(mx.bfloat16)
    if case["bits"]:
        nn.quantize(model, bits=case["bits"], group_size=case["group"])
    model.load_weights(str(converted / name / FILES[case["bits"]]), strict=True)
    io = mx.load(str(folder / name / "io.safetensors"))
    got = run(model, case["config"], int(io["seed"].item()), name)
    same = all(np.array_equal(got[key], np.array(io[key])) for key in ("text", "audio"))
    print(f"  opened with strict=True; greedy tokens over {STEPS} steps {'agree' if same else 'DIFFER'}")
    if not same:
        raise SystemExit(1)


def main() -> None:
    folder = Path(sys.argv[1])
    for name in CASES:
        if len(sys.argv) > 2:
            check(folder, Path(sys.argv[2]), name)
        else:
            make(folder, name)
    if len(sys.argv) == 2:
        save_file(quantised(3), folder / "mlx_q8" / "quantise.safetensors")


if __name__ == "__main__":
    main()
