"""Every model's shape, as frozen dataclasses that read and write the published json files strictly."""

from dataclasses import dataclass, field
from math import prod

from duologue.config_checks import (
    LARGEST,
    LARGEST_CACHE,
    LONGEST_DELAY,
    MOST_LAYERS,
    MOST_STREAMS,
    require,
    require_heads,
    require_sizes,
)
from duologue.config_conditions import ConditioningConfig

NORMS = ("layer_norm", "layer_norm_f32", "rms_norm", "rms_norm_f32")
POSITIONS = ("rope", "rope_concat", "sin", "none")  # rotary (pairs of neighbours, of halves), sinusoids, none

_SIN = "positions are added to an even width of at least 4, not to {}"


@dataclass(frozen=True)
class TransformerConfig:
    """A causal transformer stack. `feedforward` is the ungated width; `context` is in positions (None: unbounded)."""

    dim: int
    heads: int
    layers: int
    feedforward: int
    context: int | None
    norm: str = "layer_norm"  # of NORMS
    gated: bool = False
    layer_scale: float | None = None
    positions: str = "rope"  # of POSITIONS
    max_period: float = 10_000.0
    kv_repeat: int = 1
    cross_attention: bool = False
    bias: bool = False
    block: int = 1  # positions of a block attend to each other

    def __post_init__(self) -> None:
        require_sizes(self, "dim", "heads", "layers", "feedforward", "kv_repeat", "block")
        require(self.layers <= MOST_LAYERS, f"layers are at most {MOST_LAYERS}, not {self.layers}")
        require(
            self.context is None or self.context >= 1, f"a context is at least 1 position, not {self.context}"
        )
        require(
            self.context is None or self.context >= self.block,
            f"a context of {self.context} positions does not hold a block of {self.block}",
        )
        remembered = 2 * self.layers * self.dim // self.kv_repeat * (self.context or 1)
        require(
            remembered <= LARGEST_CACHE,
            f"a context of {self.context} needs {remembered:,} keys and values, more than is allowed",
        )
        require(self.norm in NORMS, f"norm {self.norm!r} is not one of {', '.join(NORMS)}")
        require(
            self.positions in POSITIONS, f"positions {self.positions!r} are not one of {', '.join(POSITIONS)}"
        )
        require(self.max_period > 0, f"max_period is above 0, not {self.max_period}")
        require(self.positions != "sin" or (self.dim >= 4 and self.dim % 2 == 0), _SIN.format(self.dim))
        require_heads(self.dim, self.heads, self.kv_repeat, self.rotary)

    @property
    def rotary(self) -> bool:
        return self.positions.startswith("rope")


@dataclass(frozen=True)
class SeanetConfig:
    """The convolutional encoder and its mirror, the decoder. `ratios` are in decoder order, as published."""

    dim: int = 512
    filters: int = 64
    ratios: tuple[int, ...] = (8, 6, 5, 4)
    kernel: int = 7
    last_kernel: int = 3
    residual_kernel: int = 3
    residual_layers: int = 1
    dilation_base: int = 2
    compress: int = 2

    def __post_init__(self) -> None:
        require_sizes(
            self, "dim", "filters", "kernel", "last_kernel", "residual_kernel", "dilation_base", "compress"
        )
        require(
            1 <= len(self.ratios) <= 16 and min(self.ratios) >= 1 and max(self.ratios) <= 4096,
            "ratios are at most 16 whole numbers from 1 to 4096",
        )
        require(0 <= self.residual_layers <= 64, "residual_layers is a whole number from 0 to 64")
        require(
            self.compress <= self.filters, f"{self.filters} filters compressed by {self.compress} leave none"
        )


@dataclass(frozen=True)
class QuantizerConfig:
    """Split residual vector quantiser: `semantic` codebooks beside acoustic ones, `codebooks` in all."""

    dim: int = 256
    codebooks: int = 32
    entries: int = 2048
    semantic: int = 1

    def __post_init__(self) -> None:
        require_sizes(self, "dim", "codebooks", "entries", "semantic")
        require(self.codebooks <= MOST_STREAMS, f"codebooks are at most {MOST_STREAMS}, not {self.codebooks}")
        require(
            self.semantic <= self.codebooks,
            f"{self.semantic} semantic codebooks are more than the {self.codebooks} that there are",
        )


@dataclass(frozen=True)
class WhisperConfig:
    """An encoder with the layers of Whisper's, made causal (see `codec.whisper`). Positions last 20 ms."""

    mels: int = 80
    dim: int = 384
    heads: int = 6
    layers: int = 4
    feedforward: int = 1536
    context: int = 200
    period: int = 1500  # positions after which the position embeddings repeat

    def __post_init__(self) -> None:
        require_sizes(self, "mels", "dim", "heads", "layers", "feedforward", "context", "period")
        require(self.layers <= MOST_LAYERS, f"layers are at most {MOST_LAYERS}, not {self.layers}")
        table = self.dim * self.period
        require(
            table <= LARGEST_CACHE, f"a period of {self.period} needs {table:,} numbers, more than is allowed"
        )
        require_heads(self.dim, self.heads, 1, rotary=True)


@dataclass(frozen=True)
class AcousticConfig:
    """The acoustic encoder (pitch, loudness, timbre), beside Whisper's, which carries the words (see
    `codec.acoustic`)."""

    width: int = 192
    hidden: int = 512
    blocks: int = 3
    kernel: int = 7

    def __post_init__(self) -> None:
        require_sizes(self, "width", "hidden", "blocks")
        require(self.blocks <= MOST_LAYERS, f"blocks are at most {MOST_LAYERS}, not {self.blocks}")
        require(
            2 <= self.kernel <= LARGEST, f"the kernel of an acoustic encoder is at least 2, not {self.kernel}"
        )


@dataclass(frozen=True)
class FramesConfig:
    """A decoder whose layers all run at `sample_rate / samples` (see `codec.frames`)."""

    width: int = 256
    hidden: int = 768
    blocks: int = 6
    kernel: int = 7
    samples: int = 240
    taps: int = 256  # of the filters of `codec.voice`

    def __post_init__(self) -> None:
        require_sizes(self, "width", "hidden", "blocks", "samples", "kernel")
        require(self.blocks <= MOST_LAYERS, f"blocks are at most {MOST_LAYERS}, not {self.blocks}")
        require(self.kernel >= 2, "the kernel of a frame decoder is at least 2")
        require(
            16 <= self.taps <= 2**16 and self.taps % 2 == 0,
            f"taps of a frame decoder are an even number from 16 to 65536, not {self.taps}",
        )


@dataclass(frozen=True)
class CodecConfig:
    """A Mimi-shaped codec. Mono; rates in Hz; the first `codebooks` of the quantiser are in use. With `whisper` and
    `acoustic`, two encoders (`codec.whisper`, `codec.acoustic`) replace SEANet's; with `frames`, `codec.frames`
    replaces its decoder."""

    sample_rate: int = 24_000
    frame_rate: float = 12.5
    codebooks: int = 8
    seanet: SeanetConfig = SeanetConfig()
    transformer: TransformerConfig = TransformerConfig(512, 8, 8, 2048, 250, layer_scale=0.01)
    quantizer: QuantizerConfig = QuantizerConfig()
    frames: FramesConfig | None = None
    whisper: WhisperConfig | None = None
    acoustic: AcousticConfig | None = None

    def __post_init__(self) -> None:
        require(
            (self.whisper is None) == (self.acoustic is None),
            "a codec has both `whisper` and `acoustic`, or neither",
        )
        have = self.quantizer.codebooks
        require(
            1 <= self.codebooks <= have, f"{self.codebooks} codebooks are in use, but the codec has {have}"
        )
        require(self.frame_rate > 0, "frame_rate is above 0")
        require_sizes(self, "sample_rate")
        require(
            self.resample >= 1 and self.resample * self.hop * self.frame_rate == self.sample_rate,
            f"{self.sample_rate} Hz in strides of {self.hop} samples do not give {self.frame_rate} frames a second",
        )
        stretch = self.frames.samples if self.frames else 1
        require(self.hop % stretch == 0, f"{self.hop} samples are no multiple of {stretch}")

    @property
    def only_here(self) -> str | None:
        """The part of this codec that no other program or format supports, in words."""
        if self.whisper:
            return "two encoders"
        return "a frame decoder" if self.frames else None

    @property
    def parts(self) -> int:
        """Layers, stages and codebooks: each has at least one tensor."""
        blocks = self.frames.blocks if self.frames else 0
        blocks += self.acoustic.blocks if self.acoustic else 0
        blocks += self.transformer.layers + (self.whisper or self.transformer).layers
        blocks += len(self.seanet.ratios) * (1 + self.seanet.residual_layers)
        return blocks + self.quantizer.codebooks

    @property
    def frame_size(self) -> int:
        """Samples in a frame (1920 for Mimi)."""
        return round(self.sample_rate / self.frame_rate)

    @property
    def resample(self) -> int:
        """Transformer positions in a frame (2 for Mimi: 25 Hz inside, 12.5 Hz outside)."""
        return self.frame_size // self.hop

    @property
    def hop(self) -> int:
        """Samples in a transformer position (960 for Mimi)."""
        return prod(self.seanet.ratios)


@dataclass(frozen=True)
class DepthConfig:
    """The depth transformer: one position per codebook. Step k uses the set of weights `schedule[k]`."""

    dim: int
    heads: int
    layers: int
    feedforward: int
    schedule: tuple[int, ...]
    low_rank: int | None = None  # width of the token embeddings, which are then projected
    norm_out: str | None = None  # norm before each output head
    kv_repeat: int = 1
    max_period: float | None = (
        None  # of the sinusoidal position embeddings of the steps; None: there are none
    )

    def __post_init__(self) -> None:
        require_sizes(self, "dim", "heads", "layers", "feedforward", "kv_repeat")
        if self.max_period is not None:
            require(self.max_period > 0, f"max_period is above 0, not {self.max_period}")
            require(self.dim >= 4 and self.dim % 2 == 0, _SIN.format(self.dim))
        require(self.layers <= MOST_LAYERS, f"layers are at most {MOST_LAYERS}, not {self.layers}")
        require(
            self.low_rank is None or 1 <= self.low_rank <= LARGEST,
            f"low_rank is a width, not {self.low_rank}",
        )
        require(self.norm_out in (None, *NORMS), f"norm {self.norm_out!r} is not one of {', '.join(NORMS)}")
        require_heads(self.dim, self.heads, self.kv_repeat, rotary=False)
        require(
            len(self.schedule) > 0 and set(self.schedule) == set(range(max(self.schedule) + 1)),
            f"the schedule names sets of weights 0, 1, ... without gaps, not {self.schedule}",
        )

    @property
    def weight_sets(self) -> int:
        return max(self.schedule) + 1


@dataclass(frozen=True)
class LMConfig:
    """A temporal and a depth transformer over K = 1 + audio_streams token streams.

    Streams: text, the codebooks that the model speaks, those that it hears. `delays` are in frames, one per stream. Ids
    from `text_card` / `card` on are only inputs: the initial token.
    """

    temporal: TransformerConfig
    depth: DepthConfig | None
    audio_streams: int
    delays: tuple[int, ...]
    card: int = 2048
    text_card: int = 32_000
    text_card_out: int = 32_000
    pad_id: int = 3
    epad_id: int = 0
    second_text_stream: bool = False  # ids carry a look-ahead word: (second + 1) * (text_card + 1) + first
    extra_heads: int = 0
    extra_heads_dim: int = 6
    conditioning: ConditioningConfig = field(default_factory=ConditioningConfig)
    told: int = 0  # last codebooks of the depth transformer that are the user's: predicted, but given in use
    retrieval_token: int | None = None  # the text token by which the model asks for a reference

    def __post_init__(self) -> None:
        require_sizes(self, "card", "text_card", "text_card_out")
        require(
            0 <= self.audio_streams <= MOST_STREAMS,
            f"audio streams are at most {MOST_STREAMS}, not {self.audio_streams}",
        )
        spoken, streams = self.depth_steps, self.audio_streams
        require(spoken <= streams, f"the model speaks {spoken} codebooks but has {streams} audio streams")
        require(0 <= self.told <= spoken, f"of {spoken} codebooks, {self.told} cannot be given")
        require(
            len(self.delays) == self.streams and 0 <= min(self.delays) <= max(self.delays) <= LONGEST_DELAY,
            f"{self.streams} streams need a delay from 0 up to {LONGEST_DELAY} frames each",
        )
        for pad in (self.pad_id, self.epad_id):
            require(0 <= pad < self.text_card_out, f"the padding token {pad} is not in the text vocabulary")
        require(
            self.retrieval_token is None or 0 <= self.retrieval_token < self.text_card_out,
            f"the token {self.retrieval_token} that asks for a reference is not in the text vocabulary",
        )
        require_sizes(self, "extra_heads_dim")
        require(
            0 <= self.extra_heads <= MOST_STREAMS, f"extra_heads is a whole number from 0 to {MOST_STREAMS}"
        )
        require(len(self.conditioning.conditioners) <= MOST_STREAMS, "there are too many conditioners")
        require(
            not self.temporal.cross_attention or bool(self.conditioning.crossed),
            "a model with cross-attention needs conditions to attend to",
        )

    @property
    def parts(self) -> int:
        """Layers, streams, heads and conditioners: each has at least one tensor."""
        depth = self.depth.layers + self.depth_steps if self.depth else 0
        conditioners = len(self.conditioning.told)
        return self.temporal.layers + self.audio_streams + self.extra_heads + conditioners + depth

    @property
    def streams(self) -> int:
        return 1 + self.audio_streams

    @property
    def writes_down_user(self) -> bool:
        """Whether the first extra head transcribes the user: it then has the text vocabulary. (The extra heads of
        published models detect pauses.)"""
        return self.extra_heads > 0 and self.extra_heads_dim == self.text_card_out

    @property
    def reads_user_text(self) -> bool:
        """Whether the transcript of the user is an input of the next frame, as the second text stream."""
        return self.second_text_stream and self.writes_down_user

    @property
    def depth_steps(self) -> int:
        """Codebooks that the depth transformer predicts (`dep_q`)."""
        return len(self.depth.schedule) if self.depth else 0

    @property
    def spoken(self) -> int:
        """Codebooks that the model speaks in a conversation."""
        return self.depth_steps - self.told

    @property
    def heard(self) -> int:
        """Codebooks that it hears."""
        return self.audio_streams - self.spoken
