"""From documents to a text model and its perplexity, with the command line alone."""

import json
import math
from pathlib import Path

import pytest

from duologue.cli import main
from duologue.eval.result import Result, read_result
from duologue.lm.tokenizer import Tokenizer

NOUNS = [
    "harbour",
    "castle",
    "river",
    "mountain",
    "village",
    "school",
    "winter",
    "garden",
    "letter",
    "teacher",
]


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("texts")
    for kind, text in (
        ("books", "The {} lay below the old {}, and nobody spoke."),
        ("web", "Buy {} and {} here, cheap!"),
    ):
        (folder / kind).mkdir()
        rows = [{"id": f"{kind}-{a}-{b}", "text": text.format(a, b) * 3} for a in NOUNS for b in NOUNS]
        rows += [{"id": f"{kind}-{a}-{b}-2", "text": text.format(b, a) * 2} for a in NOUNS for b in NOUNS]
        (folder / kind / "0.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_vocabulary_pack_train_and_perplexity(
    places: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    groups = ["--curated", str(places / "books"), "--web", str(places / "web")]
    main(["data", "text", "vocabulary", str(tmp_path / "t.model"), *groups, "--size", "300"])
    tokenizer = Tokenizer(tmp_path / "t.model")
    assert tokenizer.size == 300 and tokenizer.decode(tokenizer.encode("The 42 雪")) == "The 42 雪"
    pack = ["data", "text", "pack", str(tmp_path / "packed"), "--tokenizer", str(tmp_path / "t.model")]
    main([*pack, *groups, "--tokens", "12000", "--context", "32"])
    said = capsys.readouterr().out
    assert "books: " in said and " tokens, 12." in said and "375 rows of 32" in said
    run = str(tmp_path / "run")
    main(["train", "lm", "--stage", "text", "--preset", "tiny", "--tokenizer", str(tmp_path / "t.model"), "--out", run,
          "--texts", str(tmp_path / "packed/train"), "--valid", str(tmp_path / "packed/valid"), "--device", "cpu",
          "--batch", "4", "--frames", "32", "--steps", "40", "--eval-every", "40", "--lr", "1e-2"])  # fmt: skip
    logged = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    held_out = [row["eval_text_loss"] for row in logged if "eval_text_loss" in row]
    assert held_out and held_out[-1] < 4.5  # 5.8 is knowing nothing
    main(["train", "export-lm", "--preset", "tiny", "--start", run, "--tokenizer", str(tmp_path / "t.model"),
          "--out", str(tmp_path / "text")])  # fmt: skip

    def figures(model: str) -> Result:
        packed, out = str(tmp_path / "packed/valid"), str(tmp_path / "p.json")
        main(["eval", "text", packed, "--model", model, "--frames", "32", "--json", out])
        return read_result(tmp_path / "p.json")

    trained = figures(str(tmp_path / "text"))
    assert (trained.value("perplexity") or 999) < math.exp(4.5)
    assert (figures("tiny").value("perplexity") or 0) > math.exp(5.5)  # a random model
    tokens, size = (figure.count for figure in trained.figures if figure.name in ("bits", "bits a byte"))
    assert tokens and size and size > tokens
    assert trained.value("bits a byte") == pytest.approx((trained.value("bits") or 0) * tokens / size)


def test_a_classifier_of_pages(places: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from duologue.data.corpus.classify import LineClassifier

    out = str(tmp_path / "q.npz")
    main(
        ["data", "text", "classifier", out, "--curated", str(places / "books"), "--web", str(places / "web")]
    )
    judge = LineClassifier.load(out)
    assert judge.names == ["books", "web"]
    assert judge.quality("The forest lay below the old mill, and nobody spoke." * 3).score > 0.8
    with pytest.raises(SystemExit):
        main(["data", "text", "classifier", out, "--curated", str(places / "books")])
    assert "name --curated and --web folders" in capsys.readouterr().err
