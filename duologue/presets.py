"""The shapes of known models, as functions. Weights are loaded elsewhere (`duologue.weights`)."""

from dataclasses import replace

from duologue.config import (
    AcousticConfig,
    CodecConfig,
    DepthConfig,
    FramesConfig,
    LMConfig,
    QuantizerConfig,
    SeanetConfig,
    TransformerConfig,
    WhisperConfig,
)


def mimi(codebooks: int = 8) -> CodecConfig:
    """Mimi as published: 24 kHz, 12.5 frames a second, `codebooks` of 32 in use (8: 1.1 kbit/s)."""
    return CodecConfig(codebooks=codebooks)


def nano_codec() -> CodecConfig:
    """The codec of `nano`: Mimi's architecture at an eighth of its size, 8 codebooks of 512 entries (0.9 kbit/s), and a
    frame decoder."""
    return CodecConfig(
        seanet=SeanetConfig(dim=256, filters=16),
        transformer=TransformerConfig(256, 4, 4, 1024, 50, layer_scale=0.2),
        quantizer=QuantizerConfig(dim=128, codebooks=8, entries=1024, semantic=3),
        frames=FramesConfig(),
        whisper=WhisperConfig(),
        acoustic=AcousticConfig(),
    )


def tiny_codec() -> CodecConfig:
    """A codec small enough to test with; its weights are random."""
    return CodecConfig(
        seanet=SeanetConfig(dim=16, filters=2),
        transformer=TransformerConfig(16, 2, 2, 32, 20, layer_scale=0.01),
        quantizer=QuantizerConfig(dim=8, codebooks=8, entries=32),
    )


def moshi_7b() -> LMConfig:
    """Moshi as published: 17 streams, a 7 B temporal transformer, depth weights for each codebook."""
    return LMConfig(
        temporal=_helium(4096, 32, 32, 3000),
        depth=DepthConfig(1024, 16, 6, int(4.125 * 1024), tuple(range(8))),
        audio_streams=16,
        delays=(0, *(0, 1, 1, 1, 1, 1, 1, 1) * 2),
    )


def personaplex_7b() -> LMConfig:
    """PersonaPlex as published: Moshi whose depth transformer goes on to the user's codebooks."""
    moshi = moshi_7b()
    assert moshi.depth is not None
    return replace(moshi, depth=replace(moshi.depth, schedule=tuple(range(16))), told=8)


def nano_lm() -> LMConfig:
    """The language model of `nano`, 22 M parameters: Moshi's architecture with a vocabulary of 2,000 pieces, depth
    weights shared from the third codebook on but for the first acoustic one (the fourth), and an extra head for the
    user's words, which are fed back as a second text stream. It hears the semantic codebooks alone, which carry the
    words: with the acoustic ones too it learns the training voices by heart. Every width is a multiple of 64, the group
    in which MLX quantises."""
    return LMConfig(
        temporal=replace(_helium(320, 5, 8, 250), feedforward=1152),
        depth=DepthConfig(192, 3, 2, 864, (0, 1, 2, 3, 2, 2, 2, 2)),
        audio_streams=11,
        delays=(0, 0, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0),
        card=1024,
        text_card=2000,
        text_card_out=2000,
        second_text_stream=True,
        extra_heads=1,
        extra_heads_dim=2000,
    )


def tiny_lm() -> LMConfig:
    """A language model small enough to test with; its weights are random."""
    return LMConfig(
        temporal=_helium(32, 2, 2, 40),
        depth=DepthConfig(16, 2, 1, 66, tuple(range(8))),
        audio_streams=16,
        delays=(0, *(0, 1, 1, 1, 1, 1, 1, 1) * 2),
        card=32,
        text_card=420,
        text_card_out=420,
    )


def _helium(dim: int, heads: int, layers: int, context: int) -> TransformerConfig:
    return TransformerConfig(dim, heads, layers, int(4.125 * dim), context, norm="rms_norm_f32", gated=True)
