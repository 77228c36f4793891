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


def encode_stereo(codec: Codec, wav_CS: np.ndarray, chunk_frames: int = 750) -> np.ndarray:
    """Both channels as codes, int16 [2, Q, T]; T counts whole frames, the rest of a last one being silence.

    Long recordings go through in chunks of `chunk_frames`, with the codec's state carried along.
    """
    size = codec.config.frame_size
    wav_BS = torch.from_numpy(np.pad(wav_CS, ((0, 0), (0, -wav_CS.shape[1] % size)))).to(codec.device)
    with torch.inference_mode():
        state = codec.init_state(len(wav_BS))
        pieces = [codec.encode_step(state, piece_BS) for piece_BS in wav_BS.split(chunk_frames * size, dim=1)]
    return torch.cat(pieces, dim=-1).to(torch.int16).cpu().numpy()


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
