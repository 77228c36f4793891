"""Recordings to transcripts, several at a time, each read only a second ahead of recognition."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from duologue.audio.files import mono, open_audio
from duologue.engine.options import DEFAULT, Options
from duologue.engine.prompt import Prompt
from duologue.engine.recognise import Heard, Hearing, Recogniser
from duologue.engine.words import FRAME_SECONDS
from duologue.errors import InputError
from duologue.types import Word
from duologue.weights import Model

AHEAD_SECONDS = 1.0  # seconds of a recording that are read ahead


@dataclass
class Transcript:
    """The transcript of a recording. `pauses`: starts of pauses in seconds, if the model detects them."""

    name: str
    text: str = ""
    words: list[Word] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)
    seconds: float = 0.0
    error: str | None = None

    def add(self, heard: Heard, prefix: float) -> None:
        """`prefix`: seconds that the model heard before the recording."""
        self.text += heard.text
        self.words += heard.words
        if heard.pause:
            self.pauses.append(max(0.0, heard.step * FRAME_SECONDS - prefix))


class _Source:
    """A recording being transcribed."""

    def __init__(self, path: Path, hearing: Hearing, rate: int):
        self.hearing, self.transcript = hearing, Transcript(str(path))
        self._rate, self._path = rate, path
        self._blocks: Iterator[np.ndarray] | None = None

    def feed(self) -> None:
        """Read ahead."""
        if self._blocks is None:
            self._blocks = map(mono, open_audio(self._path, self._rate).blocks())
        try:
            while not self.hearing.finished and self.hearing.waiting < AHEAD_SECONDS * self._rate:
                block_S = next(self._blocks, None)
                if block_S is None:
                    self.hearing.finish()
                else:
                    self.transcript.seconds += len(block_S) / self._rate
                    self.hearing.push(block_S)
        except InputError as error:
            self.hearing.ended, self.transcript.error = True, str(error)


def transcribe(
    model: Model,
    paths: Sequence[Path],
    slots: int = 1,
    options: Options = DEFAULT,
    on_heard: Callable[[str, Heard], object] = lambda name, heard: None,
    prompt: Prompt | None = None,
) -> Iterator[Transcript]:
    """Transcripts of recordings, in their order, `slots` recordings at a time, each after the same prompt. A recording
    that turns out to be damaged has an `error`. `on_heard(name, heard)` is called with what each frame added. Raises
    InputError for a file that cannot be opened, before any is heard."""
    for path in paths:
        open_audio(path)
    recogniser = Recogniser(model, max(1, min(slots, len(paths))), options)
    rate = model.codec_config.sample_rate
    waiting = list(paths)[::-1]
    going: list[_Source] = []
    while waiting or going:
        while waiting and sum(not s.hearing.ended for s in going) < recogniser.slots:
            going.append(_Source(waiting.pop(), recogniser.open(prompt=prompt), rate))
        for source in going:
            if not source.hearing.ended:
                source.feed()
        by_hearing = {id(source.hearing): source for source in going}
        for hearing, heard in recogniser.tick():
            source = by_hearing[id(hearing)]
            source.transcript.add(heard, source.hearing.config.prefix)
            on_heard(source.transcript.name, heard)
        while going and going[0].hearing.ended:
            source = going.pop(0)
            source.transcript.error = source.transcript.error or source.hearing.error
            yield source.transcript
