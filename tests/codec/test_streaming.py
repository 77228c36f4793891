"""The codec frame by frame, and in slots that come and go."""

from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from duologue import presets
from duologue.codec import Codec
from duologue.codec.mimi import CodecState, clean
from duologue.config import CodecConfig
from duologue.weights.random import random_codec
from tests.codec import two_encoders
from tests.nn.streaming import Layer, check_all, same_bits

FRAME = 1920


CONFIGS = {"seanet": presets.tiny_codec(), "whisper": replace(two_encoders.CONFIG, frames=None)}


@pytest.fixture(params=CONFIGS)
def config(request: pytest.FixtureRequest) -> CodecConfig:
    """With either kind of encoder, and SEANet's decoder."""
    return CONFIGS[request.param]


@cache
def double(config: CodecConfig) -> Codec:
    """In double precision, so that rounding decides no code."""
    return random_codec(config).double()


@pytest.fixture
def codec(config: CodecConfig) -> Codec:
    return double(config)


def sound(slots: int, frames: int, seed: int = 0) -> Tensor:
    """Noise whose loudness changes, `[B, S]`."""
    random = torch.Generator().manual_seed(seed)
    wav = torch.randn(slots, frames, FRAME, generator=random, dtype=torch.float64)
    return (wav * torch.rand(slots, frames, 1, generator=random, dtype=torch.float64)).flatten(1).clamp(-1, 1)


def codes(slots: int, frames: int) -> Tensor:
    return torch.randint(32, (slots, 8, frames), generator=torch.Generator().manual_seed(7))


def both_ways(
    codec: Codec, state: CodecState, wav_BS: Tensor, exec_B: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """A frame in, its codes, and the frame that is made of them."""
    codes_BQT = codec.encode_step(state, wav_BS, exec_B)
    return codes_BQT, codec.decode_step(state, codes_BQT, exec_B)


@pytest.mark.parametrize("side", ["encoder", "decoder"])
def test_seanet(side: str) -> None:
    net: nn.Module = getattr(double(CONFIGS["seanet"]), side)
    steps = [n * (960 if side == "encoder" else 1) for n in (1, 2, 1, 3)]
    channels = 1 if side == "encoder" else 16
    x_BTC = torch.randn(
        4, sum(steps), channels, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    check_all(Layer(lambda x_BTC: net(x_BTC.mT).mT, net.init_state, net.step, x_BTC, steps, 1))


def test_codes_streamed_equal_offline_beyond_the_context(codec: Codec) -> None:
    frames = 27  # the context is 10
    wav_BS = sound(2, frames)
    state = codec.init_state(2)
    streamed = torch.cat([codec.encode_step(state, part) for part in wav_BS.split(FRAME, 1)], -1)
    assert torch.equal(streamed, codec.encode(wav_BS))
    assert all(len(streamed[:, q].unique()) > 2 for q in range(8)), "the codes say nothing"


def test_waves_streamed_equal_offline_beyond_the_context() -> None:
    codec = double(CONFIGS["seanet"])
    codes_BQT = codes(2, 27)
    state = codec.init_state(2)
    streamed = torch.cat([codec.decode_step(state, part) for part in codes_BQT.split(1, -1)], -1)
    assert_close(streamed, codec.decode(codes_BQT), atol=1e-9, rtol=0)
    assert streamed.std() > 1e-3


@pytest.mark.parametrize("samples", [1, FRAME - 1, FRAME, 2 * FRAME + 777])
def test_any_length(codec: Codec, samples: int) -> None:
    """The last frame is filled with silence."""
    frames = -(-samples // FRAME)
    codes_BQT = codec.encode(sound(1, 3)[:, :samples])
    assert codes_BQT.shape == (1, 8, frames)
    full = nn.functional.pad(sound(1, 3)[:, :samples], (0, frames * FRAME - samples))
    assert torch.equal(codes_BQT, codec.encode(full))
    assert codec.decode(codes_BQT).shape == (1, frames * FRAME)


def test_a_frame_of_another_length_is_a_fault_of_the_caller(codec: Codec) -> None:
    state = codec.init_state(1)
    with pytest.raises(ValueError, match="1920"):
        codec.encode_step(state, sound(1, 1)[:, 1:])
    with pytest.raises(ValueError, match="one frame of codes"):
        codec.decode_step(state, codes(1, 2))


def test_slots_come_and_go(codec: Codec) -> None:
    """Four slots start, pause, are reset and end at frames of their own: each gives what it gives alone."""
    plan = {0: (0, 30), 1: (3, 11), 2: (7, 25), 3: (1, 19)}  # slot: its first frame and its last
    random = torch.Generator().manual_seed(5)
    wav_BTS = sound(4, 60).unflatten(1, (-1, FRAME))
    state = codec.init_state(4)
    heard: list[list[list[Tensor]]] = [[[]] for _ in range(4)]  # slot, conversation, frames of (codes, wave)
    used = [0] * 4
    for t in range(32):
        reset_B = torch.tensor([t == plan[b][0] or (b, t) in {(1, 9), (2, 15)} for b in range(4)])
        state.reset(reset_B)
        for b in reset_B.nonzero()[:, 0].tolist():
            heard[b].append([])
        exec_B = torch.tensor([plan[b][0] <= t < plan[b][1] for b in range(4)]) & (
            torch.rand(4, generator=random) < 0.8
        )
        frame_BS = torch.stack([wav_BTS[b, used[b]] for b in range(4)])
        codes_BQT, said_BS = both_ways(codec, state, frame_BS, exec_B)
        for b in exec_B.nonzero()[:, 0].tolist():
            heard[b][-1].append((wav_BTS[b, used[b]], codes_BQT[b], said_BS[b]))
            used[b] += 1
    for conversation in [c for slot in heard for c in slot if c]:
        alone = codec.init_state(1)
        for frame_S, codes_QT, said_S in conversation:
            codes_BQT, said_BS = both_ways(codec, alone, frame_S[None])
            assert torch.equal(codes_BQT[0], codes_QT)
            assert_close(said_BS[0], said_S, atol=1e-9, rtol=0)
    assert [len(slot) for slot in heard] == [2, 3, 3, 2]
    assert max(len(c) for slot in heard for c in slot) > 19


BAD = {"nan": torch.nan, "inf": torch.inf, "-inf": -torch.inf, "huge": 1e30, "-huge": -1e30}


@pytest.mark.parametrize("bad", BAD)
def test_bad_samples_stay_in_their_slot_and_do_not_stay_there(config: CodecConfig, bad: str) -> None:
    wav_BS = sound(3, 6).float()
    dirty_BS = wav_BS.clone()
    dirty_BS[1, 1000:5000:3] = BAD[bad]
    model = random_codec(config)
    states = model.init_state(3), model.init_state(3)
    for part, dirty in zip(wav_BS.split(FRAME, 1), dirty_BS.split(FRAME, 1), strict=True):
        outs = []
        for state, frame in zip(states, (part, dirty), strict=True):
            codes_BQT = model.encode_step(state, frame)
            outs += [codes_BQT, model.decode_step(state, codes_BQT)]
        assert same_bits(outs[0][::2], outs[2][::2])
        assert same_bits(outs[1][::2], outs[3][::2])
        assert outs[3].isfinite().all()
    for a, b in zip(*(state.tensors() for state in states), strict=True):
        assert same_bits(a[::2], b[::2])
        assert b.isfinite().all()
    assert torch.equal(model.encode(dirty_BS)[1], model.encode(clean(dirty_BS))[1])


def test_cleaning() -> None:
    wav = torch.tensor([[0.5, torch.nan, torch.inf, -torch.inf, 1e30, -3.0, -1.0]])
    assert clean(wav).tolist() == [[0.5, 0, 0, 0, 1, -1, -1]]


def test_a_hundred_bad_conversations_leave_nothing(config: CodecConfig) -> None:
    """Reset after reset, the slot is bit for bit as new."""
    model = random_codec(config)
    state, new = model.init_state(2), list(model.init_state(2).tensors())
    random = torch.Generator().manual_seed(0)
    last_B = torch.tensor([False, True])
    for cycle in range(100):
        frame_BS = sound(2, 1, cycle).float()
        frame_BS[1] = list(BAD.values())[cycle % 5]
        model.encode_step(state, frame_BS, None if cycle % 2 else last_B)
        model.decode_step(state, torch.randint(32, (2, 8, 1), generator=random), last_B)
        state.reset(last_B)
        assert all(same_bits(a[1], b[1]) for a, b in zip(state.tensors(), new, strict=True))
    assert any(not same_bits(a[0], b[0]) for a, b in zip(state.tensors(), new, strict=True))


@pytest.mark.parametrize("half", [False, True], ids=["float32", "float16 weights"])
def test_the_kernels_of_steps_change_nothing(config: CodecConfig, half: bool) -> None:
    """In single precision, where steps use kernels of their own: as offline, alone or beside others, on any threads."""
    model = random_codec(config)
    model = model.half().float() if half else model
    wav_BS = sound(3, 14).float()
    expected_BQT = model.encode(wav_BS)
    threads = torch.get_num_threads()
    try:
        for count, slots in ((1, slice(3)), (2, slice(3)), (2, slice(1, 2))):
            torch.set_num_threads(count)
            state = model.init_state(len(wav_BS[slots]))
            frames = wav_BS[slots].split(FRAME, 1)
            codes_BQT = torch.cat([model.encode_step(state, frame_BS) for frame_BS in frames], -1)
            assert torch.equal(codes_BQT, expected_BQT[slots])
            said = [model.decode_step(state, code_BQT) for code_BQT in codes_BQT.split(1, -1)]
            assert_close(torch.cat(said, -1), model.decode(codes_BQT), atol=1e-4, rtol=0)
    finally:
        torch.set_num_threads(threads)


def test_memory_does_not_grow(codec: Codec) -> None:
    state = codec.init_state(2)
    size = state.nbytes()
    for t in range(30):
        both_ways(codec, state, sound(2, 1, t))
    assert state.nbytes() == size == sum(t.nbytes for t in state.tensors())


def test_inference_leaves_the_codec_trainable(config: CodecConfig) -> None:
    """What a step remembers of the codebooks must not be in the way of a later gradient."""
    model = random_codec(config)
    state = model.init_state(1)
    with torch.inference_mode():
        model.encode_step(state, sound(1, 1).float())
    quantizer = model.quantizer
    out = quantizer.semantic.quantize(quantizer.semantic_part(model.to_latent(sound(1, 2).float())), 1)
    (out.z_BDT.square().mean() + out.commitment).backward()
    assert all(weight.grad is not None for weight in model.encoder.parameters())
