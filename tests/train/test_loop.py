import json
import math
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from toy_stage import Plain, ToyData, ToyModel, assert_same_run, build, state_of

from duologue.errors import InputError
from duologue.train import checkpoint, log, loop
from duologue.train.loop import LoopConfig, run
from duologue.train.optim import OptimConfig, Optimizer, total_norm
from duologue.train.parallel import World


@pytest.fixture(autouse=True)
def no_drawing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(log, "plot", lambda *_: None)


class Clocked(ToyData):
    """A batch takes ten seconds."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: 10.0 * self.place))


def go(out: Path, data=None, dropout: float = 0.1, **config):
    settings = {"steps": 12, "log_every": 3, "eval_every": 5} | config
    return run(build(World(), dropout), data or ToyData(), LoopConfig(**settings), out)


def test_microbatches_weigh_by_their_size():
    x_BD = torch.randn(8, 6, generator=torch.Generator().manual_seed(1))
    whole, parts, plain = build(World()), build(World()), build(World())
    (plain.module(x_BD) - x_BD.sin()).square().mean().backward()
    norm = float(total_norm(p.grad for p in plain.module.parameters()))
    batches = [{"x": x, "y": x.sin()} for x in (x_BD, x_BD[:3], x_BD[3:])]
    for step in range(3):
        one = whole.train_step(batches[:1], step)
        many = parts.train_step(batches[1:], step)
        assert one == pytest.approx(many, rel=1e-5)
        if step == 0:
            assert one["grad_norm"] == pytest.approx(norm, rel=1e-5)
    for p, q in zip(whole.module.parameters(), parts.module.parameters(), strict=True):
        torch.testing.assert_close(p, q)


def test_it_learns_and_says_how_it_ended(tmp_path: Path):
    outcome = go(tmp_path, steps=60, dropout=0.0)
    assert (outcome.reason, outcome.step) == ("steps", 60)
    rows = state_of(tmp_path)[2]
    assert rows[0]["step"] == 3
    assert outcome.evaluation["eval_loss"] == rows[-1]["eval_loss"] < 0.5 * rows[0]["loss"]


def test_log_lines_are_means_since_the_last(tmp_path: Path):
    go(tmp_path / "each", steps=6, log_every=1)
    go(tmp_path / "three", steps=6, log_every=3)
    each = [row["loss"] for row in state_of(tmp_path / "each")[2] if "loss" in row]
    three = [row["loss"] for row in state_of(tmp_path / "three")[2] if "loss" in row]
    assert three == pytest.approx([sum(each[:3]) / 3, sum(each[3:]) / 3])


def test_evaluating_and_saving_change_nothing(tmp_path: Path):
    go(tmp_path / "often", eval_every=1, save_every=1)
    go(tmp_path / "never", eval_every=0, save_every=0)
    often, never = state_of(tmp_path / "often"), state_of(tmp_path / "never")
    assert all(torch.equal(tensor, never[0][name]) for name, tensor in often[0].items())
    assert often[1] == never[1]


def test_the_seed_decides(tmp_path: Path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        go(tmp_path / name, seed=seed)
    assert_same_run(tmp_path / "a", tmp_path / "b")
    with pytest.raises(AssertionError):
        assert_same_run(tmp_path / "a", tmp_path / "c")


def test_time_limit_stops_cleanly_and_it_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    go(tmp_path / "whole", eval_every=0)
    with monkeypatch.context() as patch:
        outcome = go(tmp_path / "parts", Clocked(patch), eval_every=0, minutes=1)
    assert (outcome.reason, outcome.step) == ("time", 7)
    assert go(tmp_path / "parts", eval_every=0).step == 12
    rows = state_of(tmp_path / "parts")[2]
    (extra,) = [row for row in rows if row["step"] == outcome.step and "eval_loss" in row]
    rows.remove(extra)
    assert rows == state_of(tmp_path / "whole")[2]


def test_new_data_is_read_from_its_beginning(tmp_path: Path):
    def read(**config) -> tuple[int, int]:
        data = ToyData()
        step = go(tmp_path, data, **config).step
        return step, data.place

    assert read(steps=5) == (5, 5)
    assert read(steps=8, new_data=True) == (8, 3)
    assert read(steps=12) == (12, 7)


def test_checkpoints_by_the_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    go(tmp_path, Clocked(monkeypatch), steps=10, save_minutes=0.6, keep=9)
    names = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert names == [f"step-{step:08d}" for step in (0, 4, 8, 10)]


def test_training_does_not_wait_for_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write, trained, waited = checkpoint.state_dict_saver.save, threading.Event(), []

    class Stage(Plain):
        def train_step(self, batches, step):
            if step == 7:
                trained.set()
            return super().train_step(batches, step)

    def slow(*args, **kwargs):
        if "step-00000004" in str(kwargs["checkpoint_id"]):
            waited.append(trained.wait(30))
        return write(*args, **kwargs)

    monkeypatch.setattr(checkpoint.state_dict_saver, "save", slow)
    plain = build(World())
    stage = Stage(plain.module, plain.optimizers, plain.world, plain.ema)
    run(stage, ToyData(), LoopConfig(steps=10, save_every=4, eval_every=0, keep=9), tmp_path)
    assert waited == [True]
    names = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert names == [f"step-{step:08d}" for step in (0, 4, 8, 10)]


def test_the_run_ends_with_the_data(tmp_path: Path):
    outcome = go(tmp_path, ToyData(length=15), accumulate=2)
    assert (outcome.reason, outcome.step) == ("data", 7)
    assert "eval_loss" in outcome.evaluation


def test_a_finished_run_only_evaluates_again(tmp_path: Path):
    first = go(tmp_path)
    before = state_of(tmp_path)
    assert go(tmp_path, ToyData(length=0)) == first
    after = state_of(tmp_path)
    assert before[1:] == after[1:]


def test_an_error_in_the_data_comes_out(tmp_path: Path):
    class Broken(ToyData):
        def __iter__(self):
            for number, batch in enumerate(super().__iter__()):
                if number == 5:
                    raise ValueError("broken shard")
                yield batch

    for prefetch in (0, 2):
        with pytest.raises(ValueError, match="broken shard"):
            go(tmp_path / str(prefetch), Broken(), prefetch=prefetch, save_every=4)
        assert state_of(tmp_path / str(prefetch))[1][0]["loop"]["step"] == 4


def test_two_runs_in_one_folder_are_refused(tmp_path: Path):
    class Nested(Plain):
        def evaluate(self):
            with pytest.raises(InputError, match="another process trains"):
                go(tmp_path)
            return {"nested": 1.0}

    model = ToyModel()
    stage = Nested(model, {"main": Optimizer(model, OptimConfig())})
    assert run(stage, ToyData(), LoopConfig(steps=1), tmp_path).evaluation == {"eval_nested": 1.0}


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path):
    go(tmp_path)
    model = ToyModel(width=8)
    stage = Plain(model, {"main": Optimizer(model, OptimConfig())})
    with pytest.raises(InputError, match="another model"):
        run(stage, ToyData(), LoopConfig(steps=20), tmp_path)


def test_it_gives_up_when_no_gradient_is_finite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    class Bad(ToyData):
        def __iter__(self):
            for batch in super().__iter__():
                yield {"x": batch["x"], "y": batch["y"] * math.nan}

    monkeypatch.setattr(loop, "MAX_SKIPPED", 5)
    with pytest.raises(InputError, match="not finite for 5 steps"):
        go(tmp_path, Bad())


def test_one_bad_batch_is_skipped_and_counted(tmp_path: Path):
    class OneBad(ToyData):
        def __iter__(self):
            for number, batch in enumerate(super().__iter__()):
                yield {**batch, "y": batch["y"] * math.nan} if number == 4 else batch

    go(tmp_path, OneBad(), log_every=1, eval_every=0)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    losses = [row for row in rows if "loss" in row]
    assert [row["step"] for row in losses if row["skipped"]] == [5]
    assert losses[4]["loss"] is None
    assert all(torch.isfinite(tensor).all() for tensor in state_of(tmp_path)[0].values())


def test_bfloat16_trains_close_to_float32(tmp_path: Path):
    full = build(World())
    low = build(World(precision="bf16"))
    batch = next(iter(ToyData(rows=64)))
    one, other = full.train_step([batch], 0), low.train_step([batch], 0)
    assert one["loss"] != other["loss"]
    assert one["loss"] == pytest.approx(other["loss"], rel=0.02)
    assert all(p.dtype == torch.float32 for p in low.module.parameters())


def test_settings_that_make_no_sense_are_refused():
    for wrong in ({"steps": 0}, {"steps": 1, "accumulate": 0}, {"steps": 1, "log_every": 0}):
        with pytest.raises(InputError):
            LoopConfig(**wrong)


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot make the folder"):
        go(tmp_path / "file" / "run")


def test_a_backward_pass_of_ones_own():
    batch = next(iter(ToyData()))
    one, other = build(World()), build(World())
    expected = one.train_step([batch], 0)
    loss_sum, weight, _ = other.loss(batch)
    loss_sum.backward()
    applied = other.apply("main", 0, weight)
    assert applied == {name: expected[name] for name in ("lr", "grad_norm", "skipped")}
    for p, q in zip(one.module.parameters(), other.module.parameters(), strict=True):
        assert torch.equal(p, q)
