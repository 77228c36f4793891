"""The language model's objective: text, the agent's codes, and what the user said (paper, section 3.4.4).

One stage serves multi-stream post-training, duplex and instruct fine-tuning; they differ in data and `LMLossConfig`.
"""

import math
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from duologue.lm import LM
from duologue.lm.model import NO_INPUT
from duologue.train.optim import Ema, Group, OptimConfig, Optimizer
from duologue.train.parallel import World, to_device
from duologue.train.stage import Loss, Stage


@dataclass(frozen=True)
class LMLossConfig:
    """Weights of the losses. A loss of weight 0 is not computed (listening only: `audio` = 0)."""

    text: float = 1.0
    audio: float = 1.0
    heard: float = 0.0
    """Of the user's words, at the first extra head (whose width must be the text vocabulary)."""
    asr_intermediate: float = 0.0
    """Of the same head on the output of the first `EARLY` of the layers (intermediate ASR loss): a word that only the
    top layer recognises cannot be used by the lower layers of later frames."""
    padding: float = 0.5
    """Of PAD and EPAD among the text tokens."""
    pad_bias: float = 0.0
    """Added to PAD's logits in the text loss. The model then speaks sooner in use, as with a `Sampling.pad_bias` below
    0, which model files cannot store."""
    own_user_text: float = 0.0
    """Share of the batches in which a model that reads the user's words reads them as it writes them down itself,
    mistakes and all, and not as they were said (scheduled sampling, arXiv 1506.03099, in one pass)."""
    own_voice: float = 0.0
    """Share of the batches in which the model hears its own first codebook as it would have chosen it, in some of the
    frames (scheduled sampling as well)."""
    codebooks: tuple[float, ...] = (1.0,)
    """Of each codebook among them; the last weight is that of all that follow. (The paper: 100 and 1.)"""
    acoustic_frames: float = 1.0
    """Share of the trained frames in which the other codebooks are trained too: they cost most of the depth
    transformer's time, and take fewer frames to learn."""
    silent_frames: float = 1.0
    """Share of the frames in which the agent is silent whose codes are trained: the depth transformer is dear and
    silence is easy."""


EARLY = 5 / 8


REPEAT_FRAMES = 3


def just_before(written_BT: Tensor, target_BT: Tensor) -> Tensor:
    """Whether a token of a target was written in one of the `REPEAT_FRAMES` frames before, bool `[B, T]`. To ask for it
    again would teach a model that writes a word early to write it twice."""
    found_BT = torch.zeros_like(target_BT, dtype=torch.bool)
    for frames in range(1, REPEAT_FRAMES + 1):
        found_BT[:, frames:] |= written_BT[:, :-frames] == target_BT[:, frames:]
    return found_BT & (target_BT != NO_INPUT)


def after_missed(written_BT: Tensor, target_BT: Tensor, pad: int) -> Tensor:
    """Where the token before one of a target was not written, bool `[B, T]`. To ask for the next one would teach a
    model to go on with a word whose beginning it has missed."""
    word_BT = (target_BT != NO_INPUT) & (target_BT != pad)
    missed_BT = word_BT & (written_BT != target_BT)
    found_BT = torch.zeros_like(word_BT)
    found_BT[:, 1:] = word_BT[:, 1:] & missed_BT[:, :-1] & (target_BT[:, 1:] != target_BT[:, :-1])
    return found_BT


def _drawn(share: float) -> bool:
    return share > 0 and float(torch.rand(())) < share


class LMStage(Stage):
    """Trains `lm`; batches from `lm_batches.LMBatches`."""

    module: LM

    def __init__(
        self,
        lm: LM,
        config: LMLossConfig,
        optim: OptimConfig,
        depth_lr: float | None = None,
        valid: Iterable[dict[str, Tensor]] = (),
        world: World | None = None,
        ema: float = 0.999,
    ):
        trained = "" if config.audio else r"^(?!depth)"
        groups = [Group(r"^depth", lr=depth_lr)] if config.audio and depth_lr else []
        super().__init__(lm, {"main": Optimizer(lm, optim, groups, trained)}, world, Ema(lm, ema, trained))
        self.config = config
        self.valid = to_device(list(valid), self.world.device)

    def train_step(self, batches: Sequence[Any], step: int) -> dict[str, float]:
        seconds = sum(b["codes"].shape[0] * b["codes"].shape[-1] for b in batches) * 0.08
        return super().train_step(batches, step) | {"data_seconds": seconds}

    def loss(self, batch: dict[str, Tensor]) -> Loss:
        terms = self.terms(batch)
        weights = {name: getattr(self.config, name) for name in terms}
        total = sum(weights[name] * value / weight.clamp(min=1) for name, (value, weight) in terms.items())
        assert isinstance(total, Tensor)
        return total, 1.0, {name: (value.detach(), weight) for name, (value, weight) in terms.items()}

    def terms(self, batch: dict[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
        """Each loss as (weighted sum, sum of weights)."""
        return self._terms(batch)[0]

    def _terms(self, batch: dict[str, Tensor]) -> tuple[dict[str, tuple[Tensor, Tensor]], Tensor]:
        """`terms`, and what the temporal transformer gave, `[B, T, D]`."""
        lm, config = self.module, self.config
        early: list[Tensor] = []
        inputs_BKT, heard_BT = self._inputs(batch)
        with self._watched(early):
            z_BTD, _ = lm.context(inputs_BKT)
        terms = {}
        if config.text:
            logits_BTV = lm.text_head(z_BTD)
            if config.pad_bias:
                is_pad_V = torch.arange(logits_BTV.shape[-1], device=logits_BTV.device) == lm.config.pad_id
                logits_BTV = logits_BTV + config.pad_bias * is_pad_V
            terms["text"] = self._text(logits_BTV, batch["codes"][:, 0])
        if config.heard and heard_BT is not None:
            terms["heard"] = self._text(lm.extra_heads[0](z_BTD), heard_BT)
        if config.asr_intermediate and heard_BT is not None:
            terms["asr_intermediate"] = self._text(lm.extra_heads[0](lm.out_norm(early[0])), heard_BT)
        if config.audio:
            # The depth transformer reads the text as the step does: with the user's words, where the model reads them.
            delayed_BKT = lm.delayed(torch.cat([inputs_BKT[:, :1], batch["codes"][:, 1:]], 1))
            chosen_BT = self._frames(delayed_BKT[:, 1 : 1 + lm.config.depth_steps], batch.get("speaks"))
            if chosen_BT.any():
                terms["audio"] = self._audio(z_BTD[chosen_BT], delayed_BKT.transpose(1, 2)[chosen_BT])
        return terms, z_BTD

    def _inputs(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor | None]:
        """What the model reads, with the user's words in the text row of a model that reads them; and the words that it
        should write down, `[B, T]`, where the batch has any."""
        lm, config, inputs_BKT, heard_BT = self.module, self.config, batch["inputs"], batch.get("heard")
        reads = lm.config.reads_user_text
        if reads:
            inputs_BKT = self._with_user_text(inputs_BKT, batch["user_text"])
        own_text = reads and heard_BT is not None and _drawn(config.own_user_text)
        own_voice = config.audio > 0 and bool((inputs_BKT[:, 1] >= 0).any()) and _drawn(config.own_voice)
        if not lm.training or not (own_text or own_voice):
            return inputs_BKT, heard_BT
        with torch.no_grad():
            z_BTD = lm.context(inputs_BKT)[0]
            if own_voice:
                inputs_BKT = self._with_own_voice(inputs_BKT, z_BTD)
        if own_text:
            assert heard_BT is not None
            # Without a user's sound there is nothing to write down.
            own_BT = torch.where(heard_BT != NO_INPUT, lm.write_down(z_BTD), batch["user_text"])
            heard_BT = torch.where(just_before(own_BT, heard_BT), lm.config.pad_id, heard_BT)
            heard_BT = heard_BT.masked_fill(after_missed(own_BT, heard_BT, lm.config.pad_id), NO_INPUT)
            text_B1T = lm.with_user_text(batch["inputs"][:, :1], own_BT[:, None])
            inputs_BKT = torch.cat([text_B1T, inputs_BKT[:, 1:]], 1)
        return inputs_BKT, heard_BT

    def _with_own_voice(self, inputs_BKT: Tensor, z_BTD: Tensor) -> Tensor:
        """The agent's first codebook, which no model delays, as the model would have chosen it in a share of the
        frames, another for each row."""
        depth = self.module.depth
        assert depth is not None
        first_BT = inputs_BKT[:, 1]
        own_N1 = depth.sample(z_BTD.flatten(0, 1), inputs_BKT[:, 0].flatten(), lambda q, v: v.argmax(-1), 1)
        drawn_BT = torch.rand_like(z_BTD[..., 0]) < torch.rand_like(z_BTD[:, :1, 0])
        own_BT = torch.where((first_BT >= 0) & drawn_BT, own_N1.view_as(first_BT), first_BT)
        return torch.cat([inputs_BKT[:, :1], own_BT[:, None], inputs_BKT[:, 2:]], 1)

    def _with_user_text(self, inputs_BKT: Tensor, user_BT: Tensor) -> Tensor:
        text_BT = self.module.with_user_text(inputs_BKT[:, 0], user_BT)
        return torch.cat([text_BT[:, None], inputs_BKT[:, 1:]], 1)

    @contextmanager
    def _watched(self, early: list[Tensor]) -> Generator[None]:
        """While it lasts, what the first `EARLY` of the layers give is added to `early`, if there is a loss on it."""
        if not self.config.asr_intermediate:
            yield
            return
        layers = self.module.temporal.layers
        hook = layers[round(EARLY * len(layers)) - 1].register_forward_hook(
            lambda *call: early.append(call[-1])
        )
        try:
            yield
        finally:
            hook.remove()

    def _text(self, logits_BTV: Tensor, target_BT: Tensor) -> tuple[Tensor, Tensor]:
        config = self.module.config
        padding_BT = (target_BT == config.pad_id) | (target_BT == config.epad_id)
        weight_BT = torch.where(padding_BT, self.config.padding, 1.0) * (target_BT != NO_INPUT)
        loss_BT = F.cross_entropy(
            logits_BTV.transpose(1, 2).float(), target_BT.clamp(min=0), reduction="none"
        )
        return (loss_BT * weight_BT).sum(), weight_BT.sum()

    def _audio(self, z_ND: Tensor, delayed_NK: Tensor) -> tuple[Tensor, Tensor]:
        """Loss of the codes through the depth transformer, of N frames: at step t the delayed codes of step t, each
        given those before it. In training, all but the first codebook in a share of the frames."""
        if not self.module.training or self.config.acoustic_frames >= 1:
            return self._codes(z_ND, delayed_NK)
        order_N = torch.randperm(len(z_ND), device=z_ND.device)
        whole_N, first_N = order_N.tensor_split([math.ceil(self.config.acoustic_frames * len(z_ND))])
        whole, first = (
            self._codes(z_ND[chosen_N], delayed_NK[chosen_N], codebooks)
            for chosen_N, codebooks in ((whole_N, None), (first_N, 1))
        )
        return whole[0] + first[0], whole[1] + first[1]

    def _codes(self, z_ND: Tensor, delayed_NK: Tensor, codebooks: int | None = None) -> tuple[Tensor, Tensor]:
        lm, spoken = self.module, codebooks or self.module.config.depth_steps
        assert lm.depth is not None
        logits_NQV = lm.depth(z_ND[:, None], delayed_NK[..., None], codebooks)[:, :, 0]
        target_NQ = delayed_NK[:, 1 : 1 + spoken]
        known_NQ = (target_NQ >= 0) & (target_NQ < lm.config.card)
        loss_NQ = F.cross_entropy(logits_NQV.transpose(1, 2).float(), target_NQ * known_NQ, reduction="none")
        weights = self.config.codebooks
        weights_Q = [weights[min(q, len(weights) - 1)] for q in range(spoken)]
        weight_NQ = known_NQ * torch.tensor(weights_Q, device=known_NQ.device)
        return (loss_NQ * weight_NQ).sum(), weight_NQ.sum()

    def _frames(self, target_BQT: Tensor, speaks_BT: Tensor | None) -> Tensor:
        """Which frames the depth transformer is trained on, bool `[B, T]`: of silence a share. `speaks_BT`: when the
        agent speaks, where that is known."""
        known_BT = ((target_BQT >= 0) & (target_BQT < self.module.config.card)).any(1)
        if speaks_BT is None or self.config.silent_frames >= 1:
            return known_BT
        drawn_BT = torch.rand(known_BT.shape, device=known_BT.device) < self.config.silent_frames
        return known_BT & (speaks_BT | drawn_BT)

    def evaluate(self) -> dict[str, float]:
        """Loss of each kind of token, and how often the likeliest token is right where there is a word: of what the
        agent says, and of what the user said."""
        sums: dict[str, list[Tensor]] = {}
        right: dict[str, list[Tensor]] = {"text": [], "heard": []}
        for batch in self.valid:
            terms, z_BTD = self._terms(batch)
            for name, (value, weight) in terms.items():
                sums.setdefault(name, []).append(torch.stack([value, weight]))
            if self.config.text:
                right["text"].append(self._right(self.module.text_head(z_BTD), batch["codes"][:, 0]))
            if self.config.heard:
                right["heard"].append(self._right(self.module.extra_heads[0](z_BTD), batch["heard"]))
        totals = {name: torch.stack(values).sum(0) for name, values in sums.items()}
        result = {
            f"{name}_loss": float(total[0] / total[1]) for name, total in totals.items() if total[1] > 0
        }
        words = {name: torch.cat(values).float() for name, values in right.items() if values}
        return result | {f"{name}_accuracy": float(v.mean()) for name, v in words.items() if len(v)}

    def _right(self, logits_BTV: Tensor, target_BT: Tensor) -> Tensor:
        """Whether the likeliest token is right, for each token of a word, bool [N]."""
        config = self.module.config
        word_BT = (target_BT >= 0) & (target_BT != config.pad_id) & (target_BT != config.epad_id)
        return (logits_BTV.argmax(-1) == target_BT)[word_BT]
