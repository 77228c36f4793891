"""Batches for the language model: crops of conversations as rows of codes and text."""

from bisect import bisect_right
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
import torch

from duologue.config import LMConfig
from duologue.data.manifest import CONTINUATION, CONTINUATION_SECONDS
from duologue.data.shards import Sample, ShardReader
from duologue.errors import InputError
from duologue.lm.model import NO_INPUT
from duologue.lm.monologue import FRAME_RATE, USER_TEXT_DELAY_FRAMES, lead_text, text_row, user_text_row
from duologue.lm.tokenizer import Tokenizer
from duologue.train.stage import PlacedData
from duologue.types import AGENT, USER

AS_HEARD = 1
"""Frames between the step that says something and its playback: recordings contain the agent as played, so the model's
streams are one frame earlier than in the recording."""


LONGEST_FRAMES = 180_000
"""Upper limit of a conversation without sound: four hours."""


@dataclass(frozen=True)
class LMBatchConfig:
    """How conversations become training rows. The defaults are the paper's: no dropout, and words at their start
    times."""

    batch: int = 8
    frames: int = 300
    """Length of a crop in frames; longer than the context, so that the model learns to continue without its
    beginning."""
    from_start: float = 0.5
    """Share of crops that start where their conversation does."""
    user_text_delay: int = USER_TEXT_DELAY_FRAMES
    """Frames from the end of a user's word to its first token (first extra head)."""
    text_lead: int = 0
    """Frames by which the agent's words precede their sound (`monologue.text_lead`)."""
    user_frame_dropout: float = 0.0
    """Share of the user's frames that the model does not hear."""
    codebook_dropout: float = 0.0
    """Share of crops with only the user's first one to three codebooks: these carry the words and vary least between
    voices. (With all codebooks the model memorises the training voices.)"""
    blur: float = 0.0
    """Up to this share of the user's codes, drawn for each crop, come from another frame: unknown voices are harder
    than those of training."""
    own_codebooks: int | None = None
    """How many of its own codebooks the model hears: all, as in the paper, or the first so many."""
    user_stream_dropout: float = 0.0
    """Share of crops without the user's stream, so that answers depend on the text of both sides."""
    user_text_late: float = 0.0
    """Share of the user's tokens that are written one or two frames late (see `written_late`)."""
    user_speech_only: bool = False
    """Cut out all frames in which the user does not speak, and hide the agent. In a conversation one frame in eight has
    a word of the user's to learn; a model that cannot read the codes yet needs them more often."""

    spoken: int = 8
    """The agent's codebooks, as many as the model speaks."""
    heard: int = 8
    """The user's codebooks, as many as the model hears."""

    def whole(self) -> "LMBatchConfig":
        """From the start of each conversation, without dropout: for validation."""
        return LMBatchConfig(
            4, self.frames, 1.0, self.user_text_delay, self.text_lead, user_speech_only=self.user_speech_only,
            own_codebooks=self.own_codebooks, spoken=self.spoken, heard=self.heard,
        )  # fmt: skip

    def of(self, lm: LMConfig) -> "LMBatchConfig":
        """The same with the streams of this model."""
        return replace(self, spoken=lm.depth_steps, heard=lm.heard)


class LMBatches(PlacedData):
    """Endless batches over shards of conversations; resumes at the very next sample.

    A batch: "codes" int64 [B, 1 + spoken + heard, T] as the model predicts them (text, agent, user), "inputs" the
    same with frames dropped here and there, "heard" int64 [B, T] (the user's words), "user_text" int64 [B, T] (the same
    as a recogniser would have written them, to be read as a second text stream), "speaks" bool [B, T] (the agent's
    speech, by the times of its words). -1 where there is nothing.
    """

    def __init__(
        self, reader: ShardReader, tokenizer: Tokenizer, config: LMBatchConfig, seed: int = 0, rank: int = 0
    ):
        self.reader, self.tokenizer, self.config = reader, tokenizer, config
        self.seed, self.rank, self.index = seed, rank, 0

    def at(self, place: dict[str, Any]) -> dict[str, torch.Tensor]:
        rng = np.random.default_rng([self.seed, self.rank, place["index"]])
        crops = [self.crop(self.reader.sample(*where), rng) for where in self._samples(place)]
        return {key: torch.from_numpy(np.stack([crop[key] for crop in crops])) for key in crops[0]}

    def after(self, place: dict[str, Any]) -> dict[str, Any]:
        *_, (epoch, position) = self._samples(place, 1)
        reader = place["reader"] | {"epoch": epoch, "position": position}
        return {"index": place["index"] + 1, "reader": reader}

    def _samples(self, place: dict[str, Any], more: int = 0) -> Iterator[tuple[int, int]]:
        """Where the reader finds the samples of the batch at `place`, and `more` after them."""
        places = self.reader.places(place["reader"]["epoch"], place["reader"]["position"])
        return islice(places, self.config.batch + more)

    def state_dict(self) -> dict[str, Any]:
        return {"index": self.index, "reader": self.reader.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.index = state["index"]
        self.reader.load_state_dict(state["reader"])

    def crop(self, sample: Sample, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """One crop of a conversation, cut or filled up to `frames`."""
        rows_KT, user_text_T = conversation_rows(
            sample, self.tokenizer, self.config.user_text_delay, self.config.text_lead,
            self.config.spoken, self.config.heard,
        )  # fmt: skip
        read_T = misheard_row(sample, self.tokenizer, user_text_T, self.config.user_text_delay)
        if self.config.user_speech_only:
            # Words are written down after they were said.
            spoken_T = speech_frames(sample, USER, rows_KT.shape[1], before=0.3, after=0.8)
            # All PAD: without this row the user's text has none to go into.
            rows_KT[0] = text_row([], rows_KT.shape[1])
            rows_KT[1 : 1 + self.config.spoken] = NO_INPUT
            rows_KT, user_text_T, read_T = rows_KT[:, spoken_T], user_text_T[spoken_T], read_T[spoken_T]
        frames, total = self.config.frames, rows_KT.shape[1]
        latest = total - frames // 2 if total > frames else 0
        start = 0 if rng.random() < self.config.from_start else int(rng.integers(0, latest + 1))
        crop_KT = np.full((len(rows_KT), frames), NO_INPUT, np.int64)
        cut_KT = rows_KT[:, start : start + frames]
        crop_KT[:, : cut_KT.shape[1]] = cut_KT
        heard = np.full(frames, NO_INPUT, np.int64)
        heard[: cut_KT.shape[1]] = user_text_T[start : start + frames]
        speaks = np.zeros(frames, bool)
        speaks[: cut_KT.shape[1]] = _agent_speaks(sample, rows_KT.shape[1])[start : start + frames]
        user_text = np.full(frames, NO_INPUT, np.int64)
        user_text[: cut_KT.shape[1]] = read_T[start : start + frames]
        inputs_KT = self._drop(crop_KT, rng)
        if _body(sample).get("unrelated"):
            # How a sentence goes on is learnt here, not when to speak and of what: and without the user, or it would
            # learn to go on whatever the user says.
            goes_on_T = _goes_on(crop_KT[0], self.tokenizer)
            if rng.random() < 0.5:
                inputs_KT[1 + self.config.spoken :] = NO_INPUT
                user_text[:] = NO_INPUT
            else:
                goes_on_T[:] = False
            crop_KT[0] = np.where(goes_on_T, crop_KT[0], NO_INPUT)
        if self.config.user_text_late:
            due, written = written_late(user_text, self.config.user_text_late, rng)
            # What was misheard is read late too, but what is to be written down then is not known.
            heard = due if np.array_equal(user_text, heard) else heard
            user_text = written
        if (inputs_KT[1 + self.config.spoken :] == NO_INPUT).all():
            heard[:] = NO_INPUT
        return {
            "codes": crop_KT,
            "inputs": inputs_KT,
            "heard": heard,
            "user_text": user_text,
            "speaks": speaks,
        }

    def _drop(self, crop_KT: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        inputs_KT, config = crop_KT.copy(), self.config
        frames = crop_KT.shape[1]
        agent_QT, user_QT = inputs_KT[1 : 1 + config.spoken], inputs_KT[1 + config.spoken :]
        other_QT = user_QT[:, rng.permutation(frames)]
        mixed_QT = rng.random(user_QT.shape) < rng.uniform(0, config.blur)
        user_QT[mixed_QT] = other_QT[mixed_QT]
        user_QT[:, rng.random(frames) < config.user_frame_dropout] = NO_INPUT
        if rng.random() < config.codebook_dropout:
            user_QT[rng.integers(1, 4) :] = NO_INPUT
        if rng.random() < config.user_stream_dropout:
            user_QT[:] = NO_INPUT
        if config.own_codebooks is not None:
            agent_QT[config.own_codebooks :] = NO_INPUT
        return inputs_KT


def conversation_rows(
    sample: Sample,
    tokenizer: Tokenizer,
    user_text_delay: int = USER_TEXT_DELAY_FRAMES,
    ahead: int = 0,
    spoken: int = 8,
    heard: int = 8,
) -> tuple[np.ndarray, np.ndarray]:
    """The streams of a conversation, int64 [1 + spoken + heard, T], and the user's words as they are written
    down, int64 [T].

    Missing transcripts are unknown, not silence: without "alignments" there is no text, and a transcript without words
    of the user, as in many data sets, gives no targets for them. A sample without codes is a conversation without sound
    (`data.dialogues`): its audio streams hold nothing.
    """
    if "codes.npy" in sample:
        agent_QT, user_QT = sample["codes.npy"].astype(np.int64)
    else:
        frames = _frames_of(sample)
        agent_QT, user_QT = np.full((2, max(spoken, heard), frames), NO_INPUT, np.int64)
    agent_QT, user_QT = agent_QT[:spoken, AS_HEARD:], user_QT[:heard]
    frames = agent_QT.shape[1]
    text_T = user_text_T = np.full(frames, NO_INPUT, np.int64)
    words = _body(sample).get("alignments")
    if words is not None:
        text_T = _agent_text(words, _body(sample).get("cuts", []), tokenizer, frames, ahead)
        if said := _user_words(words, tokenizer):
            user_text_T = np.array(user_text_row(said, frames, user_text_delay), np.int64)
    return np.concatenate([text_T[None], agent_QT, user_QT[:, :frames]]), user_text_T


def _frames_of(sample: Sample) -> int:
    """The length of a conversation without sound. Raises InputError for a sample that is none."""
    frames = _body(sample).get("frames")
    if type(frames) is not int or not 1 < frames <= LONGEST_FRAMES:
        wanted = f"so it must have from 2 to {LONGEST_FRAMES} frames, not {frames!r:.40}"
        raise InputError(f"the sample {sample['key']} has no codes, {wanted}")
    return frames


def _body(sample: Sample) -> dict[str, Any]:
    body = sample.get("json")
    return body if isinstance(body, dict) else {}


def misheard_row(
    sample: Sample,
    tokenizer: Tokenizer,
    user_text_T: np.ndarray,
    user_text_delay: int = USER_TEXT_DELAY_FRAMES,
) -> np.ndarray:
    """The user's words as a recogniser would have written them, int64 [T]: those of "misheard", where a sample has it,
    or else the true ones."""
    words = _body(sample).get("misheard")
    if words is None:
        return user_text_T
    row = user_text_row(_user_words(words, tokenizer), len(user_text_T), user_text_delay)
    return np.array(row, np.int64)


def written_late(
    row_T: np.ndarray, share: float, rng: np.random.Generator, pad: int = 3
) -> tuple[np.ndarray, np.ndarray]:
    """A transcript of which a share of the tokens comes one or two frames late, int64 [T]: what is due in each frame,
    and what is written in it.

    A token stays due until it is written, and those after it wait. A model trained on punctual transcripts alone goes
    by the clock: where it did not write the first piece of a word in time it writes the second ("the capital ofland").
    """
    due_T, written_T = row_T.copy(), row_T.copy()
    queue: deque[int] = deque()
    late = 0
    for frame, token in enumerate(row_T.tolist()):
        if token == NO_INPUT:
            queue.clear()
            continue
        if token != pad:
            queue.append(token)
            if len(queue) == 1:
                late = _late(share, rng)
        due_T[frame] = queue[0] if queue else pad
        written_T[frame] = pad
        if queue and late == 0:
            written_T[frame] = queue.popleft()
            late = _late(share, rng)
        elif queue:
            late -= 1
    return due_T, written_T


def _late(share: float, rng: np.random.Generator) -> int:
    return int(rng.integers(1, 3)) if rng.random() < share else 0


def _goes_on(text_T: np.ndarray, tokenizer: Tokenizer) -> np.ndarray:
    """Which frames belong to a sentence that has begun, from its second token to its last."""
    found_T, begun = np.zeros(len(text_T), bool), False
    for frame, token in enumerate(text_T.tolist()):
        found_T[frame] = begun
        if token >= 0 and not tokenizer.is_control(token):
            begun = not tokenizer.piece(token).endswith((".", "?", "!"))
    return found_T


def speech_frames(sample: Sample, who: str, frames: int, before: float, after: float) -> np.ndarray:
    """Which frames of a recording belong to the speech of one side, with so many seconds before each word and after it;
    bool [T]."""
    speech_T = np.zeros(frames, bool)
    for _, (start, end), side in _body(sample).get("alignments") or []:
        if side == who:
            speech_T[max(0, int((start - before) * FRAME_RATE)) : int((end + after) * FRAME_RATE)] = True
    return speech_T


def _agent_speaks(sample: Sample, frames: int) -> np.ndarray:
    """Which frames of the agent's streams are speech, with a little around it (acoustic codes come later than semantic
    ones); all, if nobody wrote down when it speaks. bool [T]."""
    if _body(sample).get("alignments") is None:
        return np.ones(frames, bool)
    return speech_frames(sample, AGENT, frames + AS_HEARD, before=0.2, after=0.4)[AS_HEARD:]


def _user_words(words: list[Any], tokenizer: Tokenizer) -> list[tuple[list[int], float]]:
    return [(tokenizer.encode_word(text.strip()), end) for text, (_, end), who in words if who == USER]


def _agent_text(
    words: list[Any], cuts: list[float], tokenizer: Tokenizer, frames: int, ahead: int
) -> np.ndarray:
    """The agent's text row, `[T]`. Although it is ahead of the voice, it stops where the voice is cut off, so some
    words remain unsaid."""
    edges = sorted(cuts)
    utterances: list[list[tuple[list[int], float, float]]] = [[] for _ in (*edges, None)]
    for text, (start, end), who in words:
        if who in (AGENT, CONTINUATION):
            number = bisect_right(edges, start - (CONTINUATION_SECONDS if who == CONTINUATION else 0))
            late = AS_HEARD / FRAME_RATE
            utterances[number].append(
                (tokenizer.encode_word(text.strip()), max(0.0, start - late), end - late)
            )
    row: list[tuple[list[int], float]] = []
    for utterance, cut in zip(utterances, [*edges, frames], strict=True):
        until = round(cut * FRAME_RATE) - AS_HEARD
        led = [
            (tokens[: max(0, until - int(at * FRAME_RATE))], at) for tokens, at in lead_text(utterance, ahead)
        ]
        row += [(tokens, at) for tokens, at in led if tokens]
    return np.array(text_row(row, frames), np.int64)
