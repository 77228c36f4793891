from dataclasses import replace
from pathlib import Path

import pytest
import torch

from duologue import presets
from duologue.cli import main
from duologue.config import DepthConfig
from duologue.eval.held_out import HeldOut, inputs
from duologue.eval.quantize import KINDS, evaluate_quantized, quantized
from duologue.eval.result import read_result
from duologue.lm import LM
from duologue.weights.random import random_lm
from tests.eval.random_shards import write_random_shards


@pytest.fixture(scope="module")
def lm() -> LM:
    tiny = presets.tiny_lm()
    temporal = replace(tiny.temporal, dim=64, feedforward=289)  # gates of 192
    config = replace(tiny, temporal=temporal, depth=DepthConfig(64, 2, 1, 289, tuple(range(8))))
    return random_lm(config)


def conversations(lm: LM) -> list[HeldOut]:
    """Codes the model itself finds likely, so that rounding has something to spoil."""
    generator = torch.Generator().manual_seed(0)
    codes_BKT = torch.randint(0, 32, (2, 17, 30), generator=generator)
    with torch.inference_mode():
        for _ in range(2):
            out = lm(codes_BKT)
            assert out.audio_BQTV is not None
            codes_BKT[:, 0] = out.text_BTV.argmax(-1)
            codes_BKT[:, 1:9] = out.audio_BQTV.argmax(-1)
    speaks_BT = torch.ones(2, 30, dtype=torch.bool)
    speaks_BT[:, :5] = False
    return [HeldOut(codes_BKT, codes_BKT, speaks_BT)]


def test_fewer_bits_are_smaller_and_worse(lm: LM):
    rows = {row.kind: row for row in evaluate_quantized(lm, conversations(lm))}
    assert tuple(rows) == KINDS
    assert rows["fp32"].text_agreement == rows["fp32"].audio_agreement == 1
    sizes = [rows[kind].megabytes for kind in KINDS]
    assert sizes == sorted(sizes, reverse=True)
    assert rows["bf16"].megabytes == pytest.approx(rows["fp32"].megabytes / 2)
    assert rows["q8"].audio_agreement > 0.95 > rows["q3"].audio_agreement
    assert rows["fp32"].audio_perplexity < rows["q4"].audio_perplexity < rows["q3"].audio_perplexity
    assert rows["fp32"].right is None


def test_rounding_leaves_the_model_alone(lm: LM):
    before = {name: weight.clone() for name, weight in lm.state_dict().items()}
    rounded, _ = quantized(lm, "q4")
    assert all(torch.equal(weight, before[name]) for name, weight in lm.state_dict().items())
    weight, was = rounded.text_head.weight, lm.text_head.weight
    step = (was.unflatten(1, (-1, 32)).amax(-1) - was.unflatten(1, (-1, 32)).amin(-1)).max() / 15
    assert 0 < (weight - was).abs().max() <= step


def test_silent_frames_do_not_count(lm: LM):
    (batch,) = conversations(lm)
    batch.speaks_BT[:, 15:] = False
    louder_BKT = batch.codes_BKT.clone()
    louder_BKT[:, 9:, 20:] = 3  # changes what is predicted for silence alone
    louder = replace(batch, codes_BKT=louder_BKT, inputs_BKT=louder_BKT)
    found = [next(evaluate_quantized(lm, [codes], kinds=["q3"])) for codes in (batch, louder)]
    assert found[0].audio_perplexity == found[1].audio_perplexity
    assert found[0].text_perplexity != found[1].text_perplexity


def test_a_model_that_reads_the_users_words_is_given_them():
    tiny = presets.tiny_lm()
    reads = replace(tiny, second_text_stream=True, extra_heads=1, extra_heads_dim=tiny.text_card_out)
    codes_BKT = torch.full((1, 17, 3), 5)
    batch = {"codes": codes_BKT, "user_text": torch.tensor([[3, -1, 7]])}  # 3 is PAD: no word
    assert inputs(random_lm(tiny), batch) is codes_BKT
    found_BKT = inputs(random_lm(reads), batch)
    assert found_BKT[0, 0].tolist() == [5, 5, 5 + 8 * 421] and torch.equal(found_BKT[:, 1:], codes_BKT[:, 1:])


def test_answers_are_asked_of_the_rounded_model(lm: LM):
    asked = []
    rows = list(evaluate_quantized(lm, conversations(lm), lambda m: asked.append(m) or 0.5, ["q8", "q4"]))
    assert [row.right for row in rows] == [0.5, 0.5]
    assert not torch.equal(asked[0].text_head.weight, asked[1].text_head.weight)


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    write_random_shards(tmp_path / "shards")
    main(["eval", "quantize", str(tmp_path / "shards"), "--model", "tiny", "--batches", "1",
          "--json", str(tmp_path / "q.json")])  # fmt: skip
    assert read_result(tmp_path / "q.json").value("fp32: text tokens as fp32") == 100
    printed = capsys.readouterr().out
    assert all(f"{kind} " in printed for kind in KINDS)


@pytest.mark.parametrize("wrong", [("--set", "x"), ("--batches", "0"), ("--model", "no-such")])
def test_bad_input(tmp_path: Path, wrong: tuple[str, str], capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as end:
        main(["eval", "quantize", str(tmp_path), *wrong])
    assert end.value.code == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
