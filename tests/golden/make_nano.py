"""Make `nano.safetensors`: what the reference (`moshi==0.2.13`) says when it opens nano's published files.

    python tests/golden/make_nano.py duologue/assets/nano tests/golden

Run in an environment that has the reference. Greedy, in float32, with the codes of the question that comes with the
package, encoded by our own codec (`nano-question.npz`, made with `duologue encode`), then silence.
"""

import json
import os
import sys
from pathlib import Path

os.environ["NO_TORCH_COMPILE"] = "1"

import numpy as np
import torch
from moshi.models import LMGen, loaders  # pyright: ignore[reportMissingImports]
from safetensors.torch import save_file

NOT_LM = ("moshi_name", "mimi_name", "mimi_config_name", "tokenizer_name", "lm_gen_config")


def main() -> None:
    model, golden = Path(sys.argv[1]), Path(sys.argv[2])
    config = json.loads((model / "config.json").read_text())
    config = {key: value for key, value in config.items() if key not in NOT_LM}
    lm = loaders.get_moshi_lm(model / "model.safetensors", config, dtype=torch.float32)
    user_QT = torch.from_numpy(np.load(golden / "nano-question.npz")["codes"].astype(np.int64))
    gen = LMGen(lm, use_sampling=False)
    tokens = []
    with torch.no_grad(), gen.streaming(1):
        for frame in range(user_QT.shape[1]):
            said = gen.step(user_QT[None, :, frame : frame + 1])
            tokens.append(torch.full((9,), -2) if said is None else said[0, :, 0])
    out = {"user": user_QT.to(torch.int32), "tokens": torch.stack(tokens, -1).to(torch.int32)}
    save_file(out, golden / "nano.safetensors")


if __name__ == "__main__":
    main()
