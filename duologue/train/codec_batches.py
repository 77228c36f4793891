"""Batches for the codec's training: random crops of speech segments, noise added, with teacher states and words."""

from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece
import torch

from duologue.data.augment import convolve, room, telephone
from duologue.data.segments import Block, load_blocks
from duologue.train.stage import NumberedData
from duologue.types import StrPath

RATE = 24_000
TEACHER_RATE = 50
GRID = RATE // TEACHER_RATE  # crops start on the teacher's frames


class CropBatches(NumberedData):
    """Endless batches; batch i is a function of the seed, the rank and i alone.

    A batch: "wav" float32 [B, S] (the encoder's input, with noise) and "clean" [B, S]; "teacher" float32 [B, 4 T, D]
    and "valid" bool [B, T] (frames whose teacher state is of this audio); "tokens" int64 [B, N] and "lengths" [B] (0:
    the words are not known).

    `seconds` must hold a whole number of 80 ms frames. `agent_share` of the crops come from the agent's voice.
    """

    def __init__(
        self,
        folder: StrPath,
        tokenizer: sentencepiece.SentencePieceProcessor,
        batch: int,
        seconds: float,
        agent_share: float,
        seed: int = 0,
        rank: int = 0,
        noisy: float = 0.5,
    ):
        # In memory: random reads of a mapped file would wait for the disk whenever its pages were given up.
        self.blocks = [Block(np.array(b.wav), np.array(b.teacher), b.meta) for b in load_blocks(Path(folder))]
        self.tokenizer = tokenizer
        self.batch, self.seconds, self.agent_share = batch, seconds, agent_share
        self.seed, self.rank, self.noisy = seed, rank, noisy
        rows = [(block, i) for block in self.blocks for i in range(len(block.meta))]
        self.agent = [row for row in rows if "agent" in row[0].meta[row[1]]["kind"]]
        self.speech = [row for row in rows if "agent" not in row[0].meta[row[1]]["kind"]]

    def make(self, index: int) -> dict[str, torch.Tensor]:
        rng = np.random.default_rng([self.seed, self.rank, index])
        items = [self._crop(rng) for _ in range(self.batch)]
        tokens = [torch.tensor(item.pop("tokens"), dtype=torch.int64) for item in items]
        batch = {key: torch.from_numpy(np.stack([item[key] for item in items])) for key in items[0]}
        batch["tokens"] = torch.nn.utils.rnn.pad_sequence(tokens, batch_first=True)
        batch["lengths"] = torch.tensor([len(t) for t in tokens])
        return batch

    def _crop(self, rng: np.random.Generator) -> dict[str, Any]:
        rows = (
            self.agent if self.agent and (not self.speech or rng.random() < self.agent_share) else self.speech
        )
        block, i = rows[rng.integers(len(rows))]
        agent = rows is self.agent
        clips = block.meta[i]["clips"]
        first = clips[rng.integers(len(clips))]["start"] - rng.uniform(0, 0.2)
        last_start = block.wav.shape[1] / RATE - self.seconds
        start = round(min(max(first, 0.0), last_start) * TEACHER_RATE)  # teacher frames
        length = round(self.seconds * TEACHER_RATE)
        wav = block.wav[i, start * GRID : (start + length) * GRID].astype(np.float32) / 32768
        teacher = block.teacher[i, start : start + length].astype(np.float32)
        from_s, to_s = start / TEACHER_RATE, (start + length) / TEACHER_RATE
        whole = [c for c in clips if c["start"] >= from_s and c["end"] <= to_s]
        valid = np.ones(round(self.seconds * 12.5), bool)
        tokens: list[int] = []
        if whole and all(c["words"] is not None for c in whole):
            # Parts of other clips at the edges are silenced: their words are not in the target.
            head = round(
                (max([from_s, *(c["end"] for c in clips if c["end"] <= whole[0]["start"])]) - from_s) * 12.5
            )
            tail = min([to_s, *(c["start"] for c in clips if c["start"] >= whole[-1]["end"])]) - from_s
            wav[: head * 1920] = 0
            wav[int(tail * RATE) :] = 0
            valid[:head] = False
            valid[int(tail * 12.5) :] = False
            words = " ".join(word for c in whole for word in c["words"])
            tokens = [token + 1 for token in self.tokenizer.encode(words)]  # 0 is the blank
        noisy = self._degraded(wav, rng) if rng.random() < self.noisy and not agent else wav
        return {
            "wav": noisy,
            "clean": wav,
            "teacher": teacher,
            "valid": valid,
            "tokens": tokens,
            "agent": np.bool_(agent),
        }

    def _degraded(self, wav_S: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """In a room, beside other people, on the telephone or in noise."""
        speech_S = convolve(wav_S, room(rng)) if rng.random() < 0.4 else wav_S
        if rng.random() < 0.25:
            others = [self._other(len(wav_S), rng) for _ in range(rng.integers(1, 4))]
            babble_S = convolve(np.sum(others, axis=0), room(rng))
            speech_S = speech_S + at_ratio(babble_S, speech_S, rng.uniform(3, 25))
        if rng.random() < 0.15:
            return telephone(speech_S)
        return add_noise(speech_S, rng)

    def _other(self, samples: int, rng: np.random.Generator) -> np.ndarray:
        block, i = self.speech[rng.integers(len(self.speech))]
        at = int(rng.integers(block.wav.shape[1] - samples))
        return block.wav[i, at : at + samples].astype(np.float32) / 32768


def at_ratio(noise_S: np.ndarray, speech_S: np.ndarray, decibels: float) -> np.ndarray:
    """`noise_S` so loud that its power is `decibels` below that of `speech_S`."""
    ratio = np.sqrt(np.mean(speech_S**2) / (np.mean(noise_S**2) + 1e-12))
    return (noise_S * ratio * 10 ** (-decibels / 20)).astype(np.float32)


def add_noise(wav_S: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """White to brown noise 5 to 40 dB below the speech, a random gain, and sometimes a telephone's band."""
    spectrum = np.fft.rfft(wav_S)
    hertz = np.fft.rfftfreq(len(wav_S), 1 / RATE)
    if rng.random() < 0.3:
        low, high = rng.uniform(50, 400), rng.uniform(3000, 9000)
        spectrum = spectrum * (1 / (1 + (low / np.maximum(hertz, 1)) ** 4) / (1 + (hertz / high) ** 8))
    if rng.random() < 0.3:  # a microphone's colour
        octaves = np.log2(np.maximum(hertz, 30) / 30)
        spectrum = spectrum * 10 ** (rng.uniform(-6, 6) / 20 * np.cos(octaves * rng.uniform(0.3, 1)))
    speech = np.fft.irfft(spectrum, len(wav_S)).astype(np.float32)
    noise = np.fft.rfft(rng.standard_normal(len(wav_S))) / np.maximum(hertz, 30) ** (rng.uniform(0, 2) / 2)
    noise = np.fft.irfft(noise, len(wav_S))
    mixed = (speech + at_ratio(noise, speech, rng.uniform(5, 40))) * 10 ** (rng.uniform(-9, 6) / 20)
    return np.clip(mixed, -1, 1).astype(np.float32)


def block_words(blocks: list[Block]) -> list[str]:
    """One line of text for each clip whose words are known."""
    return [
        " ".join(c["words"]) for block in blocks for row in block.meta for c in row["clips"] if c["words"]
    ]
