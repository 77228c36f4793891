"""Other implementations of the codec beside ours: the same weights and frames, each in an environment of its own."""

import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from ..codec import Codec
from ..errors import InputError
from ..weights.write import write_codec

SCRIPT = Path(__file__).with_name("peer_codec.py")


def codec_peers(
    codec: Codec, pythons: tuple[Path, ...], threads: int, frames: int, batch: int
) -> dict[str, dict[str, Any]]:
    """What each implementation that a Python can import makes of the same codec."""
    found: dict[str, dict[str, Any]] = {}
    if not pythons:
        return found
    if codec.config.frames:
        raise InputError("no other implementation has a decoder by frames: leave out --peers")
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "codec.safetensors"
        write_codec(weights, codec)
        for python in pythons:
            call = [str(python), str(SCRIPT), str(weights), str(threads), str(frames), str(batch)]
            try:
                done = subprocess.run(call, capture_output=True, text=True, check=True)
            except OSError as error:
                raise InputError(f"{python} does not run: {error.strerror}") from None
            except subprocess.CalledProcessError as error:
                raise InputError(f"{python}: {(error.stderr.strip() or 'failed').splitlines()[-1]}") from None
            found |= json.loads(done.stdout.splitlines()[-1])
    return found
