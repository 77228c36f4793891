"""When each word is spoken: forced alignment of known text, word timestamps of unknown text, both by Whisper.

`WhisperAligner` does one utterance or channel; the stages apply it to conversations (`Align`) and to folders of clips
(`AlignClips`).
"""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import soxr

from duologue.audio.activity import voiced, voiced_span
from duologue.audio.files import read_audio
from duologue.data.fingerprint import fingerprint
from duologue.data.manifest import Row, Transcript, read_transcript, sidecar, write_transcript
from duologue.data.voices import SAMPLE_RATE, read_clip
from duologue.errors import InputError
from duologue.files import atomic_write
from duologue.types import AGENT, USER, Word

RATE = 16_000
WINDOW_SECONDS = 30.0  # the longest sound Whisper hears at once
TICK_SECONDS = 0.02  # the resolution of its times


def snap(words: list[Word], wav_S: np.ndarray) -> list[Word]:
    """Move word edges that lie in silence to the nearest sound."""
    heard = voiced(wav_S)
    snapped = []
    for word in words:
        inside = np.flatnonzero(heard[round(word.start * 100) : round(word.end * 100)])
        if inside.size:
            base = round(word.start * 100)
            start, end = (base + int(inside[0])) / 100, (base + int(inside[-1]) + 1) / 100
            word = Word(word.text, start, end, word.speaker)
        snapped.append(word)
    return snapped


def spread(text: str, wav_S: np.ndarray) -> list[Word]:
    """An estimate without a model: words share the audible part of the clip in proportion to their letters."""
    parts = text.split()
    start, end = voiced_span(wav_S)
    edges = np.cumsum([0, *(len(part) + 1 for part in parts)]) / max(1, sum(len(part) + 1 for part in parts))
    times = start + (end - start) * edges
    return [Word(part, float(times[k]), float(times[k + 1])) for k, part in enumerate(parts)]


class WhisperAligner:
    """Whisper in CTranslate2 format: alignment of a known text, and transcription with times."""

    def __init__(self, folder: str | Path, language: str = "en", device: str = "cpu", threads: int = 1):
        try:
            import ctranslate2
            from faster_whisper import WhisperModel
            from faster_whisper.tokenizer import Tokenizer
        except ImportError:
            raise InputError("alignment needs faster-whisper: pip install duologue[data]") from None
        kind = "int8" if device == "cpu" else "float16"
        self._whisper = WhisperModel(str(folder), device=device, compute_type=kind, cpu_threads=threads)
        self._view = ctranslate2.StorageView
        multilingual = self._whisper.model.is_multilingual
        self._tokenizer = Tokenizer(
            self._whisper.hf_tokenizer,
            multilingual,
            task="transcribe",
            language=language if multilingual else "en",
        )
        self._language = language

    def known(self, wav_S: np.ndarray, text: str) -> list[Word]:
        """Words of `text` (as written, punctuation attached) in a sound of at most 30 s at 24 kHz."""
        if len(wav_S) > WINDOW_SECONDS * SAMPLE_RATE:
            raise InputError(
                f"forced alignment takes 30 s at a time, this is {len(wav_S) / SAMPLE_RATE:.1f} s"
            )
        tokens = self._tokenizer.encode(" " + text.strip())
        if not tokens:
            return []
        best: list[Word] = []
        # A short window is fast, but alignment sometimes fails in it: mostly, a second of silence is enough.
        for silence in (0.0, 1.0, WINDOW_SECONDS):
            words = snap(self._align(wav_S, tokens, silence), wav_S)
            if not best or _doubtful(words) < _doubtful(best):
                best = words
            if _doubtful(best) == 0:
                break
        best = best if _doubtful(best) <= 0.3 * len(best) else spread(text, wav_S)
        # Training would drop a word without length.
        return [replace(word, end=max(word.end, word.start + TICK_SECONDS)) for word in best]

    def _align(self, wav_S: np.ndarray, tokens: list[int], silence: float) -> list[Word]:
        """With so many seconds of silence after the sound, as far as the window goes."""
        mel = self._whisper.feature_extractor(soxr.resample(wav_S, SAMPLE_RATE, RATE))[:, :3000]
        frames = mel.shape[1]
        window = min(3000, frames + frames % 2 + round(silence * 100))
        mel = np.pad(mel, ((0, 0), (0, window - frames)))
        states = self._whisper.model.encode(
            self._view.from_array(np.ascontiguousarray(mel[None], np.float32))
        )
        start = self._tokenizer.sot_sequence
        found = self._whisper.model.align(states, start, [tokens], frames, median_filter_width=7)[0]
        path = np.array(found.alignments)  # (token, tick) pairs along the best path
        first = np.flatnonzero(np.diff(path[:, 0], prepend=-1))
        times = [*(path[first, 1] * TICK_SECONDS).tolist(), len(wav_S) / SAMPLE_RATE]
        pieces, groups = self._tokenizer.split_to_word_tokens([*tokens, self._tokenizer.eot])
        edges = np.cumsum([0, *(len(group) for group in groups[:-1])]).clip(max=len(times) - 1)
        pairs = zip(pieces, edges[:-1], edges[1:], strict=False)
        return join_pieces([Word(piece, times[a], times[b]) for piece, a, b in pairs])

    def unknown(self, wav_S: np.ndarray) -> list[Word]:
        """Transcribe a sound of any length at 24 kHz."""
        wav = soxr.resample(wav_S, SAMPLE_RATE, RATE)
        segments, _ = self._whisper.transcribe(
            wav,
            language=self._language,
            word_timestamps=True,
            condition_on_previous_text=False,
            vad_filter=True,
        )
        words = [Word(w.word.strip(), w.start, w.end) for segment in segments for w in segment.words or []]
        return snap([word for word in words if word.text], wav_S)


def _doubtful(words: list[Word]) -> int:
    """How many words are implausibly long or short."""
    return sum(not 0.03 < word.end - word.start < 0.7 + 0.12 * len(word.text) for word in words)


def join_pieces(pieces: list[Word]) -> list[Word]:
    """Pieces as Whisper splits them (" I", "'m", " fine", ",") -> words divided by spaces, as the text is written."""
    words: list[Word] = []
    for piece in pieces:
        sounds = re.search(r"\w", piece.text) is not None
        if words and not piece.text.startswith(" "):
            last = words[-1]
            # After a comma there is silence until the next word; `snap` finds where the sound ends.
            words[-1] = Word(last.text + piece.text, last.start, piece.end, last.speaker)
        elif sounds or words:
            words.append(Word(piece.text.strip(), piece.start, piece.end, piece.speaker))
    return words


class Align:
    """Writes the transcript of conversations: left channel SPEAKER_MAIN, right channel SPEAKER_USER.

    Where a row has "turns" ([{"role", "said", "start", "end"}]), their text is aligned inside these times; other
    channels are transcribed. A recording that has a transcript already is left as it is, unless this stage made it
    ("aligned") and the recording has changed since.
    """

    def __init__(self, aligner: WhisperAligner, both: bool = True):
        self.aligner = aligner
        self.both = both

    def __call__(self, rows: list[Row]) -> list[Row]:
        for row in rows:
            now = fingerprint(Path(row["path"]))
            there = sidecar(row["path"]).exists()
            if not there or read_transcript(row["path"]).extra.get("aligned", now) != now:
                write_transcript(row["path"], Transcript(self._words(row), extra={"aligned": now}))
        return rows

    def _words(self, row: Row) -> list[Word]:
        wav_CS = read_audio(row["path"])
        words = []
        for channel, speaker in enumerate([AGENT, USER][: min(len(wav_CS), 1 + self.both)]):
            role = "agent" if speaker == AGENT else "user"
            if "turns" in row:
                found = self._turns(wav_CS[channel], [turn for turn in row["turns"] if turn["role"] == role])
            else:
                found = self.aligner.unknown(wav_CS[channel])
            words += [Word(word.text, word.start, word.end, speaker) for word in found]
        return words

    def _turns(self, wav_S: np.ndarray, turns: list[dict[str, Any]]) -> list[Word]:
        words = []
        for turn in turns:
            if turn.get("said"):
                start, end = turn["start"] - 0.05, turn["end"] + 0.05
                piece_S = wav_S[max(0, round(start * SAMPLE_RATE)) : round(end * SAMPLE_RATE)]
                words += [word.moved(max(0.0, start)) for word in self.aligner.known(piece_S, turn["said"])]
        return words


class AlignClips:
    """Adds "words" ([[word, start, end], ...]) to the json of ready clips (rows of `voices.read_index`)."""

    def __init__(self, aligner: WhisperAligner):
        self.aligner = aligner

    def __call__(self, rows: list[Row]) -> list[Row]:
        for row in rows:
            place = (Path(row["place"]) / row["file"]).with_suffix(".json")
            clip = json.loads(place.read_text())
            if "words" not in clip and clip.get("text"):
                words = self.aligner.known(read_clip(row), clip["text"])
                clip["words"] = [[word.text, round(word.start, 3), round(word.end, 3)] for word in words]
                with atomic_write(place) as temporary:
                    temporary.write_text(json.dumps(clip))
            row["words"] = clip.get("words")
        return rows
