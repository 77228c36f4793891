"""A voice and a role, told before the conversation: what PersonaPlex's own program then says."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from duologue.audio.files import write_audio
from duologue.audio.lufs import loudness, normalised
from duologue.engine.backend import TorchBackend, open_backend
from duologue.engine.duplex import Duplex
from duologue.engine.options import Options
from duologue.engine.persona import BETWEEN_FRAMES, Prefix, encode_voice, persona, read_states
from duologue.errors import InputError
from duologue.lm import Sampling
from duologue.lm.persona import SILENCE, Persona, codes_of
from duologue.lm.tokenizer import Tokenizer
from duologue.weights import load
from duologue.weights.model import ASSETS
from tests import golden
from tests.engine.speech_models import GoldenModel

GREEDY = Sampling.greedy()


class Small(Tokenizer):
    """With ids of the golden model's vocabulary."""

    def encode(self, text: str) -> list[int]:
        return [token % 48 for token in super().encode(text)]


def model() -> GoldenModel:
    return GoldenModel("personaplex", Small(ASSETS / "tiny" / "tokenizer.model"))


def told(io: dict[str, Tensor], replayed: bool = False) -> Persona:
    """The golden voice and role."""
    silence_TQ = codes_of(SILENCE, 8, 24).expand(2 * BETWEEN_FRAMES + len(io["role"]), -1)
    pad = torch.full((BETWEEN_FRAMES,), 3)
    text = [pad, io["role"], pad]
    if not replayed:
        voice_TQ = io["voice"].T
        return Persona(torch.cat([pad[:1].expand(len(voice_TQ)), *text]), torch.cat([voice_TQ, silence_TQ]))
    states = read_states_of(io)
    voice_TQ = states[1][1:9, 1][None]
    return Persona(torch.cat([pad[:1], *text]), torch.cat([voice_TQ, silence_TQ]), states)


def read_states_of(io: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    return read_states(io["path"], model().files.config.lm)  # pyright: ignore


@pytest.fixture
def io(tmp_path: Path) -> dict[str, Tensor]:
    """The golden tensors, and the voice as PersonaPlex saves it."""
    tensors = golden.io("personaplex")
    path = tmp_path / "voice.pt"
    torch.save({"embeddings": tensors["embeddings"], "cache": tensors["cache"]}, path)
    return tensors | {"path": path}  # pyright: ignore


def converse(duplex: Duplex, io: dict[str, Tensor], slot: int) -> Tensor:
    """What a slot says, `[1 + Q, T]`."""
    exec_B = torch.arange(2) == slot
    said = []
    for t in range(io["user"].shape[1]):
        heard_Q = io["user"][:, t - 1] if t else torch.zeros(8, dtype=torch.int64)
        said.append(duplex.step_codes(heard_Q.expand(2, -1), exec_B).tokens_BK[slot])
    return torch.stack(said, 1)


@pytest.mark.parametrize("replayed", [False, True])
def test_it_says_what_personaplex_says(io: dict[str, Tensor], replayed: bool) -> None:
    """Told a recording's codes, or the states that were saved of them; in any slot, and again after a reset."""
    opened = model()
    duplex = Duplex(opened, [GREEDY] * 2, prefix=Prefix(opened.lm, told(io, replayed)))
    for slot in (1, 0, 1):
        duplex.reset(torch.arange(2) == slot, {slot: GREEDY})
        assert torch.equal(converse(duplex, io, slot), io["said"])


@pytest.mark.parametrize("compile", [False, True])
@pytest.mark.parametrize("replayed", [False, True])
def test_in_mlx_it_says_the_same(io: dict[str, Tensor], replayed: bool, compile: bool) -> None:
    pytest.importorskip("mlx.core")
    from duologue.mlx.backend import MLXBackend

    backend = MLXBackend(model(), 2, compile=compile, told=told(io, replayed))
    for slot in (1, 0):
        backend.start({slot: GREEDY})
        said = []
        for t in range(io["user"].shape[1]):
            heard_Q = io["user"][:, t - 1] if t else torch.zeros(8, dtype=torch.int64)
            frames = backend.step_codes(heard_Q.expand(2, -1).numpy(), np.arange(2) == slot)
            said.append(frames.tokens_BK[slot])
        np.testing.assert_array_equal(np.stack(said, 1), io["said"].numpy())


def test_what_it_is_told_changes_what_it_says(io: dict[str, Tensor]) -> None:
    opened = model()
    other = told(io)
    other.text_T[BETWEEN_FRAMES + 9] = 20
    duplex = Duplex(opened, [GREEDY] * 2, prefix=Prefix(opened.lm, other))
    duplex.reset(torch.tensor([True, True]))
    assert not torch.equal(converse(duplex, io, 0), io["said"])


@pytest.mark.parametrize("kind", ["torch", "mlx"])
def test_from_the_command_lines_options_to_a_conversation(tmp_path: Path, kind) -> None:
    """The silence that begins every conversation is not heard: the user's first frame finds a codec as new."""
    opened = model()
    write_audio(tmp_path / "voice.wav", 0.1 * np.sin(np.arange(9000) / 9).astype(np.float32), 24_000)
    options = Options(kind, voice=tmp_path / "voice.wav", role="You are kind.")
    made = persona(opened, options)
    assert made is not None
    role = opened.tokenizer.encode("<system> You are kind. <system>")
    assert made.text_T.tolist() == [3] * (5 + BETWEEN_FRAMES) + role + [3] * BETWEEN_FRAMES
    assert torch.equal(made.agent_TQ[:5], encode_voice(opened, tmp_path / "voice.wav"))
    backend, alone = open_backend(opened, 1, options), np.ones(1, bool)
    backend.start({0: GREEDY})
    wav_TS = np.random.default_rng(0).normal(0, 0.1, (4, 1920)).astype(np.float32)
    backend.step(np.zeros((1, 1920), np.float32), alone)
    said = [backend.step(wav_S[None], alone) for wav_S in wav_TS]
    state = opened.codec.init_state(1)
    for wav_S, frames in zip(wav_TS, said, strict=True):
        codes_BQT = opened.codec.encode_step(state, torch.from_numpy(wav_S)[None])
        np.testing.assert_array_equal(frames.heard_BQ[0], codes_BQT[0, :8, 0].numpy())


def test_models_that_are_told_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="takes no --voice-prompt and no --role: PersonaPlex"):
        open_backend(load("tiny"), 1, Options("torch", role="You are kind."))
    assert TorchBackend(load("tiny")).frame_size == 1920


class Evil:
    def __reduce__(self):
        return (print, ("run",))


def test_voices_that_are_none(io: dict[str, Tensor], tmp_path: Path, capsys) -> None:
    """Among them a pickle that would run something, one packed to a thousandth, and states of another model."""
    config, good = model().files.config.lm, io["path"]
    voices = {"evil": Evil(), "list": [1], "other": {"embeddings": torch.zeros(3, 1, 1, 7), "cache": io["cache"]},
              "nan": {"embeddings": io["embeddings"] * torch.nan, "cache": io["cache"]}}  # fmt: skip
    for name, value in voices.items():
        torch.save(value, tmp_path / f"{name}.pt")
    with (
        zipfile.ZipFile(good) as whole,
        zipfile.ZipFile(tmp_path / "packed.pt", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for info in whole.infolist():
            packed.writestr(info.filename, whole.read(info))
    (tmp_path / "cut.pt").write_bytes(Path(good).read_bytes()[:-200])  # pyright: ignore
    for path in sorted(tmp_path.glob("*.pt")):
        if path.name == "voice.pt":
            read_states(path, config)
            continue
        with pytest.raises(InputError, match="is not a voice of this model"):
            read_states(path, config)
    assert "run" not in capsys.readouterr().out


@pytest.mark.parametrize("rate", [24_000, 48_000])
def test_loudness_is_that_of_the_standard(rate: int) -> None:
    """A sine of 997 Hz at full scale has -3.01 LUFS; pauses do not count; 24 kHz is what a voice is read at."""
    wave_S = np.sin(2 * np.pi * 997 * np.arange(4 * rate) / rate).astype(np.float32)
    assert loudness(wave_S, rate) == pytest.approx(-3.01, abs=0.06)
    paused_S = np.concatenate([wave_S, np.zeros(8 * rate, np.float32)])
    assert loudness(paused_S, rate) == pytest.approx(-3.01, abs=0.3)
    assert loudness(normalised(0.01 * wave_S, rate, -24.0), rate) == pytest.approx(-24.0, abs=0.01)
    assert loudness(np.zeros(rate, np.float32), rate) == -np.inf
