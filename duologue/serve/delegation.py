"""Knowing more than the model, while it speaks: a question is handed to a delegate, and the answer spoken.

The agent says that it will see, and is kept silent until the answer comes. What the user says meanwhile does not end
the work, but a newer question takes the place of an older one: its late answer is orphaned, and not said.
"""

import asyncio
import contextlib
import logging
from typing import Protocol

from duologue.engine.session import AgentFrame
from duologue.serve.delegates import Delegate, DelegateError
from duologue.serve.questions import Questions

log = logging.getLogger(__name__)

FILLER = "let me see"
SORRY = "I could not find that out"
ANSWER_SECONDS = 20.0  # in which an answer must begin and end
LONGEST = 1200  # letters of an answer that are spoken


class Speaker(Protocol):
    """The part of a `LiveSession` that is told what to say."""

    @property
    def cuts(self) -> int:
        """How often the user's voice has stopped it."""
        ...

    def dictate(self, text: str) -> None: ...

    def hold(self) -> None: ...

    def release(self) -> None: ...

    def stop_dictating(self) -> str: ...


class Delegation:
    """One conversation's questions, and who works at them: `follow` every frame, `close` at the end."""

    def __init__(self, speaker: Speaker, delegate: Delegate):
        self._speaker, self._delegate = speaker, delegate
        self._questions = Questions()
        self._task: asyncio.Task[None] | None = None

    def follow(self, said: AgentFrame) -> None:
        """A frame of the conversation."""
        if self._questions.push(said) is not None:
            self.close()  # an older question: its answer would come after this one's
            self._speaker.stop_dictating()
            self._speaker.dictate(FILLER)
            self._speaker.hold()
            self._task = asyncio.create_task(self._answer())

    def close(self) -> None:
        """Nobody waits for an answer any more."""
        if self._task is not None:
            self._task.cancel()

    async def _answer(self) -> None:
        said = False
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                said = await self._speak()
        except (DelegateError, TimeoutError) as error:
            log.warning("a delegate gave no answer: %s", error or "it took too long")
        finally:
            self._speaker.release()
        if not said:
            self._speaker.dictate(SORRY)

    async def _speak(self) -> bool:
        """Say the answer as it comes, word by word, until the user's voice stops it. Returns whether there was any."""
        rest, letters, cuts = "", 0, None
        async with contextlib.aclosing(self._delegate.answer(list(self._questions.turns))) as pieces:  # pyright: ignore[reportArgumentType]
            async for piece in pieces:
                if cuts is None:
                    cuts = self._speaker.cuts
                words, _, rest = (rest + piece).replace("\n", " ").rpartition(" ")
                letters += len(words)
                if self._speaker.cuts > cuts or letters > LONGEST:
                    return True
                if words.strip():
                    self._speaker.dictate(words)
                    self._speaker.hold()
        if rest.strip() and (cuts is None or self._speaker.cuts == cuts):
            self._speaker.dictate(rest)
        return letters > 0 or bool(rest.strip())
