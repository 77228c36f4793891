"""Batches for the language model: pieces of conversations as rows of codes and text."""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from duologue.data.manifest import AGENT, UNSAID, USER
from duologue.data.shards import Sample, ShardReader
from duologue.data.timeline import ABOUT_TO_SAY
from duologue.lm.model import NO_INPUT
from duologue.lm.monologue import FRAME_RATE, HEARD_DELAY, heard_row, lead, text_row
from duologue.tokenizer import Tokenizer

AS_HEARD = 1
"""Frames from the step that says something to its being heard: recordings hold the agent as heard, and the model must
have said it by then, so its streams stand one frame earlier than in the recording."""


@dataclass(frozen=True)
class LMBatchConfig:
    """How conversations become rows. The defaults are the paper's: all is heard, and a word stands where it starts."""

    batch: int = 8
    frames: int = 300
    """Length of a piece; longer than the context, so that the model learns to go on without its beginning."""
    from_start: float = 0.5
    """Share of pieces that start where their conversation does."""
    heard_delay: int = HEARD_DELAY
    """Frames from the end of a user's word to its being written down (first extra head)."""
    lead: int = 0
    """Frames by which the agent's words stand ahead of their sound (`monologue.lead`)."""
    drop_frames: float = 0.0
    """Share of the user's frames that the model does not hear."""
    drop_books: float = 0.0
    """Share of pieces in which it hears the user's first one to three codebooks only: those carry the words, and are
    most alike from one voice to the next. (Where it always hears all of them, it learns the voices by heart.)"""
    blur: float = 0.0
    """Up to this share of the user's codes, drawn anew for each piece, are those of another frame: strangers are heard
    less clearly than the voices one learns from."""
    drop_agent: float = 0.0
    """Share of its own frames that the agent does not hear: what it says is to follow from what was asked."""
    deaf_to_itself: float = 0.0
    """Share of pieces in which it hears nothing of itself."""
    deaf_to_user: float = 0.0
    """Share of pieces in which it hears nothing of the user: what to answer is to follow from the words that it reads, of
    both."""
    drop_user_text: float = 0.0
    """Share of the user's tokens that it does not read, where it reads them (`LMConfig.reads_user_text`)."""

    def whole(self) -> "LMBatchConfig":
        """From the start of each conversation, and nothing dropped: to judge by."""
        return LMBatchConfig(4, self.frames, 1.0, self.heard_delay, self.lead)


class LMBatches:
    """Endless batches over shards of conversations; resumes at the very next sample.

    A batch: "codes" int64 [B, 1 + 2 Q, T] as the model predicts them (text, agent, user), "inputs" the same with
    frames dropped here and there, "heard" int64 [B, T] (the user's words), "user_text" the same as the model reads them.
    -1 where there is nothing.
    """

    def __init__(
        self, reader: ShardReader, tokenizer: Tokenizer, config: LMBatchConfig, seed: int = 0, rank: int = 0
    ):
        self.reader, self.tokenizer, self.config = reader, tokenizer, config
        self.seed, self.rank, self.index = seed, rank, 0

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        while True:
            rng = np.random.default_rng([self.seed, self.rank, self.index])
            self.index += 1
            pieces = [self.piece(next(self.reader), rng) for _ in range(self.config.batch)]
            yield {key: torch.from_numpy(np.stack([piece[key] for piece in pieces])) for key in pieces[0]}

    def state_dict(self) -> dict[str, Any]:
        return {"index": self.index, "reader": self.reader.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.index = state["index"]
        self.reader.load_state_dict(state["reader"])

    def piece(self, sample: Sample, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """One piece of a conversation, cut or filled up to `frames`."""
        rows_KT, heard_T = conversation_rows(
            sample, self.tokenizer, self.config.heard_delay, self.config.lead
        )
        frames, total = self.config.frames, rows_KT.shape[1]
        start = (
            0 if rng.random() < self.config.from_start else int(rng.integers(0, max(1, total - frames // 2)))
        )
        piece_KT = np.full((len(rows_KT), frames), NO_INPUT, np.int64)
        cut_KT = rows_KT[:, start : start + frames]
        piece_KT[:, : cut_KT.shape[1]] = cut_KT
        heard = np.full(frames, NO_INPUT, np.int64)
        heard[: cut_KT.shape[1]] = heard_T[start : start + frames]
        inputs_KT, user_text = self._drop(piece_KT, rng), heard.copy()
        user_text[rng.random(frames) < self.config.drop_user_text] = NO_INPUT
        if (inputs_KT[-(len(inputs_KT) // 2) :] == NO_INPUT).all():
            heard[:] = NO_INPUT
        return {"codes": piece_KT, "inputs": inputs_KT, "heard": heard, "user_text": user_text}

    def _drop(self, piece_KT: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        inputs_KT, config = piece_KT.copy(), self.config
        books, frames = (len(piece_KT) - 1) // 2, piece_KT.shape[1]
        agent_QT, user_QT = inputs_KT[1 : 1 + books], inputs_KT[1 + books :]
        other_QT = user_QT[:, rng.permutation(frames)]
        mixed_QT = rng.random(user_QT.shape) < rng.uniform(0, config.blur)
        user_QT[mixed_QT] = other_QT[mixed_QT]
        user_QT[:, rng.random(frames) < config.drop_frames] = NO_INPUT
        if rng.random() < config.drop_books:
            user_QT[rng.integers(1, 4) :] = NO_INPUT
        if rng.random() < config.deaf_to_user:
            user_QT[:] = NO_INPUT
        deaf = rng.random() < config.deaf_to_itself
        agent_QT[:, (rng.random(frames) < config.drop_agent) | deaf] = NO_INPUT
        return inputs_KT


def conversation_rows(
    sample: Sample, tokenizer: Tokenizer, heard_delay: int = HEARD_DELAY, ahead: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """The streams of a conversation, int64 [1 + 2 Q, T], and the user's words as they are written down, int64 [T].

    What nobody wrote down is unknown, not silence: without "alignments" there is no text, and where a transcript has no
    word of the user's, as those of many data sets, none of the user's words are learnt.
    """
    agent_QT, user_QT = sample["codes.npy"].astype(np.int64)
    agent_QT = agent_QT[:, AS_HEARD:]
    frames = agent_QT.shape[1]
    text_T = heard_T = np.full(frames, NO_INPUT, np.int64)
    words = sample["json"].get("alignments")
    if words is not None:
        text_T = _agent_text(words, sample["json"].get("cuts", []), tokenizer, frames, ahead)
        if heard := [(tokenizer.encode(text.strip()), end) for text, (_, end), who in words if who == USER]:
            heard_T = np.array(heard_row(heard, frames, heard_delay), np.int64)
    return np.concatenate([text_T[None], agent_QT, user_QT[:, :frames]]), heard_T


def _agent_text(
    words: list[Any], cuts: list[float], tokenizer: Tokenizer, frames: int, ahead: int
) -> np.ndarray:
    """The agent's text row, `[T]`. Written ahead of the voice, it stops where the voice is cut, and not where the voice
    would have come to it: whoever is cut has words left."""
    edges = sorted(cuts)
    utterances: list[list[tuple[list[int], float, float]]] = [[] for _ in (*edges, None)]
    for text, (start, end), who in words:
        if who in (AGENT, UNSAID):
            number = bisect_right(edges, start - (ABOUT_TO_SAY if who == UNSAID else 0))
            late = AS_HEARD / FRAME_RATE
            utterances[number].append((tokenizer.encode(text.strip()), max(0.0, start - late), end - late))
    row: list[tuple[list[int], float]] = []
    for utterance, cut in zip(utterances, [*edges, frames], strict=True):
        until = round(cut * FRAME_RATE) - AS_HEARD
        led = [(tokens[: max(0, until - int(at * FRAME_RATE))], at) for tokens, at in lead(utterance, ahead)]
        row += [(tokens, at) for tokens, at in led if tokens]
    return np.array(text_row(row, frames), np.int64)
