"""The model that comes with the package, as the reference opens it."""

from pathlib import Path

import torch
from safetensors.torch import load_file

from duologue.lm import Sampling
from duologue.lm.step import init_state, step
from duologue.weights import load

GOLDEN = Path(__file__).parent.parent / "golden" / "nano.safetensors"


def test_the_reference_says_the_same() -> None:
    """Greedy tokens of a whole spoken question and its answer, stored by `tests/golden/make_nano.py`."""
    io, lm = load_file(GOLDEN), load("nano").lm
    user_QT = io["user"].long()
    state = init_state(lm, [Sampling.greedy()])
    tokens = [step(lm, state, user_QT[None, :, s]).tokens_BK[0] for s in range(user_QT.shape[1])]
    assert torch.equal(torch.stack(tokens, -1), io["tokens"].long())
    text = io["tokens"][0]
    assert len(text[(text != 3) & (text > 0)].unique()) > 3  # it answered
