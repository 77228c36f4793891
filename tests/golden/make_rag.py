"""Make the golden conversation and the golden reference of MoshiRAG: its own program (github.com/kyutai-labs/moshi-rag,
be35dd6) on random models of its shape.

Run in an environment that has the reference's requirements, never in the project's own, with the folder `moshi` of that
repository's checkout:

    python tests/golden/make_rag.py CHECKOUT/moshi tests/golden

xformers, which computes on GPUs alone, has PyTorch's attention in its place; the encoder, whose sizes are fixed in its
code, is put together from the same layers.
"""

import copy
import json
import os
import sys
from pathlib import Path
from types import ModuleType

os.environ["NO_TORCH_COMPILE"] = "1"
sys.path.insert(0, sys.argv[1])

import torch
from cases import LM_CASES, LM_GAINS, NOT_LM  # pyright: ignore[reportMissingImports]
from safetensors.torch import save_file
from torch import nn

STEPS, RESET, LEAST_GAP = 40, 60, 5e-4
TEXT = 11  # tokens of the reference's text
BATCH, ENTRIES, DIM, LAYERS, HEADS, KV_HEADS, FEEDFORWARD, HIDDEN = 2, 40, 32, 3, 2, 1, 48, 20


def stand_in(name: str, **attributes: object) -> None:
    module = ModuleType(name)
    for key, value in attributes.items():
        setattr(module, key, value)
    sys.modules[name] = module


class OneText:
    """All tokens see all others: there is one text."""

    @staticmethod
    def from_seqlens(*_: object, **__: object) -> None:
        return None


def attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, _: None) -> torch.Tensor:
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    return nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2)


stand_in("xformers")
stand_in("xformers.ops")
stand_in("xformers.ops.fmha", memory_efficient_attention=attention)
stand_in("xformers.ops.fmha.attn_bias", BlockDiagonalMask=OneText, BlockDiagonalCausalMask=OneText)
stand_in("transformers", T5EncoderModel=None, T5Tokenizer=None, AutoTokenizer=None)

from drawn_weights import randomised  # noqa: E402  # pyright: ignore[reportMissingImports]
from moshi.conditioners import ConditionAttributes, arc_encoder  # noqa: E402  # pyright: ignore
from moshi.models import lm as reference  # noqa: E402  # pyright: ignore[reportMissingImports]
from moshi.models import loaders  # noqa: E402  # pyright: ignore[reportMissingImports]

NAME = "reference_with_time"
Tensors = dict[str, torch.Tensor]


def config() -> dict:
    values = copy.deepcopy(LM_CASES["lm_moshi"]["config"])
    first = {
        "n_bins": 2,
        "dim": 16,
        "tokenizer": "noop",
        "possible_values": ["SPEAKER_MAIN", "SPEAKER_OTHER"],
    }
    encoder = {
        "embedder_params": {"compress_rates": [-4]},
        "bridge_module": {"in_dim": DIM, "out_dim": values["dim"], "hidden_dim": HIDDEN},
        "hf_repo": "kyutai/ARC4_Encoder_Llama",
        "finetune": False,
        "ref_dropout": 0.2,
        "frame_rate": 12.5,
        "learn_padding": True,
        "rag_time_sampling_params": {"start_delay": 1.0, "end_gap": 1.0, "random_sampling_proba": 0.2},
    }
    return values | {
        "rag_token_id": 4,
        "conditioners": {
            "first_speaker": {"type": "lut", "lut": first},
            NAME: {"type": "multi_arc_encoder", "multi_arc_encoder": encoder},
        },
        "fuser": {
            "cross_attention_pos_emb": False,
            "cross_attention_pos_emb_scale": 1,
            "sum": [],
            "streaming_sum": [NAME],
            "prepend": ["first_speaker"],
            "cross": [],
        },
    }


def language_model(values: dict) -> reference.LMModel:
    """As the program's server has it: the encoder of references is elsewhere."""
    own = {k: copy.deepcopy(v) for k, v in values.items() if k not in NOT_LM}
    del own["conditioners"][NAME]
    own["fuser"]["streaming_sum"] = []
    own["condition_provider"] = loaders.get_conditioner_provider(own["dim"], "cpu", own)
    del own["conditioners"]
    own["fuser"] = loaders.get_condition_fuser(own)
    return reference.LMModel(device="cpu", dtype=torch.float32, **own).eval()


class Encoder(nn.Module):
    """The conditioner, with an encoder of other sizes."""

    def __init__(self, out: int, width: int):
        super().__init__()
        embedder = arc_encoder.ArcEncoderTransformer.__new__(arc_encoder.ArcEncoderTransformer)
        nn.Module.__init__(embedder)
        embedder.n_layers, embedder.compress_rates, embedder.start_compressing = LAYERS, [-4], LAYERS - 1
        embedder.causal, embedder.n_mem_tokens, embedder._precomputed_freqs_cis = False, 0, None
        embedder.pooling_module = arc_encoder.PoolingModule()
        embedder.tok_embeddings = nn.Embedding(ENTRIES, DIM)
        layer = {"dim": DIM, "hidden_dim": FEEDFORWARD, "n_heads": HEADS, "n_kv_heads": KV_HEADS}
        embedder.layers = nn.ModuleDict(
            {
                str(i): arc_encoder.TransformerBlock(**layer, head_dim=128, norm_eps=1e-5)
                for i in range(LAYERS)
            }
        )
        self.embedder = embedder
        self.bridge_module = arc_encoder.EmbProjector(in_dim=DIM, out_dim=out, hidden_dim=HIDDEN)
        self.output_proj = nn.Linear(out, width, bias=False)
        self.learnt_padding = nn.Parameter(torch.zeros(1, 1, width))

    @torch.no_grad()
    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        embedded, _ = self.embedder.forward_embedder(input_ids=tokens, seqlens=[len(tokens)])
        return self.output_proj(self.bridge_module(embedded))


def conversation(lm: reference.LMModel, vectors: torch.Tensor, seed: int) -> tuple[Tensors, float]:
    """Two slots: the first is told the vectors at step 9 and some of them anew at step 12, the second at step 15, while
    it does not run in every step. Then both begin anew, the second with what is left of its vectors forgotten."""
    rng, gap = torch.Generator().manual_seed(seed), [float("inf")]
    plain = reference.sample_token

    def watched(logits: torch.Tensor, *how: object) -> torch.Tensor:
        top = logits.double().topk(2).values
        gap[0] = min(gap[0], float((top[..., 0] - top[..., 1]).min()))
        return plain(logits, *how)

    reference.sample_token = watched
    texts = [{"first_speaker": name} for name in ("SPEAKER_MAIN", "SPEAKER_OTHER")]
    provider = lm.condition_provider
    told = provider(provider.prepare([ConditionAttributes(text=text, tensor={}) for text in texts]))
    gen = reference.LMGen(
        lm, use_sampling=False, condition_tensors=told, force_streaming_sum=True, support_out_of_sync=True
    )
    user = torch.randint(0, lm.card, (BATCH, 8, RESET), generator=rng)
    runs = torch.rand(BATCH, RESET, generator=rng) < 0.8
    runs[:, RESET - 20 :] = True
    runs[0] = True
    said = []
    with torch.no_grad(), gen.streaming(BATCH):
        for step in range(RESET):
            if step == STEPS:
                gen.reset_streaming(torch.ones(BATCH, dtype=torch.bool))
            if step in (9, 12):
                gen.update_streaming_sum_tensors([vectors if step == 9 else vectors[1:], None])
            if step in (15, STEPS - 2):
                gen.update_streaming_sum_tensors([None, vectors])
            gen.set_exec_mask(runs[:, step])
            gen.apply_pending_streaming_sum_condition(runs[:, step])
            said.append(gen.step(user[..., step : step + 1])[..., 0].clone())
    reference.sample_token = plain
    out = {"user": user, "said": torch.stack(said, -1), "runs": runs}
    return {name: t.to(torch.int32).contiguous() for name, t in out.items()}, gap[0]


def main() -> None:
    root = Path(sys.argv[2]) / "rag"
    torch.set_num_threads(1)
    values = config()
    lm, encoder = language_model(values), Encoder(values["dim"], values["dim"])
    prefix = f"condition_provider.conditioners.{NAME}."
    for seed in range(100):
        weights = randomised(lm, LM_GAINS, 900 + seed)
        lm.load_state_dict({name: t.float() for name, t in weights.items()})
        own = randomised(encoder, {}, 901 + seed)
        encoder.load_state_dict({name: t.float() for name, t in own.items()})
        tokens = torch.randint(0, ENTRIES, (TEXT,), generator=torch.Generator().manual_seed(seed))
        encoded = {f"encoded.{n}": encoder(tokens[:n]) for n in (1, 4, 7, TEXT)}
        out, gap = conversation(lm, encoded[f"encoded.{TEXT}"], seed)
        print(f"seed {seed}: smallest gap {gap:.1e}")
        if gap >= LEAST_GAP:
            break
    root.mkdir(exist_ok=True)
    (root / "config.json").write_text(json.dumps(values, indent=1) + "\n")
    save_file(weights | {prefix + name: t for name, t in own.items()}, root / "model.safetensors")
    save_file(out | encoded | {"tokens": tokens.to(torch.int32)}, root / "io.safetensors")


if __name__ == "__main__":
    main()
