"""Conversations -> the codec's codes, and from there to training shards."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from duologue.audio.files import read_audio
from duologue.codec import Codec
from duologue.data.fingerprint import fingerprint, output_name
from duologue.data.manifest import Row, Transcript, read_transcript, sidecar, transcript_body
from duologue.data.runner import name_of
from duologue.data.shards import Sample
from duologue.errors import InputError
from duologue.files import atomic_write
from duologue.types import StrPath

WHOLE = 1500  # frames (2 minutes): longer recordings are encoded frame by frame, so that memory stays bounded
LATE = 1.0  # seconds after the end of a recording at which a word may still be said to start


def encode_stereo(codec: Codec, wav_CS: np.ndarray, whole: int = WHOLE) -> np.ndarray:
    """Both channels as codes, int16 [2, Q, T]; T counts whole frames, the rest of a last one being silence.

    More than `whole` frames are streamed with the codec's state, which gives the same codes.
    """
    size = codec.config.frame_size
    wav_BS = torch.from_numpy(np.pad(wav_CS, ((0, 0), (0, -wav_CS.shape[1] % size)))).to(codec.device)
    with torch.inference_mode():
        if wav_BS.shape[1] <= whole * size:
            codes_BQT = codec.encode(wav_BS)
        else:
            state = codec.init_state(len(wav_BS))
            codes_BQT = torch.cat(
                [codec.encode_step(state, x_BS) for x_BS in wav_BS.split(size, dim=1)], dim=-1
            )
    return codes_BQT.to(torch.int16).cpu().numpy()


class Encode:
    """Stage: writes the codes of each stereo recording into `folder`, named by what they are made of; rows get "codes"
    and "frames".

    A recording must have a transcript that fits it, or "audio_only": true in its row: without words it would teach a
    model to say nothing.
    """

    def __init__(self, codec: Codec, folder: StrPath):
        self.codec = codec.eval()
        self.folder = Path(folder)
        weights = codec.state_dict()
        arrays = (weight.float().cpu().numpy() for weight in weights.values())
        self.settings = {"codec": fingerprint(asdict(codec.config), list(weights), *arrays)}

    def __call__(self, rows: list[Row]) -> list[Row]:
        self.folder.mkdir(parents=True, exist_ok=True)
        return [self._one(row) for row in rows]

    def _one(self, row: Row) -> Row:
        transcript = None if row.get("audio_only") else transcript_of(row["path"])
        target = self.folder / f"{output_name(row['path'], self.settings, name_of(row))}.npy"
        if not target.exists():
            wav_CS = read_audio(row["path"], self.codec.config.sample_rate)
            if len(wav_CS) != 2:
                raise InputError(
                    f"{row['path']} has {len(wav_CS)} channels: a conversation has two (agent, user)"
                )
            codes_CQT = encode_stereo(self.codec, wav_CS)
            with atomic_write(target) as temporary:
                np.save(temporary, codes_CQT)
        frames = int(np.load(target, mmap_mode="r").shape[-1])
        if transcript is not None:
            _check_fit(row["path"], transcript, frames / self.codec.config.frame_rate)
        return row | {"codes": str(target), "frames": frames}


def transcript_of(path: StrPath) -> Transcript:
    """The transcript beside a recording. InputError if there is none, or `align` made it of another recording."""
    if not sidecar(path).exists():
        raise InputError(
            f"{path} has no transcript: `duologue data align` makes one, `encode --audio-only` packs it without"
        )
    transcript = read_transcript(path)
    if transcript.extra.get("aligned", now := fingerprint(Path(path))) != now:
        raise InputError(
            f"{sidecar(path)} was made of another recording of this name: run `duologue data align`"
        )
    return transcript


def _check_fit(path: StrPath, transcript: Transcript, seconds: float) -> None:
    last = max((word.start for word in transcript.words), default=0.0)
    if last > seconds + LATE:
        raise InputError(
            f"{sidecar(path)} has a word at {last:.1f} s, the recording is {seconds:.1f} s long: it is of another one"
        )


def samples_of(rows: list[Row]) -> Iterator[Sample]:
    """Samples for `write_shards` of encoded rows: the codes, and the row with its transcript."""
    for row in rows:
        kept = {name: value for name, value in row.items() if name not in ("path", "codes", "made_from")}
        if not row.get("audio_only"):
            kept |= transcript_body(read_transcript(row["path"]))
        yield {"key": Path(row["codes"]).stem, "codes.npy": np.load(row["codes"]), "json": kept}
