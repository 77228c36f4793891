"""What the verbs of the command line do: from files to files, through the library."""

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from duologue.audio.device import NoDevice, play_recording
from duologue.audio.files import check_audio_path, read_mono, write_audio
from duologue.audio.framing import frame_count, pad_to_frames
from duologue.cli.screen import Screen
from duologue.codec import Codec
from duologue.codec.codes import Codes, check_codes_path, load_codes, save_codes
from duologue.config import QuantizerConfig
from duologue.engine import offline
from duologue.engine.backend import open_codec
from duologue.engine.options import Options
from duologue.engine.words import FRAME
from duologue.errors import InputError
from duologue.eval.picture import check_picture, draw_conversation
from duologue.files import atomic_write, check_writable
from duologue.lm import LM
from duologue.lm.sampling import Sampling
from duologue.progress import progress
from duologue.types import AGENT, USER, Word
from duologue.weights import load


def info(model: str) -> None:
    """Prints the configuration of each part of a model and the number of its parameters; reads no weights."""
    opened = load(model)
    parts: list[tuple[str, Any, Any]] = [("codec", Codec, opened.codec_config)]
    if Path(model).name != opened.files.config.codec_file:  # else it is a codec alone
        parts.append(("language model", LM, opened.files.config.lm))
    print(opened.name)
    for title, kind, config in parts:
        with torch.device("meta"):
            parameters = sum(weight.numel() for weight in kind(config).parameters())
        print(f"\n{title}: {parameters / 1e6:,.1f} M parameters")
        for name, value in _flat(asdict(config)):
            print(f"  {name:32} {value}")


def encode(source: Path, target: Path, model: str, options: Options) -> None:
    """Writes the codes of a recording. Streamed, so that memory does not grow with its length."""
    check_codes_path(target)
    opened = load(model, _device())
    config = opened.codec_config
    wav_TS = pad_to_frames(read_mono(source, config.sample_rate), config.frame_size).reshape(
        -1, config.frame_size
    )
    codec, frames = open_codec(opened, options), []
    with progress("encoding", len(wav_TS)) as advance:
        for wav_S in wav_TS:
            frames.append(codec.encode_frame(wav_S))
            advance(1)
    codes_QT = np.stack(frames, 1)
    save_codes(target, Codes(codes_QT, config.sample_rate, config.frame_rate, opened.name))


def decode(source: Path, target: Path, model: str | None, options: Options) -> None:
    """Writes the recording that codes stand for, by the model named or else the one they were made with."""
    check_audio_path(target)
    codes = load_codes(source)
    opened = load(model or codes.model, _device())
    config = opened.codec_config
    _check_fit(source, codes, config.quantizer)
    codec, frames = open_codec(opened, options), []
    with progress("decoding", codes.codes_QT.shape[1]) as advance:
        for codes_Q in codes.codes_QT.T:
            frames.append(codec.decode_frame(codes_Q))
            advance(1)
    write_audio(target, np.concatenate(frames), config.sample_rate)


def talk(
    source: Path,
    target: Path,
    model: str,
    *,
    seed: int,
    greedy: bool,
    stereo: bool,
    json_target: Path | None,
    png_target: Path | None,
    tail: float,
    play: bool,
    options: Options,
) -> None:
    """Writes what the agent says to a recording; `stereo` adds the user on the right. Prints what both say."""
    check_audio_path(target)
    if json_target is not None:
        check_writable(json_target)
    if png_target is not None:
        check_picture(png_target)
    if target.resolve() == source.resolve():
        raise InputError(f"{target} is the recording itself: name another file for the answer")
    if not 0 <= tail < float("inf"):
        raise InputError(f"--tail is a number of seconds from 0 up, not {tail}")
    user_S = read_mono(source)
    opened = load(model, _device())
    now, seconds = 0.0, frame_count(user_S.size) * FRAME
    with Screen(hint="", clock=lambda: now) as screen:

        def say(gone: float, agent: str, user: str) -> None:
            nonlocal now
            now = gone
            screen.say("you", user)
            screen.say("agent", agent)
            screen.figures(f"{gone:.0f} s of {seconds:.0f} and the answer")

        answer = offline.talk(opened, user_S, seed=seed, greedy=greedy, tail=tail, options=options, say=say)
    write_audio(target, _side_by_side(answer.wav_S, user_S) if stereo else answer.wav_S)
    if json_target is not None:
        with atomic_write(json_target) as temporary:
            temporary.write_text(json.dumps(answer.report, indent=2, ensure_ascii=False) + "\n")
    if png_target is not None:
        user = answer.report.get("user", {"words": []})
        both = [(AGENT, word) for word in answer.report["words"]] + [(USER, word) for word in user["words"]]
        words = [Word(word["word"], word["start"], word["end"], who) for who, word in both]
        draw_conversation(png_target, answer.wav_S, user_S, words)
    if play:
        try:
            play_recording(answer.wav_S)
        except NoDevice as error:
            print(f"not played: {error}", file=sys.stderr)


def talk_live(model: str, seed: int, greedy: bool, options: Options) -> None:
    """A conversation with microphone and speaker, until Ctrl-C."""
    from duologue.cli.live import talk

    opened = load(model, _device())
    sampling = Sampling.greedy(opened.sampling.pad_bias) if greedy else opened.sampling
    talk(opened, replace(sampling, seed=seed), options=options)


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def _side_by_side(left_S: np.ndarray, right_S: np.ndarray) -> np.ndarray:
    """Both as [2, S], the shorter one filled up with silence."""
    wav_2S = np.zeros((2, max(left_S.size, right_S.size)), np.float32)
    wav_2S[0, : left_S.size], wav_2S[1, : right_S.size] = left_S, right_S
    return wav_2S


def _check_fit(source: Path, codes: Codes, codec: QuantizerConfig) -> None:
    codebooks, largest = len(codes.codes_QT), codes.codes_QT.max()
    if codebooks > codec.codebooks or largest >= codec.entries:
        raise InputError(
            f"{source} has codes up to {largest} in {codebooks} codebooks, the codec has {codec.codebooks} codebooks "
            f"of {codec.entries} entries: decode it with the model that made it, --model {codes.model}"
        )


def _flat(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted name, value) of every leaf."""
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value
