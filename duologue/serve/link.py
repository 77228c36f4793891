"""Common parts of the protocols: PCM samples, voice activity, rate limits, timeouts."""

import asyncio
from collections.abc import Awaitable, Coroutine
from typing import Any

import numpy as np
from starlette.requests import Request

from duologue.audio.activity import rms_of
from duologue.audio.framing import FRAME_SIZE, Framer
from duologue.serve.pool import Ended
from duologue.serve.settings import (
    AUDIO_BURST_SECONDS,
    FLOOD,
    MESSAGE,
    MESSAGES_BURST,
    MESSAGES_PER_SECOND,
    SEND_SECONDS,
)

RATE = 24_000


class Pcm16:
    """16-bit PCM samples, instead of Opus."""

    def __init__(self):
        self._odd = b""

    def read(self, data: bytes) -> np.ndarray:
        data = self._odd + data
        whole = len(data) // 2 * 2
        self._odd = data[whole:]
        return np.frombuffer(data[:whole], "<i2").astype(np.float32) / 32768

    @staticmethod
    def write(wav_S: np.ndarray) -> bytes:
        return (wav_S.clip(-1, 1) * 32767).round().astype("<i2").tobytes()


class VoiceActivity:
    """Counts consecutive voiced frames (`voiced`) and silent ones (`quiet`). `loud` is the RMS above which a frame is
    voiced."""

    def __init__(self, loud: float):
        self._loud, self._framer = loud, Framer(FRAME_SIZE)
        self.voiced = self.quiet = 0

    def push(self, wav_S: np.ndarray, word: bool = False) -> bool:
        """Add any number of samples; a frame with a word counts as voiced. Returns whether the last frame was
        voiced."""
        for frame_S in self._framer.push(wav_S):
            voiced = word or rms_of(frame_S) > self._loud
            self.voiced, self.quiet = (self.voiced + 1, 0) if voiced else (0, self.quiet + 1)
        return self.voiced > 0


class Budget:
    """A token bucket: `rate` units a second, `burst` at once."""

    def __init__(self, rate: float, burst: float):
        self._rate, self._burst, self._left = rate, burst, burst
        self._at = asyncio.get_running_loop().time()

    def take(self, cost: float = 1.0) -> bool:
        """Spend `cost`; returns whether there was enough."""
        now = asyncio.get_running_loop().time()
        self._left = min(self._burst, self._left + (now - self._at) * self._rate) - cost
        self._at = now
        return self._left >= 0


class RateLimiter:
    """Limits of what a client may send: sound in real time plus a burst, and messages of any kind."""

    def __init__(self):
        self._began = asyncio.get_running_loop().time()
        self._seconds = 0.0
        self._messages = Budget(MESSAGES_PER_SECOND, MESSAGES_BURST)

    async def message(self, size: int) -> None:
        """Count a message of `size` bytes or letters, and yield to other tasks. Raises Ended above the limit."""
        if not self._messages.take(1 + size / 1024):
            raise Ended(FLOOD, "Too many messages came.")
        await asyncio.sleep(0)

    def take(self, samples: int) -> None:
        """Count sound. Raises Ended above the limit."""
        passed = asyncio.get_running_loop().time() - self._began
        self._seconds = max(self._seconds + samples / RATE, passed)
        if self._seconds > passed + AUDIO_BURST_SECONDS:
            raise Ended(FLOOD, "Sound must come at the rate it is spoken.")


async def first_to_end(*coroutines: Coroutine[Any, Any, None]) -> None:
    """Run all until one ends, cancel the others, and raise its exception if it has one."""
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def in_time(sending: Awaitable[None]) -> None:
    """Await a send. Raises Ended if the peer does not read."""
    try:
        async with asyncio.timeout(SEND_SECONDS):
            await sending
    except TimeoutError:
        raise Ended("slow") from None


async def gone(request: Request) -> None:
    """Wait until the client of a request, whose body has been read, has gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def read_body(request: Request) -> bytes:
    """The body of a request; of one that is longer than a message may be, a little more than that."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MESSAGE:
            break
    return body
