"""Initialisation for training from scratch: every convolution is scaled so that speech keeps unit variance through the
network.

The usual initialisation shrinks a signal by about 1.7 per layer; after SEANet's fourteen layers it has vanished, and a
small model spends its first thousands of steps growing it back. (Layer-sequential unit-variance initialisation, Mishkin
and Matas 2016.)
"""

import math

import torch
from torch import Tensor, nn

from duologue.codec.mimi import Codec
from duologue.codec.seanet import ResidualBlock


@torch.no_grad()
def scale_to_speech(codec: Codec, wav_BS: Tensor, frozen: nn.Module | None = None) -> None:
    """Scale the convolutions of `codec`, in place, by their outputs for `wav_BS`, a few seconds of speech. Those of
    `frozen` and of the semantic codebooks' input stay as they are.

    Outputs get a standard deviation of 1, branches of residual blocks 0.5, the decoded waveform that of `wav_BS`.
    """
    branches = {id(block.conv2) for block in codec.modules() if isinstance(block, ResidualBlock)}
    by_frames = codec.config.frames is not None
    target = {} if by_frames else {id(codec.decoder.head): float(wav_BS.std())}

    def rescale(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        wanted = target.get(id(module), 0.5 if id(module) in branches else 1.0)
        factor = wanted / float(output.std().clamp(min=1e-8))
        module.weight.mul_(factor)  # pyright: ignore[reportCallIssue]
        return output * factor

    def louder(voice: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        voice.linear.bias[1:] += math.log(float(wav_BS.std() / output.std().clamp(min=1e-8)))  # pyright: ignore

    kept = [] if frozen is None else [*frozen.modules(), codec.quantizer.semantic.in_proj]
    convolutions = (m for m in codec.modules() if isinstance(m, nn.Conv1d | nn.ConvTranspose1d))
    scaled: list[nn.Module] = [m for m in convolutions if not any(m is one for one in kept)]
    for module in scaled:
        if isinstance(module.bias, Tensor):
            module.bias.zero_()
    hooks = [module.register_forward_hook(rescale) for module in scaled]
    if by_frames:  # whose gains are logarithms
        hooks.append(codec.decoder.voice.register_forward_hook(louder))
    z_BDT = codec.to_latent(wav_BS)
    quantizer = codec.quantizer
    semantic_BDT = quantizer.semantic.out_proj(quantizer.semantic.in_proj(quantizer.semantic_part(z_BDT)))
    acoustic_BDT = quantizer.acoustic.out_proj(quantizer.acoustic.in_proj(z_BDT))
    codec.to_wave(semantic_BDT + acoustic_BDT if codec.config.whisper else z_BDT)
    for hook in hooks:
        hook.remove()
