"""Measures of speech: intelligibility (STOI), quality (PESQ, DNSMOS), word errors, and Opus as a yardstick.

Waveforms are float32 [S] in [-1, 1]. What comes from an extra is imported where it is used.
"""

import io
import warnings
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from duologue.audio.files import clean, resample
from duologue.audio.framing import SAMPLE_RATE
from duologue.errors import InputError
from duologue.spoken_text import plain_words
from duologue.types import StrPath

Measure = Callable[[np.ndarray, np.ndarray], float | None]
"""(reference, decoded) of the same rate and length -> a score, or None where it cannot be told."""

_JUDGE_RATE = 16_000


def measures() -> dict[str, Measure]:
    """The scores that can be had here, by name: "stoi" and "dnsmos", and where their packages are installed "pesq",
    "visqol" (visqol-python) and "speaker likeness" (resemblyzer)."""
    quality = Dnsmos()
    found: dict[str, Measure] = {"stoi": stoi}
    if find_spec("pesq"):
        found["pesq"] = pesq
    found["dnsmos"] = lambda _, decoded_S: quality(decoded_S)
    if find_spec("visqol"):
        found["visqol"] = Visqol()
    if find_spec("resemblyzer"):
        from duologue.eval.voices import Resemblyzer, likeness

        found["speaker likeness"] = likeness(Resemblyzer())
    return found


def stoi(reference_S: np.ndarray, decoded_S: np.ndarray, rate: int = SAMPLE_RATE) -> float | None:
    """Short-time objective intelligibility, 0..1; None below about 0.4 s of speech, where it is not defined."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        score = float(_need("pystoi").stoi(reference_S, decoded_S, rate))
    return score if score > 1e-4 else None


def pesq(reference_S: np.ndarray, decoded_S: np.ndarray, rate: int = SAMPLE_RATE) -> float | None:
    """Wide-band PESQ, 1..4.64; None where it finds no speech."""
    module = _need("pesq")
    heard = [resample(wav_S, rate, _JUDGE_RATE) for wav_S in (reference_S, decoded_S)]
    score = float(module.pesq(_JUDGE_RATE, *heard, "wb", on_error=module.PesqError.RETURN_VALUES))
    return score if score > 0 else None


class Dnsmos:
    """DNSMOS overall, 1..5: what listeners are predicted to say, without a reference (weights of `speechmos`)."""

    _WINDOW = 144_160  # 9.01 s, what the network was trained on
    _CURVE = (-0.06766283, 1.11546468, 0.04602535)  # from its raw output to opinion scores, as published

    def __init__(self) -> None:
        runtime = _need("onnxruntime")
        settings = runtime.SessionOptions()
        settings.intra_op_num_threads = 1  # more threads cost eight times the processor time here
        weights = Path(_need("speechmos").__file__).parent / "dnsmos_models" / "sig_bak_ovr.onnx"
        self._session = runtime.InferenceSession(str(weights), settings, providers=["CPUExecutionProvider"])

    def __call__(self, wav_S: np.ndarray, rate: int = SAMPLE_RATE) -> float:
        """The mean over windows of 9 s, a second apart. As its authors do it, a short waveform is doubled until it
        fills one, and the last full window of a long one may be left out."""
        heard_S = clean(resample(wav_S, rate, _JUDGE_RATE))
        while len(heard_S) < self._WINDOW:
            heard_S = np.tile(heard_S, 2)
        starts = range(0, int(len(heard_S) // _JUDGE_RATE - 9.01) * _JUDGE_RATE + 1, _JUDGE_RATE)
        windows = (heard_S[None, start : start + self._WINDOW] for start in starts)
        raw = [self._session.run(None, {"input_1": window_1S})[0][0][2] for window_1S in windows]
        return float(np.polyval(self._CURVE, raw).mean())


class Visqol:
    """ViSQOL for speech, 1..5, against the reference (visqol-python)."""

    def __init__(self) -> None:
        self._judge = _need("visqol").VisqolApi()
        self._judge.create(mode="speech")

    def __call__(
        self, reference_S: np.ndarray, decoded_S: np.ndarray, rate: int = SAMPLE_RATE
    ) -> float | None:
        heard = [resample(wav_S, rate, _JUDGE_RATE).astype(np.float64) for wav_S in (reference_S, decoded_S)]
        return float(self._judge.measure_from_arrays(*heard, _JUDGE_RATE).moslqo)


class Recognizer:
    """A Whisper model in CTranslate2's format, in `folder`: what a listener would write down. English, greedy."""

    def __init__(self, folder: StrPath, threads: int = 2) -> None:
        if not (Path(folder) / "model.bin").is_file():
            raise InputError(f"{folder} is not a Whisper model for CTranslate2: it has no model.bin")
        whisper = _need("faster_whisper").WhisperModel
        self._model = whisper(str(folder), device="cpu", compute_type="int8", cpu_threads=threads)

    def __call__(self, wav_S: np.ndarray, rate: int = SAMPLE_RATE) -> str:
        """The words heard in the waveform, as Whisper writes them."""
        segments, _ = self._model.transcribe(
            resample(wav_S, rate, _JUDGE_RATE),
            language="en",
            beam_size=1,
            temperature=0.0,
            condition_on_previous_text=False,
            without_timestamps=True,
        )
        return " ".join(segment.text.strip() for segment in segments)


def word_error_rate(texts: Sequence[str], heard: Sequence[str]) -> float:
    """Wrong, missing and added words over the words of all `texts`; both sides are brought to plain words first.

    Raises InputError if there is no word in `texts`.
    """
    truth = [plain_words(text) for text in texts]
    if not any(truth):
        raise InputError("no text to count word errors against")
    return float(_need("jiwer").wer(truth, [plain_words(text) for text in heard]))


# --- Opus ------------------------------------------------------------------------------------------------


def opus_6k(wav_S: np.ndarray, rate: int = SAMPLE_RATE) -> tuple[np.ndarray, int]:
    """The waveform after Opus at its lowest rate, 6 kbit/s variable, and the bits of its packets (no container)."""
    file = io.BytesIO()
    # libsndfile maps level 1 to 6 kbit/s a channel.
    soundfile.write(file, wav_S, rate, format="OGG", subtype="OPUS", compression_level=1.0)
    bits = 8 * _ogg_payload(file.getvalue())
    file.seek(0)
    decoded_S, _ = soundfile.read(file, dtype="float32")
    return fit(decoded_S, len(wav_S)), bits


def _ogg_payload(data: bytes) -> int:
    """Bytes of the packets in an Ogg Opus file, its two header pages left out (RFC 3533, section 6)."""
    sizes, at = [], 0
    while at < len(data):
        table = data[at + 27 : at + 27 + data[at + 26]]
        sizes.append(sum(table))
        at += 27 + len(table) + sum(table)
    return sum(sizes[2:])


def fit(wav_S: np.ndarray, samples: int) -> np.ndarray:
    """`wav_S` cut or filled with silence to `samples`."""
    return np.pad(wav_S[:samples], (0, max(0, samples - len(wav_S))))


def _need(module: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        name = module.partition(".")[0].replace("_", "-")
        raise InputError(f"{name} is missing: pip install 'duologue[eval]'") from error
