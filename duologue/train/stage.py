"""Interfaces of a training objective (`Stage`) and of its data (`Data`).

Step counts, files and signals belong to the loop.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from torch import Tensor, nn

from duologue.train.optim import Ema, Optimizer
from duologue.train.parallel import Terms, World, sum_gradients

Loss = tuple[Tensor, float | Tensor] | tuple[Tensor, float | Tensor, Terms]


class Data(Protocol):
    """An iterable of batches (for one process), usually endless, that can go on where it was.

    `state_dict` gives JSON values for the place after the last batch handed out; after `load_state_dict`,
    `iter` gives the very next. Random choices come from generators of its own, never from the global ones.
    To go on with another number of processes, the place must read the same in all of them.
    """

    def __iter__(self) -> Iterator[Any]: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any], /) -> None: ...


class PlacedData(ABC):
    """Data whose every batch is a function of its place, so that other processes can make it (`LoopConfig.workers`).

    A place is what `state_dict` gives.
    """

    @abstractmethod
    def at(self, place: dict[str, Any]) -> Any:
        """The batch at a place."""

    @abstractmethod
    def after(self, place: dict[str, Any]) -> dict[str, Any]:
        """The place of the batch after the one at `place`; costs next to nothing."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]: ...

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any], /) -> None: ...

    def __iter__(self) -> Iterator[Any]:
        while True:
            place = self.state_dict()
            self.load_state_dict(self.after(place))
            yield self.at(place)


class NumberedData(PlacedData):
    """Data whose every batch is a function of its number, counted from 0."""

    index = 0

    @abstractmethod
    def make(self, index: int) -> Any:
        """Batch `index`."""

    def at(self, place: dict[str, Any]) -> Any:
        return self.make(place["index"])

    def after(self, place: dict[str, Any]) -> dict[str, Any]:
        return {"index": place["index"] + 1}

    def state_dict(self) -> dict[str, Any]:
        return {"index": self.index}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.index = state["index"]


class Stage:
    """One training objective. A plain one defines `loss`; others override `train_step`.

    `module` holds everything that is trained, and buffers that change (codebook averages); the optimisers may
    take parts of it, or share parameters, each with moments of its own. Sizes of tensors never change.
    """

    def __init__(
        self,
        module: nn.Module,
        optimizers: Mapping[str, Optimizer],
        world: World | None = None,
        ema: Ema | None = None,
    ) -> None:
        self.module, self.optimizers, self.ema = module, dict(optimizers), ema
        self.world = world or World()

    def loss(self, batch: Any) -> Loss:
        """The loss summed over a batch, and the weight (a count) by whose sum over all batches to divide it.

        A third item names further values to report, each as (sum, weight); with weight 0, the sum is reported.
        "data_seconds" (seconds of audio) is shown as a rate.
        """
        raise NotImplementedError

    def train_step(self, batches: Sequence[Any], step: int) -> dict[str, float]:
        """One step over microbatches on the device: forward, backward, optimiser(s). Returns what to log."""
        (name,) = self.optimizers
        return self.update(name, self.loss, batches, step)

    def evaluate(self) -> dict[str, float]:
        """Metrics on held-out data, logged as eval_NAME.

        Called in eval mode, without gradients, on averaged weights if there are any.
        """
        return {}

    def samples(self) -> dict[str, tuple[Any, int]]:
        """Audio to listen to by name: (wav [S] or [C, S], rate); called after `evaluate`, in the same way."""
        return {}

    def update(
        self, name: str, loss: Callable[[Any], Loss], batches: Sequence[Any], step: int
    ) -> dict[str, float]:
        """One step of the optimiser `name` on the mean of `loss` over all microbatches of all processes.

        Returns the means of loss and further terms, lr, grad_norm and skipped; with the optimiser's name in
        front if there are several.
        """
        self.module.zero_grad(set_to_none=True)
        terms: dict[str, tuple[Any, Any]] = {}
        for batch in batches:
            with self.world.autocast():
                loss_sum, weight, *more = loss(batch)
            loss_sum.backward()
            here: Terms = {"loss": (loss_sum, weight), "": (weight, 0), **(more[0] if more else {})}
            for key, (total, count) in here.items():
                before = terms.get(key, (0.0, 0.0))
                terms[key] = (before[0] + _detach(total), before[1] + _detach(count))
        result = self.world.means(terms)
        weight = result.pop("")
        return self._named(name, result) | self._apply(name, step, weight)

    def apply(self, name: str, step: int, weight: float = 1.0) -> dict[str, float]:
        """The end of `update` for a `train_step` with a backward pass of its own, on the gradients that are there.

        They are of a sum over this process's data, to be divided by `weight` summed over all processes.
        """
        return self._apply(name, step, self.world.means({"": (weight, 0)})[""])

    def _apply(self, name: str, step: int, weight: float) -> dict[str, float]:
        optimizer = self.optimizers[name]
        sum_gradients(optimizer.named.values(), self.world)
        return self._named(name, optimizer.step(step, 1 / weight if weight else 0.0))

    def _named(self, name: str, values: dict[str, float]) -> dict[str, float]:
        if len(self.optimizers) == 1:
            return values
        return {key if key == "data_seconds" else f"{name}_{key}": value for key, value in values.items()}

    def state_dict(self) -> dict[str, Any]:
        """Nested dicts of live tensors and JSON values: everything that training changes."""
        state: dict[str, Any] = {
            "module": self.module.state_dict(),
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
        }
        return state | ({"ema": self.ema.state_dict()} if self.ema else {})

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.module.load_state_dict(state["module"])
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        if self.ema:
            self.ema.load_state_dict(state["ema"])


def _detach(value: float | Tensor) -> float | Tensor:
    return value.detach() if isinstance(value, Tensor) else value
