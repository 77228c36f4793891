"""A whole conversation with a recording, as fast as possible."""

import time
from array import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from duologue.audio.activity import LOUD, rms_of
from duologue.audio.framing import pad_to_frames
from duologue.engine.options import DEFAULT, Options
from duologue.engine.session import Session
from duologue.engine.words import FRAME_SECONDS, UserWords, Words, transcript
from duologue.lm.sampling import Sampling
from duologue.weights import Model

QUIET_SECONDS = 1.5  # seconds of silence after which the agent has finished


@dataclass(frozen=True)
class Answer:
    """What the agent said; sample 0 is the start of the recording. `report` is the published json."""

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
    """Let the agent hear a recording (float32 mono at the codec's rate) and answer it (as `talk_frames`)."""
    agent: list[np.ndarray] = []
    size = model.codec_config.frame_size
    user_TS = pad_to_frames(user_S, size).reshape(-1, size)
    report = talk_frames(
        model,
        user_TS,
        lambda agent_S, user_S: agent.append(agent_S),
        seed=seed,
        greedy=greedy,
        tail=tail,
        options=options,
        say=say,
    )
    return Answer(np.concatenate(agent), report)


def talk_frames(
    model: Model,
    user_TS: Iterable[np.ndarray],
    write: Callable[[np.ndarray, np.ndarray], None],
    *,
    seed: int = 0,
    greedy: bool = False,
    tail: float = 15.0,
    options: Options = DEFAULT,
    say: Callable[[float, str, str], None] = lambda now, agent, user: None,
) -> dict[str, Any]:
    """Let the agent hear frames (float32 mono `[frame_size]`) and answer them; returns the published json.

    The agent's answer to input frame i is played during frame i + 1: `write(agent_S, user_S)` is called frame by frame
    with the sound of both, the first of the agent's and the last of the user's being silence. After the recording the
    agent hears silence until it has been quiet for 1.5 s, at most `tail` seconds. `say(now, agent, user)` is called
    after every frame with the time in seconds and each side's new text. Only words and times are kept, so memory hardly
    grows with the recording.
    """
    sampling = Sampling.greedy(model.sampling.pad_bias) if greedy else model.sampling
    session = Session(model, replace(sampling, seed=seed), options)
    silence_S = np.zeros(session.frame_size, np.float32)
    words, user, frame_ms = Words(model.tokenizer), UserWords(model.tokenizer), array("f")
    pad = (model.files.config.lm.pad_id, model.files.config.lm.epad_id)
    before_S = silence_S

    def step(heard_S: np.ndarray) -> bool:
        """One frame; returns whether the agent speaks in it."""
        nonlocal before_S
        began = time.perf_counter()
        said = session.push(heard_S)
        frame_ms.append((time.perf_counter() - began) * 1000)
        rms = rms_of(said.wav_S)
        words.push(said.frame, said.token, rms)
        user.push(said.frame, said.user_token, rms_of(heard_S))
        write(before_S, heard_S)
        before_S = said.wav_S
        say(len(frame_ms) * FRAME_SECONDS, said.text, said.user_text)
        return rms > LOUD or (said.token >= 0 and said.token not in pad)

    for heard_S in user_TS:
        step(heard_S)
    quiet = 0
    for _ in range(round(tail / FRAME_SECONDS)):
        if quiet * FRAME_SECONDS >= QUIET_SECONDS:
            break
        quiet = 0 if step(silence_S) else quiet + 1
    write(before_S, silence_S)
    return {
        "model": model.name,
        "seed": seed,
        "frames": len(frame_ms),
        **transcript(words, user),
        "frame_ms": _percentiles(frame_ms),
    }


def _percentiles(values: array) -> dict[str, float]:
    p50, p99, most = np.percentile(values, [50, 99, 100]) if values else (0.0, 0.0, 0.0)
    return {"p50": round(float(p50), 2), "p99": round(float(p99), 2), "max": round(float(most), 2)}
