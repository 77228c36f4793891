"""The time base of synthesis models, and their voices: vectors that they attend to, or a recording as a prompt."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from duologue.audio.files import read_mono
from duologue.engine.script import FRAME_RATE
from duologue.errors import InputError
from duologue.interfaces import Conditions, channels
from duologue.weights import Model
from duologue.weights.files import Missing, download

VOICES = "kyutai/tts-voices"  # repository in which names of voices are looked up
VOICE_FRAMES = 125  # of one voice's vectors: ten seconds
SPEAKERS = "speaker_wavs"
CUT_FRAMES = 2  # frames dropped at the end of a voice prompt, whose codes lack the context of what follows


@dataclass(frozen=True)
class SpeechConfig:
    """The time base of a model that speaks. `delay` is in frames, from text to sound; `ahead` in words; `delayed`:
    whether it is a synthesis model."""

    delayed: bool
    delay: int = 0
    ahead: int = 0
    speakers: bool = False  # it takes two voices, whose turns alternate
    distilled: bool = False  # guidance is a condition
    prefixed: bool = False  # the voice is a recording as a prompt
    channels: int = 1  # of sound: 2 if each speaker has codebooks of its own
    max_speakers: int = 5

    @staticmethod
    def of(model: Model) -> "SpeechConfig":
        """Raises InputError for a model that cannot speak a text."""
        lm, task = model.files.config.lm, model.files.config.task.get("tts_config")
        names = {conditioner.name for conditioner in lm.conditioning.conditioners}
        if task is not None and lm.depth_steps:
            return SpeechConfig(
                True,
                int(float(task["audio_delay"]) * FRAME_RATE),
                int(task.get("second_stream_ahead", 0)),
                "speaker_wavs" in names,
                "cfg" in names,
                "speaker_wavs" not in names,
                channels(model),
                int(task.get("max_speakers", 5)),
            )
        if not lm.depth_steps or not lm.heard or lm.conditioning.conditioners:
            raise InputError(f"{model.name} does not speak a text: use a synthesis model, or nano")
        return SpeechConfig(False)


@dataclass(frozen=True)
class Voice:
    """The voice of an utterance: conditions by name, or the codes `[Q, T]` of a recording as a prompt."""

    conditions: Conditions = field(default_factory=dict)
    prefix_QT: np.ndarray | None = None

    @property
    def frames(self) -> int:
        return 0 if self.prefix_QT is None else self.prefix_QT.shape[1]


def no_voice(model: Model, config: SpeechConfig) -> Voice:
    """The conditions of a model without a chosen voice; they have the same shape as those with one."""
    return Voice({SPEAKERS: _vectors(model, config, [])}) if config.speakers else Voice()


def read_voice(model: Model, names: Sequence[str]) -> Voice:
    """The voice of an utterance, or its two voices. A name is a file (`.safetensors` with `speaker_wavs`, or a
    recording, as the model takes them), or a path in the repository of published voices.

    Raises InputError if the model has no choice of voices, or a file is not a voice.
    """
    config = SpeechConfig.of(model)
    if not names:
        return no_voice(model, config)
    if not config.delayed:
        raise InputError(f"{model.name} has one voice of its own")
    if config.speakers:
        if len(names) > config.max_speakers:
            raise InputError(f"{model.name} takes up to {config.max_speakers} voices, not {len(names)}")
        return Voice({SPEAKERS: _vectors(model, config, [_embedding(model, name) for name in names])})
    if config.channels > 1:
        raise InputError(f"{model.name} takes no recording as the voice of two speakers")
    if len(names) > 1:
        raise InputError(f"{model.name} speaks with one voice at a time")
    return Voice(prefix_QT=recorded(model, read_mono(_found(names[0], ""), model.codec_config.sample_rate)))


def voice_of_vectors(model: Model, voices: Sequence[np.ndarray]) -> Voice:
    """A voice from vectors, float32 `[1, D, T]` each. Raises InputError for other shapes."""
    config = SpeechConfig.of(model)
    if not config.speakers:
        raise InputError(f"{model.name} takes no vectors of a voice")
    return Voice({SPEAKERS: _vectors(model, config, voices)})


def recorded(model: Model, wav_S: np.ndarray) -> np.ndarray:
    """The codes `[Q, T]` of a voice's recording. Raises InputError if it is too short."""
    with torch.no_grad():
        codes_QT = model.codec.encode(torch.from_numpy(wav_S)[None].to(model.device))[0].cpu().numpy()
    if codes_QT.shape[1] <= CUT_FRAMES:
        raise InputError("the recording of a voice is too short: use some seconds of speech")
    return codes_QT[:, :-CUT_FRAMES]


def _vectors(
    model: Model, config: SpeechConfig, voices: Sequence[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """`[max_speakers * T, D]` and which of them are given."""
    lm = model.files.config.lm
    dim = next(c.dim for c in lm.conditioning.conditioners if c.name == SPEAKERS)
    vectors_KTD = np.zeros((config.max_speakers, VOICE_FRAMES, dim), np.float32)
    mask_KT = np.zeros((config.max_speakers, VOICE_FRAMES), bool)
    for k, voice in enumerate(voices):
        if voice.shape != (1, dim, VOICE_FRAMES):
            raise InputError(
                f"a voice of {model.name} is [1, {dim}, {VOICE_FRAMES}] numbers, not {list(voice.shape)}"
            )
        vectors_KTD[k], mask_KT[k] = voice[0].T, True
    return vectors_KTD.reshape(-1, dim), mask_KT.reshape(-1)


def _embedding(model: Model, name: str) -> np.ndarray:
    """`speaker_wavs` of a voice's file, `[1, D, T]`."""
    identity = model.files.config.task.get("model_id", {})
    suffix = f".{identity['sig']}@{identity['epoch']}.safetensors" if identity else ""
    path = _found(name, suffix)
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is damaged, or not a voice of {model.name}") from error
    if SPEAKERS not in tensors:
        raise InputError(f"{path} is not a voice: it has no tensor {SPEAKERS}")
    return tensors[SPEAKERS].float().numpy()


def _found(name: str, suffix: str) -> Path:
    """The file of a voice's name: a local one, or one of the published voices."""
    path = Path(name.removeprefix("file://"))
    if path.is_file():
        return path
    if name.startswith("file://") or path.is_absolute():
        raise InputError(f"there is no voice {name}")
    whole = name if not suffix or name.endswith(".safetensors") else name + suffix
    try:
        return download(VOICES, whole, None)
    except Missing:
        raise InputError(f"there is no voice {name}, neither here nor in hf://{VOICES}") from None
