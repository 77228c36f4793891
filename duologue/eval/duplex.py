"""Evaluate conversations: scenes are played to the model and scored, as one report (after Full-Duplex-Bench).

`evaluate_duplex` takes anything with `name`, `codec`, `lm`, `tokenizer` and `sampling`: what `duologue.load` gives, or
`Parts` of a training run.
"""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from duologue.audio.files import write_audio
from duologue.codec import Codec
from duologue.config import CodecConfig
from duologue.data.manifest import Transcript, write_transcript
from duologue.data.script import Script
from duologue.data.split import HUMAN, TRAIN_VOICES, VALID_VOICES
from duologue.data.voices import SOUNDS, read_clip, read_index, some_speech
from duologue.engine.session import Session
from duologue.errors import InputError
from duologue.eval.duplex_agent import ModelAgent
from duologue.eval.duplex_kinds import KINDS, LONG
from duologue.eval.duplex_play import Agent, Played, play
from duologue.eval.duplex_report import DuplexReport, make_report
from duologue.eval.duplex_scenes import ClipLibrary, Plan, SceneMaker
from duologue.eval.duplex_score import Judge, Score
from duologue.lm import LM, Sampling
from duologue.lm.tokenizer import Tokenizer
from duologue.types import StrPath

LONG_SHARE = 25  # one long conversation for so many scenes of each kind


@dataclass(frozen=True)
class Parts:
    """A model put together by hand, such as one that is still being trained."""

    lm: LM
    codec: Codec
    tokenizer: Tokenizer
    sampling: Sampling = field(default_factory=Sampling)
    name: str = "model"

    @property
    def codec_config(self) -> CodecConfig:
        return self.codec.config

    @property
    def device(self) -> torch.device:
        return self.lm.device


def evaluate_duplex(
    model: Any,
    library: ClipLibrary,
    *,
    scenes: int = 100,
    kinds: Sequence[str] = (*KINDS, LONG),
    slots: int = 16,
    seed: int = 0,
    sampling: Sampling | None = None,
    asr: Callable[[np.ndarray], str] | None = None,
    minutes: float = 10.0,
    time_frames: int = 250,
    known: Sequence[Score] = (),
    keep: Callable[[Played, Score], object] = lambda played, score: None,
    advance: Callable[[float], object] = lambda share: None,
) -> DuplexReport:
    """Play `scenes` scenes of each kind, and a conversation of `minutes` for every 25 of them; `slots` at a time.

    `asr` turns a sound at 24 kHz into text. `keep(played, score)` is called for every scene, `advance(share)` as the
    work goes on (the shares sum to 1). Scenes with a score in `known` are not played. InputError for a kind that does
    not exist, or if nothing can be played.
    """
    maker, judge = SceneMaker(library, seed, minutes), Judge(library.answers(), asr)
    all_plans = plan_scenes(maker, scenes, kinds)
    names = {plan.name for plans in all_plans for plan in plans}
    scores = [score for score in known if score.name in names]
    done = {score.name for score in scores}
    advance(len(done) / len(names))
    modules = [(module, module.training) for module in (model.lm, model.codec)]
    began, frame_ms = time.perf_counter(), None
    try:
        for module, _ in modules:
            module.eval()
        for every in all_plans:
            plans = [plan for plan in every if plan.name not in done]
            if not plans:
                continue
            agent: Agent = ModelAgent(model, min(slots, len(plans)), sampling)
            for played in play(agent, map(maker.make, plans), seed):
                scores.append(judge.score(played))
                keep(played, scores[-1])
                advance(1 / len(names))
        if time_frames:
            frame_ms = frame_times(model, time_frames)
    finally:
        for module, training in modules:
            module.train(training)
    how = {"scenes": scenes, "seed": seed, "sampling": asdict(sampling or model.sampling)}
    how |= {"wall_s": round(time.perf_counter() - began, 1)}
    return make_report(model.name, sorted(scores, key=lambda score: score.name), frame_ms, how)


def plan_scenes(maker: SceneMaker, scenes: int, kinds: Sequence[str]) -> tuple[list[Plan], list[Plan]]:
    """The long conversations and the scenes that `evaluate_duplex` plays. InputError as it does."""
    if unknown := set(kinds) - {*KINDS, LONG}:
        raise InputError(
            f"no kind of scene is called {min(unknown)}: choose from {', '.join((*KINDS, LONG))}"
        )
    short = maker.plans(scenes, [kind for kind in KINDS if kind in kinds])
    long = maker.plans(scenes // LONG_SHARE, [LONG]) if LONG in kinds else []
    if not short and not long:
        raise InputError("there is nothing to play: the clips have no sound for these kinds of scenes")
    return long, short


def frame_times(model: Any, frames: int) -> dict[str, float]:
    """Percentiles of the milliseconds that a frame takes in a single conversation, and the threads it had."""
    session = Session(model)
    rng = np.random.default_rng(0)
    times = []
    for _ in range(frames + 10):
        frame_S = rng.normal(0, 0.05, session.frame_size).astype(np.float32)
        began = time.perf_counter()
        session.push(frame_S)
        times.append(1000 * (time.perf_counter() - began))
    p50, p90, p99, most = np.percentile(times[10:], [50, 90, 99, 100])
    found = {"p50": p50, "p90": p90, "p99": p99, "max": most}
    return {name: round(float(ms), 2) for name, ms in found.items()} | {
        "threads": float(torch.get_num_threads())
    }


def read_library(
    folder: StrPath, script: Script, babble: Sequence[StrPath] = (), voices: Sequence[str] = ()
) -> ClipLibrary:
    """What scenes are made of: the clips of a folder, or of the folders and tars in it; babble of other speech, or of
    the clips of its users. InputError if there are none, or none by `voices` (default: the held-out ones)."""
    place = Path(folder)
    if not place.is_dir():
        raise InputError(f"there is no folder {folder}")
    own = any(path.suffix in SOUNDS for path in place.iterdir())
    places = [place] if own else sorted(p for p in place.iterdir() if p.is_dir() or p.suffix == ".tar")
    unused = {*HUMAN, *(f"user-{voice}" for voice in TRAIN_VOICES)}
    clips = [row for p in places if p.name.removesuffix(".tar") not in unused for row in read_index(p)]
    users = [row for row in clips if row.get("role") == "user"]
    if babble:
        speech = some_speech(tuple(Path(path) for path in babble))
    else:
        speech = [read_clip(row) for row in random.Random(0).sample(users, min(60, len(users)))]
    return ClipLibrary.of(clips, script, voices or VALID_VOICES, speech=speech)


def save_scene(folder: Path, played: Played, score: Score) -> None:
    """NAME.flac (left the agent, right the user) and NAME.json with the words, as conversations lie on the disk."""
    path = folder / f"{score.name}.flac"
    write_audio(path, np.stack([played.agent_S, played.user_S]))
    write_transcript(path, Transcript(played.transcript(), extra={"score": asdict(score)}))
