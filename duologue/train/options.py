"""Options of training runs, as dataclasses for the command line; nothing heavy is imported here."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg


@dataclass(frozen=True)
class Run:
    """How long a run goes on, and on what."""

    steps: int
    minutes: float = 0.0
    """Stop, with a checkpoint, after this time; 0: no limit."""
    seed: int = 0
    device: str = "auto"
    precision: Literal["fp32", "bf16"] = "fp32"
    """bf16 where the hardware computes in it."""
    eval_every: int = 500
    save_minutes: float = 5.0
    workers: int | None = None
    """Processes that make batches; by default up to 8 beside a GPU, as many as there are cores to spare, else none."""
    new_data: bool = False
    """Go on from the last checkpoint, but at the beginning of the data given now: it may have changed."""


@dataclass(frozen=True)
class TrainCodec:
    """Train a codec, one stage after another.

    semantic: the encoder and codebook 0 learn the words. joint: all of it learns to rebuild the sound. decoder: against
    discriminators, with codes that no longer change.
    """

    stage: Literal["semantic", "joint", "acoustic", "decoder"]
    segments: Annotated[Path, arg(metavar="DIR")]
    """Training blocks in DIR/train, held-out ones in DIR/valid and DIR/valid-agent (see docs/data.md)."""
    out: Annotated[Path, arg(metavar="DIR")]
    start: Annotated[Path | None, arg(metavar="DIR")] = None
    """The run of the stage before."""
    preset: Literal["nano", "mimi", "tiny"] = "nano"
    whisper: Annotated[Path | None, arg(metavar="DIR")] = None
    """semantic: a Whisper model for CTranslate2, of the size of the codec's encoder, whose weights it starts from."""
    batch: int | None = None
    """Crops in a batch. This and what follows: by the stage if not given."""
    seconds: float | None = None
    """Length of a crop."""
    agent_share: float | None = None
    """Share of crops in the agent's voice."""
    lr: float | None = None
    run_config: Annotated[Run, arg(name="")] = Run(9_000)


@dataclass(frozen=True)
class ExportCodec:
    """Write a trained codec in the published format: OUT.safetensors, and its configuration beside it."""

    start: Annotated[Path, arg(metavar="DIR")]
    """The run to take the (averaged) weights from."""
    out: Annotated[Path, arg(metavar="OUT.safetensors")]
    preset: Literal["nano", "mimi", "tiny"] = "nano"
    store: Literal["float32", "float16", "int8"] = "float32"
    """int8: matrices in 8 bits and a scale a row, all else in float16."""


@dataclass(frozen=True)
class TrainTokenizer:
    """Make a text vocabulary (SentencePiece) of all that scripts say: unk 0 (EPAD), bos 1, eos 2, pad 3, bytes."""

    script: Annotated[Positional[Path], arg(metavar="SCRIPT.jsonl|FOLDER")]
    out: Annotated[Positional[Path], arg(metavar="OUT.model")]
    size: int = 2000
    """Pieces."""


@dataclass(frozen=True)
class TrainLM:
    """Train a language model on conversations, one stage after another.

    As in the paper: text (no sound), speech-text (one mixed stream, and text), post (two speakers), finetune (full
    duplex), instruct. For a small model from scratch: transcribe (the user's speech alone), listen (recognition and
    answers, without a voice), then duplex (everything).
    """

    stage: Literal["text", "speech-text", "post", "finetune", "instruct", "transcribe", "listen", "duplex"]
    out: Annotated[Path, arg(metavar="DIR")]
    tokenizer: Annotated[Path | None, arg(metavar="FILE.model")] = None
    """The vocabulary; by default that of --model."""
    shards: Annotated[tuple[Path, ...], arg(metavar="DIR")] = ()
    """Folders of training shards (`duologue data encode`)."""
    texts: Annotated[tuple[Path, ...], arg(metavar="FILE|DIR")] = ()
    """For text and speech-text: folders of packed text (`duologue data text pack`), .txt files (a document a line) or
    .jsonl files of {"text"}."""
    valid: Annotated[tuple[Path, ...], arg(metavar="DIR")] = ()
    """Folders of held-out shards; for text, of packed text."""
    start: Annotated[Path | None, arg(metavar="DIR")] = None
    """The run of the stage before."""
    preset: Literal["nano", "moshi", "tiny"] = "nano"
    """What to build, with random weights, unless --model is given."""
    model: str | None = None
    """A model to go on from: a name, a folder or hf://owner/name@revision."""
    codec: Annotated[Path | None, arg(metavar="CODEC.safetensors")] = None
    """With random weights: the embeddings of semantic codes start as the codebook vectors of this codec."""
    lora_rank: int = 0
    """Train adapters of this rank beside the weights, which stay as they are; 0: the weights."""
    lora_scaling: float = 2.0
    batch: int = 4
    """Pieces of conversations in a batch."""
    frames: int = 300
    """Length of a piece, in frames of 80 ms."""
    lr: float | None = None
    """Peak learning rate; by the stage if not given."""
    recompute: bool = False
    """Compute the activations inside layers a second time, going back: a third more work, far less memory."""
    shard: bool = False
    """Under torchrun: spread weights, gradients and moments over the processes (FSDP), for what one GPU cannot hold."""
    replicas: int = 1
    """With --shard: form so many groups of processes, each with a whole model (HSDP)."""
    compile: bool = False
    """Compile the layers (torch.compile): the first steps take minutes."""
    run_config: Annotated[Run, arg(name="")] = Run(10_000)


@dataclass(frozen=True)
class ExportLM:
    """Write a trained model as a folder in the published format, which every verb takes as a MODEL."""

    start: Annotated[Path, arg(metavar="DIR")]
    """The run to take the (averaged) weights from."""
    tokenizer: Annotated[Path, arg(metavar="FILE.model")]
    out: Annotated[Path, arg(metavar="DIR")]
    codec: Annotated[Path | None, arg(metavar="CODEC.safetensors")] = None
    """What `train export-codec` wrote; a model of text alone needs none."""
    preset: Literal["nano", "moshi", "tiny"] = "nano"
    store: Literal["float32", "float16", "int8"] = "float32"
    """int8: matrices in 8 bits and a scale a row, all else in float16."""
    temperature: float = 0.3
    """Of the voice, where the listener sets none."""
    text_temperature: float = 0.0


@dataclass(frozen=True)
class ExportLoRA:
    """Write the adapters of a run in moshi-finetune's format: OUT/lora.safetensors and OUT/config.json."""

    start: Annotated[Path, arg(metavar="DIR")]
    """The run to take the (averaged) adapters from."""
    model: str
    """The model they were trained on."""
    out: Annotated[Path, arg(metavar="DIR")]
    lora_scaling: float = 2.0
    """As in training."""
