"""Make the golden translations: the reference's own program of translation (`moshi==0.2.13`, `run_inference`) on the
random model `lm_hibiki`, with given codes in the codec's place.

Run in an environment that has the reference, never in the project's own:

    python tests/golden/make_translation.py tests/golden

For each strength of guidance the first recording is taken whose translation ends by itself, and in which no choice of a
token is close.
"""

import copy
import os
import sys
from pathlib import Path
from types import SimpleNamespace

os.environ["NO_TORCH_COMPILE"] = "1"

import torch
from cases import LM_CASES, NOT_LM  # pyright: ignore[reportMissingImports]
from make_speech import Gaps  # pyright: ignore[reportMissingImports]
from moshi.models import loaders  # pyright: ignore[reportMissingImports]
from moshi.run_inference import InferenceState  # pyright: ignore[reportMissingImports]
from safetensors.torch import save_file

FRAMES, AFTER, FRAME, EOS, PAD = 12, 60, 1920, 2, 3
LEAST_GAP = 5e-4


class Unending(Exception):
    """The translation goes on for too long."""


class Codes:
    """In Mimi's place: the frame that begins with the number n is the n-th of the codes; silence goes on from there."""

    sample_rate, frame_rate, channels = 24_000, 12.5, 1

    def __init__(self, codes_QT: torch.Tensor, card: int):
        self.codes_QT, self.cardinality, self.num_codebooks = codes_QT, card, len(codes_QT)
        self.next = 0
        self.decoded: list[torch.Tensor] = []

    def streaming_forever(self, batch: int) -> None:
        pass

    def encode(self, wav: torch.Tensor) -> torch.Tensor:
        if self.next == self.codes_QT.shape[1]:
            raise Unending
        self.next += 1
        return self.codes_QT[None, :, self.next - 1 : self.next]

    def decode(self, codes_BQ1: torch.Tensor) -> torch.Tensor:
        self.decoded.append(codes_BQ1[0, :, 0].clone())
        return torch.zeros(len(codes_BQ1), 1, FRAME)


def translation(lm, guidance: float, codes_QT: torch.Tensor) -> dict[str, torch.Tensor] | None:
    mimi, gaps = Codes(codes_QT, lm.card), Gaps()
    tokenizer = SimpleNamespace(eos_id=lambda: EOS, id_to_piece=str)
    state = InferenceState(
        SimpleNamespace(model_type="hibiki"), mimi, tokenizer, lm, 1, guidance, "cpu", use_sampling=False
    )
    try:
        ((text_T, _),) = state.run(torch.zeros(1, 1, FRAMES * FRAME))
    except Unending:
        return None
    finally:
        lm._stop_streaming() if hasattr(lm, "_stop_streaming") else None
    if gaps.least < LEAST_GAP or len(text_T) < FRAMES:
        return None
    print(
        f"  guidance {guidance}: {len(text_T)} frames, smallest gap {gaps.least:.1e}, text {text_T.tolist()}"
    )
    return {"codes": codes_QT, "text": text_T, "audio": torch.stack(mimi.decoded, 1)[:, : len(text_T)]}


def main() -> None:
    root = Path(sys.argv[1])
    torch.set_num_threads(1)
    config = {k: v for k, v in LM_CASES["lm_hibiki"]["config"].items() if k not in NOT_LM}
    out = {}
    for guidance in (1.0, 3.0):
        for seed in range(500):
            lm = loaders.get_moshi_lm(
                root / "lm_hibiki" / "model.safetensors", copy.deepcopy(config), dtype=torch.float32
            )
            with torch.no_grad():
                lm.text_emb.weight[EOS] = lm.text_emb.weight[PAD]  # as the program's loader does
                rng = torch.Generator().manual_seed(seed)
                codes_QT = torch.randint(0, lm.card, (lm.n_q - lm.dep_q, FRAMES + AFTER), generator=rng)
                found = translation(lm, guidance, codes_QT)
            if found:
                out |= {f"{guidance:g}.{name}": t.to(torch.int32).contiguous() for name, t in found.items()}
                break
    save_file(out, root / "translation.safetensors")


if __name__ == "__main__":
    main()
