"""The verbs of `duologue bench`: each prints one table, or JSON."""

import json as json_format
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias

from tyro.conf import arg, subcommand

from duologue.engine.options import BackendName
from duologue.engine.options import Options as Run
from duologue.errors import InputError

Model: TypeAlias = Annotated[str, arg(metavar="MODEL")]


@dataclass(frozen=True)
class Options:
    """What every measurement takes."""

    model: Model = "nano"
    """A shape with random weights (mimi, moshi, nano, tiny), a folder, a .safetensors file or hf://owner/name@revision."""
    threads: int = 2
    """Processor cores to use."""
    batch: int = 1
    """Conversations in one step."""
    frames: int = 200
    """Frames to measure, of 80 ms of sound each."""
    backend: BackendName | None = None
    """What computes: by default mlx on Apple silicon where it is installed, and torch elsewhere."""
    json: bool = False
    """Print JSON instead of a table."""

    def check(self) -> None:
        for name in ("threads", "batch", "frames"):
            if not 1 <= getattr(self, name) <= 2**20:
                raise InputError(f"--{name} is a whole number from 1 up, not {getattr(self, name)}")

    @property
    def computes(self) -> BackendName:
        return Run(self.backend).resolved()

    @property
    def in_mlx(self) -> bool:
        return self.computes == "mlx"

    def show(self, report: dict[str, Any]) -> None:
        report = {"preset": self.model, "backend": self.computes, **report}
        if self.json:
            print(json_format.dumps(report))
            return
        from duologue.bench.table import show

        show(report)


@dataclass(frozen=True)
class BenchCodec(Options):
    """Encode and decode frame by frame."""

    half: bool = False
    """Round the weights to float16, as if the file held them so."""

    def run(self) -> None:
        self.check()
        import torch

        from duologue.bench.models import open_model

        torch.set_num_threads(self.threads)
        model = open_model(self.model)
        if self.half:
            model.codec = model.codec.half().float()
        self.show({**self.report(self.computes, model), "peers": self.beside(model)})

    def beside(self, model: Any) -> dict[str, dict[str, Any]]:
        """The same of other implementations, by name: see benchmarks/peers."""
        return {}

    def report(self, backend: BackendName, model: Any) -> dict[str, Any]:
        if backend == "mlx":
            from duologue.bench import mlx

            return mlx.bench_codec(model, self.frames, self.batch)
        from duologue.bench.run import bench_codec

        return bench_codec(model.codec, self.frames, self.batch)


@dataclass(frozen=True)
class BenchLM(Options):
    """Step a language model, and compare how fast it reads its weights with how fast this machine reads memory."""

    quantize: Literal["q8", "q4"] | None = None
    """Round the weights of the linear layers to 8 or 4 bits first."""
    layers: int | None = None
    """Only so many layers of a shape's temporal transformer: for shapes that do not fit into memory."""

    def run(self) -> None:
        self.check()
        import torch

        torch.set_num_threads(self.threads)
        self.show({**self.report(self.computes), "quantize": self.quantize, "peers": self.beside()})

    def beside(self) -> dict[str, dict[str, Any]]:
        """The same of other implementations, by name: see benchmarks/peers."""
        return {}

    def report(self, backend: BackendName) -> dict[str, Any]:
        from duologue.bench.models import open_model

        if backend == "mlx":
            from duologue.bench import mlx

            model = open_model(self.model, None, self.layers)
            return mlx.bench_lm(model, self.frames, self.batch, self.quantize)
        from duologue.bench.run import bench_lm

        return bench_lm(open_model(self.model, self.quantize, self.layers).lm, self.frames, self.batch)


@dataclass(frozen=True)
class BenchStep(Options):
    """Whole frames of a conversation: encode, temporal and depth transformer, decode."""

    quantize: Literal["q8", "q4"] | None = None
    """Round the weights of the language model's linear layers to 8 or 4 bits first."""

    def run(self) -> None:
        self.check()
        import torch

        from duologue.bench.models import open_model
        from duologue.bench.run import bench_step
        from duologue.weights.quantized import halved_codec

        torch.set_num_threads(self.threads)
        if self.in_mlx:
            from duologue.bench import mlx

            report = mlx.bench_step(open_model(self.model), self.frames, self.batch, self.quantize)
        else:
            model = open_model(self.model, self.quantize)
            if self.quantize:
                halved_codec(model)
            report = bench_step(model, self.frames, self.batch)
        self.show({**report, "quantize": self.quantize})


Bench: TypeAlias = (
    Annotated[BenchCodec, subcommand("codec")]
    | Annotated[BenchLM, subcommand("lm")]
    | Annotated[BenchStep, subcommand("step")]
)
