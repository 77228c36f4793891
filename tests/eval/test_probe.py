"""`eval codes` on clips of tones, one a word: it reads codes that tell them, and cannot read codes that do not."""

import itertools
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import tyro
from torch import Tensor

from duologue.cli.app import CONFIG
from duologue.cli.eval import Eval, EvalCodes
from duologue.data.split import valid_speaker
from duologue.data.voices import write_clip
from duologue.errors import InputError
from duologue.eval.probe import probe_codes
from duologue.eval.result import read_result
from tests.eval.duplex_actor import tone

BOOKS = 3
WORDS = ("red", "green", "blue", "white")


@dataclass
class LoudnessCodec:
    """The first codebook is how loud a frame is, in `steps` steps; the others say nothing."""

    steps: int
    config = SimpleNamespace(quantizer=SimpleNamespace(entries=64, semantic=1), codebooks=BOOKS)

    def encode(self, wav_BS: Tensor) -> Tensor:
        wav_BTF = wav_BS[:, : wav_BS.shape[1] // 1920 * 1920].unflatten(1, (-1, 1920))
        loud_BT = (wav_BTF.abs().amax(-1) * self.steps).round().long()
        return torch.stack([loud_BT, *[torch.zeros_like(loud_BT)] * (BOOKS - 1)], 1)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All pairs of words, said by a voice of training and by a held-out one."""
    folder = tmp_path_factory.mktemp("clips")
    for number, pair in enumerate(itertools.product(WORDS, repeat=2)):
        wav_S = np.concatenate([tone(0.3, 0.2 * (1 + WORDS.index(word))) for word in pair])
        key = f"item-{number:03d}-{number}"
        for voice in ("af_bella", "af_river"):
            row = {
                "key": f"{voice}/{key}",
                "id": key.rpartition("-")[0],
                "role": "user",
                "voice": voice,
                "text": " ".join(pair),
            }
            write_clip(folder / f"user-{voice}", key, wav_S, row)
    return folder


def test_words_are_read_where_the_codes_tell_them(corpus: Path):
    # Several offsets of each clip: words that begin in the middle of a frame are otherwise read by luck.
    options = EvalCodes(corpus=corpus, versions=6, steps=150, batch=8)
    told, untold = (probe_codes(LoudnessCodec(steps), options) for steps in (5, 0))
    assert set(told) == {"1", f"{BOOKS}"}
    for books in told:
        assert set(told[books]) == {"heard phrasings", "unheard phrasings"}
        assert told[books]["heard phrasings"] < 0.1
        assert untold[books]["heard phrasings"] > 0.5


def test_people_are_a_test_of_their_own(corpus: Path, tmp_path: Path):
    """Recordings of people whose words are known are learnt from, and others of them read."""
    people = tmp_path / "speechocean762"
    for place in corpus.iterdir():
        (tmp_path / place.name).symlink_to(place)
    speakers = sorted(range(300), key=lambda number: not valid_speaker("speechocean762", f"{number}"))
    for number in speakers[:40]:  # the held-out ones first: some nine
        word = WORDS[number % len(WORDS)]
        row = {"key": f"speechocean762-{number}", "speaker": f"{number}", "text": word.upper()}
        write_clip(people, f"speechocean762-{number}", tone(0.3, 0.2 * (1 + WORDS.index(word))), row)
    options = EvalCodes(corpus=tmp_path, versions=1, steps=150, batch=8)
    rates = probe_codes(LoudnessCodec(5), options)
    assert all(0 <= row["people never heard"] < 0.5 for row in rates.values())


def test_command(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    def run(*args: object) -> None:
        tyro.cli(Eval, args=["codes", *map(str, args)], config=CONFIG).run()

    run("--corpus", corpus, "--model", "tiny", "--versions", 1, "--steps", 2, "--batch", 2, "--json",
        tmp_path / "codes.json")  # fmt: skip
    figures = read_result(tmp_path / "codes.json").figures
    assert len(figures) >= 4 and all((figure.value or 0) >= 0 for figure in figures)
    with pytest.raises(InputError, match="no clips of the set 'user'"):
        run("--corpus", tmp_path)
