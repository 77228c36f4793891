"""Runs a stage over recordings, in this process or on Ray: `python tests/data/stages_on_ray.py FOLDER OUT ray|here`.

The stage is the codec's `Encode` of the tiny model, whose worker kills itself once, on the row "dies".
"""

import os
import signal
import sys
from pathlib import Path

from duologue.data.encode import Encode
from duologue.data.manifest import Row, read_manifest
from duologue.data.runner import in_this_process, run
from duologue.data.workers import workers
from duologue.weights import load


def main(folder: Path, out: Path, place: str) -> None:
    class DiesOnce(Encode):
        def _one(self, row: Row) -> Row:
            marker = out / "died"
            if row["id"] == "dies" and place == "ray" and not marker.exists():
                marker.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return super()._one(row)

    def make() -> Encode:
        return DiesOnce(load("tiny", "cpu").codec, out / "codes")

    out.mkdir()
    engine = workers(make) if place == "ray" else in_this_process
    run(make(), read_manifest(folder), out / "manifest.jsonl", engine=engine)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
