"""A model on Full-Duplex-Bench's folders: TASK/ID/input.wav and its annotation; OUT/TASK/ID/ gets output.wav and .json.

The data are the benchmark's own to give out. The words are Whisper's here and Parakeet's there: label the figures so.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from duologue.audio.files import read_mono, write_audio
from duologue.errors import InputError
from duologue.eval import fdb
from duologue.eval.result import Result
from duologue.files import atomic_write

Words = Callable[[np.ndarray], list[fdb.Word]]
MOSHI = {  # what the benchmark's repository says of it
    "pause_handling": {"takes over": 0.985},
    "backchannel": {"takes over": 1.0, "backchannels": 0.001, "distance": 0.957},
    "turn_taking": {"takes over": 0.941, "latency": 0.265},
    "user_interruption": {"takes over": 1.0, "latency": 0.257},
}


def kind_of(folder: str) -> str | None:
    """Which of the tasks a folder holds, by its name (synthetic_pause_handling, icc_backchannel ...)."""
    if "talking_to_other" in folder or "background_speech" in folder or "user_backchannel" in folder:
        return "overlap"
    for kind in ("pause_handling", "turn_taking", "user_interruption", "backchannel"):
        if kind in folder:
            return kind
    return None


def find_scenes(root: Path) -> dict[str, list[Path]]:
    """The scenes of each task folder below `root`. InputError if there are none."""
    if not root.is_dir():
        raise InputError(f"there is no folder {root}")
    tasks: dict[str, list[Path]] = {}
    for sound in sorted(
        root.rglob("input.wav"), key=lambda p: (p.parent.parent.name, len(p.parent.name), p.parent.name)
    ):
        task = sound.parent.parent.name
        if kind_of(task):
            tasks.setdefault(task, []).append(sound.parent)
    if not tasks:
        raise InputError(
            f"{root}: there are no scenes here (TASK/ID/input.wav, such as synthetic_pause_handling/1)"
        )
    return tasks


def answer_scene(model: Any, scene: Path, out: Path, words: Words | None, seed: int = 0) -> None:
    """Write output.wav, as long as the input, and output.json beside it, unless they are there."""
    from duologue.engine.offline import talk

    out.mkdir(parents=True, exist_ok=True)
    sound = out / "output.wav"
    if not sound.exists():
        rate = model.codec.config.sample_rate
        user_S = read_mono(scene / "input.wav", rate)
        said = talk(model, user_S, seed=seed, tail=0.0)
        wav_S = np.pad(said.wav_S, (0, max(0, len(user_S) - len(said.wav_S))))[: len(user_S)]
        write_audio(sound, wav_S, rate)
    if words is not None and not (out / "output.json").exists():
        transcribe(scene, out, words)


def transcribe(scene: Path, out: Path, words: Words) -> None:
    """output.json: all that the model says; after an interruption, what it says from its end on."""
    wav_S, after = read_mono(out / "output.wav"), 0.0
    if (scene / "interrupt.json").exists():
        after = float(read(scene / "interrupt.json")[0]["timestamp"][1])
        wav_S = wav_S[round(after * 24_000) :]
    found = words(wav_S) if len(wav_S) else []
    chunks = [{"text": text, "timestamp": [start + after, end + after]} for text, start, end in found]
    with atomic_write(out / "output.json") as temporary:
        temporary.write_text(json.dumps({"text": " ".join(text for text, _, _ in found), "chunks": chunks}))


def score_task(
    task: str, scenes: list[Path], outs: list[Path], people: dict[str, list[float]], faithful: bool
) -> dict[str, tuple[float | None, int]]:
    """Means over the scenes of a task, each with how many scenes it is over."""
    kind, found = kind_of(task), {}
    for scene, out in zip(scenes, outs, strict=True):
        for name, value in _score(kind or "", scene, out, people, faithful).items():
            found.setdefault(name, []).append(value)
    return {name: (float(np.mean(values)), len(values)) for name, values in found.items()}


def _score(
    kind: str, scene: Path, out: Path, people: dict[str, list[float]], faithful: bool
) -> dict[str, float]:
    if kind == "overlap" or (scene / "clean_input.wav").exists():
        spans = [
            fdb.detector_spans(read_mono(p, 16_000), 16_000)
            for p in (scene / "input.wav", out / "output.wav")
        ]
        stops, responses = fdb.stop_and_response(*spans)
        timed = {"goes on while the user speaks": stops, "responds after": responses}
        return {name: float(np.mean(ms)) for name, ms in timed.items() if ms}
    words = fdb.words_of(read(out / "output.json"))
    if kind == "backchannel":
        wav_S = read_mono(out / "output.wav", 24_000)
        spans = fdb.detector_spans(wav_S, 24_000, faithful)
        one = fdb.backchannel(spans, words, len(wav_S) / 24_000, people[scene.name], faithful)
        return {"takes over": float(one.takes_over), "backchannels": one.frequency, "distance": one.distance}
    taken = fdb.takes_over(words)
    scores = {"takes over": float(taken)}
    if taken and kind == "turn_taking":
        scores["latency"] = fdb.latency(words, float(read(scene / "turn_taking.json")[0]["timestamp"][0]))
    if taken and kind == "user_interruption":
        scores["latency"] = fdb.latency(words, float(read(scene / "interrupt.json")[0]["timestamp"][1]))
        if (out / "rating.json").exists():
            scores["relevance"] = float(read(out / "rating.json")["rating"])
    return scores


UNITS = {
    "latency": "s", "backchannels": "1/s", "relevance": "0-5", "goes on while the user speaks": "ms",
    "responds after": "ms",
}  # fmt: skip


def run_fdb(
    model: Any, root: Path, out: Path, words: Words | None, people: dict[str, list[float]], *, seed: int = 0,
    faithful: bool = True, limit: int | None = None, advance: Callable[[float], object] = lambda share: None,
) -> Result:  # fmt: skip
    """Answer and score every scene below `root`; with `model` None, what lies in OUT already. InputError if something
    is missing."""
    tasks = {task: scenes[:limit] for task, scenes in find_scenes(root).items()}
    if any(kind_of(task) == "backchannel" for task in tasks) and not people:
        raise InputError(
            "backchannels are compared with people's: name icc_gt_distribution.json with --people"
        )
    result = Result(
        "full-duplex-bench", getattr(model, "name", "outputs"), settings={"faithful": faithful, "seed": seed}
    )
    total = sum(map(len, tasks.values()))
    for task, scenes in tasks.items():
        outs = [out / task / scene.name for scene in scenes]
        for scene, place in zip(scenes, outs, strict=True):
            if model is not None:
                answer_scene(model, scene, place, words, seed)
            elif (
                words is not None and not (place / "output.json").exists() and (place / "output.wav").exists()
            ):
                transcribe(scene, place, words)
            advance(1 / total)
        for name, (value, count) in score_task(task, scenes, outs, people, faithful).items():
            published = MOSHI.get(kind_of(task) or "", {}).get(name)
            result.add(f"{task}: {name}", value, UNITS.get(name, ""), count, published)
    return result


def read(path: Path) -> Any:
    """InputError if the file is missing or no json."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise InputError(f"there is no file {path}") from None
    except ValueError:
        raise InputError(f"{path} is not json") from None


def whisper_words(folder: Path, threads: int = 2) -> Words:
    """Words with times by a Whisper model in CTranslate2's format."""
    from duologue.data.align import WhisperAligner

    aligner = WhisperAligner(folder, threads=threads)
    return lambda wav_S: [(w.text, w.start, w.end) for w in aligner.unknown(wav_S)]
