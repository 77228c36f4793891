"""Every model's shape, as frozen dataclasses that read and write the published json files strictly."""

from dataclasses import dataclass
from math import prod

from .errors import InputError

NORMS = ("layer_norm", "layer_norm_f32", "rms_norm", "rms_norm_f32")
LARGEST = 2**20  # no size is above
POSITIONS = ("rope", "rope_concat", "none")


def _require(sound: bool, message: str) -> None:
    if not sound:
        raise InputError(message)


def _require_sizes(config: object, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        _require(1 <= value <= LARGEST, f"{name} is a whole number from 1 to {LARGEST}, not {value}")


def _require_heads(dim: int, heads: int, kv_repeat: int, rotary: bool) -> None:
    _require(dim % heads == 0, f"a width of {dim} does not split into {heads} heads")
    _require(heads % kv_repeat == 0, f"{heads} heads do not share keys in groups of {kv_repeat}")
    _require(
        not rotary or dim // heads % 2 == 0, f"heads of {dim // heads} channels cannot be rotated in pairs"
    )


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
    block: int = 1  # positions of a block see one another

    def __post_init__(self) -> None:
        _require_sizes(self, "dim", "heads", "layers", "feedforward", "kv_repeat", "block")
        _require(self.context is None or self.context >= 1, f"a context of {self.context} holds nothing")
        _require(
            self.context is None or self.context >= self.block,
            f"a context of {self.context} positions does not hold a block of {self.block}",
        )
        _require(self.norm in NORMS, f"norm {self.norm!r} is not one of {', '.join(NORMS)}")
        _require(
            self.positions in POSITIONS, f"positions {self.positions!r} are not one of {', '.join(POSITIONS)}"
        )
        _require(self.max_period > 0, f"max_period is above 0, not {self.max_period}")
        _require_heads(self.dim, self.heads, self.kv_repeat, self.positions != "none")


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
        _require_sizes(
            self, "dim", "filters", "kernel", "last_kernel", "residual_kernel", "dilation_base", "compress"
        )
        _require(
            bool(self.ratios) and min(self.ratios) >= 1,
            f"ratios are whole numbers from 1 up, not {self.ratios}",
        )
        _require(0 <= self.residual_layers <= LARGEST, "residual_layers is a whole number from 0 up")
        _require(
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
        _require_sizes(self, "dim", "codebooks", "entries", "semantic")
        _require(
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
        _require_sizes(self, "mels", "dim", "heads", "layers", "feedforward", "context", "period")
        _require_heads(self.dim, self.heads, 1, rotary=True)


@dataclass(frozen=True)
class AcousticConfig:
    """The encoder of how something is said, beside Whisper's of what is said (see `codec.acoustic`)."""

    width: int = 192
    hidden: int = 512
    blocks: int = 3
    kernel: int = 7

    def __post_init__(self) -> None:
        _require_sizes(self, "width", "hidden", "blocks")
        _require(2 <= self.kernel <= LARGEST, f"the kernel of an acoustic encoder is at least 2, not {self.kernel}")


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
        sizes = (self.width, self.hidden, self.blocks, self.samples)
        _require(
            min(sizes) >= 1 and self.kernel >= 2, "sizes of a decoder by frames are at least 1, its kernel 2"
        )
        _require(
            self.taps >= 16 and self.taps % 2 == 0,
            f"taps of a decoder by frames are an even number from 16 up, not {self.taps}",
        )


@dataclass(frozen=True)
class CodecConfig:
    """A Mimi-shaped codec. Mono; rates in Hz; `codebooks` of the quantiser's are in use. With `whisper`, the encoder is
    not SEANet's but `codec.whisper`'s, beside the one that `acoustic` describes; with `frames`, the decoder is
    `codec.frames`'."""

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
        _require((self.whisper is None) == (self.acoustic is None), "whisper and acoustic belong together")
        have = self.quantizer.codebooks
        _require(
            1 <= self.codebooks <= have, f"{self.codebooks} codebooks are asked for, the codec has {have}"
        )
        _require(self.sample_rate >= 1 and self.frame_rate > 0, "sample_rate and frame_rate are above 0")
        _require(
            self.resample >= 1 and self.resample * self.hop * self.frame_rate == self.sample_rate,
            f"{self.sample_rate} Hz in strides of {self.hop} samples do not give {self.frame_rate} frames a second",
        )
        stretch = self.frames.samples if self.frames else 1
        _require(self.hop % stretch == 0, f"{self.hop} samples are no multiple of {stretch}")

    @property
    def only_here(self) -> str | None:
        """What of this codec no other program and no other format has, in words."""
        if self.whisper:
            return "two encoders"
        return "a decoder by frames" if self.frames else None

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
    """The depth transformer: one position a codebook. `schedule[k]` says which set of weights step k uses."""

    dim: int
    heads: int
    layers: int
    feedforward: int
    schedule: tuple[int, ...]
    low_rank: int | None = None  # width of its token embeddings before a projection
    norm_out: str | None = None  # a norm of its own before each output head
    kv_repeat: int = 1

    def __post_init__(self) -> None:
        _require_sizes(self, "dim", "heads", "layers", "feedforward", "kv_repeat")
        _require(
            self.low_rank is None or 1 <= self.low_rank <= LARGEST,
            f"low_rank is a width, not {self.low_rank}",
        )
        _require(self.norm_out in (None, *NORMS), f"norm {self.norm_out!r} is not one of {', '.join(NORMS)}")
        _require_heads(self.dim, self.heads, self.kv_repeat, rotary=False)
        _require(
            len(self.schedule) > 0 and set(self.schedule) == set(range(max(self.schedule) + 1)),
            f"the schedule names sets of weights 0, 1, ... without gaps, not {self.schedule}",
        )

    @property
    def weight_sets(self) -> int:
        return max(self.schedule) + 1


@dataclass(frozen=True)
class ConditionerConfig:
    """A condition: a table of learnt values ("lut") or given vectors ("tensor"), projected to the model's width."""

    name: str
    kind: str  # lut | tensor
    dim: int
    bins: int = 0
    values: tuple[str, ...] | None = None  # names of the bins; None: any text, hashed

    def __post_init__(self) -> None:
        _require_sizes(self, "dim", *(["bins"] if self.kind == "lut" else []))
        named = len(self.values or ())
        _require(named <= self.bins, f"{named} values do not fit into {self.bins} bins")


@dataclass(frozen=True)
class ConditioningConfig:
    """Which conditions are summed to every input, and which are attended to, in this order."""

    conditioners: tuple[ConditionerConfig, ...] = ()
    summed: tuple[str, ...] = ()
    crossed: tuple[str, ...] = ()
    cross_positions: float = 0.0  # scale of sinusoidal positions on the attended sequence; 0: none


@dataclass(frozen=True)
class LMConfig:
    """A temporal and a depth transformer over K = 1 + audio_streams token streams.

    Streams: text, `depth_steps` codebooks that the model speaks, the rest that it hears. `delays` are in frames, one a
    stream. Ids from `text_card` / `card` on are for inputs only: the initial token.
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
    conditioning: ConditioningConfig = ConditioningConfig()

    def __post_init__(self) -> None:
        _require_sizes(self, "card", "text_card", "text_card_out")
        spoken, heard = self.depth_steps, self.audio_streams
        _require(spoken <= heard, f"the model speaks {spoken} codebooks but has {heard} audio streams")
        _require(
            len(self.delays) == self.streams and min(self.delays) >= 0,
            f"{self.streams} streams need a delay from 0 up each, not {self.delays}",
        )
        for token in (self.pad_id, self.epad_id):
            _require(
                0 <= token < self.text_card_out, f"the padding token {token} is not in the text vocabulary"
            )
        _require_sizes(self, "extra_heads_dim")
        _require(0 <= self.extra_heads <= LARGEST, "extra_heads is a whole number from 0 up")
        _require(
            not self.temporal.cross_attention or bool(self.conditioning.crossed),
            "a model with cross-attention needs conditions to attend to",
        )

    @property
    def streams(self) -> int:
        return 1 + self.audio_streams

    @property
    def writes_down_user(self) -> bool:
        """Whether the first extra head writes down the user's words: it then has the text's vocabulary. (The heads of
        published models do not: they tell pauses from speech.)"""
        return self.extra_heads > 0 and self.extra_heads_dim == self.text_card_out

    @property
    def reads_user_text(self) -> bool:
        """Whether what was written down of the user's words goes back in with the next frame, as the second text
        stream."""
        return self.second_text_stream and self.writes_down_user

    @property
    def depth_steps(self) -> int:
        """Codebooks that the model speaks (`dep_q`)."""
        return len(self.depth.schedule) if self.depth else 0

    @property
    def heard(self) -> int:
        """Codebooks that the model only hears."""
        return self.audio_streams - self.depth_steps
