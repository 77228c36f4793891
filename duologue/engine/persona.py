"""Voice and role prompts for models of the PersonaPlex kind (arXiv 2602.06053). Before a conversation begins the model
gets, in this order and with a tone as the user: the voice with empty text, half a second of silence, the role as its
own text, half a second of silence.

The state after the prompts is the same for every conversation, so it is computed once and copied.
"""

import zipfile
from pathlib import Path

import torch
from torch import Tensor

from duologue.audio.files import read_mono
from duologue.audio.framing import pad_to_frames
from duologue.audio.lufs import normalised
from duologue.config import LMConfig
from duologue.engine.options import Options
from duologue.errors import InputError
from duologue.lm import LM, Sampling
from duologue.lm.model import NO_INPUT, TO_GENERATE
from duologue.lm.persona import SILENCE, TONE, Persona, codes_of
from duologue.lm.step import init_state, step
from duologue.lm.step_state import StepState
from duologue.nn.attention import first_weight
from duologue.weights import Model
from duologue.weights.read import is_finite

BETWEEN_FRAMES = 6  # frames of silence
LUFS = -24.0  # loudness of a voice prompt
LONGEST_VOICE_SECONDS = 60.0  # seconds
LARGEST_VOICE = 2**28  # bytes of a file of states
TAG = "<system>"


def persona(model: Model, options: Options) -> Persona | None:
    """The voice and the role of the options. None for a model that takes neither; InputError if the options name one
    for such a model."""
    if not model.files.config.lm.told:
        if options.voice or options.role:
            raise InputError(
                f"{model.name} takes no --voice-prompt and no --role: PersonaPlex is a model that does"
            )
        return None
    lm = model.files.config.lm
    if max(lm.delays) > 1:
        raise InputError(f"{model.name} takes a persona: that needs delays of one frame")
    replayed, voice_TQ = None, torch.zeros(0, lm.spoken, dtype=torch.int64)
    if options.voice and options.voice.suffix == ".pt":
        replayed = read_states(options.voice, lm)
        voice_TQ = replayed[1][1 : 1 + lm.spoken, 1][None]  # the last frame, as far as it is known
    elif options.voice:
        voice_TQ = encode_voice(model, options.voice)
    role = tokens_of(model, options.role or "")
    silence_TQ = codes_of(SILENCE, lm.spoken, lm.card).expand(2 * BETWEEN_FRAMES + len(role), -1)
    pad = [lm.pad_id] * BETWEEN_FRAMES
    text_T = torch.tensor([*[lm.pad_id] * len(voice_TQ), *pad, *role, *pad])
    return Persona(text_T, torch.cat([voice_TQ, silence_TQ]), replayed)


def tokens_of(model: Model, role: str) -> list[int]:
    role = role.strip()
    if not role:
        return []
    if not (role.startswith(TAG) and role.endswith(TAG) and len(role) > 2 * len(TAG)):
        role = f"{TAG} {role} {TAG}"
    return model.tokenizer.encode(role)


def encode_voice(model: Model, path: Path) -> Tensor:
    """A recording of the voice as codes `[T, Q]`."""
    config, lm = model.codec_config, model.files.config.lm
    wav_S = read_mono(path, config.sample_rate)
    if not 0 < wav_S.size <= LONGEST_VOICE_SECONDS * config.sample_rate:
        raise InputError(f"{path}: a voice is a recording of at most {LONGEST_VOICE_SECONDS:g} s")
    wav_S = normalised(wav_S, config.sample_rate, LUFS)
    wav_TS = torch.from_numpy(pad_to_frames(wav_S, config.frame_size)).view(-1, config.frame_size)
    state = model.codec.init_state(1)
    frames = [
        model.codec.encode_step(state, wav_S[None].to(model.device))[0, : lm.spoken, 0] for wav_S in wav_TS
    ]
    return torch.stack(frames).cpu()


def read_states(path: Path, config: LMConfig) -> tuple[Tensor, Tensor]:
    """A voice as PersonaPlex publishes it: inputs of the transformer, and the token ring after them. The file is a
    pickle; only tensors are read from it, and no code in it is run."""
    dim, streams, delay = config.temporal.dim, config.streams, max(config.delays)
    text_card, card = config.text_card, config.card
    if not path.is_file():
        raise InputError(f"there is no file {path}")
    try:
        with zipfile.ZipFile(path) as archive:
            packed = any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist())
        if packed or path.stat().st_size > LARGEST_VOICE:
            raise ValueError("it is packed or too large")
        found = torch.load(path, map_location="cpu", weights_only=True)
        inputs_ND, ring_KC = found["embeddings"], found["cache"]
        inputs_ND = inputs_ND.float().reshape(len(inputs_ND), dim)
        ring_KC = ring_KC.reshape(streams, delay + 3)
        if not len(inputs_ND) or not is_finite(inputs_ND) or ring_KC.is_floating_point():
            raise ValueError("it has no states")
    except Exception as error:  # damaged pickles raise anything
        raise InputError(f"{path} is not a voice of this model: {type(error).__name__}") from None
    now, most_K1 = len(inputs_ND), torch.tensor([text_card, *[card] * (streams - 1)])[:, None]
    ring_KC = ring_KC.long().clamp(min=NO_INPUT).minimum(most_K1)
    return inputs_ND, torch.stack([ring_KC[:, (now + i) % (delay + 3)] for i in (0, 1)], 1)


class Prefix:
    """The state with which every conversation of a persona begins, except for its last frame, in which the model first
    samples a token."""

    def __init__(self, lm: LM, told: Persona):
        self._lm = lm
        config, device = lm.config, lm.device
        self.state = init_state(lm, [Sampling.greedy()])
        self._tone_BQ = codes_of(TONE, config.heard, config.card).to(device)
        delays_Q = torch.tensor(config.delays[1 : 1 + config.spoken])
        frames = len(told.text_T)
        if told.replayed:
            self._replay(*(part.to(device) for part in told.replayed))
        for s in range(frames - 1):
            audio_Q = torch.where(delays_Q > 0, told.agent_TQ[s], told.agent_TQ[s + 1])
            step(
                lm, self.state, self._tone_BQ,
                text_B=told.text_T[s + 1 : s + 2].to(device), audio_BQ=audio_Q[None].to(device),
            )  # fmt: skip
        self.frame = int(self.state.frame_B)  # the one in which the conversation begins
        late_Q = torch.where(delays_Q > 0, told.agent_TQ[-1], TO_GENERATE)
        self._late_BQ = late_Q[None].to(device)

    @torch.inference_mode()
    def _replay(self, inputs_ND: Tensor, tokens_K2: Tensor) -> None:
        state = self.state
        for x_D in inputs_ND:
            self._lm.temporal.step(state.temporal, x_D.view(1, 1, -1).to(first_weight(self._lm).dtype))
        state.frame_B += len(inputs_ND)
        ring = state.tokens_BKC.shape[-1]
        for i in (0, 1):
            state.tokens_BKC[0, :, (len(inputs_ND) + i) % ring] = tokens_K2[:, i]

    def begin(self, state: StepState, mask_B: Tensor) -> None:
        """Copy the state into the slots of `mask_B`, which were reset."""
        mine, its = state.temporal, self.state.temporal
        used = its.ring.used
        mine.ring.used = max(mine.ring.used, used)
        for slot in mask_B.nonzero()[:, 0].tolist():
            mine.ring.seen_B[slot] = its.ring.seen_B[0]
            for cache, prefix in zip(mine.caches, its.caches, strict=True):
                cache.both_BHCD[slot, :, :used] = prefix.both_BHCD[0, :, :used]  # pyright: ignore
            state.tokens_BKC[slot] = self.state.tokens_BKC[0]
            state.frame_B[slot] = self.frame

    def first(self, state: StepState) -> Tensor:
        """Which slots are in their first frame, `[B]`."""
        return state.frame_B == self.frame

    def tokens(self, first_B: Tensor, heard_BQ: Tensor) -> tuple[Tensor, Tensor]:
        """The user's codes of this frame, and the agent's codes that are forced: in the first frame those of the
        prefix."""
        first_B1 = first_B[:, None]
        free_BQ = torch.full_like(self._late_BQ, TO_GENERATE)
        return torch.where(first_B1, self._tone_BQ, heard_BQ), torch.where(first_B1, self._late_BQ, free_BQ)
