"""Delegation: what the model does not know goes to a delegate, and the agent speaks the delegate's answer.

The agent says a filler and stays silent until the answer comes, which is forced into its text. A model that reads
references (moshika-rag) gets the answer as one instead, and speaks of it in its own words. The user may speak meanwhile
without cancelling the request; a newer question cancels an older one.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from duologue.engine.script import before_numbers
from duologue.engine.session import AgentFrame
from duologue.serve.delegates import Delegate, DelegateError
from duologue.serve.questions import EVERY_QUESTION, Asks, Questions

if TYPE_CHECKING:
    from duologue.engine.references import References
    from duologue.serve.speech import Ears

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

    def dictate(self, text: str) -> object: ...

    def hold(self) -> None: ...

    def release(self) -> None: ...

    def stop_dictating(self) -> None: ...

    def refer(self, vectors_TD: np.ndarray) -> None: ...


@dataclass(frozen=True)
class Help:
    """Who answers what the model does not know (None: only the client may), how the model asks, and what it may need:
    the encoder of the references that it reads, and a recogniser of the user's words if it writes none down."""

    delegate: Delegate | None = None
    asks: Asks = EVERY_QUESTION
    references: "References | None" = None
    ears: "Ears | None" = None


NO_HELP = Help()


class Delegation:
    """Delegates what is asked in one conversation. Call `hear` with the user's sound, `follow` in every frame and
    `close` at the end."""

    def __init__(self, speaker: Speaker, delegate: Delegate, help: Help = NO_HELP):
        self._speaker, self._delegate, self._references = speaker, delegate, help.references
        self._questions = Questions(help.asks)
        self._overheard = None if help.ears is None else help.ears.overhear()
        self._task: asyncio.Task[None] | None = None

    def hear(self, wav_S: np.ndarray) -> None:
        if self._overheard is not None:
            self._overheard.push(wav_S)

    def follow(self, said: AgentFrame) -> None:
        """Process one frame of the conversation."""
        if self._overheard is not None:
            said = replace(said, user_text=self._overheard.take())
        if self._questions.push(said) is None:
            return
        self._cancel()  # the older question, whose answer would come too late
        if self._references is not None:
            self._task = asyncio.create_task(self._refer(self._references))
            return
        self._speaker.stop_dictating()
        self._speaker.dictate(FILLER)
        self._speaker.hold()
        self._task = asyncio.create_task(self._answer())

    def tell(self, text: str) -> None:
        """Give the model a text to refer to, if it reads any."""
        if self._references is not None:
            self._cancel()
            self._task = asyncio.create_task(self._give(self._references, text))

    def close(self) -> None:
        """Cancel the pending answer, if there is one."""
        self._cancel()
        if self._overheard is not None:
            self._overheard.close()

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _pieces(self) -> AsyncIterator[str]:
        return self._delegate.answer(list(self._questions.turns))

    async def _refer(self, references: "References") -> None:
        """Give the model the whole answer as a reference. Without an answer it says by itself that it has none."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                text = "".join([piece async for piece in self._pieces()])
                await self._give(references, text)
        except (DelegateError, TimeoutError) as error:
            log.warning("a delegate gave no answer: %s", error or "it took too long")

    async def _give(self, references: "References", text: str) -> None:
        loop = asyncio.get_running_loop()
        vectors_TD = await loop.run_in_executor(references.thread, references.vectors, text[:LONGEST])
        self._speaker.refer(vectors_TD.numpy())

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
        async with contextlib.aclosing(self._pieces()) as pieces:  # pyright: ignore[reportArgumentType]
            async for piece in pieces:
                if cuts is None:
                    cuts = self._speaker.cuts
                text = (rest + piece).replace("\n", " ")
                end = before_numbers(text, text.rfind(" ") + 1)
                words, rest = text[:end], text[end:]
                letters += len(words)
                if self._speaker.cuts > cuts or letters > LONGEST:
                    return True
                if words.strip():
                    self._speaker.dictate(words)
                    self._speaker.hold()
        if rest.strip() and (cuts is None or self._speaker.cuts == cuts):
            self._speaker.dictate(rest)
        return letters > 0 or bool(rest.strip())
