"""How many conversations a server holds in time, and how soon it answers: real websocket clients that speak.

    python -m benchmarks.serve --model nano

For each number of clients it starts `duologue serve` with as many slots, lets each client say a recording at its rate
(in a phase of its own) and prints a line:

    answer      from sending a frame to hearing the answer to it, p50 and p99
    step        what the model took, median
    late ...    frames that were late, missing or dropped
    alone       of how many conversations the trace, replayed without company, gives the same tokens
    first word  from the end of what the user said to the agent's first sound, beyond what the model takes offline with
                the same seed: the worst of all clients that were silent when the user ended

and at the end, how many clients were held with p99 below 80 ms. The samples travel as they are (`format=pcm16`): what
Opus costs the clients is not the server's. With `--json` the figures are written down, too.
"""

import asyncio
import json
import shlex
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import tyro
from websockets.asyncio.client import connect

from duologue.audio.activity import LOUD, LOUD_USER, rms_of
from duologue.audio.files import read_mono
from duologue.audio.framing import FRAME_SIZE, pad_to_frames
from duologue.engine.recorder import replay
from duologue.engine.session import Session
from duologue.serve.kyutai import Kind
from duologue.weights import Model, load

FRAME = 0.08
QUESTION = Path(__file__).parents[1] / "duologue/assets/question.opus"
HEADER = "clients  answer p50  p99 ms  step ms  late  missing  dropped  alone  first word"


@dataclass(frozen=True)
class Benchmark:
    model: str = "tiny"
    clients: tuple[int, ...] = (1, 2, 4, 8, 12)
    seconds: float = 20.0
    speech: Path = QUESTION
    """What each client says, once; then it is silent."""
    options: str = ""
    """More options of `duologue serve`, such as "--backend mlx"."""
    replayed: int = 4
    """Of how many conversations the trace is replayed."""
    json: Path | None = None


@dataclass
class Client:
    """One that speaks: when each frame was sent, and when which frames of the agent came."""

    seed: int
    sent: list[float] = field(default_factory=list)
    came: list[float] = field(default_factory=list)
    loud: list[bool] = field(default_factory=list)
    stats: dict = field(default_factory=dict)
    steps_ms: list[float] = field(default_factory=list)

    async def talk(self, address: str, user_TS: np.ndarray, frames: int, delay: float) -> None:
        await asyncio.sleep(delay)
        query = f"format=pcm16&events=1&text_seed={self.seed}"
        async with connect(f"ws://{address}/api/chat?{query}", compression=None, max_size=None) as link:
            while (await link.recv())[0] != Kind.HANDSHAKE:
                pass
            listening = asyncio.create_task(self._listen(link))
            began = time.monotonic()
            for frame in range(frames):
                await asyncio.sleep(max(0.0, began + frame * FRAME - time.monotonic()))
                wav_S = user_TS[frame] if frame < len(user_TS) else np.zeros(FRAME_SIZE)
                self.sent.append(time.monotonic())
                await link.send(bytes([Kind.AUDIO]) + (wav_S * 32767).astype("<i2").tobytes())
            await asyncio.sleep(0.2)
            listening.cancel()

    async def _listen(self, link) -> None:
        async for message in link:
            if message[0] == Kind.AUDIO:
                self.came.append(time.monotonic())
                wav_S = np.frombuffer(message[1:], "<i2") / 32767
                self.loud.append(rms_of(wav_S) > LOUD)
            elif message[0] == Kind.EVENT and (event := json.loads(message[1:]))["type"] == "stats":
                self.stats = event
                self.steps_ms.append(event["step_ms"])

    def waits_ms(self) -> np.ndarray:
        """From sending a frame to its answer: the frame of the agent after it, counted from the first frame on."""
        offset = next((i for i, came in enumerate(self.came) if came > self.sent[0]), 0)
        count = min(len(self.sent), len(self.came) - offset)
        return 1000 * (np.array(self.came[offset : offset + count]) - np.array(self.sent[:count]))

    def first_word(self, ended: int) -> float | None:
        """Seconds from the user's frame `ended` to the agent's first sound; None if it spoke already."""
        return _first_after(np.array(self.came), self.loud, self.sent[ended])


def _first_after(times: np.ndarray, loud: list[bool], end: float) -> float | None:
    at = int(np.searchsorted(times, end))
    if any(loud[max(0, at - 5) : at]):
        return None
    return next((float(t) - end for t, is_loud in zip(times[at:], loud[at:], strict=True) if is_loud), None)


def offline_first_word(model: Model, user_TS: np.ndarray, seed: int, frames: int, ended: int) -> float | None:
    """The same where computing takes no time: frame i is answered the moment it ends."""
    session = Session(model, replace(model.sampling, seed=seed))
    silence_S = np.zeros(FRAME_SIZE, np.float32)
    heard = [session.push(user_TS[i] if i < len(user_TS) else silence_S) for i in range(frames)]
    times = FRAME * np.arange(1, frames + 1)
    return _first_after(times, [rms_of(said.wav_S) > LOUD for said in heard], (ended + 1) * FRAME - 1e-6)


def measured(options: Benchmark, model: Model, count: int, user_TS: np.ndarray) -> dict:
    """The figures of so many clients."""
    frames = round(options.seconds / FRAME)
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "duologue", "serve", "--port", "0", "--model", options.model]
        command += ["--sessions", str(count), "--record", folder, *shlex.split(options.options)]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert server.stdout is not None
        address = server.stdout.readline().rsplit("//", 1)[-1].strip().rstrip("/")
        clients = [Client(seed) for seed in range(count)]
        delays = np.random.default_rng(0).uniform(0, FRAME, count)

        async def crowd() -> None:
            talks = [c.talk(address, user_TS, frames, d) for c, d in zip(clients, delays, strict=True)]
            await asyncio.gather(*talks)

        try:
            asyncio.run(crowd())
        finally:
            server.terminate()
            server.wait()
        traces = sorted(Path(folder).glob("*.trace.jsonl"))[: options.replayed]
        same = sum(np.array_equal(*replay(model, trace)) for trace in traces)
    ended = int(np.flatnonzero([rms_of(frame_S) > LOUD_USER for frame_S in user_TS])[-1])
    later = []
    for client in clients[: options.replayed]:
        online = client.first_word(ended)
        offline = offline_first_word(model, user_TS, client.seed, frames, ended)
        if online is not None and offline is not None:
            later.append(1000 * (online - offline))
    p50, p99 = np.percentile(np.concatenate([client.waits_ms() for client in clients]), [50, 99])
    return {
        "clients": count,
        "answer_p50_ms": round(float(p50), 1),
        "answer_p99_ms": round(float(p99), 1),
        "step_ms": round(float(np.median([ms for c in clients for ms in c.steps_ms] or [0])), 1),
        **{name: sum(c.stats.get(name, 0) for c in clients) for name in ("late", "missing", "dropped")},
        "alone": f"{same}/{len(traces)}",
        "first_word_ms": round(max(later), 1) if later else None,
    }


def main(options: Benchmark) -> None:
    user_TS = pad_to_frames(read_mono(options.speech)).reshape(-1, FRAME_SIZE)
    model, rows = load(options.model), []
    print(HEADER)
    for count in options.clients:
        row = measured(options, model, count, user_TS)
        rows.append(row)
        word = "-" if row["first_word_ms"] is None else f"{row['first_word_ms']:.0f} ms"
        print(
            f"{count:7}  {row['answer_p50_ms']:10.1f}  {row['answer_p99_ms']:6.1f}  {row['step_ms']:7.1f}  "
            f"{row['late']:4}  {row['missing']:7}  {row['dropped']:7}  {row['alone']:>5}  {word:>10}",
            flush=True,
        )
    held = [row["clients"] for row in rows if row["answer_p99_ms"] < 80]
    print(f"held with p99 below 80 ms: {max(held, default=0)} clients")
    if options.json is not None:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Benchmark))
