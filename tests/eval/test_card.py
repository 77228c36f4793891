"""Model cards from figures."""

import json
from pathlib import Path

import pytest

from duologue.cli.app import main
from duologue.errors import InputError
from duologue.eval import quantize
from duologue.eval.card import read_about, read_results, write_card
from duologue.eval.codec import CodebookUse, CodecReport, Row, codec_result
from duologue.eval.frontier import Point, frontier_result
from duologue.eval.probe import codes_result
from duologue.eval.quantize_run import quantize_result
from duologue.eval.result import Result, write_result

LIMITS = "Bias, risks, and limitations"
NANO = Path(__file__).parents[2] / "duologue/assets/nano/card.toml"


@pytest.fixture
def results(tmp_path: Path) -> Path:
    place = tmp_path / "results"
    place.mkdir()
    result = Result("turns", "tiny", settings={"seed": 3})
    result.add("IPU", 41.237, "s a minute", 12, 44.7)
    result.add("gap", None, "s a minute", 0)
    write_result(place / "turns.json", result)
    cell = {"value": 98.0, "count": 100}
    line = {
        "kind": "turn",
        "title": "takes the turn",
        "unit": "%",
        "heard": cell,
        "unheard": {"value": None, "count": 0},
    }
    (place / "duplex.json").write_text(json.dumps({"model": "tiny", "lines": [line], "scenes": {}}))
    codec = CodecReport(
        [Row("tiny", 0.9, 12.5, {"stoi": 0.77}, 0.2)], [CodebookUse(0.5, 4.0, 5.0)], 1.0, 1, 16, 9.0
    )
    write_result(place / "codec.json", codec_result(codec))
    write_result(place / "frontier.json", frontier_result("tiny", [Point(0, 4.0, 250.0, 90.0)], 20))
    write_result(place / "codes.json", codes_result("tiny", {"1": {"heard phrasings": 0.18}}))
    rounded = quantize.Row("q4", 12.0, 0.99, 0.98, 1.04, 1.27, 0.8)
    write_result(place / "quantize.json", quantize_result("tiny", [rounded]))
    return place


def test_a_card_has_the_published_ones_sections_and_every_figure(results: Path, tmp_path: Path) -> None:
    (tmp_path / "about.toml").write_text('bias = "It knows English."\nlicense = "MIT."\n')
    main(
        [
            "card",
            "tiny",
            str(tmp_path / "CARD.md"),
            "--results",
            str(results),
            "--about",
            str(tmp_path / "about.toml"),
        ]
    )
    text = (tmp_path / "CARD.md").read_text()
    for title in (
        "Model details",
        "Uses",
        "How to get started",
        "Bias, risks, and limitations",
        "Training details",
        "Evaluation",
    ):
        assert f"\n## {title}\n" in text
    assert "**Bias.** It knows English." in text and "Not stated: add training_data" in text
    assert "| IPU | 41.2 s a minute | 12 | 44.7 |" in text and "| gap | - | 0 |" in text
    assert "| turn: takes the turn | 98 % | 100 |" in text and "not heard in training" not in text
    assert "| tiny, 0.9 kbit/s: WER | 20 % | 16 |" in text
    assert "| codebook 0: entropy | 4 bits of 5 |" in text
    assert (
        "| false cut-offs at 300 ms | 4 % |" in text and "| response at 5 % false cut-offs | 250 ms |" in text
    )
    assert "| read from 1 codebooks, heard phrasings: WER | 18 % |" in text
    assert "| q4: right answers | 80 % |" in text and "Beside duplex-0" not in text
    assert "8 codebooks of 32" in text and "17: text, 8 codebooks said, 8 heard" in text


def test_figures_that_duplex_0_has_stand_beside_them() -> None:
    bits, turns = Result("bits", "x"), Result("turns", "x")
    bits.add("saved by the text row", 21.4, "%", 100)
    turns.add("confirmed words", None, "a minute", 3)
    text = write_card("x", [], {}, [bits, turns])
    assert "| | x | duplex-0 (201 M parameters) |" in text
    assert "| saved by the text row | 21.4 % | 12-14 % |" in text and "recogniser confirms" not in text


def test_nanos_own_texts_fill_every_section(tmp_path: Path) -> None:
    text = write_card("nano", [], read_about(NANO), [])
    assert "Not stated" not in text and "No evaluation was given" in text
    main(["card", "nano", str(tmp_path / "CARD.md")])
    assert "**Training data.**" in (tmp_path / "CARD.md").read_text()


def test_the_card_in_the_documents_is_what_the_command_writes(tmp_path: Path) -> None:
    root = NANO.parents[3]
    main(["card", "nano", str(tmp_path / "CARD.md"), "--results", str(root / "recipes/nano/results")])
    again = "run: duologue card nano docs/model-card.md --results recipes/nano/results"
    assert (tmp_path / "CARD.md").read_text() == (root / "docs/model-card.md").read_text(), again


def test_what_is_no_card_or_result_is_said(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text('colour = "red"\n')
    with pytest.raises(InputError, match="'colour' is no text of a card"):
        read_about(tmp_path / "x.toml")
    (tmp_path / "x.json").write_text("[1]")
    with pytest.raises(InputError, match="not a result"):
        read_results([tmp_path / "x.json"])
