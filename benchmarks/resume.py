"""A conversation over a link that is killed again and again: not one token may differ from an undisturbed conversation.

    python -m benchmarks.resume                  # as root: 50 times, some 5 minutes

The client, the code of `duologue call`, runs in a network namespace of its own, joined to this one by a pair of virtual
network devices. One end of the link is taken down at random moments, for 0.05 to 6 s: packets are dropped, and nobody
hears of it. Then the same client says the same without disturbance. The tokens are compared in the traces that the
server records. Exits with 1 if any differs. Without the right to make a namespace, `--reset` cuts the connection in a
proxy on 127.0.0.1 instead.
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.network import Line, Proxy
from benchmarks.target import FRAME, Server
from duologue.audio.framing import FRAME_SIZE
from duologue.cli.client import call

SEED = 7
OURS, THEIRS = "10.203.77.1", "10.203.77.2"
PATIENCE = 60.0  # seconds


@dataclass
class Frames:
    """Counts what the agent says."""

    count: int = 0
    waiting: float = 0.0

    def sound(self, wav_S: np.ndarray) -> None:
        self.count += 1

    def text(self, text: str) -> None: ...

    def event(self, event: dict[str, Any]) -> None: ...


async def client(address: str, frames: int) -> int:
    """Says so many frames of noise in real time, or until a line comes on stdin if `frames` is 0. Returns how many."""
    said, over = 0, asyncio.Event()
    loop = asyncio.get_running_loop()
    if not frames:
        loop.add_reader(sys.stdin, over.set)

    async def spoken() -> AsyncIterator[np.ndarray]:
        nonlocal said
        print("there", flush=True)
        began = time.monotonic()
        while said < frames if frames else not over.is_set():
            await asyncio.sleep(max(0.0, began + said * FRAME - time.monotonic()))
            noise = np.random.default_rng(said).standard_normal(FRAME_SIZE)
            yield (0.1 * noise).astype(np.float32)
            said += 1
        end = time.monotonic() + PATIENCE
        while heard.count < said and time.monotonic() < end:  # no answer may be outstanding
            await asyncio.sleep(0.1)

    heard = Frames()
    await call(f"http://{address}/?text_seed={SEED}", spoken(), "", heard)
    return said


@contextlib.contextmanager
def namespace() -> Iterator[str]:
    """The name of a network namespace whose link to this one can be taken down."""
    name = f"duologue{os.getpid()}"
    near, far = f"dn{os.getpid()}", f"df{os.getpid()}"
    commands = [
        f"ip netns add {name}",
        f"ip link add {near} type veth peer name {far} netns {name}",
        f"ip addr add {OURS}/30 dev {near}",
        f"ip link set {near} up",
        f"ip -n {name} addr add {THEIRS}/30 dev {far}",
        f"ip -n {name} link set {far} up",
    ]
    try:
        for command in commands:
            subprocess.run(command.split(), check=True, capture_output=True, text=True)
        yield name
    except subprocess.CalledProcessError as error:
        raise SystemExit(
            f"no network namespace can be made here ({error.stderr.strip()}): try --reset"
        ) from None
    finally:
        for command in (f"ip link del {near}", f"ip netns del {name}"):
            subprocess.run(command.split(), capture_output=True)


def start(address: str, frames: int, inside: str = "") -> subprocess.Popen:
    command = [sys.executable, "-m", "benchmarks.resume", "--client", address, "--frames", str(frames)]
    prefix = ["ip", "netns", "exec", inside] if inside else []
    process = subprocess.Popen([*prefix, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    if process.stdout.readline() != "there\n":
        raise SystemExit("the client did not reach the server")
    return process


def finished(process: subprocess.Popen) -> int:
    out, _ = process.communicate("\n", timeout=4 * PATIENCE)
    if process.returncode:
        raise SystemExit("the client failed")
    return int(out)


def killed_link(server: Server, cuts: int, rng: random.Random) -> int:
    """Frames that the client has said meanwhile."""
    with namespace() as name:
        process = start(f"{OURS}:{server.port}", 0, name)
        link = ["ip", "link", "set", f"dn{os.getpid()}"]
        time.sleep(1.0)
        for cut in range(1, cuts + 1):
            subprocess.run([*link, "down"], check=True)
            time.sleep(rng.choice([0.1, 0.5, 1.0, 3.0, 6.0]) * rng.uniform(0.5, 1.0))
            subprocess.run([*link, "up"], check=True)
            time.sleep(rng.uniform(0.5, 2.5))
            print(f"\r{cut} of {cuts}", end="", file=sys.stderr, flush=True)
        return finished(process)


def reset_link(server: Server, cuts: int, rng: random.Random) -> int:
    """The same with a proxy that resets the connection."""

    async def go() -> int:
        async with Proxy(server, Line(delay=0.01, rate=1e6, loss=0.0)) as proxy:
            process = await asyncio.to_thread(start, f"127.0.0.1:{proxy.port}", 0)
            await asyncio.sleep(1.0)
            for _ in range(cuts):
                proxy.cut()
                await asyncio.sleep(rng.uniform(0.5, 2.5))
            return await asyncio.to_thread(finished, process)

    return asyncio.run(go())


def traces(folder: Path, wanted: int) -> list[list]:
    """The tokens of the recorded conversations, oldest first."""
    end = time.monotonic() + PATIENCE
    while (
        len(found := sorted(folder.glob("[!.]*.trace.jsonl"), key=lambda path: path.stat().st_mtime)) < wanted
    ):
        if time.monotonic() > end:
            raise SystemExit(f"{len(found)} of {wanted} conversations were recorded")
        time.sleep(0.2)
    return [[json.loads(line) for line in path.read_text().splitlines()[1:]] for path in found]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--cuts", type=int, default=50)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--reset", action="store_true")
    parser.add_argument("--client", help=argparse.SUPPRESS)
    parser.add_argument("--frames", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.client:
        print(asyncio.run(client(options.client, options.frames)))
        return
    with tempfile.TemporaryDirectory() as folder:
        host = "127.0.0.1" if options.reset else "0.0.0.0"
        server = Server(["--model", options.model, "--sessions", "1", "--host", host, "--record", folder])
        try:
            disturb = reset_link if options.reset else killed_link
            frames = disturb(server, options.cuts, random.Random(0))
            (broken,) = traces(Path(folder), 1)
            if finished(start(f"127.0.0.1:{server.port}", frames)) != frames:
                raise SystemExit("the undisturbed client said something else")
            _, unbroken = traces(Path(folder), 2)
        finally:
            server.close()
    same = sum(a == b for a, b in zip(broken, unbroken, strict=False))
    least = min(len(broken), len(unbroken))
    how = "connection reset" if options.reset else "link killed"
    print(f"\n{how} {options.cuts} times in {frames} frames: {same} of {least} frames have the same tokens")
    raise SystemExit(0 if same == least >= frames - 1 else 1)


if __name__ == "__main__":
    main()
