"""Conversations that a synthesis model speaks in one pass, both speakers at its own timing, as the Moshi paper's
multi-stream synthesis does. A model with codebooks for each speaker gives two channels; the one channel of others, such
as tts-1.6b, is cut at the quietest moment between two turns.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from duologue.audio.activity import level_db, voiced_span
from duologue.audio.files import write_audio
from duologue.data.director import Director
from duologue.data.fingerprint import fingerprint
from duologue.data.manifest import Row, Transcript, write_transcript
from duologue.data.options import Situations, Timing
from duologue.data.script import Line, Script
from duologue.data.silent import SilentSpeakers
from duologue.data.voices import SAMPLE_RATE
from duologue.engine.options import DEFAULT, Options
from duologue.engine.speak import Synthesiser, Utterance
from duologue.engine.voices import Voice, read_voice
from duologue.errors import InputError
from duologue.types import AGENT, USER, StrPath, Word
from duologue.weights import Model

SLOTS = 4  # conversations that are spoken at the same time
LATE_SECONDS = 0.08  # seconds by which a word's sound may begin later than the model says
SPEAKERS = {"agent": AGENT, "user": USER}
# Turns follow each other, and nothing happens that the model would not know of.
PLAIN = Situations(
    pause_share=0, barge_in_share=0, stop_share=0, backchannel_share=0, silence_share=0, noise_share=0,
    aside_share=0, bystander_share=0, lost_share=0,
)  # fmt: skip


@dataclass
class Turn:
    """What one speaker says before the other does; `span` and `words` in seconds of the conversation."""

    role: str
    text: str
    words: list[Word] = field(default_factory=list)
    span: tuple[float, float] = (0.0, 0.0)


@dataclass
class _Spoken:
    """A conversation while it is spoken."""

    turns: list[Turn]
    user: str
    utterance: Utterance
    frames: list[np.ndarray] = field(default_factory=list)
    words: list[Word] = field(default_factory=list)


class OnePassSynth:
    """Stage: rows {"id", "seed"} -> stereo files in `folder` with transcripts, as of `synth.Synth`. Raises InputError
    for a model that does not take two voices. Pass it `slots` rows at a time."""

    def __init__(
        self,
        model: Model,
        script: Script,
        agent: str,
        users: Sequence[str],
        folder: StrPath,
        suffix: str = ".flac",
        seconds: float = 60.0,
        drawn: Callable[[Line], bool] = lambda line: True,
        options: Options = DEFAULT,
        slots: int = SLOTS,
    ):
        self._model, self._synthesiser, self.slots = model, Synthesiser(model, slots, options), slots
        if not self._synthesiser.config.speakers:
            raise InputError(f"{model.name} does not take two voices: leave out --one-pass")
        if model.codec_config.sample_rate != SAMPLE_RATE:
            raise InputError(f"{model.name} does not speak at {SAMPLE_RATE} Hz")
        self._director = Director(SilentSpeakers(script), script, PLAIN, Timing(), seconds, drawn)
        self._agent, self._users, self._voices = agent, list(users), dict[tuple[str, str], Voice]()
        self._folder, self._suffix = Path(folder), suffix
        self.settings = {
            "one_pass": model.name, "agent": agent, "users": " ".join(users), "seconds": seconds, "format": suffix,
            "script": fingerprint([(i.id, *i.phrasings, i.answer) for i in script.items.values()]),
        }  # fmt: skip

    def __call__(self, rows: list[Row]) -> list[Row]:
        self._folder.mkdir(parents=True, exist_ok=True)
        spoken = [self._begin(row) for row in rows]
        by_utterance = {id(one.utterance): one for one in spoken}
        while not all(one.utterance.ended for one in spoken):
            for utterance, frame in self._synthesiser.tick():
                by_utterance[id(utterance)].frames.append(frame.wav_CS)
                by_utterance[id(utterance)].words += frame.words
        return [self._written(row, one) for row, one in zip(rows, spoken, strict=True)]

    def _begin(self, row: Row) -> _Spoken:
        rng = random.Random(f"{row['seed']} {row['id']}")
        turns: list[Turn] = []
        for placed in sorted(self._director.direct(rng).placed, key=lambda placed: placed.start):
            if turns and turns[-1].role == placed.role:
                turns[-1].text += f" {placed.utterance.text}"
            else:
                turns.append(Turn(placed.role, placed.utterance.text))
        user = rng.choice(self._users)
        names = (user, self._agent) if turns[0].role == "user" else (self._agent, user)
        if names not in self._voices:
            self._voices[names] = read_voice(self._model, names)
        sampling = replace(self._synthesiser.sampling, seed=rng.getrandbits(31))
        utterance = self._synthesiser.make(self._voices[names], sampling)
        for k, turn in enumerate(turns):
            if k:
                utterance.turn()
            utterance.push(f"{turn.text} ")
        utterance.finish()
        self._synthesiser.add(utterance)
        return _Spoken(turns, user, utterance)

    def _written(self, row: Row, spoken: _Spoken) -> Row:
        if spoken.utterance.error is not None or not spoken.frames:
            raise InputError(f"{self._model.name}: {spoken.utterance.error or 'it says nothing'}")
        wav_CS, turns = two_channels(np.concatenate(spoken.frames, 1), spoken.words, spoken.turns)
        path = self._folder / f"{row['id']}{self._suffix}"
        words = sorted((word for turn in turns for word in turn.words), key=lambda word: word.start)
        write_transcript(path, Transcript(words))
        write_audio(path, wav_CS)
        told = [
            {
                "role": turn.role, "kind": "question" if turn.role == "user" else "answer",
                "start": round(turn.span[0], 3), "end": round(turn.span[1], 3), "said": turn.text,
                "voice": spoken.user if turn.role == "user" else self._agent, "item": "", "clip": "",
            }
            for turn in turns
        ]  # fmt: skip
        nothing = {"noises": [], "silences": [], "lost": []}
        return row | {"path": str(path), "duration": wav_CS.shape[1] / SAMPLE_RATE, "turns": told} | nothing


def two_channels(
    wav_CS: np.ndarray, words: Sequence[Word], turns: Sequence[Turn]
) -> tuple[np.ndarray, list[Turn]]:
    """Agent and user, `[2, S]`, of what a model spoke in one channel or in one for each speaker (the first to speak
    first); and the turns with their words and spans. `words` alternate between two speakers with the turns."""
    groups: list[list[Word]] = []
    for word in words:
        if not groups or groups[-1][-1].speaker != word.speaker:
            groups.append([])
        groups[-1].append(word)
    if len(groups) != len(turns):
        raise InputError(
            f"of {len(turns)} turns {len(groups)} were spoken: each needs a word that can be said"
        )
    rows = [int(turn.role == "user") for turn in turns]
    level_N, samples = level_db(wav_CS.sum(0)), wav_CS.shape[1]
    found = [0, *(_cut(level_N, samples, *pair) for pair in pairwise(groups)), samples]
    cuts = np.maximum.accumulate(found).tolist()
    out_CS = np.zeros((2, wav_CS.shape[1]), np.float32)
    if len(wav_CS) == 2:
        out_CS[[rows[0], 1 - rows[0]]] = wav_CS
    else:
        for row, (start, end) in zip(rows, pairwise(cuts), strict=True):
            out_CS[row, start:end] = wav_CS[0, start:end]
    placed = []
    for turn, row, group, (start, end) in zip(turns, rows, groups, pairwise(cuts), strict=True):
        first, last = (start / SAMPLE_RATE + at for at in voiced_span(out_CS[row, start:end]))
        span = (first, last) if last > first else (start / SAMPLE_RATE, end / SAMPLE_RATE)
        placed.append(
            replace(turn, words=[_within(word, span, SPEAKERS[turn.role]) for word in group], span=span)
        )
    return out_CS, placed


def _cut(level_N: np.ndarray, samples: int, before: list[Word], after: list[Word]) -> int:
    """The sample at the quietest moment between two turns; `level_N` in dB, each of 10 ms."""
    last, first = before[-1], after[0]
    lo = round(50 * (last.start + max(last.start, min(last.end, first.start))))
    hi = max(lo + 1, round(100 * (first.start + LATE_SECONDS)))
    level = level_N[lo:hi]
    return (lo + int(np.argmin(level))) * SAMPLE_RATE // 100 if level.size else samples


def _within(word: Word, span: tuple[float, float], speaker: str) -> Word:
    start, end = (min(max(at, span[0]), span[1]) for at in (word.start, word.end))
    return Word(word.text, start, end, speaker)
