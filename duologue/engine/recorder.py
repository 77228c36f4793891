"""Conversations on disk: both voices as a stereo recording, the words with their times, and a trace that replays.

A separate thread writes: a slow or full disk costs the recording, never the conversation.
"""

import contextlib
import json
import logging
import os
import queue
import threading
from dataclasses import asdict
from itertools import count
from pathlib import Path
from typing import IO, Any

import numpy as np
import soundfile

from duologue.audio.activity import rms_of
from duologue.engine.backend import TorchBackend
from duologue.engine.session import AgentFrame
from duologue.engine.words import UserWords, Words, transcript
from duologue.errors import InputError
from duologue.lm.sampling import Sampling
from duologue.lm.tokenizer import Tokenizer
from duologue.weights import Model

log = logging.getLogger(__name__)

WAITING_FRAMES = 500  # frames of all conversations that may wait for the disk: 40 s of one
# The trace is created first and renamed last, so it exists while any hidden file does; its writer locks it.
TRACE = ".trace.jsonl"
SUFFIXES = (".wav", ".json", TRACE)


class Recorder:
    """Writes conversations into a folder, three files each: NAME.wav (left the agent, right the user), NAME.json (its
    words) and NAME.trace.jsonl (a header, then `[text, *agent, *user]` tokens a frame, after
    `{"dictated": token}` where the text was dictated). They get their names when the
    conversation has ended; a name that exists gets a number. Only the owner may read them. The next recorder removes
    the unfinished files of one that was killed. Raises InputError if the folder cannot be written."""

    def __init__(self, folder: Path, tokenizer: Tokenizer, sample_rate: int):
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            (folder / ".duologue").touch()
            (folder / ".duologue").unlink()
            _remove_unfinished(folder)
        except OSError as error:
            raise InputError(f"cannot record in {folder}: {error.strerror}") from None
        self.folder, self.tokenizer, self.sample_rate = folder, tokenizer, sample_rate
        self._queue: queue.Queue = queue.Queue(WAITING_FRAMES)
        self._thread = threading.Thread(target=self._run, name="duologue-recorder", daemon=True)
        self._thread.start()

    def track(self, name: str, model: str, sampling: Sampling) -> "Track":
        """Start recording a conversation."""
        return Track(self, name, {"model": model, "sampling": asdict(sampling)})

    def put(self, task, *arguments) -> bool:
        try:
            self._queue.put_nowait((task, arguments))
        except queue.Full:
            return False
        return True

    def close(self) -> None:
        """Wait until everything is written."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            task, arguments = item
            try:
                task(*arguments)
            except Exception:
                log.exception("a recording failed")


class Track:
    """The recording of one conversation: call it for every frame (it is the `sink` of a session), then `close`."""

    def __init__(self, recorder: Recorder, name: str, header: dict[str, Any]):
        self._recorder, self._name, self._header = recorder, name, header
        self._words, self._user = Words(recorder.tokenizer), UserWords(recorder.tokenizer)
        self._wav: soundfile.SoundFile | None = None
        self._trace: IO[str] | None = None
        self._before_S = np.zeros(0, np.float32)
        self._frames = 0
        self._closed = False
        self.failed = False
        self.played: int | None = None  # how many of the agent's frames the user has heard; None: all

    def __call__(
        self, user_S: np.ndarray, said: AgentFrame, heard_Q: np.ndarray, tokens_K: np.ndarray
    ) -> None:
        if not self._recorder.put(self._guarded, self._write, user_S, said, heard_Q, tokens_K):
            self._give_up("the disk is too slow")

    def close(self) -> None:
        if not self._recorder.put(self._guarded, self._finish):
            self._give_up("the disk is too slow")

    def _guarded(self, task, *arguments) -> None:
        if self.failed:
            self._discard()
            return
        try:
            task(*arguments)
        except (OSError, soundfile.SoundFileError) as error:
            self._give_up(str(error))
            self._discard()

    def _give_up(self, why: str) -> None:
        if not self.failed:
            log.error("the recording of %s is given up: %s", self._name, why)
        self.failed = True

    def _path(self, suffix: str, partial: bool) -> Path:
        return self._recorder.folder / f"{'.' if partial else ''}{self._name}{suffix}"

    def _write(self, user_S: np.ndarray, said: AgentFrame, heard_Q: np.ndarray, tokens_K: np.ndarray) -> None:
        if self._closed:  # a step was running when the conversation ended
            return
        if self._wav is None or self._trace is None:
            self._trace = self._claim()
            self._trace.write(json.dumps(self._header) + "\n")
            self._wav = soundfile.SoundFile(
                _create(self._path(".wav", True)), "w", self._recorder.sample_rate, 2, "PCM_16", format="WAV"
            )
            self._before_S = np.zeros_like(user_S)
        # The agent's answer to a frame is played during the next one.
        self._wav.write(np.stack([self._before_S, user_S], 1))
        self._before_S = said.wav_S
        if said.dictated >= 0:
            self._trace.write(json.dumps({"dictated": said.dictated}) + "\n")
        self._trace.write(json.dumps([*tokens_K.tolist(), *heard_Q.tolist()]) + "\n")
        self._words.push(said.frame, said.token, rms_of(said.wav_S))
        self._user.push(said.frame, said.user_token, rms_of(user_S))
        self._frames += 1

    def _claim(self) -> IO[str]:
        """The trace of a name that no other recording has or has reserved."""
        wanted = self._name
        for number in count(2):
            with contextlib.suppress(FileExistsError):
                file = os.fdopen(_create(self._path(TRACE, True)), "w")
                _lock(file)
                if not self._path(TRACE, False).exists():
                    return file
                self._path(TRACE, True).unlink()
                file.close()
            self._name = f"{wanted}-{number}"
        raise AssertionError("unreachable")

    def _finish(self) -> None:
        self._closed = True
        if self._wav is None or self._trace is None:
            return
        self._wav.close()
        if self.played is not None:
            self._words.forget_after(self.played)
        report = self._header | {"frames": self._frames} | transcript(self._words, self._user)
        with os.fdopen(_create(self._path(".json", True)), "w") as file:
            file.write(json.dumps(report, indent=2, ensure_ascii=False) + "\n")
        self._trace.flush()
        for suffix in SUFFIXES:
            self._path(suffix, True).replace(self._path(suffix, False))
        self._trace.close()

    def _discard(self) -> None:
        if self._wav is not None:
            self._wav.close()
        if self._trace is not None:
            self._trace.close()
        self._wav = self._trace = None
        for suffix in SUFFIXES:
            self._path(suffix, True).unlink(missing_ok=True)


def _create(path: Path) -> int:
    """Create a file that only its owner may read."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)


def _lock(file: IO[str]) -> bool:
    """Lock a file until this process ends; returns whether nobody else held the lock."""
    if os.name != "posix":
        return False
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _remove_unfinished(folder: Path) -> None:
    """Remove the files of recorders that were killed, not those of running ones."""
    removed = 0
    for trace in folder.glob(f".*{TRACE}"):
        with trace.open() as file:
            if _lock(file):
                removed += 1
                for suffix in SUFFIXES:
                    trace.with_name(trace.name.removesuffix(TRACE) + suffix).unlink(missing_ok=True)
    if removed:
        log.warning("removed %d unfinished recordings of a server that was killed", removed)


def replay(model: Model, trace: Path) -> tuple[np.ndarray, np.ndarray]:
    """Replay the conversation of a trace: the recorded tokens and those of now, `[T, 1 + Q]` each. Raises InputError if
    the trace is damaged."""
    try:
        header, *lines = [json.loads(line) for line in trace.read_text().splitlines()]
        sampling = Sampling(**header["sampling"])
        rows, dictated = _frames_of(lines)
        rows_TK = np.array(rows, np.int64)
        spoken = 1 + model.lm.config.spoken
        if rows_TK.ndim != 2 or rows_TK.shape[1] != spoken + model.lm.config.heard:
            raise ValueError(f"its frames do not fit the model {model.name}")
        if rows_TK.min(initial=0) < -2 or rows_TK[:, spoken:].max(initial=0) > model.lm.config.card:
            raise ValueError("it has tokens outside the model's vocabulary")
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise InputError(f"{trace} is not a trace of this model: {error}") from None
    backend, alone = TorchBackend(model), np.ones(1, bool)
    backend.start({0: sampling})
    backend.step(np.zeros((1, backend.frame_size), np.float32), alone)
    now = []
    for frame, row_K in enumerate(rows_TK):
        token = dictated.get(frame)
        rewrite = None if token is None else lambda _, token=token: np.array([token])
        now.append(backend.step_codes(row_K[None, spoken:], alone, rewrite).tokens_BK[0])
    return rows_TK[:, :spoken], np.array(now)


def _frames_of(lines: list) -> tuple[list, dict[int, int]]:
    """The rows of a trace, and the text tokens that were dictated, by their frame."""
    rows, dictated = [], {}
    for line in lines:
        if isinstance(line, dict):
            dictated[len(rows)] = int(line["dictated"])
        else:
            rows.append(line)
    return rows, dictated
