"""The smallest codec whose encoders are `codec.whisper`'s and `codec.acoustic`'s."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from duologue import presets
from duologue.config import AcousticConfig, FramesConfig, QuantizerConfig, WhisperConfig

FRAME = 1920
WHISPER = WhisperConfig(mels=20, dim=32, heads=2, layers=2, feedforward=64, context=20, period=48)
ACOUSTIC = AcousticConfig(width=24, hidden=48, blocks=2, kernel=5)
CONFIG = replace(
    presets.tiny_codec(),
    quantizer=QuantizerConfig(dim=8, codebooks=8, entries=32, semantic=3),
    frames=FramesConfig(24, 48, 3, 5, 240),
    whisper=WHISPER,
    acoustic=ACOUSTIC,
)


def sound(slots: int, frames: int, seed: int = 0) -> Tensor:
    """Noise whose loudness changes, float32 `[B, S]`."""
    random = torch.Generator().manual_seed(seed)
    wav = torch.randn(slots, frames, FRAME, generator=random)
    return (wav * torch.rand(slots, frames, 1, generator=random)).flatten(1).clamp(-1, 1)


def randomized(module: nn.Module) -> nn.Module:
    """Weights that each matter, norms and biases too, of float16's precision as in a published file."""
    random = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for weight in module.parameters():
            weight.add_(torch.randn(weight.shape, generator=random), alpha=0.1)
            weight.copy_(weight.half())
    return module.eval()
