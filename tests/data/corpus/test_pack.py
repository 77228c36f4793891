"""Mixing by shares, and packed rows that a killed run goes on with."""

import hashlib
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from duologue import presets
from duologue.data.corpus.mixture import Mixer, mixture
from duologue.data.corpus.pack import EOS, PackConfig, PackedRows, pack
from duologue.errors import InputError
from duologue.lm.tokenizer import Tokenizer
from duologue.train.lm_text_batches import PackedBatches

TOKENIZER = Tokenizer(Path(presets.__file__).parent / "assets" / "tiny" / "tokenizer.model")


def documents(folder: Path, count: int, word: str) -> Path:
    folder.mkdir(parents=True)
    for part in range(2):
        rows = [
            {"id": f"{word}-{part}-{n}", "text": f"{word} number {n} of part {part}"} for n in range(count)
        ]
        (folder / f"{part}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture
def sources(tmp_path: Path):
    web = [documents(tmp_path / "2018-30", 150, "page"), documents(tmp_path / "2019-04", 300, "site")]
    return mixture([documents(tmp_path / "wikinews", 100, "article")], web)


def test_shares_are_the_papers_by_group_and_by_size_inside(sources) -> None:
    assert sources[0].share == 0.125
    assert sum(one.share for one in sources) == pytest.approx(1)
    assert sources[2].share / sources[1].share == pytest.approx(2, rel=0.05)
    mixer = Mixer(sources)
    for _ in range(2000):
        which, document = mixer.next() or pytest.fail("no document")
        mixer.took(which, len(document.text))
    got = np.array(mixer.tokens) / sum(mixer.tokens)
    assert np.abs(got - [one.share for one in sources]).max() < 0.002


def test_every_document_once_in_an_epoch_in_an_order_of_its_own(sources) -> None:
    held = []
    mixer = Mixer(sources, seed=3, held=True)
    while found := mixer.next():
        held.append(found[1].id)
    mixer, epochs = Mixer(sources[1:2], seed=3), []
    count = 300 - sum(name.startswith("page") for name in held)
    for _ in range(2):
        epochs.append([found[1].id for found in (mixer.next() for _ in range(count)) if found])
    assert len(held) == len(set(held)) and 0 < len(held) < 20
    assert len(set(epochs[0])) == count and not set(epochs[0]) & set(held)
    assert sorted(epochs[0]) == sorted(epochs[1]) and epochs[0] != epochs[1]


def test_a_source_without_documents_is_said(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(InputError, match="no documents to train on"):
        Mixer(mixture([tmp_path], [])).next()


def read_all(folder: Path) -> np.ndarray:
    rows = PackedRows(folder)
    return np.stack([rows[k] for k in range(len(rows))])


def test_rows_hold_whole_documents_one_after_another(sources, tmp_path: Path) -> None:
    index = pack(sources, TOKENIZER, tmp_path / "out", PackConfig(20_000, context=64, rows=40))
    tokens = read_all(tmp_path / "out/train").ravel()
    assert len(tokens) == 64 * sum(index["rows"]) == 64 * (20_000 // 64)
    ends = np.flatnonzero(tokens == EOS)
    said = [TOKENIZER.decode(part.tolist()) for part in np.split(tokens, ends + 1)[:-1]]
    assert Counter(text.split()[0] for text in said)["article"] > 50
    assert all(text.split()[1] == "number" for text in said)
    held_tokens = read_all(tmp_path / "out/valid").ravel()
    parts = np.split(held_tokens, np.flatnonzero(held_tokens == EOS) + 1)
    held = {TOKENIZER.decode(part.tolist()) for part in parts}
    assert not set(said) & {text for text in held if "of part" in text}


def digest(folder: Path) -> str:
    return hashlib.sha256(b"".join(p.read_bytes() for p in sorted(folder.rglob("*.*")))).hexdigest()


def test_a_killed_run_goes_on_and_writes_the_same_bytes(sources, tmp_path: Path) -> None:
    config = PackConfig(20_000, context=64, rows=40)
    pack(sources, TOKENIZER, tmp_path / "whole", config)

    def kill(share: float, calls=[]) -> None:  # noqa: B006
        calls.append(share)
        if len(calls) == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pack(sources, TOKENIZER, tmp_path / "again", config, kill)
    assert len(list((tmp_path / "again/train").glob("*.npy"))) == 3
    pack(sources, TOKENIZER, tmp_path / "again", config)
    assert digest(tmp_path / "again") == digest(tmp_path / "whole")
    with pytest.raises(InputError, match="other data"):
        pack(sources[:1], TOKENIZER, tmp_path / "again", config)


def test_training_reads_every_piece_once_in_an_epoch_and_resumes(sources, tmp_path: Path) -> None:
    pack(sources, TOKENIZER, tmp_path / "out", PackConfig(6_000, context=64, rows=40))
    rows = PackedRows(tmp_path / "out/train")
    data = PackedBatches(rows, 17, 1, 30)
    pieces = [batch["codes"][0, 0].numpy() for _, batch in zip(range(data.rows), data, strict=False)]
    assert data.rows == 2 * len(rows)
    want = sorted(tuple(rows[k][s : s + 30]) for k in range(len(rows)) for s in (0, 30))
    assert sorted(map(tuple, pieces)) == want
    state, following = data.state_dict(), next(iter(data))["codes"]
    again = PackedBatches(rows, 17, 1, 30)
    again.load_state_dict(state)
    assert (next(iter(again))["codes"] == following).all()
    halves = [PackedBatches(rows, 17, 1, 30, rank=r, world=2) for r in (0, 1)]
    assert [next(iter(half))["codes"][0, 0].tolist() for half in halves] == [p.tolist() for p in pieces[:2]]
    with pytest.raises(InputError, match="64 tokens"):
        PackedBatches(rows, 17, 1, 65)


def test_too_little_text_is_said(tmp_path: Path) -> None:
    few = mixture([documents(tmp_path / "few", 1, "x")], [])
    with pytest.raises(InputError, match="fewer than 4096 tokens"):
        pack(few, TOKENIZER, tmp_path / "out", PackConfig(10_000))
    with pytest.raises(InputError, match="no documents here"):
        mixture([tmp_path / "out"], [])
