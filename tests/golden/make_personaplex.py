"""Make the golden conversation of PersonaPlex: its own program (github.com/NVIDIA/personaplex, 3428dfd) on a random
model of its shape, told a voice and a role.

Run in an environment that has the reference's requirements and sphn, never in the project's own, with the folder
`moshi` of that repository's checkout:

    python tests/golden/make_personaplex.py CHECKOUT/moshi tests/golden
"""

import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

os.environ["NO_TORCH_COMPILE"] = "1"
sys.path.insert(0, sys.argv[1])

import numpy as np
import torch
from cases import LM_CASES, LM_GAINS  # pyright: ignore[reportMissingImports]
from moshi.models import lm as reference  # pyright: ignore[reportMissingImports]
from safetensors.torch import save_file

VOICE, USER, ROLE, LEAST_GAP = 7, 30, [9, 4, 11, 23, 9], 5e-4
KEYS = (
    "card text_card existing_text_padding_id dim num_heads num_layers hidden_scale causal layer_scale context "
    "max_period gating norm"
)


def draw(shape: torch.Size, name: str, rng: torch.Generator) -> torch.Tensor:
    normal = torch.randn(shape, generator=rng)
    gain = next((g for part, g in LM_GAINS.items() if part in name), 1.0)
    if name.endswith("alpha"):
        return 0.6 + 0.8 * torch.rand(shape, generator=rng)
    if "emb" in name:
        return 0.6 * normal
    return gain * normal / torch.Size(shape[1:]).numel() ** 0.5


def conversation(lm, seed: int) -> tuple[dict[str, torch.Tensor], float]:
    rng, gap = torch.Generator().manual_seed(seed), [float("inf")]

    plain = reference.sample_token

    def watched(logits: torch.Tensor, *how: object) -> torch.Tensor:
        top = logits.double().topk(2).values
        gap[0] = min(gap[0], float((top[..., 0] - top[..., 1]).min()))
        return plain(logits, *how)

    reference.sample_token = watched
    voice_QT = torch.randint(0, lm.card, (8, VOICE), generator=rng)
    user_QT = torch.randint(0, lm.card, (8, USER), generator=rng)
    # the codes of silence and of the tone, which this model's smaller vocabulary does not have
    reference.SILENCE_TOKENS, reference.SINE_TOKENS = SILENCE % lm.card, SINE % lm.card
    gen = reference.LMGen(lm, device="cpu", use_sampling=False, audio_silence_frame_cnt=6, sample_rate=24_000,
                          save_voice_prompt_embeddings=False)  # fmt: skip
    gen.text_prompt_tokens = ROLE
    gen.voice_prompt_audio = torch.zeros(1, 1)
    gen._encode_voice_prompt_frames = lambda mimi: (voice_QT[None, :, t : t + 1] for t in range(VOICE))
    embeddings = []
    with torch.no_grad(), gen.streaming(1):
        gen._step_voice_prompt(SimpleNamespace())
        state = gen._streaming_state
        cache = state.cache.clone()
        gen._step_audio_silence()
        gen._step_text_prompt()
        gen._step_audio_silence()
        gap[0] = float("inf")
        said = [gen.step(user_QT[None, :, t : t + 1])[0, :9, 0] for t in range(USER)]
    # the voice once more, for what is replayed of it
    gen = reference.LMGen(lm, device="cpu", use_sampling=False, audio_silence_frame_cnt=6, sample_rate=24_000)
    with torch.no_grad(), gen.streaming(1):
        for t in range(VOICE):
            out = gen.step(moshi_tokens=voice_QT[None, :, t : t + 1], text_token=3,
                           input_tokens=gen._encode_sine_frame(), return_embeddings=t > 0)  # fmt: skip
            if t > 0:
                embeddings.append(out[1])
    reference.sample_token = plain
    out = {"voice": voice_QT, "user": user_QT, "said": torch.stack(said, 1), "role": torch.tensor(ROLE)}
    out = {name: t.to(torch.int32).contiguous() for name, t in out.items()}
    return out | {"embeddings": torch.stack(embeddings), "cache": cache.to(torch.int32)}, gap[0]


SILENCE, SINE = np.array(reference.SILENCE_TOKENS), np.array(reference.SINE_TOKENS)


def main() -> None:
    root = Path(sys.argv[2]) / "personaplex"
    torch.set_num_threads(1)
    moshi = LM_CASES["lm_moshi"]["config"]
    shape = {key: moshi[key] for key in [*KEYS.split(), "delays", "n_q", "positional_embedding"]} | {
        "dep_q": 16
    }
    shape |= {key: value for key, value in moshi.items() if key.startswith("depformer_")}
    shape["context"] = 64  # never full: the ring of keys of this version forgets the oldest one
    lm = reference.LMModel(**shape).eval()
    for seed in range(100):
        rng = torch.Generator().manual_seed(seed)
        weights = {name: draw(t.shape, name, rng).half() for name, t in lm.state_dict().items()}
        lm.load_state_dict({name: t.float() for name, t in weights.items()})
        out, gap = conversation(lm, seed)
        print(f"seed {seed}: smallest gap {gap:.1e}")
        if gap >= LEAST_GAP:
            break
    root.mkdir(exist_ok=True)
    (root / "config.json").write_text(json.dumps(shape | {"model_type": "personaplex"}, indent=1) + "\n")
    save_file(weights, root / "model.safetensors")
    save_file(out, root / "io.safetensors")


if __name__ == "__main__":
    main()
