"""A codec's semantic codes on Libri-light's ABX items."""

from pathlib import Path

import numpy as np
import torch

from duologue.audio.files import read_mono
from duologue.codec import Codec
from duologue.errors import InputError
from duologue.eval.abx import abx_error, read_items
from duologue.eval.codec import AUDIO
from duologue.eval.result import Result


def score_abx(codec: Codec, items: Path, audio: Path, result: Result, limit: int | None = None) -> None:
    """Adds the error within speakers of what the semantic codebooks say alone (projected entries, one each 80 ms)."""
    found = {path.stem: path for path in sorted(audio.rglob("*")) if path.suffix.lower() in AUDIO}
    listed = read_items(items)
    names = list(dict.fromkeys(item.file for item in listed))[:limit]
    if missing := [name for name in names if name not in found]:
        raise InputError(f"{audio} holds no recording {missing[0]}, which {items} names")

    def features(name: str) -> np.ndarray:
        return semantic_features(codec, read_mono(found[name], codec.config.sample_rate))

    chosen = set(names)
    error, triples = abx_error([i for i in listed if i.file in chosen], features, codec.config.frame_rate)
    result.add("error within speakers", 100 * error, "%", triples, 8.7)


@torch.inference_mode()
def semantic_features(codec: Codec, wav_S: np.ndarray) -> np.ndarray:
    """The semantic codebooks' part of the quantised latent, float32 `[T, D]`."""
    codes_1QT = codec.encode(torch.from_numpy(wav_S)[None].to(codec.device))
    return codec.quantizer.decode(codes_1QT[:, : codec.config.quantizer.semantic])[0].T.float().cpu().numpy()
