"""Runs by itself in a peer's environment: times every implementation of the codec that can be imported there.

    python codec.py codec.safetensors THREADS FRAMES BATCH

prints, as its last line, {name: {"encode_ms", "decode_ms", "frame_ms_p99"}}. It knows nothing of duologue.
"""

import json
import os
import sys
import time
from typing import Any

WEIGHTS, THREADS, FRAMES, BATCH = sys.argv[1], *map(int, sys.argv[2:5])
for variable in ("OMP_NUM_THREADS", "RAYON_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = str(THREADS)  # before anything that reads them is imported
import numpy as np  # noqa: E402

SECONDS = 6.0  # a slow peer need not run all frames
WARMUP = 4


def moshi():
    """The reference in PyTorch."""
    import torch
    from moshi.models.loaders import get_mimi

    torch.set_num_threads(THREADS)
    with open(WEIGHTS.replace(".safetensors", ".json")) as file:
        config = json.load(file)
    mimi = get_mimi(WEIGHTS, config, num_codebooks=8)
    mimi.streaming_forever(BATCH)
    wav = torch.from_numpy(sound())

    def encode():
        with torch.no_grad():
            return mimi.encode(wav)

    def decode(codes):
        with torch.no_grad():
            return mimi.decode(codes)

    return encode, decode


def rustymimi():
    """The reference in Rust; one conversation at a time."""
    import rustymimi as package

    if BATCH != 1:
        raise ImportError("rustymimi takes one conversation")
    codec = package.Tokenizer(WEIGHTS, num_codebooks=8)
    return lambda: codec.encode_step(sound()), codec.decode_step


def moshi_mlx():
    """The reference in MLX."""
    import mlx.core as mx
    from moshi_mlx.models import mimi as package

    codec = package.Mimi(package.mimi_202407(8))
    kept = WEIGHTS.replace(".safetensors", "-8.safetensors")  # it takes no codebook that it does not use
    unused = [f"quantizer.rvq_rest.vq.layers.{layer}." for layer in range(7, 64)]
    stored: Any = mx.load(WEIGHTS)
    held = {name: x for name, x in stored.items() if not name.startswith(tuple(unused))}
    mx.save_safetensors(kept, held)
    codec.load_pytorch_weights(kept)
    codec.reset_all()
    wav = mx.array(sound())

    def evaluated(values):
        mx.eval(values)
        return values

    return lambda: evaluated(codec.encode_step(wav)), lambda codes: evaluated(codec.decode_step(codes))


def sound():
    return (0.1 * np.random.default_rng(0).standard_normal((BATCH, 1, 1920))).astype(np.float32)


def measure(encode, decode):
    taken, began = [], time.perf_counter()
    while len(taken) < FRAMES + WARMUP and (len(taken) < WARMUP + 3 or time.perf_counter() < began + SECONDS):
        start = time.perf_counter()
        codes = encode()
        middle = time.perf_counter()
        decode(codes)
        taken.append((middle - start, time.perf_counter() - middle))
    both = 1000 * np.array(taken[WARMUP:])
    encoded, decoded = np.percentile(both, 50, axis=0)
    return {
        "encode_ms": round(float(encoded), 3),
        "decode_ms": round(float(decoded), 3),
        "frame_ms_p99": round(float(np.percentile(both.sum(1), 99)), 3),
        "frames": len(both),
    }


def main():
    found = {}
    for name, open_peer in (("moshi", moshi), ("rustymimi", rustymimi), ("moshi_mlx", moshi_mlx)):
        try:
            found[name] = measure(*open_peer())
        except ImportError:
            continue
        except Exception as error:  # of another shape than its own, say
            found[name] = {"error": f"{type(error).__name__}: {error}".splitlines()[0][:200]}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
