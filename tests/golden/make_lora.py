"""Make the golden adapter: a random one for `lm_moshi`, merged and run by the reference (`moshi==0.2.13`).

python tests/golden/make_lora.py tests/golden
"""

import json
import os
import sys
from pathlib import Path

os.environ["NO_TORCH_COMPILE"] = "1"

import torch
from cases import LM_CASES  # pyright: ignore[reportMissingImports]
from moshi.models import loaders  # pyright: ignore[reportMissingImports]
from moshi.modules.lora import LoRALinear  # pyright: ignore[reportMissingImports]
from safetensors.torch import save_file

RANK, SCALING, SEED = 2, 1.5, 31


def main() -> None:
    root = Path(sys.argv[1])
    folder = root / "lora"
    folder.mkdir(exist_ok=True)
    case = LM_CASES["lm_moshi"]
    values = {k: v for k, v in case["config"].items() if k not in case["not_lm"]}
    adapter = {"lora": True, "lora_rank": RANK, "lora_scaling": SCALING}
    base = root / "lm_moshi" / "model.safetensors"
    common = {"device": "cpu", "dtype": torch.float32}
    rng = torch.Generator().manual_seed(SEED)
    with torch.no_grad():
        bare = loaders.get_moshi_lm(base, dict(values) | adapter, **common)
        state = {}
        for name, module in bare.named_modules():
            if isinstance(module, LoRALinear):
                for part, inner in (("lora_A", module.lora_A), ("lora_B", module.lora_B)):
                    size = inner.weight.shape
                    drawn = 0.4 * torch.randn(size, generator=rng) / size[1] ** 0.5
                    state[f"{name}.{part}.weight"] = drawn.half()
        state["emb.3.weight"] = torch.randn(bare.emb[3].weight.shape, generator=rng).half()
        save_file(state, folder / "lora.safetensors")
        (folder / "config.json").write_text(json.dumps(case["config"] | adapter, indent=1) + "\n")
        lm = loaders.get_moshi_lm(
            base, dict(values) | adapter, lora_weights=folder / "lora.safetensors", fuse_lora=True, **common
        )
        codes = torch.randint(0, lm.card, (1, lm.num_codebooks, 12), generator=rng)
        out = lm(codes)
        plain = loaders.get_moshi_lm(base, dict(values), **common)(codes)
    moved = (out.text_logits - plain.text_logits).abs().max()
    print(f"lora: {len(state)} tensors, logits move by up to {moved:.2f}")
    io = {"codes": codes.int(), "text_logits": out.text_logits, "logits": out.logits, "mask": out.mask}
    save_file({name: t.contiguous() for name, t in io.items()}, folder / "io.safetensors")


if __name__ == "__main__":
    main()
