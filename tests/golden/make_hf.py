"""Make the golden files of the Hugging Face ports, and of what Candle and the 8-bit PyTorch build would hold.

Run in an environment with `transformers`, `torch` and `gguf`:

    python tests/golden/make_hf.py tests/golden

Moshi and Mimi of `transformers` run on small random weights. The same weights are written under Candle's names (in
bfloat16, and with the `gguf` package in q8_0) and as 8-bit rows with scales; for those two, the model runs once more on
the weights that their packing leaves.
"""

import copy
import json
import sys
from pathlib import Path
from typing import Any

import gguf  # pyright: ignore[reportMissingImports]
import numpy as np
import torch
from formats import CARD, STEPS, TEXT_CARD, Conversation, config, draw, first_clear  # pyright: ignore[reportMissingImports]
from safetensors.torch import save_file
from torch import Tensor
from transformers import (  # pyright: ignore[reportMissingImports]
    MimiConfig,
    MimiModel,
    MoshiConfig,
    MoshiForConditionalGeneration,
)

DIM, HIDDEN, SPOKEN = 32, 64, 3
VALUES = config(DIM, HIDDEN, SPOKEN)
SEEDS = {"hf_moshi": 21, "candle_q8": 22, "torch_q8": 23}
FRAME = 1920
MIMI = {
    "num_filters": 2, "hidden_size": 16, "num_hidden_layers": 2, "intermediate_size": 32, "num_attention_heads": 4,
    "num_key_value_heads": 4, "head_dim": 4, "codebook_size": 32, "codebook_dim": 8, "num_quantizers": 6,
    "vector_quantization_hidden_dimension": 8, "upsample_groups": 16, "sliding_window": 250,
}  # fmt: skip


def moshi_config() -> Any:
    common = {"num_attention_heads": 2, "num_hidden_layers": 1, "ffn_dim": 2 * HIDDEN, "hidden_size": DIM}
    return MoshiConfig(
        vocab_size=TEXT_CARD,
        audio_vocab_size=CARD,
        num_codebooks=SPOKEN,
        sliding_window=VALUES["context"],
        max_position_embeddings=VALUES["context"],
        audio_encoder_config={"model_type": "mimi"} | MIMI,
        depth_decoder_config=common | {"max_position_embeddings": SPOKEN + 1, "sliding_window": SPOKEN},
        **common,
    )


def randomise(model: torch.nn.Module, seed: int) -> None:
    """Weights that bfloat16 holds exactly."""
    rng = np.random.default_rng(seed)
    for name, value in model.state_dict().items():
        if "audio_encoder" not in name:
            new = torch.from_numpy(draw(name, tuple(value.shape), rng))
            value.copy_(new.bfloat16().float())


def randomise_codec(model: Any, seed: int) -> None:
    """Weights that bfloat16 holds exactly; each layer keeps the size of what it is given."""
    rng = torch.Generator().manual_seed(seed)
    for name, value in model.state_dict().items():
        normal = torch.randn(value.shape, generator=rng)
        if name.endswith("initialized"):
            new = torch.ones(value.shape)
        elif name.endswith("cluster_usage"):
            new = 0.5 + 40 * torch.rand(value.shape, generator=rng)
        elif name.endswith("embed_sum"):
            new = 20 * normal
        elif name.endswith("scale"):
            new = 0.2 + 0.4 * torch.rand(value.shape, generator=rng)
        elif "norm" in name:
            new = 0.6 + 0.8 * torch.rand(value.shape, generator=rng) if "weight" in name else 0.2 * normal
        elif name.endswith("bias"):
            new = 0.1 * normal
        else:
            terms = value.shape[1:].numel()
            if "upsample" in name:
                terms = 2
            elif (
                "decoder" in name
                and value.dim() == 3
                and value.shape[0] > value.shape[1]
                and "block" not in name
            ):
                terms = 2 * value.shape[0]
            new = 1.3 * normal / terms**0.5
        if "decoder" in name and ".14.conv." in name:
            new = new / 500  # audio of order one
        value.copy_(new.bfloat16().float())


# ---- what the models do --------------------------------------------------------------------------------


def run(model: Any, name: str) -> dict[str, np.ndarray]:
    return first_clear(lambda seed: conversation(model, name, seed), SEEDS[name])


def conversation(model: Any, name: str, seed: int) -> dict[str, np.ndarray]:
    """A greedy conversation; the logits of some steps. Nothing is cached: every step reads all before it."""
    talk = Conversation(VALUES, seed)
    kept = [0, 1, 2, 100, STEPS - 1]
    text_logits, audio_logits, embedded = [], [], []
    for s in range(STEPS):
        tokens = talk.inputs()
        x = model.decoder.model.embed_tokens(torch.tensor([[tokens[0]]]))
        for k, table in enumerate(model.embed_tokens):
            x = x + table(torch.tensor([[tokens[k + 1]]]))
        embedded.append(x)
        z = model.decoder.model(inputs_embeds=torch.cat(embedded, 1), use_cache=False).last_hidden_state[
            :, -1:
        ]
        logits = [model.decoder.lm_head(z)[0, 0].numpy()]
        frame = [talk.choose(logits[0])]
        for _ in range(SPOKEN):
            out = model.depth_decoder(
                input_ids=torch.tensor([frame]), last_hidden_state=z.expand(-1, len(frame), -1), use_cache=False,
                attention_mask=torch.ones(1, len(frame), dtype=torch.long),
            )  # fmt: skip
            logits.append(out.logits[0, -1].numpy())
            frame.append(talk.choose(logits[-1]))
        talk.text.append(frame[0])
        talk.audio.append(frame[1:])
        if s in kept:
            text_logits.append(logits[0])
            audio_logits.append(np.stack(logits[1:]))
    out = {"kept_steps": np.array(kept, np.int32), "text_logits": np.stack(text_logits)}
    return talk.finish(name) | out | {"audio_logits": np.stack(audio_logits)}


def run_codec(model: Any) -> dict[str, Tensor]:
    rng = torch.Generator().manual_seed(5)
    frames = 6
    time_S = torch.arange(frames * FRAME) / 24_000
    wave = sum(
        torch.rand(1, generator=rng) * torch.sin(2 * torch.pi * f * time_S * (1 + time_S))
        for f in (90, 310, 800, 2100)
    )
    wave = wave * torch.rand(frames, generator=rng).repeat_interleave(FRAME) / 3
    wav = (32767 * wave.clamp(-1, 1)).round().to(torch.int16)[None]
    codes = model.encode(wav[:, None].float() / 32768).audio_codes
    given = torch.randint(0, MIMI["codebook_size"], (1, MIMI["num_quantizers"], frames), generator=rng)
    heard = model.decode(given).audio_values[:, 0]
    print(f"hf_mimi: {codes.unique().numel()} codes, audio std {heard.std():.3f}")
    return {"wav_in": wav, "codes": codes.int(), "codes_in": given.int(), "wav_out": heard.contiguous()}


# ---- other families' names -----------------------------------------------------------------------------


def pairs(w: Tensor, heads: int) -> Tensor:
    """Rows of a projection with rotary pairs as neighbours, as all but transformers have them."""
    return w.view(heads, 2, -1, w.shape[-1]).transpose(1, 2).reshape(w.shape)


def candle(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The language model under Candle's names."""
    out = {"text_emb.weight": state["decoder.model.embed_tokens.weight"]}
    out |= {f"emb.{i}.weight": state[f"embed_tokens.{i}.weight"] for i in range(2 * SPOKEN)}
    out["out_norm.alpha"] = state["decoder.model.norm.weight"].view(1, 1, -1)
    out["text_linear.weight"] = state["decoder.lm_head.weight"]

    def layer(base: str, source: str, k: int | None) -> None:
        def take(name: str) -> Tensor:
            value = state[f"{source}.{name}.weight"]
            return value if k is None else value[k]

        q, k_, v = (take(f"self_attn.{x}_proj.linear") for x in "qkv")
        if k is None:
            q, k_ = pairs(q, 2), pairs(k_, 2)
        out[f"{base}.self_attn.in_proj_weight"] = torch.cat([q, k_, v])
        out[f"{base}.self_attn.out_proj.weight"] = take("self_attn.o_proj.linear")
        out[f"{base}.gating.linear_in.weight"] = take("mlp.fc1")
        out[f"{base}.gating.linear_out.weight"] = take("mlp.fc2")
        out[f"{base}.norm1.alpha"] = state[f"{source}.input_layernorm.weight"].view(1, 1, -1)
        out[f"{base}.norm2.alpha"] = state[f"{source}.post_attention_layernorm.weight"].view(1, 1, -1)

    layer("transformer.layers.0", "decoder.model.layers.0", None)
    for k in range(SPOKEN):
        base = f"depformer.{k}"
        out[f"{base}.linear_in.weight"] = state["depth_decoder.input_projections.weight"][k]
        out[f"{base}.linear_out.weight"] = state["depth_decoder.lm_heads.weight"][k]
        table = "text_embed_tokens" if k == 0 else f"embed_tokens.{k - 1}"
        out[f"{base}.emb.weight"] = state[f"depth_decoder.{table}.weight"]
        layer(f"{base}.transformer.layers.0", "depth_decoder.layers.0", k)
    return out


def torch_names(sliced: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same under the reference's published names: all codebooks' projections stacked."""
    out = {name: value for name, value in sliced.items() if not name.startswith("depformer.")}
    for k in range(SPOKEN):
        out[f"depformer_in.{k}.weight"] = sliced[f"depformer.{k}.linear_in.weight"]
        out[f"linears.{k}.weight"] = sliced[f"depformer.{k}.linear_out.weight"]
        name = "depformer_text_emb.weight" if k == 0 else f"depformer_emb.{k - 1}.weight"
        out[name] = sliced[f"depformer.{k}.emb.weight"]
        for side in ("in", "out"):
            gate = f"gating.linear_{side}.weight"
            inner = sliced[f"depformer.{k}.transformer.layers.0.{gate}"]
            out[f"depformer.layers.0.gating.{k}.linear_{side}.weight"] = inner
    for name in ("self_attn.in_proj_weight", "self_attn.out_proj.weight"):
        stack = [sliced[f"depformer.{k}.transformer.layers.0.{name}"] for k in range(SPOKEN)]
        out[f"depformer.layers.0.{name}"] = torch.cat(stack)
    for name in ("norm1.alpha", "norm2.alpha"):
        out[f"depformer.layers.0.{name}"] = sliced[f"depformer.0.transformer.layers.0.{name}"]
    return out


def with_weights(model: Any, change: Any) -> None:
    """Replace every matrix of the language model by what `change` makes of it, row by row."""
    for name, value in model.state_dict().items():
        if "audio_encoder" not in name and value.dim() >= 2:
            flat = value.reshape(-1, value.shape[-1])
            value.copy_(change(name, flat).view(value.shape))


# ---- packing -------------------------------------------------------------------------------------------

Q8_0 = gguf.GGMLQuantizationType.Q8_0


def q8_0(name: str, flat: Tensor) -> Tensor:
    packed = gguf.quants.quantize(flat.numpy(), Q8_0)
    return torch.from_numpy(gguf.quants.dequantize(packed, Q8_0))


def int8(flat: Tensor) -> tuple[Tensor, Tensor]:
    largest = flat.abs().amax(-1)
    return (flat * 127 / largest[:, None]).round().to(torch.int8), largest


def is_table(name: str) -> bool:
    return "embed_tokens" in name


def rows8(name: str, flat: Tensor) -> Tensor:
    if is_table(name):
        return flat
    data, largest = int8(flat)
    return data.float() * (largest / 127)[:, None]


def write_gguf(path: Path, sliced: dict[str, Tensor]) -> None:
    writer = gguf.GGUFWriter(path, "moshi")
    for name, value in sliced.items():
        if value.dim() == 2:
            packed = gguf.quants.quantize(value.contiguous().numpy(), Q8_0)
            writer.add_tensor(name, packed, raw_dtype=Q8_0)
        else:
            writer.add_tensor(name, value.contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_int8(path: Path, named: dict[str, Tensor]) -> None:
    out: dict[str, Tensor] = {}
    for name, value in named.items():
        if value.dim() == 2 and "emb" not in name:
            out[name], out[name + "_scb"] = int8(value)
        else:
            out[name] = value.bfloat16()
    save(out, path)


def save(tensors: dict[str, Any], path: Path) -> None:
    plain = {name: torch.as_tensor(value).contiguous().clone() for name, value in tensors.items()}
    save_file(plain, path, metadata={"format": "pt"})


def save_bf16(model: Any, folder: Path) -> None:
    """As its own program writes it. A copy is made narrow: its rotary frequencies would not come back from it."""
    copy.deepcopy(model).bfloat16().save_pretrained(folder)


def new(root: Path, name: str) -> Path:
    (root / name).mkdir(exist_ok=True)
    return root / name


def config_file(path: Path, **more: Any) -> None:
    (path / "config.json").write_text(json.dumps(VALUES | more, indent=1) + "\n")


def main() -> None:
    root = Path(sys.argv[1])
    torch.set_num_threads(1)
    torch.manual_seed(0)
    mimi = MimiModel(MimiConfig(**MIMI)).eval()
    randomise_codec(mimi, 9)
    folder = new(root, "hf_mimi")
    save_bf16(mimi, folder)
    save(run_codec(mimi), folder / "io.safetensors")

    moshi = MoshiForConditionalGeneration(moshi_config()).eval()
    randomise(moshi, SEEDS["hf_moshi"])
    moshi.audio_encoder.load_state_dict(mimi.state_dict())
    folder = new(root, "hf_moshi")
    save_bf16(moshi, folder)
    save(run(moshi, "hf_moshi"), folder / "io.safetensors")
    state = {name: value.clone() for name, value in moshi.state_dict().items()}
    sliced = candle(state)
    folder = new(root, "candle_bf16")
    save({name: value.bfloat16() for name, value in sliced.items()}, folder / "model.safetensors")
    config_file(folder)

    folder = new(root, "candle_q8")
    write_gguf(folder / "model.q8.gguf", sliced)
    config_file(folder, moshi_name="model.q8.gguf")
    with_weights(moshi, q8_0)
    save(run(moshi, "candle_q8"), folder / "io.safetensors")

    moshi.load_state_dict(state)
    folder = new(root, "torch_q8")
    write_int8(folder / "model.q8.safetensors", torch_names(sliced))
    config_file(folder, moshi_name="model.q8.safetensors", quantize=True)
    with_weights(moshi, rows8)
    save(run(moshi, "torch_q8"), folder / "io.safetensors")
    for path in sorted(root.glob("*/*")):
        if path.parent.name in ("hf_mimi", "hf_moshi", "candle_bf16", "candle_q8", "torch_q8"):
            print(f"{path.parent.name}/{path.name} {path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    with torch.no_grad():
        main()
