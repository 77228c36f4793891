"""Whether a GPU computes what the CPU does: golden tensors of the reference, and compiled and recorded steps."""

from typing import Any

import torch
from torch import Tensor

from benchmarks.gpu_parts.recorded import recorded
from benchmarks.gpu_parts.report import Report
from duologue.engine.duplex import Duplex
from duologue.lm import Sampling
from duologue.lm.step import init_state, step
from duologue.weights import load
from tests import golden

LM_CASES = ("lm_moshi", "lm_shared", "lm_heads", "lm_sin")  # those that are told no conditions
CODEC_CASES = {"mimi_small": 8, "mimi_32": 32}


def run(report: Report, device: torch.device) -> None:
    cases = len(LM_CASES) if device.type == "cuda" else 1  # the suite has all of them on a CPU
    for case, codebooks in list(CODEC_CASES.items())[:cases]:
        for tf32 in (True, False) if device.type == "cuda" else (True,):
            what = f"{case}, float32" + ("" if tf32 else ", convolutions without TF32")
            report.attempt(what, lambda c=case, q=codebooks, t=tf32: codec(c, q, device, t))
    for case in LM_CASES[:cases]:
        for dtype in (torch.float32, torch.bfloat16):
            what = f"{case}, {str(dtype).removeprefix('torch.')}"
            report.attempt(what, lambda c=case, d=dtype: language_model(c, device, d))
    report.attempt("recorded step", lambda: other_step(device, "recorded"), needs=5)
    report.attempt(
        "compiled step", lambda: other_step(device, "compiled"), needs=30 if device.type == "cuda" else 0
    )


def codec(case: str, codebooks: int, device: torch.device, tf32: bool) -> dict[str, Any]:
    io, model = golden.io(case), golden.codec(case, codebooks).to(device)
    wav_BS = (io["wav_in"].float() / 32768).to(device)
    before, torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.allow_tf32, tf32
    try:
        with torch.no_grad():
            latent_BDT, codes_BQT = model.to_latent(wav_BS), model.encode(wav_BS)
            wav_hat_BS = model.decode(io["codes_in"][:, :8].to(device))
            state, frames = model.init_state(len(wav_BS)), wav_BS.unflatten(1, (-1, 1920)).unbind(1)
            streamed = [model.encode_step(state, frame) for frame in frames[: io["stream_codes"].shape[-1]]]
    finally:
        torch.backends.cudnn.allow_tf32 = before
    return {
        "far": far(latent_BDT, io["latent"]),
        "far_out": far(wav_hat_BS, io["wav_out"]),
        "same": same(codes_BQT, io["codes"]),
        "same_streamed": same(torch.cat(streamed, -1)[:, : io["stream_codes"].shape[1]], io["stream_codes"]),
    }


def language_model(case: str, device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    io, model = golden.io(case), golden.lm(case).to(device, dtype)
    with torch.no_grad():
        out = model(io["forward.codes"].to(device))
        state = init_state(model, [Sampling.greedy()] * 2)
        user_BQT = io["greedy.user"].to(device)
        said = [step(model, state, user_BQT[..., s]).text_B.cpu() for s in range(user_BQT.shape[-1])]
    found = {"far": far(out.text_BTV, io["forward.text_logits"][:, 0])}
    if out.audio_BQTV is not None and out.audio_mask_BQT is not None:
        mask = out.audio_mask_BQT.cpu()
        found["far_out"] = far(out.audio_BQTV.cpu()[mask], io["forward.logits"][mask])
    right_S = (torch.stack(said, -1) == io["greedy.text"]).all(0)
    first = right_S.shape[0] if bool(right_S.all()) else int((~right_S).nonzero()[0])
    return found | {"same_streamed": float(right_S.float().mean()), "first_other_step": first}


def other_step(device: torch.device, how: str) -> dict[str, Any]:
    """Tokens of a tiny model, step by step, against those of the plain step."""
    model = load("tiny", str(device), torch.float32)

    def conversation(how: str) -> tuple[Tensor, Tensor]:
        torch.manual_seed(0)
        duplex = Duplex(model, [Sampling(seed=n) for n in range(2)], compile=how == "compiled")
        exec_B = torch.ones(2, dtype=torch.bool, device=device)
        run = recorded(duplex, exec_B) if how == "recorded" else lambda wav_BS: duplex.step(wav_BS, exec_B)
        tokens, sound = [], []
        for _ in range(24):
            out = run((0.1 * torch.randn(2, duplex.frame_size)).to(device))
            tokens.append(out.tokens_BK.cpu().clone())
            sound.append(out.wav_BS.cpu().clone())
        return torch.stack(tokens), torch.stack(sound)

    plain, other = conversation("plain"), conversation(how)
    skips = torch._dynamo.utils.counters["inductor"]["cudagraph_skips"] if how == "compiled" else 0
    return {"same": same(other[0], plain[0]), "far_out": far(other[1], plain[1]), "graph_skips": skips}


def far(found: Tensor, expected: Tensor) -> float:
    """|found - expected| / |expected|; what is not finite in both does not count."""
    found, expected = found.detach().double().cpu(), expected.detach().double()
    counts = expected.isfinite()
    return float((found[counts] - expected[counts]).norm() / expected[counts].norm().clamp(min=1e-30))


def same(found: Tensor, expected: Tensor) -> float:
    return float((found.cpu() == expected).float().mean())
