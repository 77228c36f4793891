"""Delegation: the user's question goes to a delegate, and the agent speaks the delegate's answer.

The agent says a filler and stays silent until the answer comes. The user may speak meanwhile without cancelling the
request; a newer question cancels an older one.
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
ANSWER_SECONDS = 20.0  # timeout of a whole answer
LONGEST = 1200  # characters of an answer, after which it is cut off


class Speaker(Protocol):
    """The methods of an engine's session that delegation uses."""

    @property
    def cuts(self) -> int:
        """How often the user has interrupted dictated words."""
        ...

    def dictate(self, text: str) -> None: ...

    def hold(self) -> None: ...

    def release(self) -> None: ...

    def stop_dictating(self) -> None: ...


class Delegation:
    """Delegates the questions of one conversation. Call `follow` in every frame and `close` at the end."""

    def __init__(self, speaker: Speaker, delegate: Delegate):
        self._speaker, self._delegate = speaker, delegate
        self._questions = Questions()
        self._task: asyncio.Task[None] | None = None

    def follow(self, said: AgentFrame) -> None:
        """Process one frame of the conversation."""
        if self._questions.push(said) is not None:
            self.close()  # the older question, whose answer would come too late
            self._speaker.stop_dictating()
            self._speaker.dictate(FILLER)
            self._speaker.hold()
            self._task = asyncio.create_task(self._answer())

    def close(self) -> None:
        """Cancel the pending answer, if there is one."""
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
        """Speak the answer as it streams in, word by word, until the user interrupts. Returns whether it had text."""
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
