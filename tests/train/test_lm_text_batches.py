"""Text, and one stream of speech with its words."""

from pathlib import Path

import numpy as np
import pytest
import torch

from duologue import presets
from duologue.data.shards import ShardReader, write_shards
from duologue.errors import InputError
from duologue.lm.tokenizer import Tokenizer
from duologue.train.lm_text_batches import EOS, MixedBatches, MixedConfig, TextBatches

TOKENIZER = Tokenizer(Path(presets.__file__).parent / "assets" / "tiny" / "tokenizer.model")


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(f'{{"text": "This is document number {n}."}}\n' for n in range(30)))
    return path


def read(texts: Path, **changes) -> TextBatches:
    settings = {"streams": 17, "batch": 2, "frames": 25} | changes
    return TextBatches([texts], TOKENIZER, **settings)


def test_every_document_once_in_an_epoch(texts: Path) -> None:
    data = read(texts, batch=1)
    rows = [batch["codes"][0, 0] for _, batch in zip(range(2 * data.rows), data, strict=False)]
    for epoch in (rows[: data.rows], rows[data.rows :]):
        said = TOKENIZER.decode(torch.cat(epoch).tolist())
        assert sum(f"document number {n}." in said for n in range(30)) >= 28  # all but what is cut at the end
    assert not torch.equal(torch.cat(rows[: data.rows]), torch.cat(rows[data.rows :]))
    assert (torch.cat(rows) == EOS).sum() >= 56


def test_only_text_is_there(texts: Path) -> None:
    batch = next(iter(read(texts)))
    assert batch["codes"].shape == (2, 17, 25)
    assert (batch["codes"][:, 1:] == -1).all() and (batch["codes"][:, 0] >= 0).all()
    assert (batch["heard"] == -1).all()


def test_ranks_share_and_runs_resume(texts: Path) -> None:
    whole = [b["codes"] for _, b in zip(range(4), read(texts), strict=False)]
    ranks = [read(texts, rank=r, world=2) for r in (0, 1)]
    first, second = ([b["codes"] for _, b in zip(range(2), one, strict=False)] for one in ranks)
    assert torch.equal(torch.stack(whole), torch.stack([first[0], second[0], first[1], second[1]]))
    again = read(texts)
    again.load_state_dict({"index": 3})
    assert torch.equal(next(iter(again))["codes"], whole[3])
    assert torch.equal(read(texts).at({"index": 3})["codes"], whole[3])  # as another process would make it


def test_files_that_hold_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text('{"words": 1}\n')
    (tmp_path / "empty.txt").write_text("\n")
    for name, said in (("bad.jsonl", "line 1"), ("empty.txt", "no text"), ("none.txt", "there is no file")):
        with pytest.raises(InputError, match=said):
            read(tmp_path / name)


def test_one_speaker_with_their_words_then_text(texts: Path, tmp_path: Path) -> None:
    codes = np.stack([np.full((8, 100), who, np.int16) for who in (1, 2)])
    words = [[" yes", [1.0, 1.5], "SPEAKER_MAIN"], [" no", [4.0, 4.5], "SPEAKER_USER"]]
    write_shards(tmp_path, [{"key": "a", "codes.npy": codes, "json": {"alignments": words}}])
    config = MixedConfig(batch=1, frames=100)
    data = MixedBatches(ShardReader(tmp_path), read(texts, frames=100), TOKENIZER, config)
    seen, starts, hidden = set(), set(), []
    for number, batch in zip(range(80), data, strict=False):
        codes_KT, inputs_KT = batch["codes"][0], batch["inputs"][0]
        if number % 2:
            assert (codes_KT[1:] == -1).all()
            continue
        assert (codes_KT[9:] == -1).all()
        (who,) = (int(code) for code in set(codes_KT[1, codes_KT[1] >= 0].tolist()))
        seen.add(who)
        spoken = [(t, token) for t, token in enumerate(codes_KT[0].tolist()) if token > 3]
        first = 100 - int((codes_KT[1] >= 0).sum())
        if spoken and spoken[0][0] > 0:  # a word that starts inside the piece
            assert TOKENIZER.decode([token for _, token in spoken]) == ("yes", "no")[who - 1]
            starts.add(first + spoken[0][0] - (12, 50)[who - 1])
        assert torch.equal(codes_KT[1:], inputs_KT[1:])
        hidden.append((inputs_KT[0] != codes_KT[0]).float().mean())
    assert seen == {1, 2}
    assert -8 <= min(starts) < 0 < max(starts) <= 8  # 0.6 s early or late
    assert 0.2 < float(np.mean(hidden)) < 0.4
