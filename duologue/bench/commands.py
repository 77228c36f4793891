"""The verbs of `duologue bench`: each prints one table, or JSON."""

import json as json_format
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from tyro.conf import arg, subcommand

from duologue.engine.options import BackendName
from duologue.engine.options import Options as Run
from duologue.errors import InputError

Model: TypeAlias = Annotated[str, arg(metavar="MODEL")]
Peer: TypeAlias = Annotated[tuple[Path, ...], arg(metavar="PYTHON")]


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
    def in_mlx(self) -> bool:
        return Run(self.backend).resolved() == "mlx"

    def show(self, report: dict[str, Any]) -> None:
        report = {"preset": self.model, "backend": Run(self.backend).resolved(), **report}
        if self.json:
            print(json_format.dumps(report))
            return
        from duologue.bench.table import show

        show(report)


@dataclass(frozen=True)
class BenchCodec(Options):
    """Encode and decode frame by frame; beside other implementations, with the same weights and frames, if named."""

    half: bool = False
    """Round the weights to float16, as if the file held them so."""
    peers: Peer = ()
    """Pythons of environments with moshi, rustymimi or moshi_mlx; each found there is measured."""

    def run(self) -> None:
        self.check()
        import torch

        from duologue.bench.models import open_model
        from duologue.bench.peers import codec_peers
        from duologue.bench.run import bench_codec

        torch.set_num_threads(self.threads)
        model = open_model(self.model)
        codec = model.codec
        if self.half:
            codec = codec.half().float()
        if self.in_mlx:
            from duologue.mlx import bench as mlx

            report = mlx.bench_codec(model, self.frames, self.batch)
        else:
            report = bench_codec(codec, self.frames, self.batch)
        peers = codec_peers(codec, self.peers, self.threads, self.frames, self.batch)
        self.show({**report, "peers": peers})


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

        from duologue.bench.models import open_model
        from duologue.bench.run import bench_lm

        torch.set_num_threads(self.threads)
        if self.in_mlx:
            from duologue.mlx import bench as mlx

            model = open_model(self.model, None, self.layers)
            report = mlx.bench_lm(model, self.frames, self.batch, self.quantize)
        else:
            lm = open_model(self.model, self.quantize, self.layers).lm
            report = bench_lm(lm, self.frames, self.batch)
        self.show({**report, "quantize": self.quantize, "peers": {}})


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

        torch.set_num_threads(self.threads)
        if self.in_mlx:
            from duologue.mlx import bench as mlx

            report = mlx.bench_step(open_model(self.model), self.frames, self.batch, self.quantize)
        else:
            report = bench_step(open_model(self.model, self.quantize), self.frames, self.batch)
        self.show({**report, "quantize": self.quantize})


Bench: TypeAlias = (
    Annotated[BenchCodec, subcommand("codec")]
    | Annotated[BenchLM, subcommand("lm")]
    | Annotated[BenchStep, subcommand("step")]
)
