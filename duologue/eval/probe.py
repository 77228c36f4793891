"""How well a codec's codes carry the words: a small reader is trained on codes (CTC), then transcribes unheard
voices."""

import io
from typing import Any

import jiwer
import numpy as np
import sentencepiece
import torch
from torch import Tensor, nn

from duologue.codec import Codec
from duologue.data.segments import load_corpus
from duologue.data.voices import read_clip
from duologue.errors import InputError
from duologue.eval.options import EvalCodes
from duologue.eval.result import Result
from duologue.progress import progress
from duologue.train.codec_semantic import Reader
from duologue.train.losses import ctc_greedy, ctc_loss

LONGEST_SECONDS = 12.0  # seconds of a recording of people: longer ones would fill every batch with padding


class CodeReader(nn.Module):
    """Sum of code embeddings, read by the same small network that trains the codec."""

    def __init__(self, books: int, entries: int, vocabulary: int, dim: int = 256):
        super().__init__()
        self.embeddings = nn.ModuleList(nn.Embedding(entries + 1, dim) for _ in range(books))
        self.drop = nn.Dropout(0.2)
        self.reader = Reader(dim, vocabulary)

    def forward(self, codes_BQT: Tensor) -> Tensor:
        embedded = [e(codes_BQT[:, q]) for q, e in enumerate(self.embeddings)]
        return self.reader(self.drop(torch.stack(embedded).sum(0)).transpose(1, 2))


def encode(
    codec: Codec, rows: list[dict[str, Any]], versions: int, seed: int, label: str
) -> list[tuple[np.ndarray, str]]:
    """(codes [Q, T], text) of clips, each after a short silence of random length."""
    rng = np.random.default_rng(seed)
    out = []
    with progress(f"encoding {label}", len(rows)) as advance:
        for row in rows:
            advance(1)
            if not row["words"] or row["key"].rpartition("/")[2].startswith("backchannel"):
                continue
            wav_S = read_clip(row)
            for _ in range(versions):
                before, after = rng.integers(2000, 9000), 5760
                padded = np.concatenate([np.zeros(before, np.float32), wav_S, np.zeros(after, np.float32)])
                codes_QT = codec.encode(torch.from_numpy(padded.astype(np.float32))[None])[0].numpy()
                out.append((codes_QT, " ".join(row["words"])))
    return out


def collate(items: list[tuple[np.ndarray, str]], books: int, pad: int, spell: Any) -> tuple[Tensor, ...]:
    frames = max(codes.shape[1] for codes, _ in items)
    codes_BQT = torch.full((len(items), books, frames), pad)
    for b, (codes, _) in enumerate(items):
        codes_BQT[b, :, : codes.shape[1]] = torch.from_numpy(codes[:books])
    tokens = [torch.tensor([t + 1 for t in spell.encode(text)]) for _, text in items]
    lengths_B = torch.tensor([len(t) for t in tokens])
    frames_B = torch.tensor([codes.shape[1] for codes, _ in items])
    return codes_BQT, nn.utils.rnn.pad_sequence(tokens, batch_first=True), frames_B, lengths_B


def train(options: EvalCodes, items: list, books: int, entries: int, spell: Any) -> CodeReader:
    torch.manual_seed(0)
    model = CodeReader(books, entries, spell.vocab_size())
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=options.steps, pct_start=0.1)
    rng = np.random.default_rng(0)
    with progress(f"a reader of {books}", options.steps) as advance:
        for _ in range(options.steps):
            chosen = [items[i] for i in rng.integers(0, len(items), options.batch)]
            codes_BQT, tokens_BN, frames_B, lengths_B = collate(chosen, books, entries, spell)
            codes_BQT = codes_BQT.masked_fill(torch.rand(len(chosen), 1, codes_BQT.shape[-1]) < 0.08, entries)
            loss = ctc_loss(model(codes_BQT), tokens_BN, frames_B, lengths_B)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            advance(1)
    return model.eval()


@torch.no_grad()
def error_rate(model: CodeReader, items: list, books: int, entries: int, spell: Any) -> float:
    guesses = []
    for i in range(0, len(items), 32):
        codes_BQT, _, frames_B, _ = collate(items[i : i + 32], books, entries, spell)
        guesses += [spell.decode([t - 1 for t in g]) for g in ctc_greedy(model(codes_BQT), frames_B)]
    return float(jiwer.wer([text for _, text in items], guesses))


def probe_codes(codec: Codec, options: EvalCodes) -> dict[str, dict[str, float]]:
    """Word error rates by number of codebooks read (the first, all semantic ones, all) and by test set: phrasings that
    were heard in training from other voices, and unheard ones, both by unheard voices; and, where the corpus has
    recordings of people, people who were never heard."""
    sets = load_corpus(options.corpus)
    for name in ("user", "voice", "phrasing"):
        if name not in sets:
            raise InputError(f"{options.corpus} has no clips of the set {name!r}: see docs/data.md")
    people = [row for row in sets.get("human", []) if row["words"] and row["seconds"] <= LONGEST_SECONDS]
    training = encode(codec, sets["user"] + people, options.versions, 0, "clips to learn from")
    tests = {
        "heard phrasings": encode(codec, sets["voice"], 1, 1, "unheard voices"),
        "unheard phrasings": encode(codec, sets["phrasing"], 1, 2, "unheard phrasings"),
    }
    strangers = [
        row for row in sets.get("valid-human", []) if row["words"] and row["seconds"] <= LONGEST_SECONDS
    ]
    if people and strangers:
        tests["people never heard"] = encode(codec, strangers, 1, 3, "people never heard")
    spell = word_pieces([text for _, text in training])
    entries, result = codec.config.quantizer.entries, {}
    for books in sorted({1, codec.config.quantizer.semantic, codec.config.codebooks}):
        model = train(options, training, books, entries, spell)
        result[f"{books}"] = {
            n: error_rate(model, items, books, entries, spell) for n, items in tests.items()
        }
    return result


def codes_result(name: str, rates: dict[str, dict[str, float]]) -> Result:
    """Word error rates of `probe_codes` in the schema of all evaluations."""
    result = Result("codes", name)
    for books, row in rates.items():
        for test, rate in row.items():
            result.add(f"read from {books} codebooks, {test}: WER", 100 * rate, "%")
    return result


def word_pieces(texts: list[str]) -> sentencepiece.SentencePieceProcessor:
    """The pieces that the reader spells with."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts), model_writer=model, vocab_size=400, bos_id=-1, eos_id=-1, minloglevel=2,
        hard_vocab_limit=False,
    )  # fmt: skip
    return sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
