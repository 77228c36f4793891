"""`duologue train ...`: one dataclass a verb; nothing heavy is imported before it runs.

A run lives in its OUT folder: checkpoints, metrics.jsonl, loss.png, samples. The same command goes on where it stopped.
"""

from dataclasses import dataclass
from typing import Annotated, TypeAlias

from tyro.conf import subcommand

from duologue.train import options


@dataclass(frozen=True)
class TrainCodec(options.TrainCodec):
    """Train a codec, one stage after another.

    semantic: the encoder and the semantic codebooks learn the words. joint: all of it learns to rebuild the sound;
    acoustic: the same where the semantic encoder began as Whisper's and stays as it is. decoder: against
    discriminators, with codes that no longer change.
    """

    def run(self) -> None:
        from duologue.train.codec_run import train_codec

        train_codec(self)


@dataclass(frozen=True)
class ExportCodec(options.ExportCodec):
    """Write a trained codec in the published format: OUT.safetensors, and its configuration beside it."""

    def run(self) -> None:
        from duologue.train.codec_run import export_codec

        export_codec(self)


@dataclass(frozen=True)
class TrainTokenizer(options.TrainTokenizer):
    """Make a text vocabulary (SentencePiece) of all that scripts say: unk 0 (EPAD), bos 1, eos 2, pad 3, bytes."""

    def run(self) -> None:
        from duologue.train.lm_run import train_tokenizer

        train_tokenizer(self)


@dataclass(frozen=True)
class TrainLM(options.TrainLM):
    """Train a language model on conversations, one stage after another.

    As in the paper: text (no sound), speech-text (one mixed stream, and text), post (two speakers), finetune (full
    duplex), instruct. For a small model from nothing: listen (what the user says
    and what to answer, without a voice), then duplex (all of it).
    """

    def run(self) -> None:
        from duologue.train.lm_run import train_lm

        train_lm(self)


@dataclass(frozen=True)
class ExportLM(options.ExportLM):
    """Write a trained model as a folder in the published format, which every verb takes as a MODEL."""

    def run(self) -> None:
        from duologue.train.lm_run import export_lm

        export_lm(self)


@dataclass(frozen=True)
class ExportLoRA(options.ExportLoRA):
    """Write the adapters of a run in moshi-finetune's format: OUT/lora.safetensors and OUT/config.json."""

    def run(self) -> None:
        from duologue.train.lm_run import export_lora

        export_lora(self)


Train: TypeAlias = (
    Annotated[TrainCodec, subcommand("codec")]
    | Annotated[ExportCodec, subcommand("export-codec")]
    | Annotated[TrainTokenizer, subcommand("tokenizer")]
    | Annotated[TrainLM, subcommand("lm")]
    | Annotated[ExportLM, subcommand("export-lm")]
    | Annotated[ExportLoRA, subcommand("export-lora")]
)
