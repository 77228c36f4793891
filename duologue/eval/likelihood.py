"""Likelihoods of a language model: spoken words and sentences (sWUGGY, sBLIMP, StoryCloze), text, MMLU.

After section 5.2 of the Moshi paper: sound is scored by its codes alone, the semantic one weighted 100, and divided by
the number of frames; of two recordings the one with the lower score is the model's choice.
"""

import csv
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from duologue.audio.files import read_mono
from duologue.codec import Codec
from duologue.data.strict_json import read_lines, read_rows
from duologue.errors import InputError
from duologue.eval.result import Result
from duologue.lm import LM
from duologue.lm.model import NO_INPUT
from duologue.lm.tokenizer import Tokenizer

SEMANTIC = 100.0
Advance = Callable[[float], object]


@torch.inference_mode()
def spoken_score(lm: LM, codes_QT: Tensor, semantic: int = 1) -> float:
    """Mean over frames of 100 x the `semantic` codes' negative log likelihood plus that of the acoustic ones, in nats.

    The codes are said by the agent; the user's streams and the text hold nothing. A model that predicts the user too
    (16 depth steps) is asked about the user instead, as the paper does with its instruct model.
    """
    if lm.depth is None:
        raise InputError("this model has no depth transformer: it says nothing that could be scored")
    config, books = lm.config, len(codes_QT)
    spoken = 1 if config.depth_steps < config.audio_streams else 1 + config.audio_streams // 2
    codes_BKT = torch.full((1, config.streams, codes_QT.shape[1]), NO_INPUT, device=lm.device)
    codes_BKT[0, spoken : spoken + books] = codes_QT.to(lm.device)
    out = lm(codes_BKT)
    assert out.audio_BQTV is not None and out.audio_mask_BQT is not None
    asked = slice(spoken - 1, spoken - 1 + books)
    nll_QT = F.cross_entropy(
        out.audio_BQTV[0, asked].transpose(1, 2).float(),
        codes_BKT[0, spoken : spoken + books],
        reduction="none",
    )
    nll_QT = torch.where(out.audio_mask_BQT[0, asked], nll_QT, 0.0)
    weight_Q = torch.ones(books, device=lm.device)
    weight_Q[:semantic] = SEMANTIC
    return float((nll_QT.sum(1) * weight_Q).sum() / codes_QT.shape[1])


@dataclass(frozen=True)
class Pair:
    """Two recordings, of which the model should find the first likelier; `kind` divides the items for the report."""

    good: Path
    bad: Path
    kind: str = ""


def read_pairs(place: Path) -> list[Pair]:
    """Pairs of a .jsonl of {"good", "bad", "kind"}, or of ZeroSpeech's folder with gold.csv (sWUGGY: lexical/dev,
    sBLIMP: syntactic/dev): rows with one id and voice, one of which is correct.

    InputError if there are none or a recording is missing.
    """
    if place.is_dir() and (place / "gold.csv").is_file():
        pairs = _gold(place)
    elif place.is_file():
        pairs = list(_listed(place))
    else:
        raise InputError(f"{place} is neither a .jsonl of pairs nor a folder with ZeroSpeech's gold.csv")
    if not pairs:
        raise InputError(f"{place} holds no pairs")
    if missing := [path for pair in pairs for path in (pair.good, pair.bad) if not path.exists()]:
        raise InputError(f"there is no file {missing[0]}, which {place} names")
    return pairs


def _gold(folder: Path) -> list[Pair]:
    items: dict[tuple[str, str], dict[bool, tuple[Path, str]]] = {}
    header, *rows = _table(folder / "gold.csv")
    for cells in rows:
        row = dict(zip(header, cells, strict=False))
        try:
            key, name = (row["id"], row.get("voice", "")), row["filename"]
            correct = row["correct"].strip() in ("1", "True", "true")
        except KeyError:
            raise InputError(
                f"{folder / 'gold.csv'} needs the columns id, filename, voice and correct"
            ) from None
        path = folder / (name if name.endswith(".wav") else f"{name}.wav")
        kind = row.get("type") or row.get("frequency") or ""
        items.setdefault(key, {})[correct] = (path, kind)
    return [Pair(two[True][0], two[False][0], two[True][1]) for two in items.values() if len(two) == 2]


def _table(path: Path) -> list[list[str]]:
    """The rows of a csv file, of which there must be some. A quoted cell may have several lines."""
    try:
        rows = list(csv.reader(line + "\n" for _, line in read_lines(path)))
    except csv.Error as error:
        raise InputError(f"{path} is no table: {error}") from None
    if not rows:
        raise InputError(f"{path} is empty")
    return rows


def _listed(path: Path) -> Iterator[Pair]:

    def pair(row: dict[str, Any]) -> Pair:
        return Pair(path.parent / row["good"], path.parent / row["bad"], str(row.get("kind", "")))

    return read_rows(path, pair, '{"good": FILE, "bad": FILE}')


def score_pairs(
    lm: LM, codec: Codec, pairs: Sequence[Pair], result: Result, advance: Advance = lambda share: None
) -> None:
    """Adds the share of pairs in which the good one is likelier (ties count half), of all and of each kind."""
    wins: dict[str, list[float]] = {}
    for pair in pairs:
        good, bad = (
            spoken_score(lm, encode(codec, path), codec.config.quantizer.semantic)
            for path in (pair.good, pair.bad)
        )
        won = 0.5 if good == bad else float(good < bad)
        for kind in {"", pair.kind}:
            wins.setdefault(kind, []).append(won)
        advance(1 / len(pairs))
    for kind, found in sorted(wins.items()):
        result.add(f"right, {kind}" if kind else "right", 100 * float(np.mean(found)), "%", len(found))


@torch.inference_mode()
def encode(codec: Codec, path: Path) -> Tensor:
    """The codes of a recording, `[Q, T]`."""
    wav_S = read_mono(path, codec.config.sample_rate)
    return codec.encode(torch.from_numpy(wav_S)[None].to(codec.device))[0]


# --- text ------------------------------------------------------------------------------------------------


@torch.inference_mode()
def text_log_probs(lm: LM, tokens_BT: Tensor) -> Tensor:
    """Log probability of each token given those before it, `[B, T]`, as text alone: no other stream holds anything."""
    codes_BKT = torch.full(
        (len(tokens_BT), lm.config.streams, tokens_BT.shape[1]), NO_INPUT, device=lm.device
    )
    codes_BKT[:, 0] = tokens_BT.to(lm.device)
    z_BTD, _ = lm.context(codes_BKT)
    logits_BTV = lm.text_head(z_BTD).float()
    return logits_BTV.log_softmax(-1).gather(-1, codes_BKT[:, 0, :, None])[..., 0]


def text_perplexity(lm: LM, tokenizer: Tokenizer, rows: Iterable[np.ndarray], result: Result) -> None:
    """Adds the perplexity of rows of tokens `[context]`, and the bits a byte of text, which no vocabulary changes."""
    total, count, size = 0.0, 0, 0
    for row in rows:
        found_1T = text_log_probs(lm, torch.from_numpy(np.asarray(row, np.int64))[None])
        total, count = total - float(found_1T.sum()), count + found_1T.numel()
        size += len(tokenizer.decode([int(token) for token in row]).encode())
    if not count:
        raise InputError("there is no text to read")
    result.add("perplexity", math.exp(total / count), "a token", count)
    result.add("bits", total / count / math.log(2), "a token", count)
    result.add("bits a byte", total / size / math.log(2) if size else None, "", size)


@dataclass(frozen=True)
class Question:
    """A question with four choices, of which `answer` (0..3) is right."""

    subject: str
    text: str
    choices: tuple[str, ...]
    answer: int


def read_mmlu(folder: Path, split: str) -> dict[str, list[Question]]:
    """MMLU as published: FOLDER/SPLIT/SUBJECT_SPLIT.csv of question, A, B, C, D, answer. InputError for none."""
    found: dict[str, list[Question]] = {}
    for path in sorted((folder / split).glob(f"*_{split}.csv")):
        subject = path.stem.removesuffix(f"_{split}").replace("_", " ")
        for number, row in enumerate(_table(path), 1):
            if len(row) != 6 or row[5] not in ("A", "B", "C", "D"):
                raise InputError(f"{path}, row {number}: expected question, A, B, C, D, answer")
            question = Question(subject, row[0], tuple(row[1:5]), "ABCD".index(row[5]))
            found.setdefault(subject, []).append(question)
    if not found:
        raise InputError(f"{folder / split} holds no SUBJECT_{split}.csv")
    return found


def prompt(question: Question, shots: Sequence[Question]) -> str:
    """The question after `shots` answered ones, up to the letter of the answer."""

    def asked(one: Question) -> str:
        lines = [f"{letter}. {choice}" for letter, choice in zip("ABCD", one.choices, strict=True)]
        return "\n".join([one.text, *lines, "Answer:"])

    head = f"The following are multiple choice questions (with answers) about {question.subject}.\n\n"
    return head + "".join(f"{asked(s)} {'ABCD'[s.answer]}\n\n" for s in shots) + asked(question)


def score_mmlu(
    lm: LM, tokenizer: Tokenizer, folder: Path, result: Result, shots: int = 5, limit: int | None = None,
    advance: Advance = lambda share: None,
) -> None:  # fmt: skip
    """Adds the share of questions whose right letter is the likeliest of the four, over questions and over subjects."""
    tests, examples = read_mmlu(folder, "test"), read_mmlu(folder, "dev")
    letters = [tokenizer.encode(letter)[-1] for letter in "ABCD"]
    rights: dict[str, list[bool]] = {}
    count = sum(len(questions[:limit]) for questions in tests.values())
    for subject, questions in tests.items():
        for question in questions[:limit]:
            tokens = tokenizer.encode(prompt(question, examples.get(subject, [])[:shots]))
            with torch.inference_mode():
                codes_BKT = torch.full((1, lm.config.streams, len(tokens) + 1), NO_INPUT, device=lm.device)
                codes_BKT[0, 0, :-1] = torch.tensor(tokens)
                z_BTD, _ = lm.context(codes_BKT)
                logits_V = lm.text_head(z_BTD[:, -1])[0].float()
            rights.setdefault(subject, []).append(int(logits_V[letters].argmax()) == question.answer)
            advance(1 / count)
    every = [right for found in rights.values() for right in found]
    result.add("right", 100 * float(np.mean(every)), "%", len(every), 49.7)
    result.add(
        "right, mean of subjects",
        100 * float(np.mean([np.mean(r) for r in rights.values()])),
        "%",
        len(rights),
    )
