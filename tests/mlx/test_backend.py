"""Conversations on the MLX backend: what torch says, in a batch, on a server, and from the command line."""

import asyncio
import json
import shutil
import threading
from dataclasses import replace
from functools import cache
from importlib.util import find_spec

import numpy as np
import pytest
import soundfile

pytest.importorskip("mlx.core")

from duologue import cli
from duologue.audio.activity import rms_of
from duologue.audio.files import read_mono
from duologue.audio.framing import pad_to_frames
from duologue.engine import options
from duologue.engine.backend import TorchBackend, open_backend
from duologue.engine.options import Options, default_backend
from duologue.engine.session import Session
from duologue.errors import InputError
from duologue.lm.sampling import Sampling
from duologue.mlx.backend import MLXBackend
from duologue.serve.settings import Settings
from duologue.weights import Model, load
from duologue.weights.model import ASSETS
from tests.engine.virtual import Room, listening, noise, seeded

MLX = Options("mlx")
NANO = ASSETS / "nano"
SETTINGS = {0: Sampling.greedy(), 1: Sampling(seed=3), 2: Sampling(1.2, 5, 1.1, 4, 0.5, seed=-4)}


@cache
def tiny() -> Model:
    return load("tiny")


def check_the_same(ours: MLXBackend, theirs: TorchBackend, frames: int) -> None:
    """Three slots that start, rest and start anew at frames of their own, and one that stays empty."""
    random = np.random.default_rng(0)
    said = 0
    for t in range(frames):
        starts = {b: SETTINGS[b] for b in SETTINGS if t == 2 * b or random.random() < 0.05}
        if starts:
            ours.start(starts)
            theirs.start(starts)
        exec_B = np.array([t >= 2 * b and random.random() < 0.8 for b in SETTINGS] + [False])
        wav_BS = noise(4, t)
        wav_BS[~exec_B] = np.nan
        a, b = theirs.step(wav_BS, exec_B), ours.step(wav_BS, exec_B)
        for name in ("text_B", "user_text_B", "heard_BQ", "tokens_BK", "finite_B"):
            x, y = getattr(a, name), getattr(b, name)
            assert x.dtype == y.dtype
            np.testing.assert_array_equal(x[exec_B], y[exec_B], f"{name}, frame {t}")
        np.testing.assert_allclose(b.wav_BS[exec_B], a.wav_BS[exec_B], atol=1e-4)
        said += (a.tokens_BK[exec_B] >= 0).all(-1).sum()
    assert said > frames


def test_it_writes_down_what_torch_does() -> None:
    """A head that writes down the user's words, and heads that mean something else."""
    model = listening()
    check_the_same(MLXBackend(model, 4), TorchBackend(model, 4), 20)
    session = Session(model, Sampling.greedy(), MLX)
    said = [session.push(frame_S) for frame_S in noise(12)]
    assert len({s.user_token for s in said}) > 3
    assert "".join(s.user_text for s in said)
    other = Session(listening(4, 6), Sampling.greedy(), MLX)
    assert [other.push(frame_S).user_token for frame_S in noise(2)] == [-1, -1]


def test_it_says_what_torch_says() -> None:
    check_the_same(MLXBackend(tiny(), 4), TorchBackend(tiny(), 4), 50)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="compiling on Linux takes a C++ compiler")
def test_compiled_it_says_what_torch_says() -> None:
    check_the_same(MLXBackend(tiny(), 4, compile=True), TorchBackend(tiny(), 4), 50)


def test_nano_says_what_it_says_in_torch() -> None:
    """Greedy, to a whole question and 8 s after it; both hear the same codes."""
    nano = load(str(NANO))
    ours, theirs, alone = MLXBackend(nano), TorchBackend(nano), np.ones(1, bool)
    for backend in (ours, theirs):
        backend.start({0: Sampling.greedy()})
    user_S = np.concatenate([np.zeros(1920), read_mono(ASSETS / "question.opus"), np.zeros(100 * 1920)])
    for wav_S in pad_to_frames(user_S.astype(np.float32), 1920).reshape(-1, 1920):
        expected = theirs.step(wav_S[None], alone)
        out = ours.step_codes(expected.heard_BQ, alone)
        np.testing.assert_array_equal(out.tokens_BK, expected.tokens_BK)
        # The voice's phase is a sum over the whole conversation, so that a rounding of the pitch moves it: unheard.
        np.testing.assert_allclose(out.wav_BS, expected.wav_BS, atol=1e-2)
        assert rms_of(out.wav_BS) == pytest.approx(rms_of(expected.wav_BS), rel=0.01, abs=1e-4)


def test_codes_that_were_heard_before() -> None:
    live, again = MLXBackend(tiny()), MLXBackend(tiny())
    alone = np.ones(1, bool)
    for wav_S in noise(5):
        a = live.step(wav_S[None], alone)
        b = again.step_codes(a.heard_BQ, alone)
        np.testing.assert_array_equal(a.tokens_BK, b.tokens_BK)


def test_another_thread_may_go_on() -> None:
    """MLX's unfinished arrays belong to a thread: none must be left at the end of a call."""
    backend, wav_BS = MLXBackend(tiny()), noise(1)
    backend.start({0: Sampling.greedy()})
    said = []

    def run() -> None:
        said.append(backend.step(wav_BS, np.ones(1, bool)))
        backend.start({0: Sampling.greedy()})
        said.append(backend.step(wav_BS, np.ones(1, bool)))

    for _ in range(2):
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
    said.append(backend.step(wav_BS, np.ones(1, bool)))
    assert len(said) == 5
    np.testing.assert_array_equal(said[1].tokens_BK, said[3].tokens_BK)


def test_a_model_gone_astray_is_seen_in_its_slot_alone_and_a_start_heals_it() -> None:
    backend = MLXBackend(tiny(), 2)
    both = np.ones(2, bool)
    backend.step(noise(2), both)
    cache = backend._state.temporal.caches[0]
    cache.values_BHCD[1] = float("nan")
    assert backend.step(noise(2), both).finite_B.tolist() == [True, False]
    backend.start({1: Sampling()})
    assert backend.step(noise(2), both).finite_B.all()
    cache.values_BHCD[0] = float("nan")
    backend.rebuild()
    assert backend.step(noise(2), both).finite_B.all()


def test_a_model_that_cannot_hold_a_conversation() -> None:
    deaf = load("tiny")
    config = deaf.files.config
    lm = replace(config.lm, audio_streams=8, delays=config.lm.delays[:9])
    deaf.files = replace(deaf.files, config=replace(config, lm=lm))
    with pytest.raises(InputError, match="does not both listen and speak"):
        MLXBackend(deaf)


def test_conversations_in_a_batcher_say_what_they_say_alone() -> None:
    here = Room(MLXBackend(tiny(), 2), tiny().tokenizer)
    users = [noise(6, seed) for seed in range(2)]
    callers = [here.call(user, seeded(tiny(), 7 + i), after=0.013 * i) for i, user in enumerate(users)]
    here.run(0.5)
    for i, (caller, user) in enumerate(zip(callers, users, strict=True)):
        session = Session(tiny(), seeded(tiny(), 7 + i))  # in torch
        expected = [session.push(frame_S) for frame_S in user]
        offset = next(k for k, said in enumerate(caller.said) if said.frame == 1)
        got = caller.said[offset : offset + 6]
        assert [s.token for s in got] == [s.token for s in expected]
        np.testing.assert_allclose([s.wav_S for s in got], [s.wav_S for s in expected], atol=1e-4)


def test_a_server_end_to_end() -> None:
    pytest.importorskip("uvicorn")
    from tests.serve.server import Heard, Server, dial, pcm, read

    server = Server(Settings(sessions=2), open_backend(tiny(), 2, MLX))

    async def talk(seed: int) -> Heard:
        async with dial(server, f"events=1&format=pcm16&text_seed={seed}&audio_seed={seed}") as link:
            heard = await read(link, Heard(), lambda heard: 0 in heard.kinds)
            for frame_S in noise(8):
                await link.send(b"\x01" + pcm(frame_S))
            return await read(link, heard, lambda heard: len(heard.sound) >= 12)

    async def both() -> list[Heard]:
        return await asyncio.gather(talk(1), talk(2))

    try:
        for heard in asyncio.run(both()):
            sound_S = np.frombuffer(b"".join(heard.sound), "<i2")
            assert sound_S.size == 12 * 1920
            assert sound_S.astype(float).std() > 100
            assert not heard.error
        assert server.service.engine.restarts == 0
    finally:
        server.close()


class TestCommandLine:
    @pytest.fixture
    def folder(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        soundfile.write("in.wav", 0.1 * np.random.default_rng(0).standard_normal(16_000), 16_000)
        return tmp_path

    def test_talk(self, folder) -> None:
        for backend in ("torch", "mlx"):
            flags = [
                "--json",
                f"{backend}.json",
                "--tail",
                "1",
                "--seed",
                "3",
                "--backend",
                backend,
                "--model",
                "tiny",
            ]
            cli.main(["talk", "in.wav", f"{backend}.wav", *flags])
        torch_S, mlx_S = (soundfile.read(f"{name}.wav")[0] for name in ("torch", "mlx"))
        assert torch_S.std() > 1e-3
        np.testing.assert_allclose(mlx_S, torch_S, atol=1e-3)
        theirs, ours = (json.loads((folder / f"{name}.json").read_text()) for name in ("torch", "mlx"))
        assert {**ours, "frame_ms": 0} == {**theirs, "frame_ms": 0}

    def test_encode_and_decode(self, folder) -> None:
        for backend in ("torch", "mlx"):
            cli.main(["encode", "in.wav", f"{backend}.npz", "--backend", backend, "--model", "tiny"])
            cli.main(["decode", f"{backend}.npz", f"{backend}.wav", "--backend", backend])
        with np.load("torch.npz") as theirs, np.load("mlx.npz") as ours:
            assert theirs["codes"].dtype == ours["codes"].dtype
            np.testing.assert_array_equal(ours["codes"], theirs["codes"])
        np.testing.assert_allclose(*(soundfile.read(f"{n}.wav")[0] for n in ("torch", "mlx")), atol=1e-3)

    @pytest.mark.parametrize("backend", ["torch", "mlx"])
    def test_quantized_it_says_something_else(self, folder, backend) -> None:
        for name, *flags in [("plain.wav",), ("q4.wav", "--quantize", "q4")]:
            cli.main(["talk", "in.wav", name, "--tail", "0", "--backend", backend, "--model", "tiny", *flags])
        plain_S, q4_S = (soundfile.read(name)[0] for name in ("plain.wav", "q4.wav"))
        assert q4_S.std() > 1e-3
        assert plain_S.shape == q4_S.shape
        assert not np.array_equal(plain_S, q4_S)


@pytest.mark.parametrize(
    ("system", "machine", "installed", "expected"),
    [
        ("darwin", "arm64", True, "mlx"),
        ("darwin", "arm64", False, "torch"),
        ("darwin", "x86_64", True, "torch"),
        ("linux", "arm64", True, "torch"),
    ],
)
def test_the_default_is_mlx_on_apple_silicon(monkeypatch, system, machine, installed, expected) -> None:
    monkeypatch.setattr(options.sys, "platform", system)
    monkeypatch.setattr(options.platform, "machine", lambda: machine)
    monkeypatch.setattr(options, "find_spec", lambda name: find_spec("json") if installed else None)
    assert default_backend() == Options().resolved() == expected
    if not installed:
        with pytest.raises(InputError, match=r"duologue\[mlx\]"):
            MLX.resolved()
