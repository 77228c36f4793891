"""What the model writes down of the user's words goes back in with the next frame (`LMConfig.reads_user_text`)."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from duologue import presets
from duologue.lm import LM, Sampling
from duologue.lm.embedding import TokenEmbedding, two_in_one
from duologue.lm.step import StepOutput, init_state, step
from duologue.weights.random import random_lm

CONFIG = replace(presets.tiny_lm(), second_text_stream=True, extra_heads=1, extra_heads_dim=420)
STEPS = 30
USER_BQS = torch.randint(0, CONFIG.card, (2, 8, STEPS), generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope="module")
def lm() -> LM:
    return random_lm(CONFIG)


def run(lm: LM) -> list[StepOutput]:
    state = init_state(lm, [Sampling.greedy()] * 2)
    return [step(lm, state, USER_BQS[..., s]) for s in range(STEPS)]


def test_a_step_reads_what_the_step_before_wrote_down(lm: LM) -> None:
    """Offline, with both texts in one row, the same tokens come out."""
    outputs = run(lm)
    text_BT = torch.stack([out.text_B for out in outputs], 1)
    user_BT = torch.stack([out.user_text_B for out in outputs], 1)
    frames = STEPS - 2
    codes_BKT = torch.full((2, CONFIG.streams, frames), -1)
    codes_BKT[:, 0] = lm.with_user_text(text_BT, user_BT)[:, :frames]
    codes_BKT[:, 1:9] = torch.stack([out.tokens_BK[:, 1:] for out in outputs[1:-1]], -1)
    codes_BKT[:, 9:] = USER_BQS[..., 1:-1]
    with torch.no_grad():
        z_BTD, _ = lm.context(codes_BKT)
        deaf_BTD, _ = lm.context(torch.cat([text_BT[:, None, :frames], codes_BKT[:, 1:]], 1))
    assert torch.equal(lm.text_head(z_BTD).argmax(-1), text_BT[:, :frames])
    assert torch.equal(lm.extra_heads[0](z_BTD).argmax(-1), user_BT[:, :frames])
    assert (user_BT != CONFIG.pad_id).any()
    assert not torch.allclose(z_BTD, deaf_BTD, atol=1e-2)  # it does read them


def test_frames_tell_the_agents_text_alone(lm: LM) -> None:
    outputs = run(lm)
    for before, out in pairwise(outputs):
        assert torch.equal(out.tokens_BK[:, 0], before.text_B)
        assert (out.text_B < CONFIG.text_card).all()


def test_one_id_for_two_tokens() -> None:
    table = TokenEmbedding(11, 4, two_streams=True)
    assert table.first is not None and table.second is not None
    agent_T, user_T = torch.tensor([5, 5, 5]), torch.tensor([7, -1, 3])
    both_T = two_in_one(agent_T, user_T, 11, 3)
    assert both_T.tolist() == [5 + 8 * 11, 5, 5]  # 3 is PAD: nothing was written down
    expected_TD = table.first(table.weight[agent_T])
    expected_TD[0] += table.second(table.weight[7])
    torch.testing.assert_close(table(both_T), expected_TD)


def test_no_agents_text_is_no_input(lm: LM) -> None:
    text_B = lm.with_user_text(torch.tensor([-1, 2]), torch.tensor([9, 9]))
    assert text_B.tolist() == [-1, 2 + 10 * (CONFIG.text_card + 1)]


def test_only_a_model_with_both_reads_the_user() -> None:
    assert CONFIG.reads_user_text
    assert not replace(CONFIG, second_text_stream=False).reads_user_text
    assert not replace(CONFIG, extra_heads_dim=6).reads_user_text  # heads that tell pauses
    assert presets.nano_lm().reads_user_text
