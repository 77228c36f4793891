"""Quality of a codec: one table, with Opus at 6 kbit/s and the original as references."""

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
import torch

from duologue.audio.files import read_mono
from duologue.codec import Codec
from duologue.errors import InputError
from duologue.eval.result import Result
from duologue.eval.speech import Measure, fit, measures, opus_6k, word_error_rate
from duologue.types import StrPath

SPEECH = Path(__file__).parent.parent / "assets" / "speech"  # held out of all training
AUDIO = (".wav", ".flac", ".opus", ".ogg", ".mp3")


@dataclass(frozen=True)
class Clip:
    """A recording, float32 [S] at the codec's rate, and what is said in it (None: unknown)."""

    key: str
    wav_S: np.ndarray
    text: str | None


@dataclass(frozen=True)
class Row:
    """One line of the table. Scores are means over the clips; `wer` is over all words; None: not measured."""

    name: str
    kbps: float
    frame_rate: float | None
    scores: dict[str, float | None]
    wer: float | None


@dataclass(frozen=True)
class CodebookUse:
    """How one codebook was used: share of its entries seen, and the entropy of their frequencies, of at most `bits`."""

    used: float
    entropy: float
    bits: float


@dataclass(frozen=True)
class CodecReport:
    """`rows`: the codec first, then the yardsticks. `ms_per_frame`: encode and decode streamed, with `threads`."""

    rows: list[Row]
    codebooks: list[CodebookUse]
    ms_per_frame: float
    threads: int
    clips: int
    seconds: float


def evaluate_codec(
    codec: Codec,
    clips: Sequence[Clip],
    asr: Callable[[np.ndarray], str] | None = None,
    judges: Mapping[str, Measure] | None = None,
    name: str = "codec",
    advance: Callable[[float], object] = lambda amount: None,
) -> CodecReport:
    """Encodes and decodes every clip, and judges what came out beside the original and beside Opus.

    `asr` writes down what it hears; word errors count against the texts of the clips that have one. `judges` are
    scores by name, all that can be had if None. `advance` is called with parts of 1 in all.
    """
    if not clips:
        raise InputError("there are no clips to evaluate")
    judges = measures() if judges is None else judges
    config = codec.config
    seconds = sum(len(clip.wav_S) for clip in clips) / config.sample_rate
    ms = streaming_ms(codec)
    decoded, codes = [], []
    for clip in clips:
        codes_BQT = codec.encode(torch.from_numpy(clip.wav_S)[None].to(codec.device))
        decoded.append(fit(codec.decode(codes_BQT)[0].cpu().numpy(), len(clip.wav_S)))
        codes.append(codes_BQT[0].cpu())
        advance(0.1 / len(clips))
    opus = [opus_6k(clip.wav_S, config.sample_rate) for clip in clips]
    opus_kbps = sum(bits for _, bits in opus) / seconds / 1000
    kbps = config.codebooks * math.log2(config.quantizer.entries) * config.frame_rate / 1000
    original_kbps = config.sample_rate * 16 / 1000
    rows = []
    for row_name, row_kbps, frame_rate, wavs in (
        (name, kbps, config.frame_rate, decoded),
        ("Opus", opus_kbps, 50.0, [wav_S for wav_S, _ in opus]),
        ("untouched", original_kbps, None, [clip.wav_S for clip in clips]),
    ):
        heard = _hear(clips, wavs, asr, judges, lambda: advance(0.3 / len(clips)))
        rows.append(Row(row_name, row_kbps, frame_rate, *heard))
    use = codebook_use(torch.cat(codes, dim=1), config.quantizer.entries)
    return CodecReport(rows, use, ms, torch.get_num_threads(), len(clips), seconds)


def codec_result(report: CodecReport) -> Result:
    """The figures of a report in the schema of all evaluations."""
    result = Result("codec", report.rows[0].name, settings={"clips": report.clips})
    for row in report.rows:
        name = f"{row.name}, {row.kbps:.1f} kbit/s"
        for judge, score in row.scores.items():
            result.add(f"{name}: {judge}", score, "", report.clips)
        if row.wer is not None:
            result.add(f"{name}: WER", 100 * row.wer, "%", report.clips)
    for number, book in enumerate(report.codebooks):
        result.add(f"codebook {number}: entries used", 100 * book.used, "%")
        result.add(f"codebook {number}: entropy", book.entropy, f"bits of {book.bits:g}")
    return result


def _hear(
    clips: Sequence[Clip],
    wavs: Sequence[np.ndarray],
    asr: Callable[[np.ndarray], str] | None,
    judges: Mapping[str, Measure],
    advance: Callable[[], object],
) -> tuple[dict[str, float | None], float | None]:
    """The mean scores and the word error rate of `wavs`, which stand for `clips`."""
    scores: dict[str, list[float]] = {name: [] for name in judges}
    texts, heard = [], []
    for clip, wav_S in zip(clips, wavs, strict=True):
        for name, judge in judges.items():
            score = judge(clip.wav_S, wav_S)
            if score is not None:
                scores[name].append(score)
        if asr is not None and clip.text:
            texts.append(clip.text)
            heard.append(asr(wav_S))
        advance()
    means = {name: fmean(known) if known else None for name, known in scores.items()}
    return means, word_error_rate(texts, heard) if texts else None


def codebook_use(codes_QT: torch.Tensor, entries: int) -> list[CodebookUse]:
    """The use of each codebook in codes [Q, T] of `entries` entries."""
    report = []
    for codes_T in codes_QT:
        share_V = torch.bincount(codes_T, minlength=entries).double() / codes_T.numel()
        seen = share_V[share_V > 0]
        entropy = max(0.0, -float((seen * seen.log2()).sum()))
        report.append(CodebookUse(len(seen) / entries, entropy, math.log2(entries)))
    return report


def streaming_ms(codec: Codec, frames: int = 25) -> float:
    """Median milliseconds to encode and decode one frame of one conversation, one frame after another."""
    state = codec.init_state(1)
    wav_BS = 0.1 * torch.randn(1, codec.config.frame_size, generator=torch.Generator().manual_seed(0))
    wav_BS = wav_BS.to(codec.device)
    times = []
    for _ in range(frames + 3):
        start = time.perf_counter()
        codec.decode_step(state, codec.encode_step(state, wav_BS)).cpu()
        times.append(time.perf_counter() - start)
    return 1000 * float(np.median(times[3:]))


def load_clips(folder: StrPath, rate: int, limit: int | None = None) -> list[Clip]:
    """The recordings below `folder`, by name, with the "text" of the .json or the content of the .txt beside each.

    With `limit`, that many, evenly spread over the names. Raises InputError if there is none.
    """
    paths = sorted(p for p in Path(folder).rglob("*") if p.suffix.lower() in AUDIO)
    if not paths:
        raise InputError(f"{folder} holds no recording ({', '.join(AUDIO)})")
    if limit is not None and limit < len(paths):
        paths = [paths[i * len(paths) // limit] for i in range(limit)]
    return [Clip(str(path.relative_to(folder)), read_mono(path, rate), clip_text(path)) for path in paths]


def clip_text(path: Path) -> str | None:
    sidecar = path.with_suffix(".json")
    if sidecar.is_file():
        try:
            text = json.loads(sidecar.read_text(encoding="utf-8")).get("text")
        except (ValueError, AttributeError) as error:
            raise InputError(f"{sidecar} is not a JSON object") from error
        return text or None
    plain = path.with_suffix(".txt")
    return plain.read_text(encoding="utf-8").strip() or None if plain.is_file() else None
