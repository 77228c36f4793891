"""Batches for pre-training: text alone (paper, section 3.2), and one mixed stream of speech with its words (3.4.4)."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from duologue.data.corpus.pack import PackedRows
from duologue.data.shards import Sample, ShardReader
from duologue.data.strict_json import read_lines, read_rows
from duologue.errors import InputError
from duologue.lm.model import NO_INPUT
from duologue.lm.monologue import text_row
from duologue.lm.tokenizer import Tokenizer
from duologue.train.stage import NumberedData
from duologue.types import AGENT, USER

EOS = 2


class RowBatches(NumberedData):
    """Endless batches of rows of text, which the processes deal out among them.

    A batch is one of `LMBatches` whose audio streams hold nothing: "codes" and "inputs" int64 [B, streams, T], "heard"
    [B, T] of -1.
    """

    def __init__(self, streams: int, batch: int, frames: int, seed: int, rank: int, world: int):
        self.streams, self.batch, self.frames, self.seed = streams, batch, frames, seed
        self.rank, self.world = rank, world

    def make(self, index: int) -> dict[str, Tensor]:
        first = (index * self.world + self.rank) * self.batch
        return text_batch(np.stack([self._row(first + k) for k in range(self.batch)]), self.streams)

    @abstractmethod
    def _row(self, number: int) -> np.ndarray:
        """Row `number`, counted over all epochs, int64 [T]."""


class TextBatches(RowBatches):
    """Documents one after the other with EOS between them, cut into rows of `frames`.

    Documents are the lines of .txt files, or "text" of .jsonl rows; their order changes with each epoch.
    """

    def __init__(
        self, files: Sequence[Path], tokenizer: Tokenizer, streams: int, batch: int, frames: int, seed: int = 0,
        rank: int = 0, world: int = 1,
    ):  # fmt: skip
        super().__init__(streams, batch, frames, seed, rank, world)
        documents = [tokenizer.encode(text) for path in files for text in texts_of(path)]
        self.documents = [np.array([*tokens, EOS], np.int64) for tokens in documents if tokens]
        if not self.documents:
            raise InputError(
                f"there is no text in {', '.join(map(str, files)) or 'no file'}: name some with --texts"
            )
        self.rows = max(1, sum(map(len, self.documents)) // frames)  # in an epoch
        self._epoch: tuple[int, np.ndarray] = (-1, np.empty(0))

    def _row(self, number: int) -> np.ndarray:
        epoch, place = divmod(number, self.rows)
        if self._epoch[0] != epoch:
            order = np.random.default_rng([self.seed, epoch]).permutation(len(self.documents))
            tokens = np.concatenate([self.documents[k] for k in order])
            self._epoch = (epoch, np.resize(tokens, max(len(tokens), self.frames)))
        return self._epoch[1][place * self.frames : (place + 1) * self.frames]


class PackedBatches(RowBatches):
    """Packed text (`duologue data text pack`): its rows cut into pieces of `frames`, shuffled anew in each epoch.
    Nothing is tokenised or held in memory."""

    def __init__(
        self,
        rows: PackedRows,
        streams: int,
        batch: int,
        frames: int,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
    ):
        if frames > rows.context:
            raise InputError(f"the rows have {rows.context} tokens: --frames is at most that, not {frames}")
        super().__init__(streams, batch, frames, seed, rank, world)
        self.packed = rows
        self.pieces = rows.context // frames  # of a row
        self.rows = len(rows) * self.pieces  # in an epoch
        self._epoch: tuple[int, np.ndarray] = (-1, np.empty(0))

    def _row(self, number: int) -> np.ndarray:
        epoch, place = divmod(number, self.rows)
        if self._epoch[0] != epoch:
            self._epoch = (epoch, np.random.default_rng([self.seed, epoch]).permutation(self.rows))
        row, piece = divmod(int(self._epoch[1][place]), self.pieces)
        return self.packed[row][piece * self.frames : (piece + 1) * self.frames]


def text_batch(tokens_BT: np.ndarray, streams: int) -> dict[str, Tensor]:
    """A batch of text alone: the other streams hold nothing."""
    codes = np.full((len(tokens_BT), streams, tokens_BT.shape[1]), NO_INPUT)
    codes[:, 0] = tokens_BT
    codes_BKT = torch.from_numpy(codes)
    nothing_BT = torch.full(tokens_BT.shape, NO_INPUT)
    return {"codes": codes_BKT, "inputs": codes_BKT.clone(), "heard": nothing_BT}


def texts_of(path: Path) -> Iterator[str]:
    """The "text" of each line of a .jsonl, or the lines of any other file. Raises InputError if it is damaged."""
    if path.name.endswith((".jsonl", ".jsonl.gz")):
        return read_rows(path, lambda row: str(row["text"]), 'an object like {"text": ...}')
    return (line for _, line in read_lines(path))


@dataclass(frozen=True)
class MixedConfig:
    """The defaults are the paper's."""

    batch: int = 4
    frames: int = 300
    mask_text: float = 0.3
    """Share of text tokens that are not heard of when the next is guessed."""
    jitter: float = 0.6
    """Seconds that the text may be early or late by, drawn for each piece."""


class MixedBatches:
    """Speech with its words as one stream, and text alone, in turn.

    Each piece is one speaker of a conversation in the agent's streams; the user's hold nothing.
    """

    def __init__(
        self, reader: ShardReader, texts: RowBatches, tokenizer: Tokenizer, config: MixedConfig,
        seed: int = 0, rank: int = 0,
    ):  # fmt: skip
        self.reader, self.texts, self.tokenizer, self.config = reader, texts, tokenizer, config
        self.seed, self.rank, self.index = seed, rank, 0

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        texts = iter(self.texts)
        while True:
            rng = np.random.default_rng([self.seed, self.rank, self.index])
            self.index += 1
            pieces = [self.crop(next(self.reader), rng) for _ in range(self.config.batch)]
            yield {key: torch.from_numpy(np.stack([piece[key] for piece in pieces])) for key in pieces[0]}
            yield next(texts)

    def state_dict(self) -> dict[str, Any]:
        return {"index": self.index, "reader": self.reader.state_dict(), "texts": self.texts.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.index = state["index"]
        self.reader.load_state_dict(state["reader"])
        self.texts.load_state_dict(state["texts"])

    def crop(self, sample: Sample, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """One speaker of a conversation from a random place on, cut or filled up to `frames`."""
        who = int(rng.integers(2))
        if "codes.npy" not in sample:
            raise InputError(f"the sample {sample['key']} has no codes: this stage trains on sound")
        codes_QT = sample["codes.npy"][who].astype(np.int64)
        books, total = codes_QT.shape
        shift = rng.uniform(-self.config.jitter, self.config.jitter)
        words = [
            (self.tokenizer.encode_word(text.strip()), max(0.0, start + shift))
            for text, (start, _), speaker in sample.get("json", {}).get("alignments", [])
            if speaker == (AGENT, USER)[who]
        ]
        frames = self.config.frames
        first = int(rng.integers(0, max(1, total - frames // 2)))
        crop_KT = np.full((1 + 2 * books, frames), NO_INPUT, np.int64)
        rows_KT = np.concatenate([np.array(text_row(words, total), np.int64)[None], codes_QT])
        rows_KT = rows_KT[:, first : first + frames]
        crop_KT[: 1 + books, : rows_KT.shape[1]] = rows_KT
        inputs_KT = crop_KT.copy()
        inputs_KT[0, rng.random(frames) < self.config.mask_text] = NO_INPUT
        return {"codes": crop_KT, "inputs": inputs_KT, "heard": np.full(frames, NO_INPUT, np.int64)}
