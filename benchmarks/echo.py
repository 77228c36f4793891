"""A fleet whose model says what it hears and costs nothing, for measurements of everything else.

    python -m benchmarks.echo serve --ray --replicas 2 --port 8998      # options as of `duologue serve --ray`

With DUOLOGUE_DOWNSCALE_SECONDS a replica that is not needed goes after so long instead of five minutes.
"""

import os
from collections import deque

from duologue.cli import main
from duologue.engine.options import Options
from duologue.lm.sampling import Sampling
from duologue.serve import fleet
from duologue.serve.app import Service
from duologue.serve.settings import Settings
from duologue.weights import load
from tests.engine.virtual import EchoBackend


def open_echo(model: str, device: str, settings: Settings, options: Options) -> Service:
    """In place of `open_service`."""
    backend = EchoBackend(settings.sessions)
    backend.steps = deque(maxlen=1)  # all are kept for tests
    return Service(backend, load("tiny").tokenizer, Sampling(), "echo", settings)


if __name__ == "__main__":
    fleet.open_service = open_echo
    fleet.DOWNSCALE_SECONDS = float(os.environ.get("DUOLOGUE_DOWNSCALE_SECONDS", fleet.DOWNSCALE_SECONDS))
    main()
