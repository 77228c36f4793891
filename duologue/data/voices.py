"""Voices for synthetic conversations: text -> speech, behind one small interface.

`Kokoro`, `Piper`, `Espeak` and `PocketTTS` synthesise; `read_index` and `read_clip` read ready clips.  All give mono
float32 at 24 kHz, trimmed to a short silence at both ends, peak below 0.7.
"""

import json
import math
import os
import random
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import soundfile as sf
import soxr

from duologue.audio.containers import Part
from duologue.audio.files import open_part, read_mono
from duologue.data.strict_json import one_line, parse_json, read_json
from duologue.data.tars import members, where_in
from duologue.errors import InputError
from duologue.types import StrPath, Word

SAMPLE_RATE = 24_000
PEAK = 0.7
PAUSES = ".,;:!?—…"


class Voice(Protocol):
    """Anything that speaks. One that also knows when each word is spoken is a `TimedVoice`."""

    def speak(self, text: str, voice: str, speed: float = 1.0) -> np.ndarray:
        """`text` -> mono float32 at 24 kHz, [S].  InputError for a voice or text it cannot speak."""
        ...


@runtime_checkable
class TimedVoice(Protocol):
    """A voice that tells when each word begins and ends. `name` says which it is."""

    name: str

    def say(self, text: str, voice: str, speed: float = 1.0) -> tuple[np.ndarray, list[Word]]:
        """The sound of `Voice.speak`, and its words with their times in seconds."""
        ...


def parse_mixture(voice: str) -> dict[str, float]:
    """ "a:0.5+b:0.5" -> {"a": 0.5, "b": 0.5}; a bare name has weight 1; weights are normalised to sum to 1."""
    weights: dict[str, float] = {}
    for part in voice.split("+"):
        name, _, weight = part.partition(":")
        try:
            weights[name.strip()] = float(weight) if weight else 1.0
        except ValueError:
            raise InputError(f"voice {voice!r}: write a mixture as name:weight+name:weight") from None
    total = sum(weights.values())
    if total <= 0 or min(weights.values()) < 0:
        raise InputError(f"voice {voice!r}: weights must be positive")
    return {name: weight / total for name, weight in weights.items()}


def loud_span(wav_S: np.ndarray, margin: float = 0.06, floor: float = 0.01) -> tuple[int, int] | None:
    """The samples from `margin` seconds before the first loud one to as much after the last; None if none is loud."""
    loud = np.flatnonzero(np.abs(wav_S) > floor)
    if loud.size == 0:
        return None
    pad = int(margin * SAMPLE_RATE)
    return max(int(loud[0]) - pad, 0), min(int(loud[-1]) + pad, len(wav_S))


def tidy(wav_S: np.ndarray, margin: float = 0.06, floor: float = 0.01) -> np.ndarray:
    """Trim silence to `margin` seconds at both ends, fade the edges for 5 ms, and keep the peak below 0.7."""
    span = loud_span(wav_S, margin, floor)
    if span is None:
        return np.zeros(0, np.float32)
    wav_S = wav_S[slice(*span)].astype(np.float32)
    ramp = np.linspace(0, 1, min(SAMPLE_RATE // 200, len(wav_S) // 2), dtype=np.float32)
    wav_S[: len(ramp)] *= ramp
    wav_S[len(wav_S) - len(ramp) :] *= ramp[::-1]
    peak = float(np.abs(wav_S).max())
    return wav_S * (PEAK / peak) if peak > PEAK else wav_S


class Kokoro:
    """Kokoro-82M through onnxruntime, phonemes by espeak-ng; mixtures are weighted means of style vectors.

    `folder` holds model.onnx, vocab.json and voices/*.bin (float32 [510, 1, 256]; row = number of phoneme tokens).
    """

    def __init__(self, folder: str | Path, threads: int = 1):
        self.folder = Path(folder)
        if not (self.folder / "model.onnx").exists():
            raise InputError(f"{folder}: no Kokoro model here (expected model.onnx, vocab.json, voices/)")
        self._session = _session(str(self.folder / "model.onnx"), threads)
        self._vocab: dict[str, int] = json.loads((self.folder / "vocab.json").read_text())["vocab"]
        self._styles: dict[str, np.ndarray] = {}
        self._phonemizers: dict[str, Any] = {}

    def style(self, voice: str, tokens: int) -> np.ndarray:
        """Style vector of a voice or mixture for a text of `tokens` phonemes, [1, 256]."""
        out = np.zeros((1, 256), np.float32)
        for name, weight in parse_mixture(voice).items():
            if name not in self._styles:
                path = self.folder / "voices" / f"{name}.bin"
                if not path.exists():
                    raise InputError(f"unknown Kokoro voice {name!r}: see {self.folder / 'voices'}")
                self._styles[name] = np.fromfile(path, np.float32).reshape(-1, 1, 256)
            rows = self._styles[name]
            out += weight * rows[min(tokens, len(rows) - 1)]
        return out

    def tokens(self, text: str, language: str) -> list[int]:
        """Phoneme ids of a text ("en-us" or "en-gb"), without the zeros at both ends."""
        if language not in self._phonemizers:
            self._phonemizers[language] = _phonemizer(language)
        phonemes = "".join(self._phonemizers[language].phonemize([text]))
        return [self._vocab[c] for c in phonemes.strip() if c in self._vocab]

    def speak(self, text: str, voice: str, speed: float = 1.0) -> np.ndarray:
        weights = parse_mixture(voice)
        main = max(weights, key=lambda name: weights[name])
        ids = self.tokens(text, "en-gb" if main.startswith("b") else "en-us")
        if not 0 < len(ids) <= 508:
            raise InputError(
                f"Kokoro speaks 1 to 508 phonemes at a time, this text has {len(ids)}: {text[:60]!r}"
            )
        feed = {
            "tokens": np.array([[0, *ids, 0]], np.int64),
            "style": self.style(voice, len(ids)),
            "speed": np.array([speed], np.float32),
        }
        return tidy(np.asarray(self._session.run(None, feed)[0]).reshape(-1))


class Piper:
    """A voice of Piper (VITS) through onnxruntime, phonemes by espeak-ng: ten times as fast as Kokoro, one speaker, and
    the durations of its phonemes are the times of its words.

    `folder` holds one voice: NAME.onnx and NAME.onnx.json. A voice "NAME@1.2" has pitch and formants 1.2 times as high,
    as a smaller head has them; the pace stays.
    """

    name = "piper"

    def __init__(self, folder: str | Path, threads: int = 1):
        try:
            import onnx
        except ImportError:
            raise InputError("Piper needs onnx: pip install onnx") from None
        found = sorted(Path(folder).glob("*.onnx"))
        if len(found) != 1:
            raise InputError(
                f"{folder}: {len(found)} voices of Piper here (expected one NAME.onnx, and NAME.onnx.json)"
            )
        config = read_json(found[0].with_name(f"{found[0].name}.json"))
        model = onnx.load(str(found[0]))
        durations = [node.output[0] for node in model.graph.node if node.op_type == "Ceil"]
        if len(durations) != 1:
            raise InputError(f"{found[0]}: no voice of Piper that tells how long its phonemes last")
        model.graph.output.append(onnx.ValueInfoProto(name=durations[0]))  # frames of each phoneme
        self._session = _session(model.SerializeToString(), threads)
        self._ids: dict[str, list[int]] = config["phoneme_id_map"]
        self._rate, self._scales = config["audio"]["sample_rate"], config["inference"]
        self._language, self._phonemizer = config["espeak"]["voice"], None

    def speak(self, text: str, voice: str = "", speed: float = 1.0) -> np.ndarray:
        """As `Voice.speak`."""
        return self.say(text, voice, speed)[0]

    def say(self, text: str, voice: str = "", speed: float = 1.0) -> tuple[np.ndarray, list[Word]]:
        """As `TimedVoice.say`; no words where espeak-ng reads two as one ("of the"), or one as many ("327")."""
        try:
            height = float(voice.partition("@")[2] or 1)
        except ValueError:
            raise InputError(f"voice {voice!r}: write NAME or NAME@1.2") from None
        self._phonemizer = self._phonemizer or _phonemizer(self._language)
        phonemes = [c for c in "".join(self._phonemizer.phonemize([text])).strip() if c in self._ids]
        if not phonemes:
            raise InputError(f"no phoneme to speak in {text[:60]!r}")
        ids = [*self._ids["^"], *self._ids["_"]]
        ends = [len(ids)]
        for phoneme in phonemes:
            ids += (*self._ids[phoneme], *self._ids["_"])
            ends.append(len(ids))
        length = self._scales["length_scale"] / speed * height
        scales = self._scales["noise_scale"], length, self._scales["noise_w"]
        feed = {
            "input": np.array([[*ids, *self._ids["$"]]], np.int64),
            "input_lengths": np.array([len(ids) + len(self._ids["$"])], np.int64),
            "scales": np.array(scales, np.float32),
        }
        wav, frames = (np.asarray(found).reshape(-1) for found in self._session.run(None, feed))
        wav_S = soxr.resample(wav, self._rate * height, SAMPLE_RATE)
        first = (loud_span(wav_S) or (0, 0))[0] / SAMPLE_RATE
        times = np.concatenate([[0], frames.cumsum()])[ends] / frames.sum() * len(wav_S) / SAMPLE_RATE - first
        groups = "".join(phonemes).split(" ")
        words: list[Word] = []
        if all(groups) and len(groups) == len(text.split()):
            at = 0
            for word, group in zip(text.split(), groups, strict=True):
                spoken = max(1, len(group.rstrip(PAUSES)))  # a mark has the length of its pause
                words.append(Word(word, max(0.0, float(times[at])), float(times[at + spoken])))
                at += len(group) + 1
        return tidy(wav_S), words


def _session(model: str | bytes, threads: int) -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise InputError("Kokoro and Piper need onnxruntime: pip install duologue[data]") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(model, options)


def _phonemizer(language: str) -> Any:
    try:
        import espeakng_loader
        from phonemizer.backend import EspeakBackend
        from phonemizer.backend.espeak.wrapper import EspeakWrapper
    except ImportError:
        raise InputError(
            "Kokoro and Piper need phonemizer and espeakng-loader (both GPL-3, so not in any extra): "
            "pip install phonemizer espeakng-loader"
        ) from None
    EspeakWrapper.set_library(espeakng_loader.get_library_path())
    os.environ.setdefault("ESPEAK_DATA_PATH", espeakng_loader.get_data_path())
    return EspeakBackend(language, preserve_punctuation=True, with_stress=True)


class Espeak:
    """The espeak-ng program: robotic, instant, many voices ("en-us+f3"); speed 1 is 170 words a minute."""

    def __init__(self, program: str = "espeak-ng"):
        self.program = program

    def speak(self, text: str, voice: str = "en-us", speed: float = 1.0) -> np.ndarray:
        command = [self.program, "--stdout", "-v", voice, "-s", str(round(170 * speed)), "--", text]
        try:
            out = subprocess.run(command, capture_output=True, check=True).stdout
        except FileNotFoundError:
            raise InputError(f"{self.program} is not installed: apt install espeak-ng") from None
        except subprocess.CalledProcessError as error:
            raise InputError(
                f"{self.program} failed: {error.stderr.decode(errors='replace').strip()}"
            ) from None
        # espeak-ng streams a header of unknown length, so the samples are taken from the bytes after it.
        at = out.find(b"data")
        if at < 0:
            raise InputError(f"{self.program} gave no sound for {text[:60]!r}")
        rate = int.from_bytes(out[24:28], "little")
        body = out[at + 8 :]
        wav_S = np.frombuffer(body[: len(body) // 2 * 2], "<i2").astype(np.float32) / 32768
        return tidy(soxr.resample(wav_S, rate, SAMPLE_RATE))


class Flite:
    """The flite program: robotic in another way, six voices ("kal", "slt"); speed stretches its durations."""

    def __init__(self, program: str = "flite"):
        self.program = program

    def speak(self, text: str, voice: str = "kal", speed: float = 1.0) -> np.ndarray:
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "said.wav"
            options = ["--setf", f"duration_stretch={1 / speed:.3f}", "-voice", voice]
            try:
                subprocess.run(
                    [self.program, *options, "-t", text, "-o", str(out)], capture_output=True, check=True
                )
            except FileNotFoundError:
                raise InputError(f"{self.program} is not installed: apt install flite") from None
            except subprocess.CalledProcessError as error:
                raise InputError(
                    f"{self.program} failed: {error.stderr.decode(errors='replace').strip()}"
                ) from None
            wav_S, rate = sf.read(out, dtype="float32")
        return tidy(soxr.resample(wav_S, rate, SAMPLE_RATE))


class PocketTTS:
    """Kyutai's pocket-tts (its own package): a voice is a built-in name or the path of a prompt recording.

    The package has no speed control, so `speed` resamples, which moves the pitch as well.
    """

    def __init__(self) -> None:
        try:
            from pocket_tts import TTSModel  # pyright: ignore[reportMissingImports]
        except ImportError:
            raise InputError("pip install pocket-tts to use its voices") from None
        self._model = TTSModel.load_model()
        self._states: dict[str, Any] = {}

    def speak(self, text: str, voice: str, speed: float = 1.0) -> np.ndarray:
        if voice not in self._states:
            self._states[voice] = self._model.get_state_for_audio_prompt(voice)
        wav_S = self._model.generate_audio(self._states[voice], text).detach().cpu().numpy().reshape(-1)
        return tidy(soxr.resample(wav_S.astype(np.float32), self._model.sample_rate * speed, SAMPLE_RATE))


SOUNDS = (".opus", ".ogg", ".flac", ".wav")
# What a clip's json may say of it, and as what.
FIELDS: dict[str, Any] = {
    "key": str, "id": str, "role": str, "text": str, "voice": str, "speaker": str, "words": list,
    "seconds": (int, float), "speed": (int, float),
}  # fmt: skip


def read_index(place: StrPath) -> list[dict[str, Any]]:
    """Rows of a folder or tar of clips: the json of each, plus "place" and "file" that `read_clip` needs. A role
    "moshi", as older clips have it, is read as "agent".

    Raises InputError if the tar is damaged, or a clip's json is none or has fields of another kind (`FIELDS`).
    """
    place = Path(place)
    rows: dict[str, dict[str, Any]] = {}
    sounds: dict[str, str] = {}
    if place.is_dir():
        for path in sorted(place.iterdir()):
            if path.suffix == ".json":
                rows[path.stem] = _checked(read_json(path), str(path))
            elif path.suffix in SOUNDS:
                sounds[path.stem] = path.name
    elif place.suffix == ".tar" and place.exists():
        for name, body in members(place, lambda name: name.endswith(".json")):
            stem, suffix = os.path.splitext(name)
            if suffix == ".json":
                rows[stem] = _checked(_parsed(body, place, name), f"{place}, {name[:100]}")
            elif suffix in SOUNDS:
                sounds[stem] = name
    else:
        raise InputError(f"{place}: neither a folder nor a .tar of clips")
    return [
        rows[stem] | {"place": str(place), "file": sounds[stem]} for stem in sorted(rows) if stem in sounds
    ]


def _parsed(body: bytes, place: Path, name: str) -> Any:
    try:
        return parse_json(body)
    except ValueError as error:
        raise InputError(f"{place}, {name[:100]}: no json: {one_line(error)}") from None


def _checked(row: Any, what: str) -> dict[str, Any]:
    """A clip's json, if it is one."""
    if not isinstance(row, dict):
        raise InputError(f"{what} is no clip: expected an object with {', '.join(FIELDS)}")
    for name, kind in FIELDS.items():
        if row.get(name) is not None and not isinstance(row[name], kind):
            raise InputError(f"{what} is no clip: its {name!r} is {json.dumps(row[name])[:80]}")
    try:
        sound = [(str(text), 0 <= start <= end < math.inf) for text, start, end in row.get("words") or []]
        if not all(fine for _, fine in sound):
            raise ValueError
    except (TypeError, ValueError):
        raise InputError(f'{what} is no clip: its "words" must be [[word, start, end], ...]') from None
    return row | {"role": "agent"} if row.get("role") == "moshi" else row


def read_clip(row: dict[str, Any]) -> np.ndarray:
    """Sound of a row of `read_index`: mono float32 at 24 kHz, [S]. Raises InputError if it is damaged or gone."""
    place = Path(row["place"])
    if place.is_dir():
        return read_mono(place / row["file"], SAMPLE_RATE)
    start, end = where_in(place, row["file"])
    return open_part(Part(place, start, end, f"{place}, {row['file']}"), SAMPLE_RATE).mono()


def some_speech(places: Sequence[StrPath], most: int = 60) -> list[np.ndarray]:
    """A few clips of these folders and tars, to make babble of."""
    rows = [row for place in places for row in read_index(place)]
    return [read_clip(row) for row in random.Random(0).sample(rows, min(most, len(rows)))]


def write_clip(folder: str | Path, name: str, wav_S: np.ndarray, row: dict[str, Any]) -> None:
    """Write NAME.flac and then NAME.json (whose presence marks the clip as complete) into `folder`."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f".{name}.{os.getpid()}.part"
    sf.write(part, wav_S, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    part.rename(folder / f"{name}.flac")
    part.write_text(json.dumps(row | {"seconds": round(len(wav_S) / SAMPLE_RATE, 3)}))
    part.rename(folder / f"{name}.json")
