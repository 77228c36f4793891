"""`duologue train ...`: one dataclass a verb; nothing heavy is imported before it runs.

A run lives in its OUT folder: checkpoints, metrics.jsonl, loss.png, samples. The same command goes on where it stopped.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from tyro.conf import arg, subcommand


@dataclass(frozen=True)
class Run:
    """How long a run goes on, and on what."""

    steps: int
    minutes: float = 0.0
    """Stop, with a checkpoint, after this time; 0: no limit."""
    seed: int = 0
    device: str = "auto"
    precision: Literal["fp32", "bf16"] = "fp32"
    """bf16 where the hardware computes in it."""
    eval_every: int = 500
    save_minutes: float = 5.0


@dataclass(frozen=True)
class TrainCodec:
    """Train a codec, one stage after another.

    semantic: the encoder and codebook 0 learn the words. joint: all of it learns to rebuild the sound. decoder: against
    discriminators, with codes that no longer change.
    """

    stage: Literal["semantic", "joint", "decoder"]
    strips: Annotated[Path, arg(metavar="DIR")]
    """Training blocks in DIR/train, held-out ones in DIR/valid and DIR/valid-agent (see docs/data.md)."""
    out: Annotated[Path, arg(metavar="DIR")]
    start: Annotated[Path | None, arg(metavar="DIR")] = None
    """The run of the stage before."""
    preset: Literal["nano", "mimi", "tiny"] = "nano"
    batch: int | None = None
    """Crops in a batch. This and what follows: by the stage if not given."""
    seconds: float | None = None
    """Length of a crop."""
    agent_share: float | None = None
    """Share of crops in the agent's voice."""
    lr: float | None = None
    run_config: Annotated[Run, arg(name="")] = Run(9_000)

    def run(self) -> None:
        from duologue.train.codec_run import train_codec

        train_codec(self)


@dataclass(frozen=True)
class ExportCodec:
    """Write a trained codec in the published format: OUT.safetensors, and its configuration beside it."""

    start: Annotated[Path, arg(metavar="DIR")]
    """The run to take the (averaged) weights from."""
    out: Annotated[Path, arg(metavar="OUT.safetensors")]
    preset: Literal["nano", "mimi", "tiny"] = "nano"
    half: bool = False
    """Store float16: half the size."""

    def run(self) -> None:
        from duologue.train.codec_run import export_codec

        export_codec(self)


Train: TypeAlias = (
    Annotated[TrainCodec, subcommand("codec")] | Annotated[ExportCodec, subcommand("export-codec")]
)
