"""Make `nano.safetensors`: what the reference (`moshi==0.2.13`) says when it opens nano's language model.

    duologue encode QUESTION.wav tests/golden/nano-question.npz      # assets/question.opus with 4 s of silence after it
    duologue convert nano NANO --format pytorch      # the reference cannot open 8 bits on a CPU
    python tests/golden/make_nano.py NANO tests/golden

Run the last in an environment that has the reference. Greedy, in float32. The user's words that the first extra head
writes go back in as the second text stream, where the model reads them: in the reference that takes a hook.
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

NOT_LM = ("moshi_name", "mimi_name", "mimi_config_name", "tokenizer_name", "lm_gen_config", "model_type")


class Driver:
    """Hooks of the reference that give the text stream its second token: what the extra head wrote in this frame."""

    def __init__(self, lm: torch.nn.Module, config: dict):
        self.lm, self.entries, self.pad = lm, config["text_card"] + 1, config["existing_text_padding_id"]
        lm.text_linear.register_forward_pre_hook(self.see)

    def see(self, _: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        self.z_BTD = inputs[0]

    def __call__(self, text_B: torch.Tensor) -> None:
        user_B = self.lm.extra_heads[0](self.z_BTD)[:, -1].argmax(-1)
        text_B += torch.where(user_B == self.pad, 0, user_B + 1) * self.entries


def main() -> None:
    model, golden = Path(sys.argv[1]), Path(sys.argv[2])
    config = json.loads((model / "config.json").read_text())
    config = {key: value for key, value in config.items() if key not in NOT_LM}
    lm = loaders.get_moshi_lm(model / "model.safetensors", config, dtype=torch.float32)
    user_QT = torch.from_numpy(np.load(golden / "nano-question.npz")["codes"].astype(np.int64))
    driver = Driver(lm, config) if config["demux_second_stream"] else None
    gen = LMGen(lm, use_sampling=False, on_text_hook=driver)
    tokens, entries = [], config["text_card"] + 1
    with torch.no_grad(), gen.streaming(1):
        for frame in range(user_QT.shape[1]):
            said = gen.step(user_QT[None, :, frame : frame + 1])
            tokens.append(torch.full((9,), -2) if said is None else said[0, :, 0])
    tokens_KT = torch.stack(tokens, -1)
    tokens_KT[0] = torch.where(tokens_KT[0] < 0, tokens_KT[0], tokens_KT[0] % entries)
    save_file(
        {"user": user_QT.to(torch.int32).contiguous(), "tokens": tokens_KT.to(torch.int32)},
        golden / "nano.safetensors",
    )


if __name__ == "__main__":
    main()
