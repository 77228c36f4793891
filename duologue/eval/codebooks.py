"""The quality of a codec with its first codebook only, the first two, and so on."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch

from duologue.codec import Codec
from duologue.eval.codec import Clip
from duologue.eval.result import Result
from duologue.eval.speech import Measure, fit, word_error_rate


@torch.inference_mode()
def score_codebooks(
    codec: Codec,
    clips: Sequence[Clip],
    judges: Mapping[str, Measure],
    result: Result,
    asr: Callable[[np.ndarray], str] | None = None,
    advance: Callable[[float], object] = lambda share: None,
) -> None:
    """Adds every judge's mean, and with `asr` the word error rate, for each number of codebooks."""
    codes = [codec.encode(torch.from_numpy(clip.wav_S)[None].to(codec.device)) for clip in clips]
    for books in range(1, codec.config.codebooks + 1):
        scores: dict[str, list[float]] = {name: [] for name in judges}
        texts, heard = [], []
        for clip, codes_1QT in zip(clips, codes, strict=True):
            wav_S = fit(codec.decode(codes_1QT[:, :books])[0].cpu().numpy(), len(clip.wav_S))
            for name, judge in judges.items():
                if (score := judge(clip.wav_S, wav_S)) is not None:
                    scores[name].append(score)
            if asr is not None and clip.text:
                texts.append(clip.text)
                heard.append(asr(wav_S))
            advance(1 / len(clips) / codec.config.codebooks)
        for name, found in scores.items():
            result.add(f"{books} codebooks: {name}", float(np.mean(found)) if found else None, "", len(found))
        if texts:
            result.add(f"{books} codebooks: WER", 100 * word_error_rate(texts, heard), "%", len(texts))
