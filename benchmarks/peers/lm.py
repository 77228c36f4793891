"""Runs by itself in a peer's environment: times every implementation of the language model that can be imported there.

    python lm.py FOLDER THREADS FRAMES BATCH

FOLDER/torch and FOLDER/mlx each hold a config.json and a model in the published format, the latter perhaps in fewer
bits. It prints, as its last line, {name: {"step_ms", "step_ms_p99"}}, and knows nothing of duologue.
"""

import json
import os
import sys
import time
from pathlib import Path

FOLDER, THREADS, FRAMES, BATCH = Path(sys.argv[1]), *map(int, sys.argv[2:5])
os.environ["NO_TORCH_COMPILE"] = "1"
for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = str(THREADS)  # before anything that reads them is imported
import numpy as np  # noqa: E402

SECONDS = 20.0  # a slow peer need not run all frames
WARMUP = 4


def moshi():
    """The reference in PyTorch, in float32."""
    import torch
    from moshi.models import LMGen, loaders

    torch.set_num_threads(THREADS)
    config = read_config("torch")
    lm = loaders.get_moshi_lm(FOLDER / "torch" / config.pop("moshi_name"), config, dtype=torch.float32)
    gen = LMGen(lm)
    gen.streaming_forever(BATCH)
    heard = torch.zeros(BATCH, config["n_q"] - config["dep_q"], 1, dtype=torch.int64)

    def step():
        with torch.no_grad():
            gen.step(heard)

    return step


def moshi_mlx():
    """The reference in MLX; one conversation at a time."""
    import mlx.core as mx
    import mlx.nn as nn
    from moshi_mlx import models
    from moshi_mlx.utils.sampling import Sampler

    if BATCH != 1:
        raise ImportError("moshi_mlx takes one conversation")
    config = read_config("mlx")
    model, name = mlx_model(config), config["moshi_name"]
    for bits, group in ((8, 64), (4, 32)):
        if f".q{bits}." in name:
            nn.quantize(model, bits=bits, group_size=group)
    model.load_weights(str(FOLDER / "mlx" / name), strict=True)
    gen = models.LmGen(model, FRAMES + WARMUP + 8, Sampler(temp=0.7, top_k=25), Sampler(temp=0.8, top_k=250))
    heard = mx.zeros((1, config["n_q"] - config["dep_q"]), mx.int32)
    return lambda: mx.eval(gen.step(heard), gen.gen_sequence)


def mlx_model(config):
    """The reference's model. Its own reading of config.json fixes the width of the feed-forward blocks."""
    from moshi_mlx import models
    from moshi_mlx.models.lm import DepFormerConfig, LmConfig
    from moshi_mlx.modules.transformer import TransformerConfig

    def transformer(dim, heads, layers, feedforward, positions):
        return TransformerConfig(
            d_model=dim, num_heads=heads, num_layers=layers, dim_feedforward=feedforward, causal=True, norm_first=True,
            bias_ff=False, bias_attn=False, layer_scale=None, context=config["context"],
            max_period=config["max_period"], use_conv_block=False, use_conv_bias=True, cross_attention=False,
            gating=True, norm="rms_norm", positional_embedding=positions, conv_layout=False, conv_kernel_size=3,
            kv_repeat=1, max_seq_len=4096,
        )  # fmt: skip

    dim, schedule = config["dim"], config["depformer_weights_per_step_schedule"]
    main = transformer(
        dim, config["num_heads"], config["num_layers"], int(config["hidden_scale"] * dim), "rope"
    )
    depth = transformer(
        config["depformer_dim"],
        config["depformer_num_heads"],
        config["depformer_num_layers"],
        config["depformer_dim_feedforward"],
        "none",
    )
    return models.Lm(
        LmConfig(
            transformer=main,
            depformer=DepFormerConfig(depth, config["dep_q"], schedule),
            text_in_vocab_size=config["text_card"] + 1,
            text_out_vocab_size=config["text_card"],
            audio_vocab_size=config["card"] + 1,
            audio_codebooks=config["n_q"],
            audio_delays=config["delays"][1:],
            conditioners={},
            extra_heads_num_heads=config["extra_heads_num_heads"],
            extra_heads_dim=config["extra_heads_dim"],
        )
    )


def read_config(kind):
    return json.loads((FOLDER / kind / "config.json").read_text())


def measure(step):
    taken, began = [], time.perf_counter()
    while len(taken) < FRAMES + WARMUP and (len(taken) < WARMUP + 3 or time.perf_counter() < began + SECONDS):
        start = time.perf_counter()
        step()
        taken.append(1000 * (time.perf_counter() - start))
    p50, p99 = np.percentile(taken[WARMUP:], [50, 99])
    return {
        "step_ms": round(float(p50), 3),
        "step_ms_p99": round(float(p99), 3),
        "frames": len(taken) - WARMUP,
    }


def main():
    found = {}
    for name, open_peer in (("moshi", moshi), ("moshi_mlx", moshi_mlx)):
        try:
            found[name] = measure(open_peer())
        except ImportError:
            continue
        except Exception as error:  # of a shape that it has no place for, say
            found[name] = {"error": f"{type(error).__name__}: {error}".splitlines()[0][:200]}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
