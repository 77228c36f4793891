"""What the verbs of the command line do: from files to files, through the library."""

import json
import sys
from array import array
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from duologue.audio.device import NoDevice, play_recording
from duologue.audio.files import Recording, audio_writer, check_audio_path, mono, open_audio
from duologue.cli.screen import Screen
from duologue.codec import Codec
from duologue.codec.codes import Codes, check_codes_path, load_codes, save_codes
from duologue.config import QuantizerConfig
from duologue.engine import offline
from duologue.engine.backend import open_codec
from duologue.engine.options import Options
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
    opened = load(model, options.torch_device())
    config = opened.codec_config
    recording = open_audio(source, config.sample_rate)
    codec, codes = open_codec(opened, options), array("h")
    with progress("encoding", _frame_count(recording, config.frame_rate)) as advance:
        for wav_CS in recording.frames(config.frame_size):
            codes.extend(codec.encode_frame(mono(wav_CS)).tolist())
            advance(1)
    codes_TQ = np.frombuffer(codes, np.int16).reshape(-1, config.codebooks)
    save_codes(target, Codes(codes_TQ.T, config.sample_rate, config.frame_rate, opened.name))


def decode(source: Path, target: Path, model: str | None, options: Options) -> None:
    """Decodes codes to a recording, with the given model or else the one that made them."""
    check_audio_path(target)
    codes = load_codes(source)
    opened = load(model or codes.model, options.torch_device())
    config = opened.codec_config
    _check_fit(source, codes, config.quantizer)
    codec = open_codec(opened, options)
    with (
        audio_writer(target, 1, config.sample_rate) as writer,
        progress("decoding", codes.codes_QT.shape[1]) as advance,
    ):
        for codes_Q in codes.codes_QT.T:
            writer.write(codec.decode_frame(codes_Q)[None])
            advance(1)


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
    """Writes the agent's answer to a recording; `stereo` adds the user on the right. Prints the words of both. Memory
    does not grow with its length, unless what was said is to be drawn or played."""
    check_audio_path(target)
    if json_target is not None:
        check_writable(json_target)
    if png_target is not None:
        check_picture(png_target)
    if target.resolve() == source.resolve():
        raise InputError(f"{target} is the recording itself: name another file for the answer")
    if not 0 <= tail < float("inf"):
        raise InputError(f"--tail is a number of seconds from 0 up, not {tail}")
    recording = open_audio(source)
    opened = load(model, options.torch_device(), lora=options.lora)
    now, seconds = 0.0, "?" if recording.seconds is None else f"{recording.seconds:.0f}"
    kept: list[np.ndarray] = []
    with (
        Screen(hint="", clock=lambda: now) as screen,
        audio_writer(target, 1 + stereo, opened.codec_config.sample_rate) as writer,
    ):

        def say(gone: float, agent: str, user: str) -> None:
            nonlocal now
            now = gone
            screen.say("you", user)
            screen.say("agent", agent)
            screen.figures(f"{gone:.0f} s of {seconds} and the answer")

        def write(agent_S: np.ndarray, user_S: np.ndarray) -> None:
            both_2S = np.stack([agent_S, user_S])
            writer.write(both_2S[: 1 + stereo])
            if play or png_target is not None:
                kept.append(both_2S)

        user_TS = map(mono, recording.frames(opened.codec_config.frame_size))
        report = offline.talk_frames(
            opened, user_TS, write, seed=seed, greedy=greedy, tail=tail, options=options, say=say
        )
    if json_target is not None:
        with atomic_write(json_target) as temporary:
            temporary.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n")
    if png_target is not None:
        user = report.get("user", {"words": []})
        both = [(AGENT, word) for word in report["words"]] + [(USER, word) for word in user["words"]]
        words = [Word(word["word"], word["start"], word["end"], who) for who, word in both]
        agent_S, user_S = np.concatenate(kept, axis=1)
        draw_conversation(png_target, agent_S, user_S, words)
    if play:
        try:
            play_recording(np.concatenate(kept, axis=1)[0])
        except NoDevice as error:
            print(f"not played: {error}", file=sys.stderr)


def translate(
    source: Path,
    target: Path,
    model: str,
    *,
    seed: int,
    greedy: bool,
    guidance: float | None,
    tail: float,
    options: Options,
) -> None:
    """Writes the translation of a recording, and prints its text as it comes."""
    from duologue.engine.translate import check_translates, translate

    check_audio_path(target)
    if target.resolve() == source.resolve():
        raise InputError(f"{target} is the recording itself: name another file for the translation")
    if not 0 <= tail < float("inf"):
        raise InputError(f"--tail is a number of seconds from 0 up, not {tail}")
    recording = open_audio(source)
    opened = load(model, options.torch_device(), lora=options.lora)
    check_translates(opened)
    sampling = replace(opened.sampling, seed=seed)
    if guidance is not None:
        sampling = replace(sampling, guidance=guidance)
    if greedy:
        sampling = replace(sampling, temperature=0.0, text_temperature=0.0)
    now, seconds = 0.0, "?" if recording.seconds is None else f"{recording.seconds:.0f}"
    with (
        Screen(hint="", clock=lambda: now) as screen,
        audio_writer(target, 1, opened.codec_config.sample_rate) as writer,
    ):

        def say(gone: float, text: str) -> None:
            nonlocal now
            now = gone
            screen.say("agent", text)
            screen.figures(f"{gone:.0f} s of {seconds}")

        frames = map(mono, recording.frames(opened.codec_config.frame_size))
        translate(
            opened, frames, lambda wav_S: writer.write(wav_S[None]), sampling=sampling, tail=tail, options=options,
            say=say,
        )  # fmt: skip


def talk_live(model: str, seed: int, greedy: bool, options: Options) -> None:
    """A conversation with microphone and speaker, until Ctrl-C."""
    from duologue.cli.live import talk

    opened = load(model, options.torch_device(), lora=options.lora)
    sampling = Sampling.greedy(opened.sampling.pad_bias) if greedy else opened.sampling
    talk(opened, replace(sampling, seed=seed), options=options)


def _frame_count(recording: Recording, frame_rate: float) -> float | None:
    return None if recording.seconds is None else recording.seconds * frame_rate


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
