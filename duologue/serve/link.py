"""What every protocol needs of a connection: sound as samples, whether it is a voice, a rate limit, and an end."""

import asyncio
from collections.abc import Awaitable, Coroutine
from typing import Any

import numpy as np

from duologue.audio.activity import rms_of
from duologue.audio.framing import FRAME_SIZE, Framer
from duologue.serve.pool import Ended
from duologue.serve.settings import AUDIO_BURST, FLOOD, MESSAGES, MESSAGES_BURST, SEND_LIMIT

RATE = 24_000


class Pcm16:
    """Samples as they are, in place of Opus."""

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
    """How many frames a voice has been heard, or silent, without a break. `loud` is the root mean square above which
    a frame is voiced."""

    def __init__(self, loud: float):
        self._loud, self._framer = loud, Framer(FRAME_SIZE)
        self.heard = self.quiet = 0

    def push(self, wav_S: np.ndarray, word: bool = False) -> bool:
        """Take any number of samples; a word counts as a voice. Returns whether the last frame was voiced."""
        for frame_S in self._framer.push(wav_S):
            voiced = word or rms_of(frame_S) > self._loud
            self.heard, self.quiet = (self.heard + 1, 0) if voiced else (0, self.quiet + 1)
        return self.heard > 0


class Budget:
    """So many a second of something, and so many at once."""

    def __init__(self, rate: float, burst: float):
        self._rate, self._burst, self._left = rate, burst, burst
        self._at = asyncio.get_running_loop().time()

    def take(self, cost: float = 1.0) -> bool:
        """Whether there was enough left."""
        now = asyncio.get_running_loop().time()
        self._left = min(self._burst, self._left + (now - self._at) * self._rate) - cost
        self._at = now
        return self._left >= 0


class RateLimiter:
    """How much a client may send: sound for as long as time has passed, and a burst; and messages of any kind."""

    def __init__(self):
        self._began = asyncio.get_running_loop().time()
        self._seconds = 0.0
        self._messages = Budget(MESSAGES, MESSAGES_BURST)

    async def message(self, size: int) -> None:
        """Take a message of so many bytes or letters, and let the others go first. Raises Ended if it is too much."""
        if not self._messages.take(1 + size / 1024):
            raise Ended(FLOOD, "Too many messages came.")
        await asyncio.sleep(0)

    def take(self, samples: int) -> None:
        """Raises Ended if it is more sound than may come."""
        passed = asyncio.get_running_loop().time() - self._began
        self._seconds = max(self._seconds + samples / RATE, passed)
        if self._seconds > passed + AUDIO_BURST:
            raise Ended(FLOOD, "Sound must come at the rate it is spoken.")


async def first_to_end(*coroutines: Coroutine[Any, Any, None]) -> None:
    """Run all until one ends; raise what it raised. None is left running."""
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
    """Raises Ended if a peer does not read what is sent."""
    try:
        async with asyncio.timeout(SEND_LIMIT):
            await sending
    except TimeoutError:
        raise Ended("slow") from None
