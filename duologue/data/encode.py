"""Encode conversations with the codec, for training shards."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from itertools import chain, islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from duologue.audio.files import open_audio
from duologue.codec import Codec
from duologue.data.fingerprint import fingerprint, output_name
from duologue.data.manifest import Row, Transcript, read_transcript, sidecar, transcript_body
from duologue.data.runner import name_of
from duologue.data.shards import Sample
from duologue.errors import InputError
from duologue.files import atomic_write
from duologue.types import StrPath

WHOLE_FRAMES = 1500  # 2 minutes: longer recordings are encoded frame by frame, so that memory stays bounded
LATE_SECONDS = 1.0  # after the end of a recording at which a word may still be said to start


def encode_frames(codec: Codec, frames: Iterable[np.ndarray], whole: int = WHOLE_FRAMES) -> np.ndarray:
    """Frames [C, frame_size] of a recording as codes, int16 [C, Q, T].

    More than `whole` frames are streamed with the codec's state, which gives the same codes.
    """
    frames = iter(frames)
    first = list(islice(frames, whole + 1))

    def on_device(wav_CS: np.ndarray) -> Tensor:
        return torch.from_numpy(wav_CS).to(codec.device)

    with torch.inference_mode():
        if len(first) <= whole:
            codes_BQT = codec.encode(on_device(np.concatenate(first, axis=1)))
        else:
            state = codec.init_state(len(first[0]))
            steps = (codec.encode_step(state, on_device(x_CS)) for x_CS in chain(first, frames))
            codes_BQT = torch.cat([step.to(torch.int16) for step in steps], dim=-1)
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
            recording = open_audio(row["path"], self.codec.config.sample_rate)
            if recording.channels != 2:
                raise InputError(
                    f"{row['path']} has {recording.channels} channels: a conversation has two (agent, user)"
                )
            codes_CQT = encode_frames(self.codec, recording.frames(self.codec.config.frame_size))
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
    if "aligned" in transcript.extra and transcript.extra["aligned"] != fingerprint(Path(path)):
        raise InputError(
            f"{sidecar(path)} was made of another recording of this name: run `duologue data align`"
        )
    return transcript


def _check_fit(path: StrPath, transcript: Transcript, seconds: float) -> None:
    last = max((word.start for word in transcript.words), default=0.0)
    if last > seconds + LATE_SECONDS:
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
