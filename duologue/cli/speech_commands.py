"""What the verbs `transcribe` and `say` do: from files to files, through the library."""

import codecs
import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from duologue.audio.device import Devices
from duologue.audio.files import audio_writer, check_audio_path, read_mono
from duologue.engine.options import Options
from duologue.engine.prompt import Prompt
from duologue.engine.recognise import Heard, Recogniser
from duologue.engine.speak import Spoken, Synthesiser, Utterance
from duologue.engine.subtitles import as_json, srt, vtt
from duologue.engine.transcribe import Transcript
from duologue.engine.transcribe import transcribe as transcripts_of
from duologue.engine.voices import read_voice
from duologue.engine.words import FRAME_SECONDS
from duologue.errors import InputError
from duologue.files import atomic_write, check_writable
from duologue.types import USER, Word
from duologue.weights import Model, load

SUFFIXES = {"text": ".txt", "words": ".txt", "srt": ".srt", "vtt": ".vtt", "json": ".json"}
AHEAD_SECONDS = 0.5  # seconds of sound that wait to be played


def transcribe(
    sources: Sequence[Path],
    model: str,
    form: str,
    out: Path | None,
    batch: int,
    prompt: tuple[Path | None, str],
    options: Options,
) -> None:
    """Print or write the transcripts of recordings. A single one is printed as it is heard."""
    if len(sources) > 1 and out is None and form in ("srt", "vtt"):
        raise InputError(f"--{form} of several recordings: name a folder for them with --out")
    targets = _targets(sources, out, SUFFIXES[form])
    printed = _Printer(form)
    at_once = len(sources) == 1 and out is None and form in ("text", "words")
    failed = 0

    def on_heard(_: str, heard: Heard) -> None:
        if at_once:
            printed.add(heard)

    opened = load(model, _device())
    told = _prompt(opened, *prompt)
    for i, transcript in enumerate(transcripts_of(opened, sources, batch, options, on_heard, told)):
        if transcript.error is not None:
            if len(sources) == 1:
                raise InputError(transcript.error)
            failed += 1
            print(f"duologue: {transcript.error}", file=sys.stderr)
        elif out is not None:
            with atomic_write(targets[i]) as temporary:
                temporary.write_text(written(transcript, form), encoding="utf-8")
        elif at_once:
            print(end="" if form == "words" else "\n")
        else:
            many = len(sources) > 1 and form in ("text", "words")
            print((f"{transcript.name}: " if many else "") + written(transcript, form), end="", flush=True)
    if failed:
        raise InputError(f"{failed} of {len(sources)} recordings could not be heard to their end")


def written(transcript: Transcript, form: str) -> str:
    """A transcript in one of the forms, with its last line ended."""
    words = transcript.words
    if form == "json":
        pauses = [round(pause, 2) for pause in transcript.pauses]
        report: dict[str, Any] = {
            "file": transcript.name,
            "seconds": round(transcript.seconds, 2),
            "text": transcript.text.strip(),
            "words": as_json(words),
            "pauses": pauses,
        }
        return json.dumps(report, ensure_ascii=False) + "\n"
    if form == "words":
        return "".join(f"{w.start:.2f}\t{w.end:.2f}\t{w.text}\n" for w in words)
    if form in ("srt", "vtt"):
        return srt(words) if form == "srt" else vtt(words)
    return transcript.text.strip() + "\n"


def _prompt(model: Model, audio: Path | None, text: str) -> Prompt | None:
    return None if audio is None else Prompt(read_mono(audio, model.codec_config.sample_rate), text)


def transcribe_live(model: str, form: str, prompt: tuple[Path | None, str], options: Options) -> None:
    """Print what is said into the microphone, until Ctrl-C."""
    if form not in ("text", "words"):
        raise InputError(f"--{form} is for recordings")
    opened = load(model, _device())
    told = _prompt(opened, *prompt)
    recogniser = Recogniser(opened, 1, options)
    hearing, news, lock = recogniser.open(prompt=told), threading.Event(), threading.Lock()
    printed = _Printer(form)

    def on_sound(wav_S: np.ndarray) -> None:
        with lock:
            hearing.push(wav_S)
        news.set()

    with contextlib.suppress(KeyboardInterrupt), Devices(on_sound):
        while hearing.error is None:
            news.wait(0.2)
            news.clear()
            with lock:
                heard = list(recogniser.tick()) if recogniser.busy else []
            for _, one in heard:
                printed.add(one)
    print()
    if hearing.error is not None:
        raise InputError(f"{model}: {hearing.error}")


class _Printer:
    """Prints what is heard as it comes."""

    def __init__(self, form: str):
        self._form, self._begun = form, False

    def add(self, heard: Heard) -> None:
        if self._form == "words":
            for word in heard.words:
                print(f"{word.start:.2f}\t{word.end:.2f}\t{word.text}", flush=True)
        elif heard.text:
            print(heard.text if self._begun else heard.text.lstrip(), end="", flush=True)
            self._begun = True


def _targets(sources: Sequence[Path], out: Path | None, suffix: str) -> list[Path]:
    """A file for each recording; InputError if two would be the same, or the folder cannot be written to."""
    if out is None:
        return []
    if out.exists() and not out.is_dir():
        raise InputError(f"--out names a folder, and {out} is a file")
    targets = [out / (source.stem + suffix) for source in sources]
    if len(set(targets)) < len(targets):
        raise InputError("two recordings have the same name: transcribe them into folders of their own")
    out.mkdir(parents=True, exist_ok=True)
    for target in targets:
        check_writable(target)
    return targets


@dataclass
class _Saying:
    """What was said so far, and when the first of it could be heard."""

    began: float
    words: list[Word] = field(default_factory=list)
    frames: int = 0
    first: float | None = None

    def add(self, spoken: Spoken) -> None:
        if self.first is None:
            self.first = time.perf_counter() - self.began
        self.words += spoken.words
        self.frames += 1


def say(
    text: str | None,
    target: Path | None,
    model: str,
    *,
    voices: Sequence[str],
    speed: float,
    guidance: float | None,
    codebooks: int | None,
    seed: int,
    json_target: Path | None,
    srt_target: Path | None,
    live: bool,
    options: Options,
) -> None:
    """Speak a text into a recording, aloud, or both; without a text, what comes in by the standard input."""
    for path in (json_target, srt_target):
        if path is not None:
            check_writable(path)
    if target is not None:
        check_audio_path(target)
    if text is not None and not text.strip():
        raise InputError("there is nothing to say: the text is empty")
    if text is None and sys.stdin.isatty():
        print("Type what to say; Ctrl-D ends.", file=sys.stderr)
    opened = load(model, _device())
    synthesiser = Synthesiser(opened, 1, options, codebooks, guidance)
    sampling = replace(synthesiser.sampling, seed=seed)
    utterance = synthesiser.open(read_voice(opened, voices), sampling, speed)
    saying, lock = _Saying(time.perf_counter()), threading.Lock()
    rate = opened.codec_config.sample_rate
    with contextlib.ExitStack() as stack:
        channels = synthesiser.config.channels
        writer = stack.enter_context(audio_writer(target, channels, rate)) if target else None
        devices = stack.enter_context(Devices(lambda _: None)) if live else None
        reader = _Text(utterance, lock, turns=len(voices) > 1)
        reader.start(text)
        for spoken in _spoken(synthesiser, utterance, reader, lock):
            saying.add(spoken)
            if writer is not None:
                writer.write(spoken.wav_CS)
            if devices is not None:
                devices.play(spoken.wav_S)
                while devices.waiting > AHEAD_SECONDS:
                    time.sleep(FRAME_SECONDS / 4)
        while devices is not None and devices.waiting > 0:
            time.sleep(FRAME_SECONDS)
        if utterance.error is not None:
            raise InputError(f"{model}: {utterance.error}")
        if not saying.words:
            raise InputError("there is nothing to say: the text has no words")
    _report(saying, opened.name, json_target, srt_target)


def _spoken(
    synthesiser: Synthesiser, utterance: Utterance, reader: "_Text", lock: threading.Lock
) -> Iterator[Spoken]:
    while not utterance.ended:
        with lock:
            spoken = synthesiser.tick() if synthesiser.busy else None
        if spoken is None:
            reader.news.wait(0.2)
            reader.news.clear()
        for _, one in spoken or ():
            yield one


class _Text:
    """Gives an utterance its text, from an argument or as it comes in by the standard input."""

    def __init__(self, utterance: Utterance, lock: threading.Lock, turns: bool):
        self.news = threading.Event()
        self._utterance, self._lock, self._turns = utterance, lock, turns
        self._line_ended = False

    def start(self, text: str | None) -> None:
        if text is not None:
            self._push(text)
            self._utterance.finish()
        else:
            threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        while data := os.read(sys.stdin.fileno(), 1 << 16):
            self._told(lambda data=data: self._push(decoder.decode(data)))
        self._told(self._utterance.finish)

    def _told(self, do: Callable[[], object]) -> None:
        with self._lock:
            do()
        self.news.set()

    def _push(self, text: str) -> None:
        """Line by line where each is a turn; an empty line is none."""
        if not self._turns:
            return self._utterance.push(text)
        for line in text.splitlines(keepends=True):
            if self._line_ended and line.strip():
                self._utterance.turn()
                self._line_ended = False
            self._utterance.push(line)
            self._line_ended = self._line_ended or line.endswith("\n")
        return None


def _report(saying: _Saying, model: str, json_target: Path | None, srt_target: Path | None) -> None:
    if json_target is not None:
        words = as_json(saying.words)
        if len({word.speaker for word in saying.words}) > 1:
            for told, word in zip(words, saying.words, strict=True):
                told["speaker"] = 2 if word.speaker == USER else 1
        report = {
            "model": model,
            "text": " ".join(word.text for word in saying.words),
            "words": words,
            "seconds": round(saying.frames * FRAME_SECONDS, 2),
            "first_sound_ms": round(1000 * (saying.first or 0.0)),
        }
        with atomic_write(json_target) as temporary:
            temporary.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    if srt_target is not None:
        with atomic_write(srt_target) as temporary:
            temporary.write_text(srt(saying.words), encoding="utf-8")


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"
