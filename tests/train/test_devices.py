"""Every stage on an accelerator (a stand-in): whatever it needs is there, and gives what it gives on a CPU."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from duologue import presets
from duologue.codec import Codec
from duologue.codec.discriminator import DiscriminatorConfig
from duologue.config import FramesConfig
from duologue.lm import LM
from duologue.lm.step import init_state, step
from duologue.train.codec_acoustic import AcousticStage, AcousticStageConfig, SoundBatches
from duologue.train.codec_decoder import CodeBatches, DecoderConfig, DecoderStage, by_spectra
from duologue.train.codec_joint import JointConfig, JointStage
from duologue.train.codec_semantic import SemanticConfig, SemanticStage
from duologue.train.lm import LMLossConfig, LMStage
from duologue.train.optim import OptimConfig
from duologue.train.parallel import World, parallelize, to_device
from duologue.train.stage import Stage
from duologue.weights.random import random_codec
from tests.accelerator import Accelerator
from tests.codec.two_encoders import CONFIG
from tests.train.conversations import batches as lm_batches

from .test_codec_stages import crops
from .test_codec_stages import segments as segments
from .test_codec_stages import spelling as spelling

Built = tuple[Stage, Callable[[int], Any]]


def by_numbers(data: Any) -> Callable[[int], Any]:
    return data.make


def language_model(world: World, shards: Path) -> Built:
    config = replace(presets.tiny_lm(), second_text_stream=True, extra_heads=1, extra_heads_dim=420)
    lm = parallelize(LM(config), world, recompute=True)
    losses = LMLossConfig(heard=1.0, asr_intermediate=1.0, own_user_text=0.5, pad_bias=1.0, silent_frames=0.5)
    rows = [batch for batch, _ in zip(lm_batches(shards), range(4), strict=False)]
    optim = OptimConfig(1e-3, eps=1e-4, schedule="cosine", steps=9)
    return LMStage(lm, losses, optim, 1e-3, rows[:1], world), lambda number: rows[number]


def semantic(world: World, segments: Path, spelling: Any) -> Built:
    data, teacher = crops(segments, spelling), np.load(segments / "teacher.npy")[0].astype(np.float32)
    config = SemanticConfig(steps=9, continuous_steps=1)
    valid = {"speech": [data.make(9)]}
    codec = Codec(presets.tiny_codec())
    return SemanticStage(codec, spelling, torch.from_numpy(teacher), config, valid, world), data.make


def joint(world: World, segments: Path, spelling: Any) -> Built:
    data, config = crops(segments, spelling, noisy=0.0), JointConfig(steps=9)
    codec = Codec(presets.tiny_codec())
    return JointStage(codec, spelling, torch.randn(10, 16), config, {"a": [data.make(9)]}, world), data.make


def acoustic(world: World, segments: Path) -> Built:
    codec = random_codec(CONFIG)
    for book in codec.quantizer.acoustic.codebooks:
        book.initialized.zero_()
    codec.to(world.device)
    data = SoundBatches(codec, segments, batch=2, frames=12, agent_share=0.5)
    return AcousticStage(
        codec, AcousticStageConfig(steps=9, continuous_steps=1), [data.make(9)], world
    ), data.make


def decoder(world: World, segments: Path, by_frames: bool) -> Built:
    config = DecoderConfig(
        steps=9, spectra_first=1, discriminator=DiscriminatorConfig(n_ffts=(512, 128), filters=4)
    )
    codec = random_codec(presets.tiny_codec())
    if by_frames:
        codec = random_codec(replace(presets.tiny_codec(), frames=FramesConfig(24, 48, 2, 5, 240, 64)))
        spectra = by_spectra(config)
        config = replace(spectra, discriminator=replace(spectra.discriminator, n_ffts=(1024, 512), filters=4))
    codec.to(world.device)
    data = CodeBatches(codec, segments, batch=2, frames=4, agent_share=0.5, context=6)
    return DecoderStage(codec, config, [data.make(9)], world), data.make


def play(name: str, world: World, segments: Path, spelling: Any, shards: Path) -> list[dict[str, float]]:
    torch.manual_seed(3)
    stage, batch = {
        "lm": lambda: language_model(world, shards),
        "semantic": lambda: semantic(world, segments, spelling),
        "joint": lambda: joint(world, segments, spelling),
        "acoustic": lambda: acoustic(world, segments),
        "decoder": lambda: decoder(world, segments, False),
        "frames": lambda: decoder(world, segments, True),
    }[name]()
    found = []
    for number in range(3):
        stage.module.train()
        found.append(stage.train_step([to_device(batch(number), world.device)], number))
        assert stage.ema
        stage.ema.update()
    stage.module.eval()
    with torch.no_grad():
        return [*found, stage.evaluate()]


@pytest.mark.parametrize("name", ["lm", "semantic", "joint", "acoustic", "decoder", "frames"])
def test_a_stage_is_whole_on_its_device(name: str, segments, spelling, shards) -> None:
    here = play(name, World(), segments, spelling, shards)
    with Accelerator() as gpu:
        there = play(name, World(device=gpu.device), segments, spelling, shards)
    assert there[0] == pytest.approx(here[0], rel=5e-2, abs=2e-2)
    for a, b in zip(here[1:], there[1:], strict=True):
        # Adam's first steps are as long for a gradient that is nothing but rounding as for any other, and a code is
        # another by a hair: from here on the two go their own ways.
        assert a.keys() == b.keys() and all(map(math.isfinite, b.values()))


def test_a_frame_of_a_conversation_waits_for_nothing() -> None:
    """Or it could not be recorded as a CUDA graph."""
    codec, lm = random_codec(presets.tiny_codec()), LM(presets.tiny_lm()).eval()
    codec.half().float()  # as published weights are: on a CPU that has kernels of its own

    def frames(device: torch.device | str) -> list[Tensor]:
        from duologue.lm import Sampling

        state, sound = init_state(lm, [Sampling(seed=n) for n in range(2)]), codec.init_state(2)
        state.fix_shapes()
        sound.fix_shapes()
        generator, out = torch.Generator().manual_seed(0), []
        exec_B = torch.ones(2, dtype=torch.bool).to(device)
        for _ in range(4):
            wav_BS = 0.1 * torch.randn(2, codec.config.frame_size, generator=generator)
            codes_BQ = codec.encode_step(sound, wav_BS.to(device), exec_B)[..., 0]
            said = step(lm, state, codes_BQ, exec_B)
            out.append(codec.decode_step(sound, said.tokens_BK[:, 1:].clamp(min=0)[..., None], exec_B))
        return out

    here = frames("cpu")
    with Accelerator() as gpu:
        codec.to(gpu.device)
        lm.to(gpu.device)
        frames(gpu.device)  # some tables are made once
        gpu.waited.clear()
        there = frames(gpu.device)
        assert not gpu.waited
        for a, b in zip(here, there, strict=True):
            torch.testing.assert_close(a, b.cpu(), atol=1e-4, rtol=0)
