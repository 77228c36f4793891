import math

import pytest
import torch
from torch import nn

from duologue.errors import InputError
from duologue.nn.linear import Linear
from duologue.train.optim import Ema, Group, OptimConfig, Optimizer, schedule_factor, total_norm


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.ModuleDict({"body": nn.Linear(4, 4), "head": nn.Linear(4, 2)})


def give_gradients(module: nn.Module, seed: int, size: float = 1.0) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        parameter.grad = size * torch.randn(parameter.shape, generator=generator)


def weights(module: nn.Module) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in module.parameters()]


def test_constant_schedule_warms_up_and_stays():
    config = OptimConfig(schedule="constant", warmup=4)
    assert [schedule_factor(config, s) for s in (0, 1, 3, 4, 1000)] == [0.25, 0.5, 1.0, 1.0, 1.0]


def test_cosine_schedule_falls_from_the_peak_to_the_floor():
    config = OptimConfig(schedule="cosine", warmup=10, steps=110, floor=0.1)
    assert schedule_factor(config, 0) == 0.1
    assert schedule_factor(config, 10) == 1.0
    assert schedule_factor(config, 60) == pytest.approx(0.55)
    assert schedule_factor(config, 110) == pytest.approx(0.1)
    assert schedule_factor(config, 9999) == pytest.approx(0.1)


@pytest.mark.parametrize("steps", [2, 7, 21, 100, 2000])
def test_onecycle_is_that_of_torch(steps: int):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1.0, total_steps=steps, pct_start=0.05)
    config = OptimConfig(schedule="onecycle", steps=steps)
    for step in range(steps):
        assert schedule_factor(config, step) == pytest.approx(schedule.get_last_lr()[0], rel=1e-6, abs=1e-9)
        optimizer.step()
        if step + 1 < steps:
            schedule.step()
    assert schedule_factor(config, steps + 5) == schedule_factor(config, steps - 1)


def test_onecycle_of_twenty_steps_begins_at_its_peak():
    config = OptimConfig(schedule="onecycle", steps=20)
    assert schedule_factor(config, 0) == 1.0
    assert schedule_factor(config, 19) == pytest.approx(1 / 25e4)


def test_a_schedule_without_a_length_is_refused():
    with pytest.raises(InputError, match="steps"):
        OptimConfig(schedule="cosine")


def test_steps_are_those_of_adamw_with_groups_and_schedule():
    ours, theirs = model(), model()
    config = OptimConfig(lr=0.1, schedule="cosine", warmup=2, steps=8, clip=0.0, weight_decay=0.0)
    optimizer = Optimizer(ours, config, [Group("head.weight", lr=0.05, weight_decay=0.5)])
    head = theirs["head"]
    groups = [
        {"params": [head.weight], "lr": 0.05, "weight_decay": 0.5},
        {"params": [*theirs["body"].parameters(), head.bias], "lr": 0.1, "weight_decay": 0.0},
    ]
    adam = torch.optim.AdamW(groups, betas=config.betas, eps=config.eps)
    peaks = [group["lr"] for group in adam.param_groups]
    for step in range(8):
        give_gradients(ours, step)
        give_gradients(theirs, step)
        reported = optimizer.step(step)
        for group, peak in zip(adam.param_groups, peaks, strict=True):
            group["lr"] = peak * schedule_factor(config, step)
        adam.step()
        assert reported["lr"] == 0.1 * schedule_factor(config, step)
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter, theirs.get_parameter(name))


def test_clipping_counts_the_scale_and_all_parameters():
    module = model()
    optimizer = Optimizer(module, OptimConfig(clip=0.5))
    give_gradients(module, 1)
    norm = math.sqrt(sum(float(p.grad.square().sum()) for p in module.parameters()))
    reported = optimizer.step(0, scale=0.25)
    assert reported["grad_norm"] == pytest.approx(norm / 4)
    assert float(total_norm(p.grad for p in module.parameters())) == pytest.approx(0.5)
    give_gradients(module, 1)
    optimizer.step(1, scale=0.5 / norm / 2)  # above the limit before scaling, below it after
    assert float(total_norm(p.grad for p in module.parameters())) == pytest.approx(0.25)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_gradient_that_is_not_finite_changes_nothing(bad: float):
    module = model()
    optimizer = Optimizer(module, OptimConfig())
    give_gradients(module, 1)
    assert optimizer.step(0)["skipped"] == 0
    before, moments = weights(module), optimizer.state_dict()["head.bias"]["exp_avg"].clone()
    give_gradients(module, 2)
    module["head"].bias.grad[0] = bad
    assert optimizer.step(1)["skipped"] == 1
    assert all(torch.equal(a, b) for a, b in zip(before, weights(module), strict=True))
    assert torch.equal(moments, optimizer.state_dict()["head.bias"]["exp_avg"])


def test_two_optimizers_of_the_same_weights_have_moments_of_their_own():
    module = model()
    text, audio = (Optimizer(module, OptimConfig()) for _ in range(2))
    give_gradients(module, 1)
    text.step(0)
    assert float(text.state_dict()["body.bias"]["step"]) == 1
    assert float(audio.state_dict()["body.bias"]["step"]) == 0
    assert not audio.state_dict()["body.bias"]["exp_avg"].any()


def test_select_takes_a_part_of_the_model():
    module = model()
    optimizer = Optimizer(module, OptimConfig(lr=1.0), select="^head")
    assert list(optimizer.named) == ["head.weight", "head.bias"]
    before = weights(module["body"])
    give_gradients(module, 1)
    optimizer.step(0)
    assert all(torch.equal(a, b) for a, b in zip(before, weights(module["body"]), strict=True))


def test_frozen_parameters_are_left_out():
    module = model()
    module["body"].requires_grad_(False)
    assert list(Optimizer(module, OptimConfig()).named) == ["head.weight", "head.bias"]
    assert list(Ema(module, 0.9).average) == ["head.weight", "head.bias"]


def test_a_pattern_that_names_nothing_is_refused():
    with pytest.raises(InputError, match="'tail'"):
        Optimizer(model(), OptimConfig(), select="tail")
    with pytest.raises(InputError, match="'tail'"):
        Optimizer(model(), OptimConfig(), [Group("tail")])
    with pytest.raises(InputError, match="'tail'"):
        Ema(model(), 0.9, select="tail")


def test_optimizer_state_of_another_model_is_refused():
    state = Optimizer(model(), OptimConfig(), select="head").state_dict()
    with pytest.raises(InputError, match="another model"):
        Optimizer(model(), OptimConfig()).load_state_dict(state)


def test_optimizer_goes_on_from_its_state():
    one, other = model(), model()
    first, second = Optimizer(one, OptimConfig(lr=0.1)), Optimizer(other, OptimConfig(lr=0.1))
    for step in range(3):
        give_gradients(one, step)
        first.step(step)
    other.load_state_dict(one.state_dict())
    second.load_state_dict(first.state_dict())
    for module, optimizer in ((one, first), (other, second)):
        give_gradients(module, 3)
        optimizer.step(3)
    assert all(torch.equal(a, b) for a, b in zip(weights(one), weights(other), strict=True))


def test_ema_follows_its_recurrence():
    module = nn.Linear(1, 1, bias=False)
    nn.init.constant_(module.weight, 2.0)
    ema = Ema(module, decay=0.5)
    expected = 2.0
    for update in range(20):
        nn.init.constant_(module.weight, float(update))
        ema.update()
        past = min(0.5, (1 + update) / (10 + update))
        expected = past * expected + (1 - past) * update
    assert float(ema.average["weight"]) == pytest.approx(expected)


def test_averages_are_applied_and_taken_back_bit_for_bit():
    module = model()
    ema = Ema(module, 0.9, select="body")
    give_gradients(module, 1)
    Optimizer(module, OptimConfig(lr=0.1)).step(0)
    ema.update()
    own, average = weights(module), {name: value.clone() for name, value in ema.average.items()}
    with ema.applied():
        assert torch.equal(module["body"].weight, average["body.weight"])
        assert not torch.equal(module["body"].weight, own[0])
        assert torch.equal(module["head"].weight, own[2])
    assert all(torch.equal(a, b) for a, b in zip(own, weights(module), strict=True))
    assert all(torch.equal(value, average[name]) for name, value in ema.average.items())


def test_averages_come_back_after_an_error():
    module = model()
    ema = Ema(module, 0.9)
    nn.init.zeros_(module["head"].bias)
    with pytest.raises(RuntimeError, match="evaluation"), ema.applied():
        raise RuntimeError("evaluation")
    assert not module["head"].bias.any()


def test_what_is_kept_of_weights_follows_their_steps():
    """A product without gradients keeps a copy of its weights: not that of before the step."""
    linear = Linear(8, 4)
    optimizer, x = Optimizer(linear, OptimConfig(lr=0.1)), torch.randn(1, 8)
    for step in range(2):
        give_gradients(linear, step)
        optimizer.step(step)
        with torch.inference_mode():
            torch.testing.assert_close(linear(x), x @ linear.weight.T + linear.bias, atol=1e-4, rtol=0)
