"""What stands between the choice of the text token and the depth transformer: the two halves of a step, conditions of
each slot, guidance, fewer codebooks."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.testing import assert_close

from duologue.lm import LM, Sampling
from duologue.lm.condition import Condition
from duologue.lm.model import NO_INPUT, TO_GENERATE
from duologue.lm.step import init_state, listen, speak, step, tell
from duologue.lm.step_state import Guidance, StepState
from tests import golden
from tests.golden.cases import LM_CASES
from tests.golden.speech_cases import TRANSLATION

STEPS = 25  # past the context of 16


def conditions(case: str, lm: LM) -> list[Condition]:
    """One for each row of the case."""
    io, rows = golden.io(case), []
    assert lm.conditioning is not None
    for row in range(2):
        values = dict(LM_CASES[case]["texts"][row])
        for name in {key.split(".")[1] for key in io if key.startswith("condition.")}:
            values[name] = (io[f"condition.{name}.{row}"], io[f"condition_mask.{name}.{row}"])
        with torch.no_grad():
            rows.append(lm.conditioning(values))
    return rows


def user_codes(lm: LM, batch: int, steps: int = STEPS) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randint(lm.config.card, (steps, batch, lm.config.heard), generator=generator)


def run(lm: LM, state: StepState, user_SBQ: Tensor) -> Tensor:
    return torch.stack([step(lm, state, user_BQ).tokens_BK for user_BQ in user_SBQ])


def test_the_halves_are_the_step() -> None:
    lm = golden.lm("lm_moshi")
    user_SBQ, settings = user_codes(lm, 2), [Sampling(seed=1), Sampling.greedy()]
    whole, halves = init_state(lm, settings), init_state(lm, settings)
    for s, user_BQ in enumerate(user_SBQ):
        exec_B = torch.tensor([s % 3 != 2, s % 4 != 1])
        expected = step(lm, whole, user_BQ, exec_B)
        thought = listen(lm, halves, user_BQ, exec_B)
        out = speak(lm, halves, thought, exec_B=exec_B)
        assert torch.equal(out.text_B, expected.text_B)
        assert torch.equal(out.tokens_BK, expected.tokens_BK)


def test_a_token_put_in_between_is_what_the_depth_transformer_reads() -> None:
    lm = golden.lm("lm_moshi")
    forced, halves = init_state(lm, [Sampling.greedy()]), init_state(lm, [Sampling.greedy()])
    for s, user_BQ in enumerate(user_codes(lm, 1)):
        text_B = torch.tensor([s % 7])
        expected = step(lm, forced, user_BQ, text_B=text_B)
        out = speak(lm, halves, listen(lm, halves, user_BQ), text_B)
        assert torch.equal(out.tokens_BK, expected.tokens_BK)
        assert torch.equal(out.text_B, text_B)


def test_without_depth_nothing_is_said() -> None:
    """As if every code had been given as no input; the depth transformer is not run."""
    lm = golden.lm("lm_moshi")
    forced, silent = init_state(lm, [Sampling.greedy()]), init_state(lm, [Sampling.greedy()])
    assert lm.depth is not None
    heads, lm_depth = [], lm.depth
    handle = lm_depth.heads[0].register_forward_hook(lambda *_: heads.append(1))
    for user_BQ in user_codes(lm, 1):
        out = speak(lm, silent, listen(lm, silent, user_BQ), depth=False)
        assert not heads
        nothing_BQ = torch.full((1, lm.config.depth_steps), NO_INPUT)
        expected = step(lm, forced, user_BQ, audio_BQ=nothing_BQ)
        heads.clear()
        assert torch.equal(out.tokens_BK, expected.tokens_BK)
        assert torch.equal(out.text_B, expected.text_B)
    handle.remove()


def test_each_slot_has_a_condition_of_its_own_that_outlives_a_reset() -> None:
    lm = golden.lm("lm_cond")
    first, second = conditions("lm_cond", lm)
    user_SBQ = user_codes(lm, 1)
    alone = [run(lm, init_state(lm, [Sampling.greedy()], c), user_SBQ)[:, 0] for c in (first, second)]
    assert not torch.equal(*alone)
    state = init_state(lm, [Sampling.greedy()] * 2, first)
    tell(lm, state, 1, second)
    state.reset()
    both = run(lm, state, user_SBQ.expand(-1, 2, -1))
    assert torch.equal(both[:, 0], alone[0])
    assert torch.equal(both[:, 1], alone[1])
    tell(lm, state, 1, first)
    state.reset(torch.tensor([False, True]))
    assert torch.equal(run(lm, state, user_SBQ.expand(-1, 2, -1))[:, 1], alone[0])


def test_slots_are_taken_out_with_their_conditions() -> None:
    lm = golden.lm("lm_cond")
    first, second = conditions("lm_cond", lm)
    null = Guidance(Condition(None, None) if first.summed_B1D is None else second, text=False)
    for guidance in (None, null):
        settings = [replace(Sampling.greedy(), guidance=2.0)] * 3
        state = init_state(lm, settings, first, guidance)
        tell(lm, state, 2, second)
        whole = init_state(lm, settings, first, guidance)
        tell(lm, whole, 2, second)
        slots_N = torch.tensor([2, 0])
        for user_BQ in user_codes(lm, 1, 12):
            part = state.gather(slots_N)
            out = step(lm, part, user_BQ.expand(2, -1))
            state.scatter(slots_N, part)
            exec_B = torch.tensor([True, False, True])
            expected = step(lm, whole, user_BQ.expand(3, -1), exec_B)
            assert torch.equal(out.tokens_BK, expected.tokens_BK[slots_N])
        assert torch.equal(state.frame_B, torch.tensor([12, 0, 12]))


@pytest.mark.parametrize("text", [True, False])
def test_guided_logits_are_those_of_two_conversations(text: bool) -> None:
    """One with each half's condition, fed the same tokens; logits put together by hand."""
    lm = golden.lm("lm_hibiki")
    good, bad = conditions("lm_hibiki", lm)
    settings = replace(Sampling.greedy(), guidance=2.5)
    state = init_state(lm, [settings], good, Guidance(bad, text))
    one, other = init_state(lm, [settings], good), init_state(lm, [settings], bad)
    changed = 0
    for user_BQ in user_codes(lm, 1):
        thought = listen(lm, state, user_BQ)
        a, b = listen(lm, one, user_BQ), listen(lm, other, user_BQ)
        if text:
            assert_close(thought.hidden_BD, torch.cat([a.hidden_BD, b.hidden_BD]), atol=1e-5, rtol=0)
        with torch.inference_mode():
            conditional, null = lm.text_head(a.hidden_BD), lm.text_head(b.hidden_BD)
        guided_BV = null + 2.5 * (conditional - null) if text else conditional
        assert torch.equal(thought.text_B, guided_BV.argmax(-1))
        changed += int(not torch.equal(thought.text_B, a.text_B))
        out = speak(lm, state, thought)
        codes_BQ = out_codes(state, lm)
        for single, single_thought in ((one, a), (other, b)):
            heard_text = thought.text_B if text or single is one else torch.tensor([NO_INPUT])
            speak(lm, single, single_thought, heard_text, codes_BQ, depth=False)
        assert out.hidden_BD.shape == a.hidden_BD.shape
    assert (changed > 0) == text


def out_codes(state: StepState, lm: LM) -> Tensor:
    """The codes said in the newest step."""
    index_B11 = (state.frame_B % state.tokens_BKC.shape[-1])[:, None, None]
    spoken = state.tokens_BKC[:, 1 : 1 + lm.config.depth_steps]
    return spoken.gather(-1, index_B11.expand(-1, lm.config.depth_steps, 1))[..., 0]


def test_guidance_of_one_changes_nothing() -> None:
    lm = golden.lm("lm_hibiki")
    good, bad = conditions("lm_hibiki", lm)
    user_SBQ = user_codes(lm, 2)
    settings = [Sampling(seed=4), Sampling.greedy()]
    plain = run(lm, init_state(lm, settings, good), user_SBQ)
    assert torch.equal(run(lm, init_state(lm, settings, good, Guidance(bad)), user_SBQ), plain)
    stronger = [replace(s, guidance=3.0) for s in settings]
    assert not torch.equal(run(lm, init_state(lm, stronger, good, Guidance(bad)), user_SBQ), plain)


def test_fewer_codebooks_are_no_input_for_the_rest() -> None:
    lm = golden.lm("lm_moshi")
    codebooks, all_of_them = 3, lm.config.depth_steps
    state = init_state(lm, [Sampling.greedy()], codebooks=codebooks)
    forced = init_state(lm, [Sampling.greedy()])
    audio_BQ = torch.full((1, all_of_them), TO_GENERATE)
    audio_BQ[:, codebooks:] = NO_INPUT
    for user_BQ in user_codes(lm, 1):
        out, expected = step(lm, state, user_BQ), step(lm, forced, user_BQ, audio_BQ=audio_BQ)
        assert out.tokens_BK.shape == (1, 1 + codebooks)
        assert torch.equal(out.tokens_BK, expected.tokens_BK[:, : 1 + codebooks])
        assert torch.equal(out.text_B, expected.text_B)


def test_guided_it_translates_as_the_reference() -> None:
    """The description against its opposite, for text and codes (`tests/golden/make_speech.py`)."""
    io = load_file(golden.FOLDER / "speech" / "io.safetensors")
    user_SBQ = io["translation.user"].long().permute(2, 0, 1)
    lm = golden.lm("lm_hibiki")
    assert lm.conditioning is not None
    with torch.no_grad():
        good, bad = (lm.conditioning({"description": text}) for text in ("very_good", "very_bad"))
    settings = replace(Sampling.greedy(), guidance=TRANSLATION["guidance"])
    returned = run(lm, init_state(lm, [settings], good, Guidance(bad)), user_SBQ)
    assert torch.equal(returned.permute(1, 2, 0), io["translation.returned"].long())
