"""Random weights for the reference's models, and the files of a golden case."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

Tensors = dict[str, torch.Tensor]


def fan_in(name: str, shape: torch.Size) -> int:
    """Number of terms summed into one output value; every transposed convolution here overlaps twice."""
    if ".convtr." in name:
        return 2 if shape[1] == 1 and shape[0] > 1 and "upsample" in name else 2 * shape[0]
    return int(torch.Size(shape[1:]).numel())


def draw(name: str, shape: torch.Size, gains: dict[str, float], rng: torch.Generator) -> torch.Tensor:
    """A random tensor for parameter `name`, such that every parameter moves the output."""

    def uniform(low: float, high: float) -> torch.Tensor:
        return low + (high - low) * torch.rand(shape, generator=rng)

    normal = torch.randn(shape, generator=rng)
    gain = next((g for part, g in gains.items() if part in name), 1.0)
    if name.endswith(("alpha", "layer_scale_1.scale", "layer_scale_2.scale")):
        return gain * (uniform(0.6, 1.4) if name.endswith("alpha") else uniform(0.2, 0.6))
    if "norm" in name:
        return uniform(0.6, 1.4) if name.endswith("weight") else 0.2 * normal
    if name.endswith("_initialized"):
        return torch.ones(shape)
    if name.endswith("cluster_usage"):
        return uniform(0.5, 40.0)
    if name.endswith(("bias", "learnt_padding")):
        return 0.1 * gain * normal
    if name.endswith(("emb.weight", "embed.weight")) or ("emb." in name and name.split(".")[-2].isdigit()):
        return 0.6 * gain * normal
    return gain * normal / fan_in(name, shape) ** 0.5


def randomised(model: Any, gains: dict[str, float], seed: int) -> Tensors:
    """float16 state of `model` with every parameter and buffer drawn anew."""
    rng = torch.Generator().manual_seed(seed)
    state = model.state_dict()
    return {name: draw(name, old.shape, gains, rng).half() for name, old in state.items()}


def published_names(state: Tensors) -> Tensors:
    """Stack the attention weights of all steps under the names that published checkpoints use."""
    out: Tensors = {}
    stacks: dict[str, list[torch.Tensor]] = {}
    for name, weight in state.items():
        for new, old in ((".in_projs.", ".in_proj_weight"), (".out_projs.", ".out_proj.weight")):
            if new in name:
                stacks.setdefault(name.split(new)[0] + old, []).append(weight)
                break
        else:
            out[name] = weight
    return out | {name: torch.cat(weights) for name, weights in stacks.items()}


def save_case(folder: Path, config: dict, weights: Tensors, old_names: bool) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(config, indent=1)
    (folder / "config.json").write_text(text + "\n")
    save_file(published_names(weights) if old_names else weights, folder / "model.safetensors")


def save_io(folder: Path, tensors: Tensors) -> None:
    save_file(
        {name: t.clone(memory_format=torch.contiguous_format) for name, t in tensors.items()},
        folder / "io.safetensors",
    )
    size = sum(path.stat().st_size for path in folder.iterdir())
    print(f"{folder.name}: {size / 1e3:.0f} kB, {len(tensors)} tensors")


def clear_choice(what: str, top_gap: float, least: float) -> None:
    print(f"  {what}: smallest gap {top_gap:.2e}")
    if top_gap < least:
        raise SystemExit(
            f"{what}: a choice is too close to call ({top_gap:.1e} < {least:.0e}); change the seed"
        )
