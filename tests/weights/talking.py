"""A greedy conversation with a language model, and the logits it went by."""

from dataclasses import dataclass

import torch
from torch import Tensor

from duologue.lm import LM, Sampling
from duologue.lm.step import init_state, step


@dataclass
class AgentFrame:
    text_S: Tensor
    audio_QS: Tensor
    text_logits_SV: Tensor
    audio_logits_SQV: Tensor


def converse(lm: LM, user_QS: Tensor) -> AgentFrame:
    """What the model says to the user's codes, one slot, every step."""
    seen: dict[int, list[Tensor]] = {}
    assert lm.depth is not None
    modules = [lm.text_head, *lm.depth.heads]
    hooks = [
        module.register_forward_hook(lambda _, __, out, k=k: seen.setdefault(k, []).append(out[0]))
        for k, module in enumerate(modules)
    ]
    with torch.no_grad():
        state = init_state(lm, [Sampling.greedy()])
        for codes_Q in user_QS.T:
            step(lm, state, codes_Q[None].long())
    for hook in hooks:
        hook.remove()
    text_SV, *audio = [torch.stack(seen[k]) for k in range(len(modules))]
    audio_SQV = torch.stack(audio, 1)
    return AgentFrame(text_SV.argmax(-1), audio_SQV.argmax(-1).T, text_SV, audio_SQV)
