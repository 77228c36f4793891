"""Make the golden results of speech synthesis, recognition and guided translation: the reference implementation
(`moshi==0.2.13`) on the small random models of `make_reference.py`.

Run in an environment that has the reference, never in the project's own:

    python tests/golden/make_speech.py tests/golden
"""

import copy
import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

os.environ["NO_TORCH_COMPILE"] = "1"

import moshi.models.lm as reference  # pyright: ignore[reportMissingImports]
import torch
from cases import LM_CASES, LM_GAINS, NOT_LM  # pyright: ignore[reportMissingImports]
from make_reference import build_lm  # pyright: ignore[reportMissingImports]
from moshi.conditioners import ConditionAttributes, ConditionProvider  # pyright: ignore[reportMissingImports]
from moshi.models import LMGen, loaders  # pyright: ignore[reportMissingImports]
from moshi.models.tts import StateMachine, TokenIds, TTSModel  # pyright: ignore[reportMissingImports]
from safetensors.torch import save_file
from speech_cases import (  # pyright: ignore[reportMissingImports]
    MAX_SPEAKERS,
    PREFIX_CASES,
    PROMPT,
    STT,
    TRANSLATION,
    TTS_CASES,
    VOICE_FRAMES,
    Letters,
)

LEAST_GAP = 5e-4
Tensors = dict[str, torch.Tensor]


class Gaps:
    """The smallest lead of any token that was chosen."""

    def __init__(self) -> None:
        self.least = float("inf")
        self._choose = reference.sample_token
        reference.sample_token = self

    def __call__(self, logits: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        top = logits.double().topk(2).values
        self.least = min(self.least, float((top[..., 0] - top[..., 1]).min()))
        return self._choose(logits, *args, **kwargs)

    def check(self, what: str) -> None:
        print(f"  {what}: smallest gap {self.least:.2e}")
        if self.least < LEAST_GAP:
            raise SystemExit(f"{what}: a choice is too close to call; change a seed")
        self.least = float("inf")


def open_lm(root: Path, name: str) -> Any:
    config = {k: v for k, v in LM_CASES[name]["config"].items() if k not in NOT_LM}
    path = root / name / "model.safetensors"
    return loaders.get_moshi_lm(path, copy.deepcopy(config), dtype=torch.float32)


def make_prefix_lm(root: Path) -> Any:
    """A model of the kind of tts-0.75b-en-public: it has no conditions."""
    config = copy.deepcopy(LM_CASES["lm_cond"]["config"])
    for key in ("conditioners", "fuser"):
        del config[key]
    config |= {"cross_attention": False, "num_layers": 1}
    case = {"config": config, "not_lm": NOT_LM, "gains": LM_GAINS, "seed": 813, "old_names": False}
    lm = build_lm(root / "lm_prefix", case)
    lm.condition_provider = ConditionProvider({})  # which the reference asks for, empty
    return lm


def synthesiser(lm: Any, bonus: float, codebooks: int, guidance: float) -> TTSModel:
    machine = StateMachine(
        TokenIds(lm.text_card + 1), second_stream_ahead=2, max_padding=8, initial_padding=2
    )
    mimi: Any = SimpleNamespace(frame_rate=12.5, sample_rate=24_000)
    tokenizer: Any = Letters()
    return TTSModel(
        lm, mimi, tokenizer, "", "", machine, int(1.28 * 12.5),
        temp=0.0, n_q=codebooks, padding_bonus=bonus, max_gen_length=400, cfg_coef=guidance,
    )  # fmt: skip


def spoken(
    model: TTSModel, case: dict, attributes: list, prefix: torch.Tensor | None
) -> tuple[dict, Tensors]:
    entries = model.prepare_script(case["script"], padding_between=1)
    prefixes = None if prefix is None else [prefix]
    result = model.generate([entries], attributes, prefixes=prefixes)
    frames = torch.cat(result.frames, -1)[0]
    told = {
        "words": result.all_transcripts[0],
        "end_step": result.end_steps[0],
        "consumed": result.all_consumption_times[0],
        "written": [int(token) for _, token in result.logged_text_tokens[0]],
    }
    print(f"  {frames.shape[1]} frames, end {told['end_step']}, {len(frames[1:].unique())} distinct codes")
    return told, {"frames": frames.to(torch.int16)}


def speech(root: Path, gaps: Gaps, folder: Path) -> tuple[dict, Tensors]:
    rng = torch.Generator().manual_seed(77)
    told, tensors = {}, {}
    voices = []
    for i in range(2):
        voice = torch.randn(1, 12, VOICE_FRAMES, generator=rng).half()
        path = folder / f"voice{i}.safetensors"
        save_file({"speaker_wavs": voice}, path)
        voices.append(path)
    for name, case in TTS_CASES.items():
        lm = open_lm(root, "lm_cond")
        model = synthesiser(lm, case.get("bonus", 0.0), case.get("codebooks", lm.n_q), 1.0)
        assert model.max_speakers == MAX_SPEAKERS
        attributes = model.make_condition_attributes([voices[v] for v in case["voices"]], case["guidance"])
        told[name], out = spoken(model, case, [attributes], None)
        tensors |= {f"{name}.{key}": value for key, value in out.items()}
        gaps.check(name)
    lm = make_prefix_lm(root)
    for name, case in PREFIX_CASES.items():
        model = synthesiser(lm, 0.0, lm.n_q, case["guidance"])
        codes = torch.randint(0, lm.card, (lm.n_q, case["prefix"]), generator=rng)
        prefix = torch.cat([torch.full_like(codes[:1], -1), codes])
        told[name], out = spoken(model, case, [], prefix)
        tensors |= {f"{name}.{key}": value for key, value in out.items()}
        tensors[f"{name}.prefix"] = codes.to(torch.int16)
        gaps.check(name)
    return told, tensors


def translated(root: Path, gaps: Gaps) -> Tensors:
    """Hibiki with guidance: the condition against its opposite, text and codes."""
    lm, rng = open_lm(root, "lm_hibiki"), torch.Generator().manual_seed(78)
    conditions = [ConditionAttributes(text={"description": d}, tensor={}) for d in ("very_good", "very_bad")]
    tensors = lm.condition_provider.prepare_and_provide(conditions)
    gen = LMGen(lm, use_sampling=False, cfg_coef=TRANSLATION["guidance"], condition_tensors=tensors)
    user = torch.randint(0, lm.card, (1, lm.n_q - lm.dep_q, TRANSLATION["steps"]), generator=rng)
    frames = []
    with torch.no_grad(), gen.streaming(1):
        for step in range(TRANSLATION["steps"]):
            out = gen.step(user[..., step : step + 1])
            frames.append(torch.full((1, lm.dep_q + 1, 1), -2) if out is None else out)
    gaps.check("translation")
    returned = torch.cat(frames, -1)
    return {"translation.user": user.to(torch.int16), "translation.returned": returned.to(torch.int16)}


def recognised(root: Path, gaps: Gaps) -> Tensors:
    """As `moshi.run_inference` does it: frame 0 is pushed twice."""
    lm, rng = open_lm(root, "lm_heads"), torch.Generator().manual_seed(79)
    codes = torch.randint(0, lm.card, (STT["batch"], lm.n_q, STT["frames"]), generator=rng)
    gen = LMGen(lm, use_sampling=False)
    text, heads = [], []
    with torch.no_grad(), gen.streaming(STT["batch"]):
        for frame in [0, *range(STT["frames"])]:
            out = gen.step_with_extra_heads(codes[..., frame : frame + 1])
            assert out is not None
            text.append(out[0][:, 0])
            heads.append(torch.stack([head[:, 0, 0] for head in out[1]], 1))
    gaps.check("recognition")
    return {
        "stt.codes": codes.to(torch.int16),
        "stt.text": torch.cat(text, -1).to(torch.int16),
        "stt.pauses": torch.stack(heads, -1),
    }


def prompted(root: Path, gaps: Gaps) -> Tensors:
    """As the published script for a prompt does it: while tokens of the prompt are left, the model may write the next
    of them, a boundary or PAD."""
    lm, rng = open_lm(root, "lm_heads"), torch.Generator().manual_seed(80)
    codes, left = torch.randint(0, lm.card, (1, lm.n_q, STT["frames"]), generator=rng), list(PROMPT)

    def on_logits(logits: torch.Tensor) -> None:
        if left:
            kept = logits[..., [0, 3, left[0]]].clone()
            logits[:] = -torch.inf
            logits[..., [0, 3, left[0]]] = kept

    def on_text(token: torch.Tensor) -> None:
        if left and token.item() == left[0]:
            left.pop(0)

    gen = LMGen(lm, use_sampling=False, on_text_logits_hook=on_logits, on_text_hook=on_text)
    with torch.no_grad(), gen.streaming(1):
        text = [gen.step(codes[..., f : f + 1])[:, 0] for f in [0, *range(STT["frames"])]]
    print(f"  {len(PROMPT) - len(left)} of {len(PROMPT)} tokens of the prompt were written")
    gaps.check("prompted recognition")
    return {"prompt.codes": codes.to(torch.int16), "prompt.text": torch.cat(text, -1).to(torch.int16)}


def main() -> None:
    root = Path(sys.argv[1])
    folder = root / "speech"
    folder.mkdir(exist_ok=True)
    torch.set_num_threads(1)
    gaps = Gaps()
    told, tensors = speech(root, gaps, folder)
    tensors |= translated(root, gaps) | recognised(root, gaps) | prompted(root, gaps)
    save_file({name: t.contiguous().clone() for name, t in tensors.items()}, folder / "io.safetensors")
    (folder / "expected.json").write_text(json.dumps(told) + "\n")


if __name__ == "__main__":
    main()
