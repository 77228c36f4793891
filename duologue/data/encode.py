"""Conversations -> the codec's codes, and from there to training shards."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from duologue.audio.files import read_audio
from duologue.codec import Codec
from duologue.data.manifest import Row, read_transcript, sidecar
from duologue.data.shards import Sample
from duologue.errors import InputError
from duologue.files import atomic_write
from duologue.types import StrPath

WHOLE = 1500  # frames (2 minutes): longer recordings are encoded frame by frame, so that memory stays bounded


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
    """Stage: writes the codes of each stereo recording to FOLDER/ID.npy; rows get "codes" and "frames"."""

    def __init__(self, codec: Codec, folder: StrPath):
        self.codec = codec.eval()
        self.folder = Path(folder)

    def __call__(self, rows: list[Row]) -> list[Row]:
        self.folder.mkdir(parents=True, exist_ok=True)
        return [self._one(row) for row in rows]

    def _one(self, row: Row) -> Row:
        target = self.folder / f"{Path(row['path']).stem}.npy"
        if not target.exists():
            wav_CS = read_audio(row["path"], self.codec.config.sample_rate)
            if len(wav_CS) != 2:
                raise InputError(
                    f"{row['path']} has {len(wav_CS)} channels: a conversation has two (agent, user)"
                )
            codes_CQT = encode_stereo(self.codec, wav_CS)
            with atomic_write(target) as temporary:
                np.save(temporary, codes_CQT)
        frames = np.load(target, mmap_mode="r").shape[-1]
        return row | {"codes": str(target), "frames": int(frames)}


def samples_of(rows: list[Row]) -> Iterator[Sample]:
    """Samples for `write_shards` of encoded rows: the codes, and the row with its transcript."""
    for row in rows:
        kept = {name: value for name, value in row.items() if name not in ("path", "codes")}
        if sidecar(row["path"]).exists():
            read_transcript(row["path"])  # a malformed one is reported here
            kept |= json.loads(sidecar(row["path"]).read_text())
        yield {"key": Path(row["codes"]).stem, "codes.npy": np.load(row["codes"]), "json": kept}
