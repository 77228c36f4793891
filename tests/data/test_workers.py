"""A stage gives on Ray, byte for byte, what it gives in one process, even if a worker is killed."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from duologue.audio.files import read_mono, write_audio
from duologue.data.manifest import Transcript, read_transcript, write_manifest, write_transcript
from duologue.errors import InputError
from duologue.types import Word
from duologue.weights.model import ASSETS

from .sounds import buzz

HAS_RAY = all(importlib.util.find_spec(name) for name in ("ray", "pandas", "pyarrow"))
needs_ray = pytest.mark.skipif(not HAS_RAY, reason="Ray is not installed (the extra `ray`)")
HERE = Path(__file__).parent
WHISPER = os.environ.get("DUOLOGUE_WHISPER")


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six conversations, one of them damaged."""
    folder = tmp_path_factory.mktemp("recordings")
    rows = []
    for number, name in enumerate(["a", "b", "damaged", "dies", "c", "d"]):
        path = folder / f"{name}.wav"
        write_audio(path, np.stack([buzz(0.5, 100 + 20 * number), buzz(0.5, 200)]))
        write_transcript(path, Transcript([Word("hi", 0.1, 0.4)]))
        rows.append({"path": str(path), "id": name, "duration": 0.5})
    (folder / "damaged.wav").write_bytes(b"nothing")
    write_manifest(folder / "manifest.jsonl", rows)
    return folder


def files_of(folder: Path, other: Path) -> dict[str, bytes]:
    """What a run left; names of its own folder are those of the other."""
    found = [path for path in folder.rglob("*") if path.is_file() and path.name != "died"]
    return {
        str(path.relative_to(folder)): path.read_bytes().replace(str(folder).encode(), str(other).encode())
        for path in found
    }


def started(*command: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "RAY_worker_niceness": "0"}
    return subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, env=environment, timeout=300
    )


@needs_ray
def test_workers_write_what_one_process_writes_though_one_of_them_is_killed(
    recordings: Path, tmp_path: Path
) -> None:
    for place in ("here", "ray"):
        script = str(HERE / "stages_on_ray.py")
        done = started(script, str(recordings / "manifest.jsonl"), str(tmp_path / place), place)
        assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "ray" / "died").exists()
    here, there = (files_of(tmp_path / place, tmp_path) for place in ("here", "ray"))
    assert sorted(here) == sorted(there)
    assert here == there
    assert len([name for name in there if name.endswith(".npy")]) == 5
    assert b'"damaged"' in there["manifest.errors"]


@needs_ray
def test_the_commands_do_the_same_on_ray(recordings: Path, tmp_path: Path) -> None:
    for flags, place in (([], "here"), (["--ray"], "ray")):
        source = str(recordings / "manifest.jsonl")
        for verb in (["augment", source], ["encode", str(tmp_path / place / "augment" / "manifest.jsonl")]):
            out = str(tmp_path / place / verb[0])
            model = ["--model", "tiny"] if verb[0] == "encode" else []
            done = started("-m", "duologue", "data", *verb, out, *model, *flags)
            assert done.returncode == 0, done.stderr[-3000:]
    here, there = (files_of(tmp_path / place, tmp_path) for place in ("here", "ray"))
    assert here == there and len(there) > 12


@needs_ray
@pytest.mark.skipif(
    not (WHISPER and importlib.util.find_spec("faster_whisper")),
    reason="DUOLOGUE_WHISPER names no folder with an ASR",
)
def test_words_are_aligned_on_ray(tmp_path: Path) -> None:
    """The transcripts lie beside the recordings; one of these is damaged."""
    question_S = read_mono(ASSETS / "question.opus")
    for place in ("here", "ray"):
        folder = tmp_path / place
        folder.mkdir()
        rows = []
        for number in range(3):
            write_audio(folder / f"{number}.wav", np.stack([0 * question_S, question_S]))
            path = str(folder / f"{number}.wav")
            rows.append({"path": path, "id": str(number), "duration": len(question_S) / 24_000})
        turn = {"role": "user", "said": "What is the capital?", "start": 0.0, "end": rows[1]["duration"]}
        rows[1]["turns"] = [turn]
        (folder / "2.wav").write_bytes(b"nothing")
        write_manifest(folder / "manifest.jsonl", rows)
        flags = ["--whisper", str(WHISPER), "--threads", "1", *(["--ray"] if place == "ray" else [])]
        done = started("-m", "duologue", "data", "align", str(folder / "manifest.jsonl"), *flags)
        assert "2.wav" in (folder / "manifest.errors").read_text(), done.stderr[-3000:]
    here, there = (
        [(tmp_path / place / f"{i}.json").read_bytes() for i in (0, 1)] for place in ("here", "ray")
    )
    assert here == there
    heard, said = (read_transcript(tmp_path / "ray" / f"{i}.wav").words for i in (0, 1))
    assert heard and [word.text for word in said] == ["What", "is", "the", "capital?"]
    assert not (tmp_path / "ray" / "2.json").exists()


@pytest.mark.skipif(HAS_RAY, reason="Ray is installed")
def test_without_ray_the_extra_is_named() -> None:
    from duologue.data.workers import workers

    with pytest.raises(InputError, match=r"pip install 'duologue\[ray\]'"):
        workers(lambda: lambda rows: rows)
