"""Other implementations beside ours: the same weights and frames, each in an environment of its own.

    python benchmarks/peers codec --model mimi --peers PYTHON ...
    python benchmarks/peers lm --model nano --quantize q8 --peers PYTHON ...

measures what `duologue bench` measures, our other backend where it is installed, and every implementation that the
Pythons named can import: moshi, rustymimi and moshi_mlx (`codec.py` and `lm.py` run there by themselves).
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from tyro.conf import arg, subcommand

from duologue.bench.models import open_model
from duologue.cli import bench
from duologue.cli.app import CONFIG
from duologue.codec import Codec
from duologue.engine.options import BackendName
from duologue.errors import InputError
from duologue.lm import LM
from duologue.weights.convert import convert
from duologue.weights.published import LM_FILE
from duologue.weights.write import lm_json, write_codec, write_json, write_lm

HERE = Path(__file__).parent
Reports = dict[str, dict[str, Any]]
Peers = Annotated[tuple[Path, ...], arg(metavar="PYTHON")]


@dataclass(frozen=True)
class CodecBeside(bench.BenchCodec):
    """Encode and decode frame by frame."""

    peers: Peers = ()
    """Pythons of environments with moshi, rustymimi or moshi_mlx."""

    def beside(self, model: Any) -> Reports:
        ours = _other_backend(self.in_mlx, lambda backend: self.report(backend, model))
        return ours | codec_peers(model.codec, self.peers, self.threads, self.frames, self.batch)


@dataclass(frozen=True)
class LMBeside(bench.BenchLM):
    """Step a language model; the one in PyTorch has weights of 32 bits."""

    peers: Peers = ()
    """Pythons of environments with moshi or moshi_mlx."""

    def beside(self) -> Reports:
        plain = open_model(self.model, None, self.layers).lm
        ours = _other_backend(self.in_mlx, self.report)
        return ours | lm_peers(plain, self.quantize, self.peers, self.threads, self.frames, self.batch)


def _other_backend(in_mlx: bool, report: Callable[[BackendName], dict[str, Any]]) -> Reports:
    """Ours, but for the backend, where it is installed."""
    other: BackendName = "torch" if in_mlx else "mlx"
    return {f"duologue, {other}": report(other)} if find_spec(other) else {}


def codec_peers(codec: Codec, pythons: tuple[Path, ...], threads: int, frames: int, batch: int) -> Reports:
    """What each implementation that a Python can import makes of the same codec."""
    if pythons and codec.config.only_here:
        raise InputError(f"no other implementation has {codec.config.only_here}: leave out --peers")
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "codec.safetensors"
        if pythons:
            write_codec(weights, codec)
        return _asked(pythons, HERE / "codec.py", weights, threads, frames, batch)


def lm_peers(
    lm: LM,
    quantize: Literal["q8", "q4"] | None,
    pythons: tuple[Path, ...],
    threads: int,
    frames: int,
    batch: int,
) -> Reports:
    """The same of a language model, which is rounded for those in MLX if `quantize`."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if pythons:
            (folder / "torch").mkdir()
            write_lm(folder / "torch" / LM_FILE, lm)
            write_json(folder / "torch" / "config.json", lm_json(lm.config) | {"moshi_name": LM_FILE})
            convert(str(folder / "torch"), folder / "mlx", "mlx", quantize)
        return _asked(pythons, HERE / "lm.py", folder, threads, frames, batch)


def _asked(pythons: tuple[Path, ...], script: Path, *args: object) -> Reports:
    found: Reports = {}
    for python in pythons:
        call = [str(python), str(script), *map(str, args)]
        try:
            done = subprocess.run(call, capture_output=True, text=True, check=True)
        except OSError as error:
            raise InputError(f"{python} does not run: {error.strerror}") from None
        except subprocess.CalledProcessError as error:
            raise InputError(f"{python}: {(error.stderr.strip() or 'failed').splitlines()[-1]}") from None
        found |= json.loads(done.stdout.splitlines()[-1])
    return found


def main(arguments: list[str] | None = None) -> None:
    """Exits with 2 and one line on stderr if what it was given cannot be used."""
    verbs = Annotated[CodecBeside, subcommand("codec")] | Annotated[LMBeside, subcommand("lm")]
    try:
        tyro.cli(verbs, prog="peers", args=arguments, config=CONFIG).run()
    except InputError as error:
        print(f"peers: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
