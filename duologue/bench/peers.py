"""Other implementations beside ours: the same weights and frames, each in an environment of its own."""

import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Literal

from duologue.codec import Codec
from duologue.errors import InputError
from duologue.lm import LM
from duologue.weights.convert import convert
from duologue.weights.published import LM_FILE
from duologue.weights.write import lm_json, write_codec, write_json, write_lm

HERE = Path(__file__).parent
Reports = dict[str, dict[str, Any]]


def codec_peers(codec: Codec, pythons: tuple[Path, ...], threads: int, frames: int, batch: int) -> Reports:
    """What each implementation that a Python can import makes of the same codec."""
    if pythons and codec.config.only_here:
        raise InputError(f"no other implementation has {codec.config.only_here}: leave out --peers")
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "codec.safetensors"
        if pythons:
            write_codec(weights, codec)
        return _asked(pythons, HERE / "peer_codec.py", weights, threads, frames, batch)


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
        return _asked(pythons, HERE / "peer_lm.py", folder, threads, frames, batch)


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
