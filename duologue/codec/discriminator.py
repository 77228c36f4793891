"""Multi-scale STFT discriminator: judges a waveform by its complex spectrogram at several window lengths.

Used only while a codec is trained. Architecture of EnCodec (arXiv 2210.13438, section 3.4), which Mimi keeps.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from duologue.audio.mel import mel_filterbank
from duologue.errors import InputError

_KERNEL = (3, 9)  # time, frequency
_SLOPE = 0.2
_FLOOR = 1e-3  # of magnitudes; anything below is inaudible


@dataclass(frozen=True)
class DiscriminatorConfig:
    """One sub-discriminator per entry of `n_ffts` (window lengths in samples); the hop is a quarter of each."""

    n_ffts: tuple[int, ...] = (2048, 1024, 512, 256, 128)
    filters: int = 32
    dilations: tuple[int, ...] = (1, 2, 4)
    mels: int | None = None
    """Judge log magnitudes in this many mel bands instead of the complex spectrogram: for a source-filter decoder,
    whose phases differ from the original's (after the multi-resolution spectrogram discriminators of UnivNet, arXiv
    2106.07889)."""


class Judgement(NamedTuple):
    """Output of the discriminators, one entry per window length.

    `logits`: [B, 1, T, F'], above 0 for real. `features`: each layer's activations [B, C, T, F''], in order.
    """

    logits: list[Tensor]
    features: list[list[Tensor]]


class StftDiscriminator(nn.Module):
    """2-D convolutions over one STFT: dilated in time, strided by 2 in frequency, no pooling over time."""

    window: Tensor
    filters_FM: Tensor | None

    def __init__(self, n_fft: int, filters: int, dilations: tuple[int, ...], mels: int | None = None) -> None:
        super().__init__()
        self.n_fft = n_fft
        if mels:
            filters_FM = torch.from_numpy(mel_filterbank(n_fft, mels, 24_000))
            filters_FM = filters_FM[:, filters_FM.sum(0) > 0]
            self.register_buffer("filters_FM", filters_FM / filters_FM.sum(0), persistent=False)
        else:
            self.filters_FM = None
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)
        layers = [_conv(1 if mels else 2, filters, _KERNEL)]
        layers += [_conv(filters, filters, _KERNEL, dilation=d, stride=2) for d in dilations]
        layers.append(_conv(filters, filters, (3, 3)))
        self.layers = nn.ModuleList(layers)
        self.head = _conv(filters, 1, (3, 3))

    def forward(self, wav_BS: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Waveform [B, S] -> logits [B, 1, T, F'] and the feature maps of every layer but the last."""
        x_BCTF = self.spectrogram(wav_BS)
        features = []
        for layer in self.layers:
            x_BCTF = F.leaky_relu(layer(x_BCTF), _SLOPE, inplace=True)
            features.append(x_BCTF)
        return self.head(x_BCTF), features

    def spectrogram(self, wav_BS: Tensor) -> Tensor:
        """Real and imaginary part [B, 2, T, n_fft/2 + 1], hop n_fft/4 (torch's own), scaled to unit window energy; or
        log mel magnitudes [B, 1, T, mels]."""
        # Half precision loses the quiet bins, so the transform stays in float32 even under autocast.
        with torch.autocast(wav_BS.device.type, enabled=False):
            spec_BFT = torch.stft(
                wav_BS.float(), self.n_fft, window=self.window, center=False, return_complex=True
            )
            spec_BFT = spec_BFT / self.window.square().sum().sqrt()
            if self.filters_FM is not None:
                power_BFT = spec_BFT.real.square() + spec_BFT.imag.square() + 1e-12
                mel_BTM = power_BFT.sqrt().transpose(1, 2) @ self.filters_FM
                return (mel_BTM + _FLOOR).log()[:, None] / 4 + 1
        # These are the strides of channels_last, without a copy: convolutions of few channels run faster in it.
        return torch.view_as_real(spec_BFT.transpose(1, 2)).permute(0, 3, 1, 2)


class Discriminator(nn.Module):
    """Several `StftDiscriminator`s that look at the same waveform."""

    def __init__(self, config: DiscriminatorConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or DiscriminatorConfig()
        self.scales = nn.ModuleList(
            StftDiscriminator(n_fft, config.filters, config.dilations, config.mels) for n_fft in config.n_ffts
        )

    def forward(self, wav_BS: Tensor) -> Judgement:
        """Waveform [B, S] in [-1, 1] -> a `Judgement`. Raises InputError if S is below the longest window."""
        if wav_BS.dim() != 2:
            raise InputError(f"the discriminator takes waveforms [batch, samples], not {tuple(wav_BS.shape)}")
        longest = max(self.config.n_ffts)
        if wav_BS.shape[1] < longest:
            raise InputError(f"segments of {wav_BS.shape[1]} samples are too short: use at least {longest}")
        judged = [scale(wav_BS) for scale in self.scales]
        return Judgement([logits for logits, _ in judged], [features for _, features in judged])


def _conv(
    channels: int, filters: int, kernel: tuple[int, int], dilation: int = 1, stride: int = 1
) -> nn.Module:
    padding = (dilation * (kernel[0] - 1) // 2, kernel[1] // 2)
    return weight_norm(nn.Conv2d(channels, filters, kernel, (1, stride), padding, dilation=(dilation, 1)))
