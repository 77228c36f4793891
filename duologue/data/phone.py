"""Convert published two-channel conversations: Fisher, Switchboard, CANDOR, Seamless Interaction.

One side, drawn by seed and id, becomes the agent (left), the other the user. Telephone sound is brought to 24 kHz by an
`Extender`. Where a corpus has word times they become the transcript; where it has utterances, rows get "turns", which
`duologue data align` turns into word times.
"""

import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from duologue.audio.files import read_audio, write_audio
from duologue.audio.framing import SAMPLE_RATE
from duologue.data.extend import Extender
from duologue.data.manifest import Row, Transcript, sidecar, write_transcript
from duologue.data.phone_layouts import LAYOUTS
from duologue.data.sphere import read_sphere
from duologue.errors import InputError
from duologue.types import AGENT, USER, StrPath, Word

NARROW = 8000


def find_calls(layout: str, root: StrPath, transcripts: StrPath | None = None) -> list[Row]:
    """A row for each conversation of a corpus below `root` (its transcripts below `transcripts`, or `root` too).

    Rows are {"id", "path", "layout", "sides": [[file, channel], [file, channel]], "transcripts": [file, ...]}.
    InputError if there is none.
    """
    root, transcripts = Path(root), Path(transcripts or root)
    for place in (root, transcripts):
        if not place.is_dir():
            raise InputError(f"there is no folder {place}")
    found = LAYOUTS[layout].find(root, transcripts)
    if not found:
        raise InputError(
            f"{root}: there are no recordings here in the layout of {layout} ({LAYOUTS[layout].looks_like})"
        )
    return [row | {"layout": layout} for row in found]


@dataclass
class Phone:
    """Stage: writes FOLDER/ID.flac, stereo at 24 kHz, agent left, and its transcript where word times are known."""

    folder: Path
    extender: Extender
    seed: int = 0

    def __call__(self, rows: list[Row]) -> list[Row]:
        self.folder.mkdir(parents=True, exist_ok=True)
        return [self._one(row) for row in rows]

    def _one(self, row: Row) -> Row:
        sides, layout = row["sides"], LAYOUTS[row["layout"]]
        agent = random.Random(f"{self.seed} {row['id']}").randrange(2)
        order = (agent, 1 - agent)
        said = layout.read([Path(path) for path in row["transcripts"]])
        target = self.folder / f"{row['id']}.flac"
        wavs = [self._side(*sides[side]) for side in order]
        samples = max(map(len, wavs))
        write_audio(target, np.stack([np.pad(wav_S, (0, samples - len(wav_S))) for wav_S in wavs]))
        made: Row = {
            "path": str(target), "duration": round(samples / SAMPLE_RATE, 3), "id": row["id"],
            "corpus": row["layout"], "agent_side": "AB"[agent],
        }  # fmt: skip
        role = dict(zip(order, ("agent", "user"), strict=True))
        if said.words:
            speaker = {"agent": AGENT, "user": USER}
            words = [Word(w.text, w.start, w.end, speaker[role[side]]) for side, w in said.words]
            write_transcript(target, Transcript(words))
        else:
            sidecar(target).unlink(missing_ok=True)  # of another version of these data
            made["turns"] = [
                {"role": role[side], "said": w.text, "start": w.start, "end": w.end} for side, w in said.turns
            ]
        return made

    def _side(self, path: str, channel: int) -> np.ndarray:
        if Path(path).suffix.lower() == ".sph":
            wav_CS, rate = read_sphere(path)
        else:
            with soundfile.SoundFile(path) as file:
                rate = file.samplerate
            wav_CS = read_audio(path, NARROW if rate == NARROW else SAMPLE_RATE)
            rate = NARROW if rate == NARROW else SAMPLE_RATE
        if channel >= len(wav_CS):
            raise InputError(f"{path} has {len(wav_CS)} channels: channel {channel + 1} is not there")
        return wav_CS[channel] if rate == SAMPLE_RATE else self.extender(wav_CS[channel], rate)
