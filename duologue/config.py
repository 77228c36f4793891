"""Every model's shape, as frozen dataclasses that read and write the published json files strictly."""

from dataclasses import dataclass

from .errors import InputError


@dataclass(frozen=True)
class TransformerConfig:
    """A causal transformer stack. `feedforward` is the ungated width; `context` is in positions (None: unbounded)."""

    dim: int
    heads: int
    layers: int
    feedforward: int
    context: int | None
    norm: str = "layer_norm"  # layer_norm | layer_norm_f32 | rms_norm | rms_norm_f32
    gated: bool = False
    layer_scale: float | None = None
    positions: str = "rope"  # rope | rope_concat | none
    max_period: float = 10_000.0
    kv_repeat: int = 1
    cross_attention: bool = False


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


@dataclass(frozen=True)
class QuantizerConfig:
    """Split residual vector quantiser: 1 semantic codebook beside `codebooks - 1` acoustic ones."""

    dim: int = 256
    codebooks: int = 32
    entries: int = 2048


@dataclass(frozen=True)
class CodecConfig:
    """A Mimi-shaped codec. Mono; rates in Hz; `codebooks` of the quantiser's are in use."""

    sample_rate: int = 24_000
    frame_rate: float = 12.5
    codebooks: int = 8
    seanet: SeanetConfig = SeanetConfig()
    transformer: TransformerConfig = TransformerConfig(512, 8, 8, 2048, 250, layer_scale=0.01)
    quantizer: QuantizerConfig = QuantizerConfig()

    @property
    def frame_size(self) -> int:
        """Samples in a frame (1920 for Mimi)."""
        return round(self.sample_rate / self.frame_rate)

    @property
    def resample(self) -> int:
        """Transformer positions in a frame (2 for Mimi: 25 Hz inside, 12.5 Hz outside)."""
        hop = 1
        for ratio in self.seanet.ratios:
            hop *= ratio
        return self.frame_size // hop


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
        if len(self.delays) != self.streams:
            raise InputError(f"the model has {self.streams} streams but {len(self.delays)} delays")

    @property
    def streams(self) -> int:
        return 1 + self.audio_streams

    @property
    def depth_steps(self) -> int:
        """Codebooks that the model speaks (`dep_q`)."""
        return len(self.depth.schedule) if self.depth else 0

    @property
    def heard(self) -> int:
        """Codebooks that the model only hears."""
        return self.audio_streams - self.depth_steps
