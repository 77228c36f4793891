"""`duologue data fisher|collect`: recordings of others as conversations or segments."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from duologue.cli.data_text import Out
from duologue.errors import InputError


@dataclass(frozen=True)
class Fisher:
    """Turn two-channel conversations (Fisher, Switchboard, CANDOR, Seamless Interaction) into ours, the agent left.

    Telephone sound becomes 24 kHz. Where a corpus has no word times, `duologue data align OUT` finds them.
    """

    root: Annotated[Positional[Path], arg(metavar="CORPUS")]
    """The folder with the corpus as it is distributed."""
    out: Out
    """The folder to write to."""
    layout: Literal["fisher", "switchboard", "candor", "seamless"] = "fisher"
    """Which corpus it is."""
    transcripts: Annotated[Path | None, arg(metavar="DIR")] = None
    """The transcripts, where they are not below CORPUS too."""
    extend: Literal["replicate", "audiosr", "none"] = "replicate"
    """What fills in the band above the telephone's: spectral replication, AudioSR (as in the paper), or nothing."""
    seed: int = 0
    """Decides which side becomes the agent."""

    def run(self) -> None:
        from duologue.data.extend import EXTENDERS
        from duologue.data.phone import Phone, find_calls
        from duologue.data.runner import run

        rows = find_calls(self.layout, self.root, self.transcripts)
        stage = Phone(self.out, EXTENDERS[self.extend](), self.seed)
        run(stage, rows, in_folder(self.out), label="conversations")


@dataclass(frozen=True)
class Collect:
    """Cut long recordings of anything into segments of speech of one language, without music or people at once.

    OUT/manifest.jsonl lists the segments for `diarize`, `align` and `encode`.
    """

    sources: Annotated[tuple[Path, ...], arg(metavar="FILE|DIR")]
    """Recordings, or folders of them."""
    out: Out
    """The folder to write to."""
    whisper: Annotated[Path | None, arg(metavar="DIR")] = None
    """A Whisper model in CTranslate2's format, to tell the language; without one all languages stay."""
    language: str = "en"
    """The language to keep."""
    diarize: Annotated[str | None, arg(metavar="PIPELINE")] = None
    """A pipeline of pyannote.audio, to drop segments in which people talk at once."""
    token: str | None = None
    """For a gated pipeline."""
    device: str = "cpu"
    """cpu or cuda."""
    longest: float = 300.0
    """Seconds of a segment at most (the paper's items are five minutes)."""
    shortest: float = 3.0
    """Shorter segments are dropped."""

    def run(self) -> None:
        from duologue.data.collect import Collect as Stage
        from duologue.data.collect import Limits, WhisperLanguage, find_recordings
        from duologue.data.diarize import Pyannote
        from duologue.data.manifest import write_manifest
        from duologue.data.runner import run

        if not 0 < self.shortest < self.longest:
            raise InputError("--shortest and --longest are seconds, the first below the second")
        language = WhisperLanguage(self.whisper, self.device) if self.whisper else None
        diarizer = Pyannote(self.diarize, self.token, self.device, None) if self.diarize else None
        limits = Limits(self.longest, self.shortest, language=self.language)
        rows = find_recordings(self.sources)
        manifest = in_folder(self.out)
        stage = Stage(self.out / "segments", limits, language, diarizer)
        done = run(stage, rows, self.out / "recordings.jsonl", label="recordings")
        write_manifest(manifest, [piece for row in done.rows for piece in row["segments"]])


def in_folder(folder: Path) -> Path:
    """The manifest of an output folder, which is made if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    return folder / "manifest.jsonl"
