"""Speech recognition and synthesis with nano, or another model.

    python -m benchmarks.speech hear --clips FOLDER --whisper WHISPER     # word errors, beside Whisper's
    python -m benchmarks.speech say --whisper WHISPER                     # word errors on 100 sentences; first sound
    python -m benchmarks.speech both --whisper WHISPER                    # what it hears of what it said
    python -m benchmarks.speech delay --clips FOLDER                      # from a word's end to its text
    python -m benchmarks.speech streams                                   # how many at once
    python -m benchmarks.speech computed                                  # how many of a published model on an H100

FOLDER holds recordings and beside each a .json with its "text" (for `delay` also "words": [[word, start, end], ...], as
`duologue data align` writes them); WHISPER is a Whisper model for CTranslate2.
"""

import argparse
import difflib
import itertools
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from duologue.audio.files import read_mono
from duologue.config import LMConfig
from duologue.engine.recognise import Recogniser
from duologue.engine.speak import Synthesiser
from duologue.engine.words import FRAME_SECONDS
from duologue.eval.speech import Recognizer, word_error_rate
from duologue.lm import LM, Sampling
from duologue.lm.condition import Condition
from duologue.lm.step import init_state, step
from duologue.spoken_text import spoken_words
from duologue.weights import load
from duologue.weights.published import model_config
from tests.weights import published

SENTENCES = Path(__file__).with_name("sentences.txt").read_text().splitlines()
RATE = 24_000


def clips(folder: Path, count: int, key: str = "text") -> tuple[list[np.ndarray], list[Any]]:
    """Every so many-th recording that has a text (or another `key`), so that all readers are heard."""
    rows = []
    for path in sorted(folder.glob("*.json")):
        value = json.loads(path.read_text()).get(key)
        sound = next((p for p in path.parent.glob(f"{path.stem}.*") if p.suffix != ".json"), None)
        if value and sound:
            rows.append((sound, value))
    if not rows:
        raise SystemExit(f"{folder} has no recordings with a .json that has {key!r}")
    rows = rows[:: max(1, len(rows) // count)][:count]
    return [read_mono(sound) for sound, _ in rows], [value for _, value in rows]


def heard(recogniser: Recogniser, recordings: Sequence[np.ndarray]) -> list[str]:
    texts = {}
    hearings = [recogniser.open() for _ in recordings]
    for hearing, wav_S in zip(hearings, recordings, strict=True):
        hearing.push(wav_S)
        hearing.finish()
        texts[id(hearing)] = ""
    while recogniser.busy:
        for hearing, one in recogniser.tick():
            texts[id(hearing)] += one.text
    return [texts[id(hearing)].strip() for hearing in hearings]


def said(synthesiser: Synthesiser, text: str) -> tuple[np.ndarray, float]:
    """The sound of a text, and the seconds until the first of it came."""
    utterance, began, first, wavs = synthesiser.open(), time.perf_counter(), 0.0, []
    utterance.push(text)
    utterance.finish()
    while not utterance.ended:
        for _, spoken in synthesiser.tick():
            first = first or time.perf_counter() - began
            wavs.append(spoken.wav_S)
    return np.concatenate(wavs), first


def hear(options: argparse.Namespace) -> None:
    recogniser, whisper = Recogniser(load(options.model), options.slots), Recognizer(options.whisper)
    for folder in options.clips:
        wavs, texts = clips(folder, options.count)
        ours, theirs = heard(recogniser, wavs), [whisper(wav_S) for wav_S in wavs]
        if options.show:
            print(*(f"  {a}\n  -> {b}" for a, b in zip(texts, ours, strict=True)), sep="\n")
        rates = (100 * word_error_rate(texts, one) for one in (ours, theirs))
        print(
            f"{folder.name}: {len(texts)} clips, words wrong: {options.model} {{:.1f}} %, Whisper {{:.1f}} %".format(
                *rates
            )
        )


def say(options: argparse.Namespace) -> None:
    synthesiser = Synthesiser(load(options.model))
    said(synthesiser, "Hello.")  # the first lays out the weights
    spoken = [said(synthesiser, text) for text in options.texts]
    wavs, firsts = [wav_S for wav_S, _ in spoken], [first for _, first in spoken]
    report(options, "Whisper", list(map(Recognizer(options.whisper), wavs)))
    median, worst = np.median(firsts), max(firsts)
    print(f"first sound after {1000 * median:.0f} ms in the middle, {1000 * worst:.0f} ms at worst")


def both(options: argparse.Namespace) -> None:
    model = load(options.model)
    synthesiser = Synthesiser(model)
    wavs = [said(synthesiser, text)[0] for text in options.texts]
    report(options, options.model, heard(Recogniser(model, options.slots), wavs))
    if options.whisper:
        report(options, "Whisper", list(map(Recognizer(options.whisper), wavs)))


def delay(options: argparse.Namespace) -> None:
    """How long after its end a word is written, if sound comes at the rate at which it is spoken: frames that had to be
    heard, and what a step takes."""
    recogniser = Recogniser(load(options.model))
    limit = recogniser.config.delay + FRAME_SECONDS
    for folder in options.clips:
        waits, steps = [], []
        for wav_S, words in zip(*clips(folder, options.count, "words"), strict=True):
            written = arrivals(recogniser, wav_S, steps)
            ends = [(word, end) for text, _, end in words for word in spoken_words(text)]
            pairs = difflib.SequenceMatcher(None, [w for w, _ in ends], [w for w, _ in written], False)
            for true, ours, size in pairs.get_matching_blocks():
                waits += [written[ours + k][1] - ends[true + k][1] for k in range(size)]
        if not waits:
            raise SystemExit(f"{folder.name}: {options.model} hears none of the words right")
        middle, late = np.percentile(waits, [50, 90])
        print(
            f"{folder.name}: {len(waits)} words heard right, written {middle:.2f} s after their end in the middle, "
            f"{late:.2f} s nine of ten times; {100 * np.mean(np.array(waits) <= limit):.0f} % within {limit:.2f} s "
            f"(the model's delay and a frame); a step takes {1000 * np.median(steps):.0f} ms"
        )


def arrivals(recogniser: Recogniser, wav_S: np.ndarray, steps: list[float]) -> list[tuple[str, float]]:
    """The words of a recording, and when the last letter of each was written, in seconds of the recording."""
    hearing, frames, letters = recogniser.open(), 0, []
    hearing.push(wav_S)
    hearing.finish()
    while recogniser.busy:
        began, frames = time.perf_counter(), frames + 1
        pieces = [heard.text for _, heard in recogniser.tick()]
        steps.append(time.perf_counter() - began)
        now = frames * FRAME_SECONDS - hearing.config.prefix
        letters += [(letter, now) for piece in pieces for letter in piece]
    found = []
    for blank, group in itertools.groupby(letters, lambda letter: letter[0].isspace()):
        word = list(group)
        if not blank:
            found += [(part, word[-1][1]) for part in spoken_words("".join(letter for letter, _ in word))]
    return found


def report(options: argparse.Namespace, who: str, texts: list[str]) -> None:
    if options.show:
        print(*(f"  {a}\n  -> {b}" for a, b in zip(options.texts, texts, strict=True)), sep="\n")
    rate = 100 * word_error_rate(options.texts, texts)
    print(f"{len(texts)} sentences said by {options.model}: {who} hears {rate:.1f} % of the words wrong")


def streams(options: argparse.Namespace) -> None:
    """The largest number of which each still takes a frame in 80 ms, nine of ten times."""
    model = load(options.model)
    for name, busy in (("recordings heard", hearing), ("texts spoken", speaking)):
        held = 0
        for slots in (1, 2, 4, 6, 8, 12, 16, 24, 32):
            times = busy(model, slots)
            late = np.percentile(times, 90)
            print(
                f"{slots} {name}: {1000 * np.median(times):.1f} ms a frame, {1000 * late:.1f} ms nine of ten times"
            )
            if late > 0.08:
                break
            held = slots
        print(f"{name} at once: {held}")


H100 = 80e9, 3.35e12  # bytes of memory, and bytes a second
SHARE = 0.6  # of that bandwidth which a step is taken to reach


def computed(_: argparse.Namespace) -> None:
    """By the bytes that a step moves, in bfloat16: the weights, as a step of the whole shape (without values) reads
    them, and every stream's keys and values. Not run: what starting many small operations costs is not in it."""
    print(
        "| | weights of a step | a stream's state | streams in 80 GB | ms a step then |\n|---|---|---|---|---|"
    )
    for name in ("STT_1B", "STT_2_6B", "TTS_1_6B", "TTS_0_75B"):
        weights, resident, state = bytes_of(model_config(getattr(published, name)).lm)
        streams = int((0.95 * H100[0] - resident) / state)
        seconds = (weights + streams * state) / (SHARE * H100[1])
        most = min(streams, int((0.08 * SHARE * H100[1] - weights) / state))
        print(f"| {name} | {weights / 1e9:.1f} GB | {state / 1e6:.0f} MB | {most} | {1000 * seconds:.0f} |")


def bytes_of(config: LMConfig) -> tuple[float, float, float]:
    """Of the weights that a step reads, of all weights, and of a stream's state (codec not counted)."""
    told = None
    with torch.device("meta"):
        lm = LM(config).to("meta", torch.bfloat16)
        if config.conditioning.conditioners:
            room = torch.zeros(1, 625 if config.conditioning.crossed else 1, config.temporal.dim)
            told = Condition(room[:, :1], room)
        state = init_state(lm, [Sampling.greedy()], told)
        with WeightReads(lm) as reads:
            step(lm, state, torch.zeros(1, config.heard, dtype=torch.int64))
    return float(reads.bytes), float(sum(weight.nbytes for weight in lm.parameters())), float(state.nbytes())


class WeightReads(TorchDispatchMode):
    """Counts the bytes of weights that operations read: of a table of embeddings, the rows that are taken."""

    def __init__(self, lm: LM):
        super().__init__()
        self._weights = {StorageWeakRef(weight.untyped_storage()) for weight in lm.parameters()}
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for value in args if not func.is_view else ():
            if isinstance(value, torch.Tensor) and StorageWeakRef(value.untyped_storage()) in self._weights:
                self.bytes += out.nbytes if func is torch.ops.aten.embedding.default else value.nbytes
        return out


def hearing(model, slots: int, frames: int = 40) -> list[float]:
    recogniser, rng = Recogniser(model, slots), np.random.default_rng(0)
    for _ in range(slots):
        recogniser.open().push((0.1 * rng.standard_normal(1920 * (frames + 10))).astype(np.float32))
    return timed(lambda: list(recogniser.tick()), frames)


def speaking(model, slots: int, frames: int = 40) -> list[float]:
    synthesiser = Synthesiser(model, slots)
    for _, text in zip(range(slots), itertools.cycle(SENTENCES), strict=False):
        utterance = synthesiser.open()
        utterance.push(f"{text} {text} {text} {text}")
        utterance.finish()
    return timed(synthesiser.tick, frames)


def timed(tick: Callable[[], object], frames: int) -> list[float]:
    for _ in range(5):
        tick()
    times = []
    for _ in range(frames):
        began = time.perf_counter()
        tick()
        times.append(time.perf_counter() - began)
    return times


def sentences(path: Path | None, count: int) -> list[str]:
    """Of a script every so many-th answer."""
    if path is None:
        return SENTENCES[:count]
    lines = path.read_text().splitlines()
    if path.suffix == ".jsonl":
        lines = [json.loads(line)["moshi"] for line in lines][:: max(1, len(lines) // count)]
    return lines[:count]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["hear", "say", "both", "delay", "streams", "computed"])
    parser.add_argument("--model", default="nano")
    parser.add_argument("--clips", type=Path, nargs="*", default=[])
    parser.add_argument("--whisper")
    parser.add_argument(
        "--sentences", type=Path, help="one a line, or answers of a script (.jsonl), in place of the hundred"
    )
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--slots", type=int, default=4)
    parser.add_argument("--show", action="store_true", help="print the texts")
    options = parser.parse_args()
    options.texts = sentences(options.sentences, options.count)
    verbs = {"hear": hear, "say": say, "both": both, "delay": delay, "streams": streams, "computed": computed}
    verbs[options.what](options)


if __name__ == "__main__":
    main()
