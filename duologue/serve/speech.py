"""Recognition and synthesis in the server, as coroutines for the protocols."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from secrets import randbits
from typing import Any, Generic, TypeVar

import numpy as np

from duologue.engine.batcher import Busy
from duologue.engine.options import DEFAULT, Options
from duologue.engine.recognise import Hearing, Recogniser
from duologue.engine.speak import Synthesiser, Utterance
from duologue.engine.voices import Voice, read_voice, voice_of_vectors
from duologue.engine.worker import Item, Worker
from duologue.errors import InputError
from duologue.serve.audio_files import Received, received_sound
from duologue.weights import Model

log = logging.getLogger(__name__)

AHEAD_SECONDS = 30.0  # seconds of sound that a sender may be ahead of recognition
UNREAD_FRAMES = 250  # frames of speech that may wait for a slow reader: 20 s
VOICE_SECONDS = 3.0  # seconds that a client waits for a voice: those that hear nothing for longer give up
VOICE_RETRY_SECONDS = 60.0  # seconds after which a voice that was not found is looked for again
VOICES_AT_ONCE, VOICES_KEPT = 4, 64  # voices that are being fetched, and that are kept
PIECE = 1000  # characters that are read at a time
RETRY_SECONDS = 0.1  # seconds between attempts to get a slot
OVERHEARD_SECONDS = 5.0  # seconds of the user's sound that may wait for a recogniser
FREE_SECONDS = 60.0  # seconds that the user's words wait for a slot of the recogniser
T = TypeVar("T", bound=Item)


class Failed(Exception):
    """A recording or utterance was ended by a failure of the engine or by shutdown."""


class Stream(Generic[T]):
    """One recording or utterance. Iterate over it for the model's output; `close` it at the end."""

    def __init__(self, worker: Worker[T], make: Callable[[], T]):
        self._worker = worker
        self._loop, self._queue = asyncio.get_running_loop(), asyncio.Queue()
        self.item = worker.open(make, self._given)

    def post(self, action: Callable[[], object]) -> None:
        self._worker.post(action)

    def close(self) -> None:
        """Makes iteration end."""
        self._worker.drop(self.item)
        self._queue.put_nowait(None)

    async def __aiter__(self) -> AsyncIterator[Any]:
        while (what := await self._queue.get()) is not None:
            if (
                isinstance(self.item, Utterance)
                and self.item.held
                and self._queue.qsize() < UNREAD_FRAMES / 2
            ):
                self.item.held = False
                self.post(lambda: None)
            yield what
        if self.item.error is not None:
            raise Failed(self.item.error)

    def _given(self, what: Any) -> None:
        """On the worker's thread."""
        if isinstance(self.item, Utterance) and self._queue.qsize() > UNREAD_FRAMES:
            self.item.held = True
        self._loop.call_soon_threadsafe(self._queue.put_nowait, what)


class Ears:
    """A served recognition model."""

    def __init__(self, model: Model, slots: int, options: Options = DEFAULT):
        self.model, self.slots = model, slots
        recogniser = Recogniser(model, slots, options)
        self.config, self.worker = recogniser.config, Worker(recogniser)
        self.rate, self.frame_size = model.codec_config.sample_rate, recogniser.frame_size
        self._decoding = asyncio.Semaphore(1)  # a long recording takes a core for a while

    async def receive(self, stream: AsyncIterator[bytes]) -> Received:
        """A recording in a request. Raises InputError for what is none, and TooBig."""
        return await received_sound(stream, self.rate, self._decoding)

    def listen(self) -> "Listening":
        """Raises Busy if no slot is free."""
        return Listening(self)

    async def wait(self, seconds: float) -> "Listening":
        """As `listen`, but waits for a slot. Raises Busy after `seconds`."""
        return await _in_line(self.listen, seconds)

    def overhear(self) -> "Overheard":
        return Overheard(self)

    async def hear(self, recording: Received, seconds: float) -> "Listening":
        """As `wait`, and listens to a whole recording, which is removed in any case."""
        try:
            listening = await self.wait(seconds)
        except BaseException:
            recording.close()
            raise
        listening.feed(recording)
        return listening


class Listening(Stream[Hearing]):
    """One recording: push sound, and iterate over the transcript (`engine.recognise.Heard`)."""

    def __init__(self, ears: Ears):
        sampling = replace(ears.model.sampling, seed=randbits(31))
        super().__init__(ears.worker, lambda: Hearing(ears.model, ears.config, sampling))
        self._ears = ears
        self._pushed = self._taken = 0  # samples: by the event loop, and by the worker's thread
        recogniser, hearing = ears.worker.engine, self.item
        assert isinstance(recogniser, Recogniser)
        self.post(lambda: recogniser.add(hearing))

    async def push(self, wav_S: np.ndarray) -> None:
        """Add sound; waits while too much is queued."""
        while self.waiting > AHEAD_SECONDS * self._ears.rate and not self.item.ended:
            await asyncio.sleep(0.02)
        self.put(wav_S)

    def put(self, wav_S: np.ndarray) -> None:
        """Add sound at once, however much is queued."""
        self._pushed += len(wav_S)

        def take() -> None:
            self.item.push(wav_S)
            self._taken += len(wav_S)

        self.post(take)

    @property
    def waiting(self) -> int:
        """Samples that the model has not heard yet, nor perhaps its worker taken."""
        return self._pushed - self._taken + self.item.waiting

    def feed(self, recording: Received) -> None:
        """Push a whole recording, as fast as it is heard, and remove it."""
        self._feeding = asyncio.create_task(self._feed(recording))

    async def _feed(self, recording: Received) -> None:
        try:
            async for wav_S in recording.blocks():
                await self.push(wav_S)
                if self.item.ended:
                    return
            self.finish()
        except Exception:
            log.exception("a recording could not be read again")
            self.item.error = "the recording could not be read"
            self.close()
        finally:
            recording.close()

    def finish(self) -> None:
        self.post(self.item.finish)


class Overheard:
    """The user's words in one conversation, by a recogniser of their own. There are none without a free slot, nor
    while the recogniser is broken; then it listens again."""

    def __init__(self, ears: Ears):
        self._ears, self._text = ears, ""
        self._listening: Listening | None = None
        with suppress(Busy):
            self._listening = ears.listen()
        self._task = asyncio.create_task(self._read())

    def push(self, wav_S: np.ndarray) -> None:
        if self._listening is not None and self._listening.waiting < OVERHEARD_SECONDS * self._ears.rate:
            self._listening.put(wav_S)

    def take(self) -> str:
        """The words since the last call."""
        text, self._text = self._text, ""
        return text

    def close(self) -> None:
        self._task.cancel()
        if self._listening is not None:
            self._listening.close()

    async def _read(self) -> None:
        try:
            while True:
                self._listening = self._listening or await self._ears.wait(FREE_SECONDS)
                await self._collect(self._listening)
                self._listening = None
        except Busy:
            log.warning("no slot of the recogniser is free: the user's words are not known")

    async def _collect(self, listening: Listening) -> None:
        """The words of one recording, until it ends or fails."""
        try:
            async for heard in listening:
                self._text += heard.text
        except Failed as error:
            log.warning("the user's words are not known for a moment: %s", error)


class Mouth:
    """A served synthesis model. `voice` is the default, also for unknown names."""

    def __init__(
        self,
        model: Model,
        slots: int,
        options: Options = DEFAULT,
        codebooks: int | None = None,
        voice: Sequence[str] = (),
    ):
        self.model, self.slots = model, slots
        self.synthesiser = Synthesiser(model, slots, options, codebooks)
        self.worker = Worker(self.synthesiser)
        self.rate, self.frame_size = model.codec_config.sample_rate, self.synthesiser.frame_size
        self.voice = read_voice(model, voice)
        self._voices: dict[str, asyncio.Task[Voice]] = {}  # that were asked for, by name

    async def voice_of(self, name: str | None) -> Voice:
        """The voice of a name. Raises InputError for one that is not known, or not yet: it may still be on its way. A
        name is no path: files of this machine are its owner's."""
        if not name:
            return self.voice
        if Path(name).is_absolute() or ".." in Path(name).parts or "://" in name:
            raise InputError(f"{name!r} is no name of a voice")
        looking = self._voices.get(name) or self._look_for(name)
        try:
            async with asyncio.timeout(VOICE_SECONDS):
                return await asyncio.shield(looking)
        except TimeoutError:
            raise InputError(f"the voice {name!r} is still being fetched") from None

    def _look_for(self, name: str) -> "asyncio.Task[Voice]":
        if sum(not task.done() for task in self._voices.values()) >= VOICES_AT_ONCE:
            raise InputError("too many voices are being fetched")
        known = [one for one, task in self._voices.items() if task.done()]
        for oldest in known[:-VOICES_KEPT]:
            del self._voices[oldest]
        task = asyncio.create_task(asyncio.to_thread(read_voice, self.model, [name]))
        self._voices[name] = task

        def looked(task: "asyncio.Task[Voice]") -> None:
            if task.cancelled() or task.exception() is not None:
                asyncio.get_running_loop().call_later(VOICE_RETRY_SECONDS, self._voices.pop, name, None)

        task.add_done_callback(looked)
        return task

    def vectors(self, embeddings: Sequence[float], shape: Sequence[int]) -> Voice:
        """A voice from vectors. Raises InputError for other shapes."""
        try:
            vectors = np.array(embeddings, np.float32).reshape([int(n) for n in shape])
        except (ValueError, TypeError, OverflowError):
            raise InputError("the embeddings do not have the shape that is given") from None
        return voice_of_vectors(self.model, [vectors])

    def speak(self, voice: Voice | None = None, speed: float = 1.0) -> "Speaking":
        """Raises Busy if no slot is free."""
        return Speaking(self, voice or self.voice, speed)

    async def wait(self, seconds: float, voice: Voice | None = None, speed: float = 1.0) -> "Speaking":
        return await _in_line(lambda: self.speak(voice, speed), seconds)


class Speaking(Stream[Utterance]):
    """One utterance: push text, and iterate over the sound (`engine.speak.Spoken`)."""

    def __init__(self, mouth: Mouth, voice: Voice, speed: float):
        synthesiser = mouth.synthesiser
        sampling = replace(synthesiser.sampling, seed=randbits(31))
        super().__init__(mouth.worker, lambda: synthesiser.make(voice, sampling, speed))
        self.post(lambda: synthesiser.add(self.item))

    def push(self, text: str) -> None:
        """In pieces, so that a long text keeps no other utterance waiting."""
        for at in range(0, len(text), PIECE):
            self.post(partial(self.item.push, text[at : at + PIECE]))

    def finish(self) -> None:
        self.post(self.item.finish)


S = TypeVar("S")


async def _in_line(enter: Callable[[], S], seconds: float) -> S:
    for _ in range(max(0, int(seconds / RETRY_SECONDS))):
        with suppress(Busy):
            return enter()
        await asyncio.sleep(RETRY_SECONDS)
    return enter()
