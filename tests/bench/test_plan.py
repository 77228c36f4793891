"""What a model costs by arithmetic, against what torch counts and what was measured."""

import json
from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from duologue import presets
from duologue.bench.arithmetic import codec_flop, lm_cost
from duologue.bench.plan import CARDS, FRAME_SHARE, most_in_time, serving, shape_of, step_seconds, training
from duologue.cli import main
from duologue.errors import InputError
from duologue.lm import LM

ROWS = dict[str, float]


def by_name(rows) -> ROWS:
    return {row.what: row.value for row in rows}


@pytest.mark.parametrize("config", [presets.tiny_lm(), presets.nano_lm()])
def test_operations_are_those_that_torch_counts(config) -> None:
    frames, lm = 24, LM(config)
    codes_BKT = torch.randint(0, 30, (1, config.streams, frames))
    with FlopCounterMode(display=False) as counter:  # with gradients: else by kernels that it does not know
        out = lm(codes_BKT)
        for head in lm.extra_heads:
            head(out.hidden_BTD)
    # The causal half of attention is counted in full by torch, and not at all within a frame by us.
    expected = lm_cost(config).forward_flop(frames) * frames
    assert counter.get_total_flops() == pytest.approx(expected, rel=0.06)


def test_moshi_is_as_published_and_as_measured() -> None:
    cost, _ = shape_of("moshi")
    assert cost.parameters == 7_687_729_152
    assert 2 * cost.kv_per_frame == 2**19  # half a MiB a frame
    assert 2 * cost.kv_per_frame * cost.context == pytest.approx(1.57e9, rel=0.01)
    assert cost.read == pytest.approx(
        7.4e9, rel=0.01
    )  # what `bench lm --quantize q8` reads a step (docs/speed.md)
    # 323 ms a step at 22.9 GB/s, 32 layers in 8 bits on two cores (docs/speed.md)
    assert cost.read / 22.9e9 == pytest.approx(0.323, rel=0.01)
    twelve = lm_cost(replace(presets.moshi_7b(), temporal=replace(presets.moshi_7b().temporal, layers=12)))
    assert twelve.read / 22.5e9 == pytest.approx(0.145, rel=0.02)  # and 12 layers
    assert 2 * lm_cost(presets.nano_lm()).read == pytest.approx(0.0328e9, rel=0.01)


def test_shared_weights_are_read_once_and_multiplied_often() -> None:
    nano = lm_cost(presets.nano_lm())
    own = replace(presets.nano_lm().depth, schedule=tuple(range(8)))
    apart = lm_cost(replace(presets.nano_lm(), depth=own))
    assert nano.multiplied == apart.multiplied and nano.read < apart.read == apart.multiplied


def test_a_codec_costs_what_its_sound_costs() -> None:
    assert codec_flop(presets.nano_codec()) < 0.2 * codec_flop(presets.mimi())


def test_a_fleet_is_as_large_as_memory_and_time_ask() -> None:
    rows = by_name(serving("moshi", "h100", 10_000))
    assert rows["conversations a card holds"] == 35
    each = min(rows["conversations a card holds"], rows["conversations a card steps in time"])
    assert rows["h100 for 10,000 conversations"] == -(-10_000 // each)
    assert rows["messages, both ways"] == 250_000
    eight = by_name(serving("moshi", "h100", 10_000, bits=8))
    assert eight["h100 for 10,000 conversations"] < rows["h100 for 10,000 conversations"]
    more = by_name(serving("moshi", "h200", 10_000))
    assert more["h200 for 10,000 conversations"] < rows["h100 for 10,000 conversations"]
    cost, codec = shape_of("moshi")
    most = most_in_time(cost, codec, CARDS["h100"], 16)
    assert step_seconds(cost, codec, CARDS["h100"], 16, most) <= FRAME_SHARE * 0.08
    assert step_seconds(cost, codec, CARDS["h100"], 16, most + 1) > FRAME_SHARE * 0.08


def test_training_is_six_operations_a_weight_and_frame() -> None:
    cost, _ = shape_of("moshi")
    assert cost.training_flop(0) == 6 * cost.multiplied
    assert cost.training_flop(0, lora=True) == 4 * cost.multiplied
    one, two = (by_name(training("moshi", "h100", cards, 1000.0)) for cards in (16, 32))
    assert one["h100 hours"] == two["h100 hours"]
    assert one["time on 16"] == pytest.approx(2 * two["time on 32"])
    with pytest.raises(InputError, match="take more of them"):
        training("moshi", "h100", 1, 1000.0)
    assert by_name(training("moshi", "h100", 1, 1000.0, lora=True))["left for activations, a card"] > 40


def test_the_command_prints_a_table_and_json(capsys) -> None:
    main(["plan", "--model", "moshi", "--gpus", "h200", "--conversations", "1000000"])
    table = capsys.readouterr().out
    assert "h200 for 1,000,000 conversations" in table and "assumed" in table and "computed" in table
    main(["plan", "--train", "--hours", "7000000", "--cards", "1016", "--json"])
    assert {"h100 hours", "time on 1,016"} <= {row["what"] for row in json.loads(capsys.readouterr().out)}
    for odd in (["--bits", "4"], ["--conversations", "0"], ["--gpus", "l4"]):
        with pytest.raises(SystemExit) as stopped:
            main(["plan", *odd])
        assert stopped.value.code == 2
        assert capsys.readouterr().err.count("\n") == 1
