"""Make the golden tensors: small random models run by the reference implementation (`moshi==0.2.13`).

Run in an environment that has the reference, never in the project's own:

    python tests/golden/make_reference.py tests/golden [CASE ...]

A case is a folder `config.json` + `model.safetensors` + `io.safetensors`; `README.md` tells what is in it.
Weights are rounded to float16 first and the reference then runs in float32 on exactly those values, read
back from the file by its own loader. A case stops with an error where a decision (nearest codeword, largest
logit) is so close that another summation order could turn it, so codes and tokens can be compared exactly.
"""

import copy
import os
import sys
from pathlib import Path
from typing import Any

os.environ["NO_TORCH_COMPILE"] = "1"

import torch
from cases import LM_CASES, MIMI_CASES  # pyright: ignore[reportMissingImports]
from drawn_weights import (  # pyright: ignore[reportMissingImports]
    Tensors,
    clear_choice,
    randomised,
    save_case,
    save_io,
)
from moshi.conditioners import ConditionAttributes, TensorCondition  # pyright: ignore[reportMissingImports]
from moshi.models import LMGen, loaders  # pyright: ignore[reportMissingImports]

FRAME = 1920
UNGENERATED = -2


# ---- codec ---------------------------------------------------------------------------------------------


def sample_wave(batch: int, frames: int, rng: torch.Generator) -> torch.Tensor:
    """[B, S] 16-bit audio: gliding tones, noise and pauses that change every few frames."""
    count = frames * FRAME
    time_S = torch.arange(count) / 24_000
    waves = []
    for _ in range(batch):
        wave = torch.zeros(count)
        for _ in range(5):
            start, slope = 80 + 3000 * torch.rand(2, generator=rng)
            level = torch.rand(1 + frames // 2, generator=rng).repeat_interleave(2 * FRAME)[:count] ** 2
            wave += level * torch.sin(2 * torch.pi * (start * time_S + slope * time_S**2))
        wave += 0.3 * torch.randn(count, generator=rng) * level
        waves.append(wave / 4)
    return (32767 * torch.stack(waves).clamp(-1, 1)).round().to(torch.int16)


def branches(mimi: Any) -> list:
    return [mimi.quantizer.rvq_first, mimi.quantizer.rvq_rest]


def walk_codebooks(
    mimi: Any, latent_BDT: torch.Tensor, weights: Tensors | None, rng: torch.Generator | None
) -> float:
    """Quantize `latent_BDT` level by level. Fills `weights` with codebooks that fit it when given;
    returns the smallest relative gap between the nearest and the next codeword."""
    gap = float("inf")
    for side, rvq in zip(("rvq_first", "rvq_rest"), branches(mimi), strict=True):
        residual_ND = first_ND = rvq.input_proj(latent_BDT).transpose(1, 2).flatten(0, 1)
        for level, layer in enumerate(rvq.vq.layers):
            prefix = f"quantizer.{side}.vq.layers.{level}._codebook."
            if weights is not None:
                usage = weights[prefix + "cluster_usage"].float()
                usage[-1] = 0.0  # a dead entry, kept finite by the floor on usage
                # no smaller than a fifth of the first level's, or the last levels would not be heard
                spread_D = residual_ND.std(0).maximum(0.2 * first_ND.std(0))
                code_VD = residual_ND.mean(0) + spread_D * torch.randn(layer.embedding.shape, generator=rng)
                total = (code_VD * usage.clamp(min=1e-5)[:, None]).half()
                weights[prefix + "cluster_usage"], weights[prefix + "embedding_sum"] = usage.half(), total
                code_VD = total.float() / usage.half().float().clamp(min=1e-5)[:, None]
            else:
                code_VD = layer.embedding
            dist_NV = torch.cdist(residual_ND.double(), code_VD.double())
            two_N2 = dist_NV.topk(2, largest=False).values
            gap = min(gap, float(((two_N2[:, 1] - two_N2[:, 0]) / two_N2[:, 1]).min()))
            residual_ND = residual_ND - code_VD[dist_NV.argmin(1)]
    return gap


def build_mimi(folder: Path, case: dict, wave_B1S: torch.Tensor) -> Any:
    config, rng = case["config"], torch.Generator().manual_seed(case["seed"])
    mimi = loaders.get_mimi(None, copy.deepcopy(config), num_codebooks=config["quantizer"]["n_q"])
    weights = randomised(mimi, case["gains"], case["seed"])
    mimi.load_state_dict({name: t.float() for name, t in weights.items()})
    walk_codebooks(mimi, mimi.encode_to_latent(wave_B1S, quantize=False), weights, rng)
    save_case(folder, config, weights, case["old_names"])
    return loaders.get_mimi(folder / "model.safetensors", copy.deepcopy(config), num_codebooks=case["n_q"])


def stream(mimi: Any, wave_B1S: torch.Tensor, codes_BQT: torch.Tensor) -> Tensors:
    """Encode and decode one 80 ms frame at a time."""
    codes, waves = [], []
    with mimi.streaming(len(wave_B1S)):
        for frame in range(codes_BQT.shape[-1]):
            codes.append(mimi.encode(wave_B1S[..., frame * FRAME : (frame + 1) * FRAME]))
            waves.append(mimi.decode(codes_BQT[..., frame : frame + 1])[:, 0])
    return {"stream_codes": torch.cat(codes, -1), "stream_wav_out": torch.cat(waves, -1)}


def make_mimi(folder: Path, case: dict) -> None:
    rng = torch.Generator().manual_seed(case["seed"] + 1)
    pcm_BS = sample_wave(case["batch"], case["frames"], rng)
    wave_B1S = pcm_BS[:, None].float() / 32768
    mimi = build_mimi(folder, case, wave_B1S)
    mimi.set_num_codebooks(mimi.total_codebooks)
    latent_BDT = mimi.encode_to_latent(wave_B1S, quantize=False)
    clear_choice("codes", walk_codebooks(mimi, latent_BDT, None, None), 1e-3)
    codes_BQT = mimi.encode(wave_B1S)
    random_BQT = torch.randint(0, mimi.cardinality, codes_BQT.shape, generator=rng)
    random_BQT[..., 1] = mimi.cardinality - 1
    mimi.set_num_codebooks(case["n_q"])
    few_BQT = random_BQT[:, : case["n_q"]]
    out = {
        "wav_in": pcm_BS,
        "latent": latent_BDT,
        "codes": codes_BQT,
        "codes_in": random_BQT,
        "latent_out": mimi.decode_latent(random_BQT),
        "wav_out": mimi.decode(few_BQT)[:, 0],
    }
    ragged_B1S = wave_B1S[..., : 2 * FRAME + 777]
    out["ragged_codes"], clean_BQT = mimi.encode(ragged_B1S), mimi.encode(wave_B1S)
    if not torch.equal(clean_BQT, codes_BQT[:, : case["n_q"]]):
        raise SystemExit("fewer codebooks changed the first ones")
    if case["n_q"] < mimi.total_codebooks:
        out["wav_out_all"] = mimi.decode(random_BQT)[:, 0]
    safe = case["config"]["transformer"]["context"] // 2  # frames before its ring loses a key
    streamed = stream(mimi, wave_B1S[..., : safe * FRAME], few_BQT[..., :safe])
    error = (streamed["stream_wav_out"] - out["wav_out"][:, : safe * FRAME]).abs().max()
    print(
        f"  streamed - offline {error:.1e}, wav std {out['wav_out'].std():.2f}, latent std {latent_BDT.std():.2f}"
    )
    same = torch.equal(streamed["stream_codes"], clean_BQT[..., :safe])
    if error > 1e-5 or not same:
        raise SystemExit("the reference's streaming differs from its offline output")
    streamed["stream_wav_out"] = streamed["stream_wav_out"][:, -FRAME:]
    for name in ("codes", "codes_in", "ragged_codes"):
        out[name] = out[name].to(torch.int32)
    streamed["stream_codes"] = streamed["stream_codes"].to(torch.int32)
    save_io(folder, out | streamed)


# ---- language model ------------------------------------------------------------------------------------


def build_lm(folder: Path, case: dict) -> Any:
    lm_config = {k: v for k, v in case["config"].items() if k not in case["not_lm"]}
    lm = loaders.get_moshi_lm(None, copy.deepcopy(lm_config), dtype=torch.float32)
    save_case(folder, case["config"], randomised(lm, case["gains"], case["seed"]), case["old_names"])
    return loaders.get_moshi_lm(folder / "model.safetensors", copy.deepcopy(lm_config), dtype=torch.float32)


def make_conditions(lm: Any, case: dict, rng: torch.Generator) -> tuple[dict | None, Tensors]:
    """The conditions of each row of the batch: strings from the case, tensors drawn here."""
    if lm.condition_provider is None:
        return None, {}
    rows, inputs = [], {}
    for row, texts in enumerate(case["texts"]):
        tensors = {}
        for name in lm.condition_provider.tensor_conditions:
            dim = lm.condition_provider.conditioners[name].dim
            value_1TD = torch.randn(1, case["tensor_frames"], dim, generator=rng)
            mask_1T = torch.arange(case["tensor_frames"])[None] < case["tensor_lengths"][row]
            tensors[name] = TensorCondition(value_1TD, mask_1T)
            inputs[f"condition.{name}.{row}"] = value_1TD[0]
            inputs[f"condition_mask.{name}.{row}"] = mask_1T[0]
        rows.append(ConditionAttributes(text=dict(texts), tensor=tensors))
    conditions = lm.condition_provider.prepare_and_provide(rows)
    for name, (value_BTD, mask_BT) in conditions.items():
        inputs[f"conditioner_out.{name}"], inputs[f"conditioner_mask.{name}"] = value_BTD, mask_BT
    for name, value in (("sum", lm.fuser.get_sum(conditions)), ("cross", lm.fuser.get_cross(conditions))):
        if value is not None:
            inputs["fused_" + name] = value
    return conditions, inputs


def random_codes(lm: Any, case: dict, steps: int, rng: torch.Generator) -> torch.Tensor:
    """[B, K, T] tokens for teacher forcing, with some unknown (-1) and some two-word text ids."""
    batch = case["batch"]
    text = torch.randint(0, lm.text_card, (batch, 1, steps), generator=rng)
    if case["config"].get("demux_second_stream"):
        second = torch.randint(-1, lm.text_card, text.shape, generator=rng).clamp(min=-1)
        text = torch.where(
            torch.rand(text.shape, generator=rng) < 0.5, text + (second + 1) * (lm.text_card + 1), text
        )
    audio = torch.randint(0, lm.card, (batch, lm.n_q, steps), generator=rng)
    codes = torch.cat([text, audio], 1)
    codes[torch.rand(codes.shape, generator=rng) < 0.1] = -1
    return codes


def teacher_forced(lm: Any, case: dict, conditions: dict | None, rng: torch.Generator) -> Tensors:
    codes_BKT = random_codes(lm, case, case["forward_steps"], rng)
    out = {"codes": codes_BKT.to(torch.int32)}
    if lm.dep_q == 0:  # the reference's forward() needs a depth transformer; all delays are 0 here
        initial = lm._get_initial_token().expand(len(codes_BKT), -1, -1)
        z_BTD, text = lm.forward_text(torch.cat([initial, codes_BKT[..., :-1]], -1))
        return out | {"text_logits": text, "hidden": z_BTD}
    result = lm(codes_BKT, conditions)
    return out | {
        "text_logits": result.text_logits,
        "text_mask": result.text_mask,
        "logits": result.logits,
        "mask": result.mask,
    }


class Recorder:
    """Collects what one generation sampled, and its logits at some steps; forces text and audio tokens."""

    def __init__(self, lm: Any, keep: set[int], forced: Tensors):
        self.lm, self.keep, self.forced = lm, keep, forced
        self.step, self.gap = 0, float("inf")
        self.text: list[torch.Tensor] = []
        self.audio: list[torch.Tensor] = []
        self.text_logits: list[torch.Tensor] = []
        self.audio_logits: list[torch.Tensor] = []
        self.inner = lm.forward_depformer
        lm.forward_depformer = self.depth_step  # an instance attribute hides the method

    def watch(self, logits: torch.Tensor, store: list[torch.Tensor]) -> None:
        top = logits.double().topk(2).values
        self.gap = min(self.gap, float((top[..., 0] - top[..., 1]).min()))
        if self.step in self.keep:
            store.append(logits.clone())

    def depth_step(self, index: int, tokens: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        logits = self.inner(index, tokens, z)
        self.watch(logits, self.audio_logits)
        return logits

    def on_text_logits(self, logits: torch.Tensor) -> None:
        self.watch(logits, self.text_logits)

    def on_text(self, text_B: torch.Tensor) -> None:
        self.text.append(text_B.clone())
        if "text" in self.forced:
            wanted = self.forced["text"][:, self.step]
            text_B[:] = torch.where(wanted == UNGENERATED, text_B, wanted)

    def on_audio(self, audio_BQ: torch.Tensor) -> None:
        self.audio.append(audio_BQ.clone())
        if "audio" in self.forced:
            wanted = self.forced["audio"][:, :, self.step]
            audio_BQ[:] = torch.where(wanted == UNGENERATED, audio_BQ, wanted)

    def close(self) -> None:
        del self.lm.forward_depformer


def generate(
    lm: Any,
    case: dict,
    conditions: dict | None,
    steps: int,
    prefix: str,
    forced: Tensors,
    rng: torch.Generator,
) -> Tensors:
    """Greedy steps with random user codes, among them a few unknown (-1) and initial (`card`) ones."""
    user_BKT = torch.randint(0, lm.card, (case["batch"], lm.n_q - lm.dep_q, steps), generator=rng)
    user_BKT[torch.rand(user_BKT.shape, generator=rng) < 0.02] = -1
    user_BKT[..., steps // 2] = lm.card
    record = Recorder(lm, set(case["keep"](steps)), forced)
    gen = LMGen(
        lm,
        use_sampling=False,
        condition_tensors=conditions,
        on_text_hook=record.on_text,
        on_text_logits_hook=record.on_text_logits,
        on_audio_hook=record.on_audio,
    )
    heads, returned = [], []
    nothing = torch.full((case["batch"], lm.dep_q + 1, 1), UNGENERATED)
    with torch.no_grad(), gen.streaming(case["batch"]):
        for step in range(steps):
            record.step = step
            got = gen.step_with_extra_heads(user_BKT[..., step : step + 1])
            returned.append(nothing if got is None else got[0])
            if got is not None and got[1] and step in record.keep:
                heads.append(torch.cat(got[1], 1))
    record.close()
    clear_choice(prefix + "tokens", record.gap, 5e-4)
    out = {"user": user_BKT, "text": torch.stack(record.text, -1), "returned": torch.cat(returned, -1)}
    out |= {f"forced_{name}": tokens for name, tokens in forced.items()}
    if record.audio:
        out["audio"] = torch.stack(record.audio, -1)
    out = {name: t.to(torch.int32) for name, t in out.items()}
    out["kept_steps"] = torch.tensor(sorted(record.keep), dtype=torch.int32)
    out["text_logits"] = torch.stack(record.text_logits, 1)[:, :, 0, 0]
    if record.audio_logits:
        out["audio_logits"] = torch.cat(record.audio_logits, 1).unflatten(1, (-1, lm.dep_q))[:, :, :, 0]
    if heads:
        out["extra_heads"] = torch.stack(heads, 1)
    distinct = [int(t.unique().numel()) for t in (out["text"], out.get("audio", out["text"]))]
    print(f"  {prefix}distinct text, audio tokens: {distinct}; text logit std {out['text_logits'].std():.1f}")
    return {prefix + name: t for name, t in out.items()}


def forced_tokens(lm: Any, case: dict, steps: int, rng: torch.Generator) -> Tensors:
    """-2 where the model chooses. Audio is silent (-1) at first, as when speech follows its text."""
    text_BT = random_codes(lm, case, steps, rng)[:, 0].clamp(min=0)
    text_BT[torch.rand(text_BT.shape, generator=rng) < 0.4] = UNGENERATED
    audio_BQT = torch.full((case["batch"], lm.dep_q, steps), UNGENERATED)
    for q, delay in enumerate(lm.delays[1 : lm.dep_q + 1]):
        audio_BQT[:, q, : 5 + delay] = -1
    return {"text": text_BT, "audio": audio_BQT}


def make_lm(folder: Path, case: dict) -> None:
    rng = torch.Generator().manual_seed(case["seed"] + 1)
    lm = build_lm(folder, case)
    with torch.no_grad():
        conditions, out = make_conditions(lm, case, rng)
        out |= {"forward." + name: t for name, t in teacher_forced(lm, case, conditions, rng).items()}
    out |= generate(lm, case, conditions, case["steps"], "greedy.", {}, rng)
    if case["forced_steps"]:
        forced = forced_tokens(lm, case, case["forced_steps"], rng)
        out |= generate(lm, case, conditions, case["forced_steps"], "forced.", forced, rng)
    save_io(folder, out)


def main() -> None:
    root, wanted = Path(sys.argv[1]), sys.argv[2:]
    torch.set_num_threads(1)
    for cases, make in ((MIMI_CASES, make_mimi), (LM_CASES, make_lm)):
        for name, case in cases.items():
            if not wanted or name in wanted:
                with torch.no_grad():
                    make(root / name, case)


if __name__ == "__main__":
    main()
