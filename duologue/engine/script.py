"""From text to a token a frame: words wait in a queue, and the model decides when the next one begins.

`WordMachine` serves models trained for it (Delayed Streams Modeling, arXiv 2509.08753, section 3): where the model
writes WORD, the tokens of the next word replace its text. `MonologueMachine` serves conversational models, whose text
runs ahead of their voice: where the model would write a word, the next one of the script is written.
"""

import re
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from duologue.lm.tokenizer import Tokenizer
from duologue.spoken_text import read_aloud

FRAME_RATE = 12.5
WORD, MAIN, OTHER, PAD = 0, 1, 2, 3  # of a published model of this kind; MAIN and OTHER say who speaks next
NO_TEXT = -1  # of the second text stream
BREAK = re.compile(r'<break\s+time="([0-9]+(?:\.[0-9]*)?)s"\s*/?>')
END = re.compile(BREAK.pattern + r"|\s")  # of a word
LONGEST_BREAK_SECONDS = 60.0  # seconds
LONGEST_WORD = 1000  # letters, after which one without an end is cut
LEAD_FRAMES = 8  # frames by which the text may be ahead of the voice, for conversational models
LAST_NUMBER = re.compile(
    r"(?<!\S)(?:\S{0,40}\d\s{1,9}){1,2}$"
)  # what it counts follows: "$2.5 million", "2 1/2 km"
# Estimated duration of a word in frames: by its letters and its final punctuation.
PER_WORD, PER_LETTER, PER_MARK = 0.9, 0.67, 1.6
RANGE = re.compile(r"(?<=\d)–(?=\d)")
REPLACED = str.maketrans({"’": "'", ":": " ", "(": "", ")": "", "–": ""})


@dataclass(frozen=True)
class Entry:
    """One word to say, or a break (no tokens). No other begins within `padding` frames. `turn` counts the changes of
    speaker before it."""

    tokens: tuple[int, ...]
    text: str
    padding: int = 0
    turn: int = 0


def before_numbers(text: str, end: int) -> int:
    """`end`, or where the numbers just before it begin, which are read with the word after them."""
    number = LAST_NUMBER.search(text, max(0, end - 120), end)
    return end if number is None else number.start()


class Script:
    """Splits text into entries incrementally; a word is complete at white space, a number that is read out at the end
    of the word after it. `<break time="0.5s"/>` is a pause.

    `speakers`: where the speaker changes, the first word carries a token that names one of two voices; turns alternate.
    `between` is the minimum number of frames between words, beyond their tokens. `aloud`: numbers and signs are read
    out, and what has no letter or digit (a dash, an emoji) is left out.
    """

    def __init__(self, tokenizer: Tokenizer, speakers: bool = False, between: int = 1, aloud: bool = False):
        self._tokenizer, self._speakers, self._between, self._aloud = tokenizer, speakers, between, aloud
        self._rest = ""
        self._turn, self._said = -1, -1  # speaker of the next word, and of the last one
        self._begins = False
        self.turn()

    def turn(self) -> list[Entry]:
        """Switch to the other speaker. Returns the entries that were still waiting."""
        waiting = self.finish()
        self._turn += 1
        self._begins = True
        return waiting

    def push(self, text: str) -> list[Entry]:
        """The entries that this text completes."""
        text = self._rest + text
        tag = text.rfind("<")
        unfinished = tag >= 0 and "<break ".startswith(text[tag : tag + 7]) and ">" not in text[tag:]
        whole = 0
        for end in END.finditer(text, 0, tag if unfinished else len(text)):
            whole = end.end()
        if len(text) - whole > LONGEST_WORD:
            whole = len(text)
        if self._aloud:
            whole = before_numbers(text, whole)
        self._rest = text[whole:]
        return self._entries(text[:whole])

    def finish(self) -> list[Entry]:
        """The last word, if one waits."""
        rest, self._rest = self._rest, ""
        return self._entries(rest)

    def _entries(self, text: str) -> list[Entry]:
        entries: list[Entry] = []
        for i, part in enumerate(BREAK.split(text)):
            if i % 2:
                seconds = min(float(part), LONGEST_BREAK_SECONDS)
                entries.append(Entry((), "", round(seconds * FRAME_RATE)))
            else:
                said = read_aloud(part) if self._aloud else RANGE.sub("-", part)
                entries += [self._word(word) for word in said.translate(REPLACED).split()]
        return entries

    def _word(self, word: str) -> Entry:
        tokens = self._tokenizer.encode(word)
        if self._begins and self._speakers and self._said != self._turn % 2:
            self._said = self._turn % 2
            tokens = [OTHER if self._said else MAIN, *tokens]
        self._begins = False
        padding = max(0, self._between + len(tokens) - 1) if self._between > 0 else 0
        return Entry(tuple(tokens), word, padding, self._turn)


class Machine:
    """Common part of both machines: the queue, and the words that have started, each with its step and its turn."""

    def __init__(self) -> None:
        self.words: list[tuple[str, int]] = []
        self.turns: list[int] = []
        self.end_step: int | None = None
        self._entries: deque[Entry] = deque()
        self._finished = False
        self._queued: deque[int] = deque()  # tokens of the word that has begun

    def push(self, entries: Iterable[Entry]) -> None:
        self._entries.extend(entries)

    def finish(self) -> None:
        """Mark the end of the script."""
        self._finished = True

    def _started(self, entry: Entry, step: int) -> None:
        self.words.append((entry.text, step))
        self.turns.append(entry.turn)


class WordMachine(Machine):
    """`text_card` is the vocabulary without the initial token. `ahead`: how many words the second text stream is ahead
    of the first; 0 without one. Paddings are numbers of frames: at the beginning, and at most between words."""

    def __init__(self, text_card: int, ahead: int = 0, max_padding: int = 8, initial_padding: int = 2):
        super().__init__()
        self._card, self._ahead, self._max_padding = text_card + 1, ahead, max_padding
        self._may_pad = self._must_pad = initial_padding
        self._queued_ahead: deque[int] = deque()

    @property
    def ready(self) -> bool:
        """Whether the next step can run with the text so far: the result must not depend on when text arrives."""
        if self._finished or self._queued or self._must_pad > 0:
            return True
        if self._entries and not self._entries[0].tokens:
            return True
        return sum(bool(entry.tokens) for entry in self._entries) > self._ahead

    def process(self, step: int, token: int) -> int:
        """The model chose `token`; returns the token to write instead, both streams in one id."""
        if self._queued or self._must_pad > 0 or token != WORD:
            token = PAD
        if not self._queued and self._must_pad <= 0 and self._may_pad <= 0:
            token = WORD
        if token == WORD:
            token = self._begin(step)
        written = WORD
        if token == PAD:
            self._may_pad, self._must_pad = max(0, self._may_pad - 1), max(0, self._must_pad - 1)
            written = self._queued.popleft() if self._queued else PAD
        return self._with_second(written) if self._ahead else written

    def _begin(self, step: int) -> int:
        """Start the next word if there is one: returns WORD, else PAD."""
        if not self._entries:
            first = self.end_step is None
            if first:
                self.end_step = step
            return WORD if self._ahead and first else PAD
        entry = self._entries.popleft()
        self._must_pad = entry.padding
        if not entry.tokens:
            return PAD
        self._started(entry, step)
        self._queued.extend(entry.tokens)
        if self._ahead:
            later = [e for e in self._entries if e.tokens][self._ahead - 1 : self._ahead]
            self._queued_ahead.extend(later[0].tokens if later else ())
        self._may_pad = self._max_padding
        return WORD

    def _with_second(self, written: int) -> int:
        """WORD goes to the second stream, so that the word's first token is not delayed."""
        second = NO_TEXT
        if written == WORD:
            second, written = WORD, self._queued.popleft() if self._queued else PAD
        elif self._queued_ahead:
            second = self._queued_ahead.popleft()
        return (second + 1) * self._card + written


def usual_frames(word: str) -> float:
    """Estimated duration of a word, in frames."""
    letters = sum(letter.isalnum() for letter in word)
    marks = sum(letter in ",;.?!" for letter in word)
    return PER_WORD + PER_LETTER * letters + PER_MARK * marks


class MonologueMachine(Machine):
    """For a model whose text marks pauses by PAD and the frame before a word after a pause by EPAD.

    A word begins where the model writes anything but PAD, but not before the voice can have come that far; or after
    `max_padding` further frames of PAD. `pace` is how many times slower than usual the voice is.
    """

    def __init__(
        self,
        pad: int,
        epad: int,
        pace: float = 1.0,
        lead: int = LEAD_FRAMES,
        max_padding: int = 4,
        initial_padding: int = 2,
    ):
        super().__init__()
        self._pad, self._epad, self._pace, self._lead = pad, epad, pace, lead
        self._max_padding = max_padding
        self._earliest = float(initial_padding)  # first step in which the next word may begin
        self._voice = 0.0  # step in which the voice will have finished the started words
        self._last = pad

    @property
    def ready(self) -> bool:
        return self._finished or bool(self._queued or self._entries)

    def process(self, step: int, token: int) -> int:
        """The model chose `token`; returns the token to write instead."""
        self._last = self._written(step, token)
        return self._last

    def _written(self, step: int, token: int) -> int:
        if self._queued:
            return self._queued.popleft()
        if step < self._earliest or (token == self._pad and step < self._earliest + self._max_padding):
            return self._pad
        if not self._entries:
            if self.end_step is None:
                self.end_step = step
            return self._pad
        entry = self._entries.popleft()
        if not entry.tokens:
            self._voice = max(step, self._voice) + entry.padding
            self._earliest = self._voice
            return self._pad
        self._queued.extend(entry.tokens)
        after_pause = self._last == self._pad
        first = step + after_pause
        self._started(entry, first)
        self._voice = max(first, self._voice) + self._pace * usual_frames(entry.text)
        self._earliest = self._voice - self._lead
        return self._epad if after_pause else self._queued.popleft()
