"""Our language model against the reference's, on the same random weights."""

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from duologue.lm import LM, Sampling
from duologue.lm.condition import Condition
from duologue.lm.model import TO_GENERATE
from duologue.lm.step import init_state, step
from tests import golden
from tests.golden.cases import LM_CASES

CASES = ["lm_moshi", "lm_shared", "lm_heads", "lm_cond", "lm_hibiki", "lm_sin"]


def conditions(case: str, lm: LM, io: dict[str, Tensor]) -> Condition | None:
    """The conditions of both rows of the batch, put together."""
    if lm.conditioning is None:
        return None
    rows = []
    for row in range(2):
        values = dict(LM_CASES[case]["texts"][row])
        for name in {key.split(".")[1] for key in io if key.startswith("condition.")}:
            values[name] = (io[f"condition.{name}.{row}"], io[f"condition_mask.{name}.{row}"])
        rows.append(lm.conditioning(values))
    summed = [row.summed_B1D for row in rows if row.summed_B1D is not None]
    crossed = [row.crossed_BSD for row in rows if row.crossed_BSD is not None]
    return Condition(torch.cat(summed) if summed else None, torch.cat(crossed) if crossed else None)


@pytest.mark.parametrize("case", CASES)
def test_teacher_forced(case: str) -> None:
    lm, io = golden.lm(case), golden.io(case)
    with torch.no_grad():
        out = lm(io["forward.codes"], conditions(case, lm, io))
    assert_close(out.text_BTV, io["forward.text_logits"][:, 0], atol=1e-4, rtol=0)
    if "forward.hidden" in io:
        assert_close(out.hidden_BTD, io["forward.hidden"], atol=1e-4, rtol=0)
    if out.audio_BQTV is not None and out.audio_mask_BQT is not None:
        assert torch.equal(out.audio_mask_BQT, io["forward.mask"].bool())
        assert torch.equal(out.text_mask_BT, io["forward.text_mask"][:, 0].bool())
        mask = out.audio_mask_BQT
        assert_close(out.audio_BQTV[mask], io["forward.logits"][mask], atol=1e-4, rtol=0)


RUNS = [
    *((case, "greedy") for case in CASES),
    *((f"lm_{name}", "forced") for name in ("moshi", "cond", "shared", "sin")),
]


@pytest.mark.parametrize(("case", "run"), RUNS)
def test_generates_the_same_tokens(case: str, run: str) -> None:
    """Greedy, far past the context, with a user stream; "forced": with some tokens given instead of sampled."""
    lm, io = golden.lm(case), golden.io(case)
    user = io[f"{run}.user"]
    with torch.no_grad():
        state = init_state(lm, [Sampling.greedy()] * 2, conditions(case, lm, io))
    for s in range(io[f"{run}.text"].shape[-1]):
        forced = {}
        if run == "forced":
            forced = {"text_B": io["forced.forced_text"][:, s], "audio_BQ": io["forced.forced_audio"][..., s]}
        out = step(lm, state, user[..., s], **forced)
        text_B = io[f"{run}.text"][:, s]
        if forced:
            text_B = torch.where(forced["text_B"] == TO_GENERATE, text_B, forced["text_B"])
        assert torch.equal(out.text_B, text_B), f"text, step {s}"
        returned = io[f"{run}.returned"][..., s]
        assert torch.equal(out.tokens_BK, returned), f"tokens, step {s}"
        if f"{run}.extra_heads" in io and (kept := (io[f"{run}.kept_steps"] == s).nonzero()).numel():
            with torch.inference_mode():
                heads = torch.stack([head(out.hidden_BD) for head in lm.extra_heads], 1).softmax(-1)
            assert_close(heads, io[f"{run}.extra_heads"][:, int(kept)], atol=1e-4, rtol=0)
    assert (io[f"{run}.returned"] != TO_GENERATE).any()
