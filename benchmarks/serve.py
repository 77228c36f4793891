"""How many conversations a server holds in time: real websocket clients that speak, one after the other more of them.

    python -m benchmarks.serve --model nano --clients 1 2 4 8 --seconds 30

Starts `duologue serve` with as many slots as clients, lets each say a recording at its rate, and prints a line for each
number of clients: the time from sending a frame to hearing its answer (p50, p99, in ms), the steps, and what was late,
missing or dropped. Uses the raw samples of `format=pcm16`: the cost of Opus at the clients' end is not the server's.
"""

import asyncio
import json
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import tyro
from websockets.asyncio.client import connect

from duologue.audio.files import read_mono
from duologue.audio.framing import FRAME_SIZE, pad_to_frames
from duologue.serve.kyutai import Kind

FRAME = 0.08
QUESTION = Path(__file__).parents[1] / "duologue/assets/question.opus"


@dataclass(frozen=True)
class Benchmark:
    model: str = "tiny"
    clients: tuple[int, ...] = (1, 2, 4, 8)
    seconds: float = 20.0
    speech: Path = QUESTION


@dataclass
class Client:
    """One that speaks: when each frame was sent, and when the frame that answers it came."""

    sent: list[float] = field(default_factory=list)
    came: list[float] = field(default_factory=list)
    stats: dict = field(default_factory=dict)
    steps_ms: list[float] = field(default_factory=list)

    async def talk(self, address: str, user_TS: np.ndarray, frames: int, delay: float) -> None:
        await asyncio.sleep(delay)
        async with connect(f"ws://{address}/api/chat?format=pcm16&events=1", compression=None) as link:
            while (await link.recv())[0] != Kind.HANDSHAKE:
                pass
            listening = asyncio.create_task(self._listen(link))
            began = time.monotonic()
            for frame in range(frames):
                await asyncio.sleep(max(0.0, began + frame * FRAME - time.monotonic()))
                samples = (user_TS[frame % len(user_TS)] * 32767).astype("<i2").tobytes()
                self.sent.append(time.monotonic())
                await link.send(bytes([Kind.AUDIO]) + samples)
            await asyncio.sleep(0.2)
            listening.cancel()

    async def _listen(self, link) -> None:
        async for message in link:
            if message[0] == Kind.AUDIO:
                self.came.append(time.monotonic())
            elif message[0] == Kind.EVENT and (event := json.loads(message[1:]))["type"] == "stats":
                self.stats = event
                self.steps_ms.append(event["step_ms"])

    def waits_ms(self) -> np.ndarray:
        """From sending a frame to the next frame that came: at least as long as the answer took."""
        came = np.array(self.came)
        after = np.searchsorted(came, self.sent)
        known = after < len(came)
        return 1000 * (came[after[known]] - np.array(self.sent)[known])


def main(options: Benchmark) -> None:
    user_TS = pad_to_frames(read_mono(options.speech)).reshape(-1, FRAME_SIZE)
    frames = round(options.seconds / FRAME)
    print("clients  answer p50  p99 ms  step ms  late  missing  dropped")
    for count in options.clients:
        command = [sys.executable, "-m", "duologue", "serve", "--port", "0", "--model", options.model]
        server = subprocess.Popen(
            [*command, "--sessions", str(count)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert server.stdout is not None
        address = server.stdout.readline().rsplit("//", 1)[-1].strip()
        clients = [Client() for _ in range(count)]
        delays = np.random.default_rng(0).uniform(0, FRAME, count)  # each in a phase of its own

        async def crowd(clients=clients, delays=delays, address=address) -> None:
            talks = [c.talk(address, user_TS, frames, d) for c, d in zip(clients, delays, strict=True)]
            await asyncio.gather(*talks)

        asyncio.run(crowd())
        server.terminate()
        server.wait()
        p50, p99 = np.percentile(np.concatenate([c.waits_ms() for c in clients]), [50, 99])
        step = np.median([ms for c in clients for ms in c.steps_ms] or [0])
        lost = [sum(c.stats.get(name, 0) for c in clients) for name in ("late", "missing", "dropped")]
        print(
            f"{count:7}  {p50:10.1f}  {p99:6.1f}  {step:7.1f}  {lost[0]:4}  {lost[1]:7}  {lost[2]:7}",
            flush=True,
        )


if __name__ == "__main__":
    main(tyro.cli(Benchmark))
