"""Tokens that a model generates for a silent user, and watermarks through a codec, for some evaluations."""

from collections import Counter
from typing import Any

import numpy as np
import torch

from duologue.audio.watermark import SpreadSpectrum, Watermark
from duologue.codec import Codec
from duologue.eval.artefacts import LABELS, artefacts
from duologue.eval.result import Result
from duologue.lm import LM, Sampling
from duologue.lm.step import init_state, step


@torch.inference_mode()
def said_to_silence(lm: LM, silence_Q: torch.Tensor, sampling: list[Sampling], frames: int) -> np.ndarray:
    """Tokens `[B, 1 + Q, T]` (text, the agent's codes) of `len(sampling)` conversations in which the user is silent."""
    batch = len(sampling)
    state = init_state(lm, sampling)
    heard_BQ = silence_Q[: lm.config.heard].to(lm.device).expand(batch, -1)
    exec_B = torch.ones(batch, dtype=torch.bool, device=lm.device)
    found = [step(lm, state, heard_BQ, exec_B).tokens_BK.cpu() for _ in range(frames + 1)]
    return torch.stack(found[1:], -1).numpy()


def score_artefacts(model: Any, kinds: tuple[str, ...], samples: int, frames: int, result: Result) -> None:
    """Adds, for each precision, the share of windows without an artefact, and of each artefact that there is."""
    from duologue.eval.quantize import quantized

    silence_1S = torch.zeros(1, 4 * model.codec.config.frame_size)
    with torch.inference_mode():
        silence_Q = model.codec.encode(silence_1S.to(model.codec.device))[0, :, -1]
    settings = [Sampling(temperature=0.8, text_temperature=0.8, seed=seed) for seed in range(samples)]
    for kind in kinds:
        lm, _ = quantized(model.lm, kind)
        labels: Counter[str] = Counter()
        for tokens_KT in said_to_silence(lm, silence_Q, settings, frames):
            labels += artefacts(tokens_KT)
        total = sum(labels.values())
        for name in (LABELS[-1], *LABELS[:-1]):
            if labels[name] or name == "none":
                result.add(f"{kind}: {name}", 100 * labels[name] / max(1, total), "%", total)


@torch.inference_mode()
def through(codec: Codec, wav_S: np.ndarray) -> np.ndarray:
    """A recording encoded and decoded, of the same length."""
    wav_BS = torch.from_numpy(np.asarray(wav_S, np.float32))[None].to(codec.device)
    out_S = codec.decode(codec.encode(wav_BS))[0].cpu().numpy()
    return np.pad(out_S, (0, max(0, len(wav_S) - len(out_S))))[: len(wav_S)]


def score_watermark(codec: Codec, wav_S: np.ndarray, watermark: Watermark, result: Result) -> None:
    """Adds the probability that the mark is found in marked sound, in sound without it, and in both after the codec,
    after noise at -30 dB, and after Opus."""
    from duologue.eval.speech import opus_6k

    size = codec.config.frame_size
    marked_S = np.concatenate([watermark.mark(wav_S[at : at + size]) for at in range(0, len(wav_S), size)])
    noise_S = (
        np.random.default_rng(0).normal(0, 10 ** (-30 / 20) * wav_S.std(), len(wav_S)).astype(np.float32)
    )
    for name, sound_S in (("marked", marked_S), ("unmarked", wav_S)):
        result.add(f"{name}", watermark.find(sound_S), "probability")
        result.add(f"{name}, noise at -30 dB", watermark.find(sound_S + noise_S), "probability")
        result.add(
            f"{name}, Opus at 6 kbit/s",
            watermark.find(opus_6k(sound_S, codec.config.sample_rate)[0]),
            "probability",
        )
        result.add(f"{name}, through the codec", watermark.find(through(codec, sound_S)), "probability")
    kept = 10 * np.log10(np.mean(wav_S**2) / max(1e-12, float(np.mean((marked_S - wav_S) ** 2))))
    result.add("sound over mark", float(kept), "dB")
    if isinstance(watermark, SpreadSpectrum):
        result.settings["strength"] = watermark.strength
