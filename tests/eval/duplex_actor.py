"""A scripted agent that stands in for a model, and clips of tones whose loudness tells which sentence they are."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

import duologue
from duologue.audio.activity import loud
from duologue.data.script import Script
from duologue.data.split import valid_phrasing
from duologue.data.voices import SAMPLE_RATE, read_index, write_clip
from duologue.eval.duplex_play import Spoken
from duologue.eval.duplex_scenes import ClipLibrary
from duologue.lm.tokenizer import Tokenizer

FRAME = 1920
TOKENIZER = Tokenizer(Path(duologue.__file__).parent / "assets" / "tiny" / "tokenizer.model")
PAD = 3
LONG_ANSWERS = (
    "Once upon a time a little fox found a silver bell in the snow and rang it for all of the lost animals.",
    "There was an old keeper of a tower who sang to the waves so that all ships could find their way home.",
)


def unheard_item(prefix: str) -> str:
    """The id of an item whose second phrasing is held out."""
    return next(f"{prefix}-{n:03d}" for n in range(100) if valid_phrasing(f"{prefix}-{n:03d}", 1))


TWICE = unheard_item("plus")
ITEMS = [
    {"id": TWICE, "user": ["What is one plus one?", "How much is that?"], "moshi": "One plus one is two."},
    {"id": "plus-901", "user": ["What is one plus two?"], "moshi": "One plus two is three."},
    {"id": "plus-902", "user": ["What is one plus three?"], "moshi": "One plus three is four."},
    {"id": "plus-903", "user": ["What is one plus four?"], "moshi": "One plus four is five."},
    {"id": "long-900", "user": ["Tell me a story."], "moshi": LONG_ANSWERS[0]},
    {"id": "long-901", "user": ["Tell me another story."], "moshi": LONG_ANSWERS[1]},
    {"id": "talk-900", "user": ["Stop."], "moshi": "Okay."},
]  # fmt: skip
HUMS = ("Mm-hm.", "Uh-huh.")
SAID = [text for item in ITEMS for text in item["user"]] + list(HUMS)
ANSWERS = {text: item["moshi"] for item in ITEMS for text in item["user"]}


def level(text: str) -> float:
    """How loud a sentence of the user is: no two are the same."""
    return 0.1 + 0.04 * SAID.index(text)


def sentence(peak: float) -> str:
    """The sentence of this loudness."""
    return min(SAID, key=lambda text: abs(level(text) - peak))


def tone(seconds: float, peak: float) -> np.ndarray:
    return (peak * np.sin(2 * np.pi * 300 * np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE)).astype(
        np.float32
    )


def frames_of(text: str, peak: float = 0.3) -> list[tuple[np.ndarray, int]]:
    """The agent's frames of a sentence: a tone for each word, its tokens from its first frame on."""
    frames = []
    for word in text.split():
        tokens = TOKENIZER.encode(word)
        wav_S = np.zeros((max(3, len(tokens)), FRAME), np.float32)
        wav_S.reshape(-1)[: wav_S.size - 960] = tone(wav_S.size / SAMPLE_RATE, peak)[: wav_S.size - 960]
        tokens = tokens + [PAD] * (len(wav_S) - len(tokens))
        frames += list(zip(wav_S, tokens, strict=True))
    return frames


def make_clips(folder: Path, voices: tuple[str, ...] = ("af_river", "af_bella")) -> None:
    """Clips of the agent and of users, as the corpus has them."""
    for item in ITEMS:
        wav_S = np.concatenate([frame for frame, _ in frames_of(item["moshi"])])
        row = {"key": f"moshi/{item['id']}", "id": item["id"], "role": "moshi", "text": item["moshi"]}
        write_clip(folder / "agent", item["id"], wav_S, row | {"voice": "af_heart"})
    for voice in voices:
        named = [
            (f"{item['id']}-{k}", item["id"], text) for item in ITEMS for k, text in enumerate(item["user"])
        ]
        named += [(f"backchannel-{k}", "backchannel", text) for k, text in enumerate(HUMS)]
        for name, item_id, text in named:
            words, pieces, now = [], [np.zeros(1440, np.float32)], 0.06
            for word in text.split():
                pieces += [tone(0.25, level(text)), np.zeros(1200, np.float32)]
                words.append([word, now, now + 0.25])
                now += 0.3
            row = {"key": f"user/{voice}/{name}", "id": item_id, "role": "user", "text": text, "voice": voice}
            write_clip(folder / f"user-{voice}", name, np.concatenate(pieces), row | {"words": words})


def make_library(folder: Path) -> ClipLibrary:
    """A library of such clips, written to `folder`, with a voice that is in training beside one that is not."""
    import json

    make_clips(folder / "clips")
    (folder / "script.jsonl").write_text("".join(json.dumps(item) + "\n" for item in ITEMS))
    rows = [row for place in sorted((folder / "clips").iterdir()) for row in read_index(place)]
    speech = [np.random.default_rng(0).normal(0, 0.1, 24_000).astype(np.float32)]
    return ClipLibrary.of(rows, Script.read(folder / "script.jsonl"), speech=speech)


@dataclass
class Manner:
    """How the actor behaves: times in frames."""

    delay: int = 2
    """Silent frames of the user's after which it answers; None never."""
    stop: int | None = 2
    """Sounding frames of the user's after which it falls silent."""
    minds_hums: bool = False
    """Falls silent at a backchannel too, and answers nothing."""
    eager: int | None = None
    """Sounding frames after which it answers without waiting for the end."""
    mute: bool = False
    answers: dict[str, str] = field(default_factory=lambda: dict(ANSWERS))
    until: int = 10**9
    """From this frame on it answers wrongly."""
    afraid: bool = False
    """Takes noise for a question."""
    misses: int = 0
    """Words of the user's that it does not write down."""
    cough: int | None = None
    """A frame in which it makes a sound for no reason."""


@dataclass
class _Slot:
    frame: int = 0
    queue: list[tuple[np.ndarray, int]] = field(default_factory=list)
    heard: list[int] = field(default_factory=list)
    peak: float = 0.0
    sounding: int = 0
    silent: int = 0


class Actor:
    """Answers questions after `Manner`, for as many slots as one likes."""

    def __init__(self, manner: Manner, slots: int = 4):
        self.manner, self.slots, self.frame_size, self.tokenizer = manner, slots, FRAME, TOKENIZER
        self._slots: dict[int, _Slot] = {}
        self.seeds: list[int] = []

    def start(self, seeds: dict[int, int]) -> None:
        self.seeds += seeds.values()
        self._slots |= {slot: _Slot(-1) for slot in seeds}

    def step(self, wav_BS: np.ndarray, exec_B: np.ndarray) -> Spoken:
        out_BS, text_B = np.zeros_like(wav_BS), np.full(self.slots, PAD)
        user_text_B = np.full(self.slots, PAD)
        for slot in np.flatnonzero(exec_B).tolist():
            out_BS[slot], text_B[slot], user_text_B[slot] = self._one(self._slots[slot], wav_BS[slot])
        return Spoken(out_BS, text_B, user_text_B)

    def _one(self, slot: _Slot, frame_S: np.ndarray) -> tuple[np.ndarray, int, int]:
        slot.frame += 1
        if slot.frame == 0:
            assert not frame_S.any(), "the first frame is silence"
            return np.ones_like(frame_S), 0, PAD  # void
        how, sounds = self.manner, loud(frame_S)
        heard = slot.heard.pop(0) if slot.heard else PAD
        if sounds:
            slot.peak, slot.sounding, slot.silent = (
                max(slot.peak, float(np.abs(frame_S).max())),
                slot.sounding + 1,
                0,
            )
        elif slot.peak:
            slot.silent += 1
        backchannels = slot.peak and sentence(slot.peak) in HUMS
        if (
            slot.queue
            and how.stop is not None
            and slot.sounding >= how.stop
            and (not backchannels or how.minds_hums)
        ):
            slot.queue = []
        over = slot.peak and slot.silent >= how.delay
        eager = how.eager is not None and slot.sounding == how.eager
        if over or eager:
            text = SAID[0] if how.afraid else sentence(slot.peak)
            clean = how.afraid or abs(level(text) - slot.peak) < 0.01
            if not slot.queue and text not in HUMS and clean and not how.mute:
                said = how.answers[text] if slot.frame < how.until else "One plus one is nine."
                slot.queue = frames_of(said)
            if over:
                words = text.split()[how.misses :]
                slot.heard += [token for word in words for token in TOKENIZER.encode(word)]
                slot.peak, slot.sounding, slot.silent = 0.0, 0, 0
        if how.cough == slot.frame:
            return tone(0.08, 0.2), PAD, heard
        return (*slot.queue.pop(0), heard) if slot.queue else (np.zeros_like(frame_S), PAD, heard)
