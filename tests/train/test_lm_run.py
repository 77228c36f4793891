"""From a script to a model one can talk to, with the command line alone."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from duologue import presets
from duologue.cli import main
from duologue.data.shards import write_shards
from duologue.lm.tokenizer import Tokenizer
from duologue.train import checkpoint
from duologue.weights import load
from duologue.weights.random import random_codec
from duologue.weights.write import write_codec

SCRIPT = [
    {"id": "a", "user": ["What is the sea?", "Tell me of the sea."], "moshi": "The sea is wide and blue, they say."},
    {"id": "b", "user": ["Stop.", "Please stop talking now."], "moshi": "Certainly, I shall be quiet for a while."},
]  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A script, a vocabulary, shards and a codec."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "script.jsonl").write_text("".join(json.dumps(row) + "\n" for row in SCRIPT))
    main(["train", "tokenizer", str(folder / "script.jsonl"), str(folder / "text.model"), "--size", "320"])
    rng = np.random.default_rng(0)
    samples = []
    for number in range(5):
        codes = np.zeros((2, 8, 60), np.int16)
        codes[0] = np.arange(8)[:, None]  # silence
        codes[0, :, 20:40] = rng.integers(1, 32, (8, 20))
        codes[1, :, 5:15] = rng.integers(1, 32, (8, 10))
        words = [[" sea?", [0.4, 1.2], "SPEAKER_USER"], [" The", [1.7, 2.0], "SPEAKER_MAIN"]]
        samples.append({"key": f"talk-{number}", "codes.npy": codes, "json": {"alignments": words}})
    write_shards(folder / "shards", samples)
    write_codec(folder / "codec.safetensors", random_codec(presets.tiny_codec()))
    return folder


def train(made: Path, out: Path, *more: str) -> None:
    main(
        ["train", "lm", "--stage", "finetune", "--preset", "tiny", "--shards", str(made / "shards"), "--tokenizer",
         str(made / "text.model"), "--out", str(out), "--batch", "2", "--frames", "40", "--device", "cpu", *more]
    )  # fmt: skip


def test_the_vocabulary_has_the_published_ids_and_spells_everything(made: Path) -> None:
    text = Tokenizer(made / "text.model")
    assert text.size == 320
    assert all(text.is_control(token) for token in range(4))
    assert text.decode(text.encode("The sea, snow 雪")) == "The sea, snow 雪"
    assert len(text.encode("sea")) == 1  # a word that comes again and again is one piece


def test_a_script_too_small_for_the_vocabulary_is_refused(made: Path, tmp_path: Path, capsys) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["train", "tokenizer", str(made / "script.jsonl"), str(tmp_path / "x.model"), "--size", "5000"])
    assert stopped.value.code == 2
    assert "no vocabulary of 5000 pieces" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_trains_exports_and_loads(made: Path, tmp_path: Path) -> None:
    first, second, model = tmp_path / "first", tmp_path / "second", tmp_path / "model"
    train(made, first, "--steps", "2", "--valid", str(made / "shards"), "--eval-every", "1")
    rows = [json.loads(line) for line in (first / "metrics.jsonl").read_text().splitlines()]
    assert any("eval_text_loss" in row for row in rows)
    train(made, second, "--steps", "1", "--start", str(first), "--lr", "0")
    a, b = checkpoint.load_weights(first), checkpoint.load_weights(second)
    torch.testing.assert_close(a, b)  # the second run began where the first ended
    main(
        ["train", "export-lm", "--start", str(second), "--preset", "tiny", "--codec", str(made / "codec.safetensors"),
         "--tokenizer", str(made / "text.model"), "--out", str(model), "--temperature", "0.25"]
    )  # fmt: skip
    loaded = load(str(model))
    assert loaded.sampling.temperature == 0.25 and loaded.sampling.text_temperature == 0
    torch.testing.assert_close(loaded.lm.state_dict(), b)
    assert loaded.codec.config == presets.tiny_codec()
    assert loaded.tokenizer.size == 320


def test_pre_trains_on_text_then_on_speech_and_text(made: Path, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("The sea is wide.\nThe sea is blue, they say.\n" * 20)
    texts = ("--texts", str(tmp_path / "text.txt"))
    train(made, tmp_path / "a", "--stage", "text", "--steps", "40", "--lr", "1e-2", *texts)
    train(
        made, tmp_path / "b", "--stage", "speech-text", "--steps", "4", "--start", str(tmp_path / "a"), *texts
    )
    rows = [json.loads(line) for line in (tmp_path / "a" / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["text"] < 0.6 * rows[0]["text"] and "audio" not in rows[-1]
    rows = [json.loads(line) for line in (tmp_path / "b" / "metrics.jsonl").read_text().splitlines()]
    assert {"speech_audio", "speech_text", "text_text"} <= rows[-1].keys() and "text_audio" not in rows[-1]
    before, after = (checkpoint.load_weights(tmp_path / run, ema=False) for run in "ab")
    assert not torch.equal(before["depth.heads.0.weight"], after["depth.heads.0.weight"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (["--stage", "duplex"], "this model has none"),
        (["--tokenizer", "/nowhere.model"], "there is no file /nowhere.model"),
        (["--start", "/nowhere"], "/nowhere"),
        (["--stage", "text"], "name some with --texts"),
    ],
)
def test_what_cannot_be_trained_is_refused(made: Path, tmp_path: Path, capsys, change, said) -> None:
    with pytest.raises(SystemExit) as stopped:
        train(made, tmp_path / "run", "--steps", "1", *change)
    assert stopped.value.code == 2
    assert said in capsys.readouterr().err


def test_adapters_alone_are_trained_on_a_model_and_exported(made: Path, tmp_path: Path) -> None:
    run, out = tmp_path / "run", tmp_path / "lora"
    more = ("--model", "tiny", "--lora-rank", "2", "--lr", "1e-2", "--shards", str(made / "shards"))
    main(
        ["train", "lm", "--stage", "finetune", *more, "--out", str(run), "--batch", "2", "--frames", "40",
         "--steps", "3", "--device", "cpu"]
    )  # fmt: skip
    main(["train", "export-lora", "--start", str(run), "--model", "tiny", "--out", str(out)])
    found = load_file(out / "lora.safetensors")
    assert found["text_linear.lora_A.weight"].shape == (2, 32)
    assert found["transformer.layers.0.gating.linear_in.lora_B.weight"].abs().max() > 0
    told = json.loads((out / "config.json").read_text())
    assert (told["lora"], told["lora_rank"], told["lora_scaling"]) == (True, 2, 2.0)
    base, trained = load("tiny").lm.state_dict(), checkpoint.load_weights(run, ema=False)
    assert all(torch.equal(value, trained[name]) for name, value in base.items())
    with pytest.raises(SystemExit):
        main(
            ["train", "export-lora", "--start", str(tmp_path / "none"), "--model", "tiny", "--out", str(out)]
        )
