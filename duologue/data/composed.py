"""Conversations put together from the codes of clips, as training shards.

Each clip is encoded alone, a user's in a few ways ("takes": `ClipSpeakers`' perturbation, then `augment_user`), and a
conversation places codes where `synth` would place sounds, from one frame boundary to another. After the first few
hundred conversations all clips are encoded, and a minute costs milliseconds, not the encoding of two minutes.

What is simpler than in recordings: between two turns there is another background than during them; the user's channel
has no echo of the agent; whoever talks to somebody else is not further off; a question lost in noise is noise alone.
Of the user only the semantic codebooks are known. So both kinds belong into training.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from duologue.audio.framing import FRAME_SECONDS, pad_to_frames
from duologue.codec import Codec
from duologue.data.augment import NOISES, augment_user, noise
from duologue.data.director import Director
from duologue.data.manifest import Row, transcript_body
from duologue.data.options import Recipe
from duologue.data.script import Script
from duologue.data.shards import Sample
from duologue.data.silent import NO_SOUND_S, SilentUtterance
from duologue.data.speakers import ClipSpeakers
from duologue.data.synth import DROWNING_DB, NOISE_DB
from duologue.data.timeline import Timeline, Utterance
from duologue.data.utterances import encoded
from duologue.data.voices import SAMPLE_RATE

LEAD = 4  # frames of silence before a clip, so that the encoder has begun
USER_TAIL, AGENT_TAIL = 4, 12  # frames of silence after a clip, whose codes still depend on it
BACKGROUNDS = 32  # of each kind
BACKGROUND_SECONDS = 12.0


@dataclass(frozen=True)
class EncodedUtterance(SilentUtterance):
    """An utterance as codes, int16 [Q, T]: those of its `length`, and some of the silence after it."""

    codes_QT: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.int16))
    gaps: tuple[float, ...] = ()
    """The quietest moment between each two words, in seconds (minus one where there is none)."""

    @classmethod
    def of_sound(cls, said: Utterance, late: float, codes_QT: np.ndarray) -> "EncodedUtterance":
        """Of what was said, `late` seconds after the first frame began."""
        words = tuple(word.moved(late) for word in said.words)
        audible = late + said.audible[0], late + said.audible[1]
        gaps = tuple(late + gap if gap > 0 else -1.0 for gap in said.boundaries())
        length = late + said.seconds
        return cls(said.text, NO_SOUND_S, words, audible, said.voice, said.key, (), length, codes_QT, gaps)

    def boundaries(self) -> list[float]:
        return list(self.gaps)

    def scaled(self, gain: float) -> "EncodedUtterance":
        return self

    def then(self, other: Utterance) -> "EncodedUtterance":
        assert isinstance(other, EncodedUtterance)
        both, frames = super().then(other), frames_of(-(-self.length // FRAME_SECONDS) * FRAME_SECONDS)
        assert isinstance(both, EncodedUtterance)
        codes_QT = np.concatenate([self.codes_QT[:, :frames], other.codes_QT], axis=1)
        return replace(both, codes_QT=codes_QT, gaps=())

    def before(self, seconds: float, fade: float = 0.02) -> "EncodedUtterance":
        cut = super().before(seconds, fade)
        assert isinstance(cut, EncodedUtterance)
        return replace(cut, codes_QT=self.codes_QT[:, : frames_of(seconds)], gaps=())

    def after(self, seconds: float, fade: float = 0.01) -> "EncodedUtterance":
        # Codes are cut between two frames, and the words of the rest have times from there.
        seconds = frames_of(seconds) * FRAME_SECONDS
        rest = super().after(seconds, fade)
        assert isinstance(rest, EncodedUtterance)
        return replace(rest, codes_QT=self.codes_QT[:, frames_of(seconds) :], gaps=())


def frames_of(seconds: float) -> int:
    """The nearest number of frames."""
    return round(seconds / FRAME_SECONDS)


class EncodedSpeakers(ClipSpeakers):
    """`ClipSpeakers` whose utterances are codes; a user's clip sounds in one of `takes` ways."""

    def __init__(
        self, clips: list[Row], script: Script, agent: str, codec: Codec, takes: int, seed: int, recipe: Recipe,
        babble: list[np.ndarray] | None = None,
    ):  # fmt: skip
        super().__init__(clips, script, agent)
        self._codec, self._takes, self._seed, self._recipe, self._babble = codec, takes, seed, recipe, babble
        self._known: dict[str, Utterance] = {}

    def _ask(self, row: Row, rng: random.Random) -> Utterance:
        name = f"{self._seed} {Path(row['place']).name}/{row['file']} {rng.randrange(self._takes)}"
        if name not in self._known:
            drawn = random.Random(name)
            said = super()._ask(row, drawn)
            late = drawn.randrange(self._codec.config.frame_size)
            wav_S = np.pad(said.wav_S, (late, 0))
            numbers = np.random.default_rng(drawn.getrandbits(32))
            semantic = self._codec.config.quantizer.semantic
            codes_QT = self._codes(wav_S, USER_TAIL, semantic, numbers)
            self._known[name] = EncodedUtterance.of_sound(said, late / SAMPLE_RATE, codes_QT)
        return self._known[name]

    def _answer(self, row: Row) -> Utterance:
        said = super()._answer(row)
        codes_QT = self._codes(said.wav_S, AGENT_TAIL, self._codec.config.codebooks)
        return EncodedUtterance.of_sound(said, 0.0, codes_QT)

    def _codes(
        self, wav_S: np.ndarray, tail: int, codebooks: int, disturbed: np.random.Generator | None = None
    ) -> np.ndarray:
        frame = self._codec.config.frame_size
        wav_S = np.pad(pad_to_frames(wav_S, frame), (LEAD * frame, tail * frame))
        if disturbed is not None:
            wav_S = augment_user(wav_S, np.zeros_like(wav_S), self._recipe, disturbed, self._babble)
        return encoded(self._codec, wav_S, codebooks)[:, LEAD:]


class Backgrounds:
    """Codes of nobody's speech: of the user's room, of noises, of a noise that hides a question; and the agent's."""

    def __init__(self, codec: Codec, seed: int, recipe: Recipe, babble: list[np.ndarray] | None = None):
        rng = np.random.default_rng([seed, 1])
        samples = frames_of(BACKGROUND_SECONDS) * codec.config.frame_size
        silence_S, semantic = np.zeros(samples, np.float32), codec.config.quantizer.semantic

        def loud(kind: str, db: tuple[float, float]) -> np.ndarray:
            return noise(kind, samples, rng, babble).clip(-4, 4) * np.float32(10 ** (rng.uniform(*db) / 20))

        def kept(*sounds: np.ndarray) -> list[np.ndarray]:
            return [encoded(codec, wav_S, semantic) for wav_S in sounds]

        rooms = (augment_user(silence_S, silence_S, recipe, rng, babble) for _ in range(BACKGROUNDS))
        self.rooms = kept(silence_S, *rooms)
        self.noises = kept(*(loud(NOISES[k % len(NOISES)], NOISE_DB) for k in range(BACKGROUNDS)))
        self.drowning = kept(*(loud("pink", DROWNING_DB) for _ in range(4)))
        self.agent = [encoded(codec, silence_S, codec.config.codebooks)]


def composed(
    director: Director, backgrounds: Backgrounds, codebooks: int, count: int, seed: int, prefix: str = "composed"
) -> Iterator[Sample]:  # fmt: skip
    """`count` conversations of a director whose speakers are `EncodedSpeakers`: "codes.npy", int16 [2, Q, T] (agent,
    user; what is not encoded is -1, unknown), and "json" as in other shards. The same seed gives the same ones."""
    for number in range(count):
        name = f"{prefix}-{number:06d}"
        rng = random.Random(f"{seed} {name}")
        line = on_frames(director.direct(rng))
        codes_CQT = codes_of(line, backgrounds, codebooks, rng)
        row = {"id": name, "duration": round(line.seconds, 3), "frames": codes_CQT.shape[-1]}
        body = row | transcript_body(line.transcript()) | {"turns": line.turns()}
        yield {"key": name, "codes.npy": codes_CQT, "json": body}


def on_frames(line: Timeline) -> Timeline:
    """The same, all utterances beginning on the nearest frame boundary."""
    placed = [replace(one, start=frames_of(one.start) * FRAME_SECONDS) for one in line.placed]
    return replace(line, placed=placed)


def codes_of(line: Timeline, backgrounds: Backgrounds, codebooks: int, rng: random.Random) -> np.ndarray:
    """The codes of a conversation of `EncodedUtterance`s, int16 [2, Q, T]."""
    frames = frames_of(line.seconds)
    codes_CQT = np.full((2, codebooks, frames), -1, np.int16)
    agent_QT = _stretch(backgrounds.agent, frames, rng)
    user_QT = _stretch(backgrounds.rooms, frames, rng)
    for start, end in line.noises:
        first, last = frames_of(start), min(frames, frames_of(end))
        user_QT[:, first:last] = _stretch(backgrounds.noises, last - first, rng)
    # In this order, so that the silence after one utterance does not hide the beginning of the next.
    for placed in sorted(line.placed, key=lambda placed: placed.start):
        assert isinstance(placed.utterance, EncodedUtterance)
        row_QT, at = agent_QT if placed.role == "agent" else user_QT, frames_of(placed.start)
        part_QT = placed.utterance.codes_QT[:, : max(0, frames - at)]
        if placed.kind == "lost":
            part_QT = _stretch(backgrounds.drowning, part_QT.shape[1], rng)
        row_QT[:, at : at + part_QT.shape[1]] = part_QT
    codes_CQT[0, : len(agent_QT)], codes_CQT[1, : len(user_QT)] = agent_QT, user_QT
    return codes_CQT


def _stretch(kinds: list[np.ndarray], frames: int, rng: random.Random) -> np.ndarray:
    """So many frames of one of these, [Q, frames], from anywhere in it on, and round again."""
    codes_QT = rng.choice(kinds)
    return codes_QT[:, (rng.randrange(codes_QT.shape[1]) + np.arange(frames)) % codes_QT.shape[1]]
