"""A whole conversation with a recording, as fast as the machine goes."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from duologue.audio.activity import LOUD, rms_of
from duologue.audio.framing import pad_to_frames
from duologue.engine.options import DEFAULT, Options
from duologue.engine.session import Session
from duologue.engine.words import FRAME, UserWords, Words, transcript
from duologue.lm.sampling import Sampling
from duologue.weights import Model

QUIET = 1.5  # seconds of silence after which the agent has finished


@dataclass(frozen=True)
class Answer:
    """What the agent said, as heard: sample 0 is when the recording began. `report` is the published json."""

    wav_S: np.ndarray
    report: dict[str, Any]


def talk(
    model: Model,
    user_S: np.ndarray,
    *,
    seed: int = 0,
    greedy: bool = False,
    tail: float = 15.0,
    options: Options = DEFAULT,
    say: Callable[[float, str, str], None] = lambda now, agent, user: None,
) -> Answer:
    """Let the agent hear a recording (float32 mono at the codec's rate) and answer it.

    The agent's frame that follows from input frame i is heard during frame i + 1, and is written there. After the
    recording the agent hears silence until it has been quiet for 1.5 s, at most `tail` seconds. `say(now, agent, user)`
    is called after every frame, with the seconds gone by and what each has newly said.
    """
    sampling = Sampling.greedy(model.sampling.pad_bias) if greedy else model.sampling
    session = Session(model, replace(sampling, seed=seed), options)
    user_TS = pad_to_frames(user_S, session.frame_size).reshape(-1, session.frame_size)
    silence_S = np.zeros(session.frame_size, np.float32)
    words, user, frame_ms = Words(model.tokenizer), UserWords(model.tokenizer), []
    agent = [silence_S]
    quiet, limit = 0, len(user_TS) + round(tail / FRAME)
    pad = (model.files.config.lm.pad_id, model.files.config.lm.epad_id)
    while len(frame_ms) < limit and (len(frame_ms) < len(user_TS) or quiet * FRAME < QUIET):
        frame = len(frame_ms)
        began = time.perf_counter()
        heard_S = user_TS[frame] if frame < len(user_TS) else silence_S
        said = session.push(heard_S)
        frame_ms.append((time.perf_counter() - began) * 1000)
        rms = rms_of(said.wav_S)
        words.push(said.frame, said.token, rms)
        user.push(said.frame, said.user_token, rms_of(heard_S))
        agent.append(said.wav_S)
        speaks = rms > LOUD or (said.token >= 0 and said.token not in pad)
        quiet = 0 if speaks or frame < len(user_TS) else quiet + 1
        say(len(frame_ms) * FRAME, said.text, said.user_text)
    report = {
        "model": model.name,
        "seed": seed,
        "frames": len(frame_ms),
        **transcript(words, user),
        "frame_ms": _percentiles(frame_ms),
    }
    return Answer(np.concatenate(agent), report)


def _percentiles(values: list[float]) -> dict[str, float]:
    p50, p99, most = np.percentile(values, [50, 99, 100]) if values else (0.0, 0.0, 0.0)
    return {"p50": round(float(p50), 2), "p99": round(float(p99), 2), "max": round(float(most), 2)}
