"""Runs `duologue train codec`."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import sentencepiece
import torch

from duologue import presets
from duologue.codec import Codec
from duologue.codec.init import scale_to_speech
from duologue.data.segments import load_blocks
from duologue.errors import InputError
from duologue.train import checkpoint, parallel
from duologue.train.codec_acoustic import AcousticStage, AcousticStageConfig, SoundBatches
from duologue.train.codec_batches import CropBatches, block_words
from duologue.train.codec_decoder import CodeBatches, DecoderConfig, DecoderStage, by_spectra
from duologue.train.codec_joint import JointConfig, JointStage
from duologue.train.codec_semantic import SemanticConfig, SemanticStage
from duologue.train.loop import run
from duologue.train.options import ExportCodec, TrainCodec
from duologue.train.parallel import World
from duologue.train.settings import loop_config
from duologue.train.stage import Data, Stage
from duologue.weights.ctranslate2 import load_whisper_encoder
from duologue.weights.write import write_codec

PRESETS = {"nano": presets.nano_codec, "mimi": presets.mimi, "tiny": presets.tiny_codec}


def train_codec(options: TrainCodec) -> None:
    """Run one stage of a codec's training. InputError if the run it starts from is missing or does not fit."""
    how = options.run_config
    torch.manual_seed(how.seed)
    world = parallel.start(how.device, how.precision)
    build = {"semantic": _semantic, "joint": _joint, "acoustic": _acoustic, "decoder": _decoder}[
        options.stage
    ]
    stage, data = build(options, world)
    run(stage, data, loop_config(how, world), options.out)


def export_codec(options: ExportCodec) -> None:
    """Write the averaged weights of a run in the published format."""
    codec = trained(options.start, options.preset)
    write_codec(options.out, codec, getattr(torch, options.store))


def _semantic(options: TrainCodec, world: World) -> tuple[Stage, Data]:
    folder = options.segments / "train"
    tokenizer = _word_pieces(folder, options.out)
    data = _crops(options, folder, tokenizer, world, 0.15)
    block = load_blocks(folder)[0]
    sample_TD = torch.from_numpy(np.concatenate(list(block.teacher[:40, ::10])).astype(np.float32))
    codec = Codec(PRESETS[options.preset]())
    scale_to_speech(codec, data.make(0)["clean"])
    config = SemanticConfig(lr=options.lr or SemanticConfig.lr, steps=options.run_config.steps)
    if options.whisper:
        if not codec.config.whisper:
            raise InputError(f"the encoder of {options.preset} is not Whisper's: leave out --whisper")
        load_whisper_encoder(codec.encoder, options.whisper)
        # It recognises words from the start, and must not forget them while the rest is untrained.
        config = replace(config, continuous_steps=500, states_weight=4.0, states_first=400)
    valid = _held_out(options, tokenizer)
    return SemanticStage(codec, tokenizer, sample_TD, config, valid, world), data


def _joint(options: TrainCodec, world: World) -> tuple[Stage, Data]:
    start = _start(options)
    tokenizer = sentencepiece.SentencePieceProcessor(str(start / "words.model"))
    data = _crops(options, options.segments / "train", tokenizer, world, 0.4)
    config = JointConfig(lr=options.lr or JointConfig.lr, steps=options.run_config.steps)
    weights = checkpoint.load_weights(start)
    teacher_TD = torch.zeros(2, len(weights["teacher_mean"]))  # its mean and spread come with the weights
    codec = Codec(PRESETS[options.preset]())
    stage = JointStage(codec, tokenizer, teacher_TD, config, _held_out(options, tokenizer), world)
    stage.module.load_state_dict(stage.module.state_dict() | weights)
    (options.out / "words.model").parent.mkdir(parents=True, exist_ok=True)
    (options.out / "words.model").write_bytes((start / "words.model").read_bytes())
    return stage, data


def _acoustic(options: TrainCodec, world: World) -> tuple[Stage, Data]:
    codec = trained(_start(options), options.preset, new_half=True).to(world.device)
    frames = round((options.seconds or 3.84) * codec.config.frame_rate)
    share = 0.85 if options.agent_share is None else options.agent_share
    seed, batch = options.run_config.seed, options.batch or 4
    data = SoundBatches(codec, options.segments / "train", batch, frames, share, seed, world.rank)
    held_out = SoundBatches(codec, options.segments / "valid-agent", 4, 50, 1.0)
    if options.start != options.out:
        scale_to_speech(codec, data.make(0)["wav"].to(world.device), frozen=codec.encoder)
    config = AcousticStageConfig(options.lr or AcousticStageConfig.lr, steps=options.run_config.steps)
    return AcousticStage(codec, config, [held_out.make(i) for i in range(6)], world), data


def _decoder(options: TrainCodec, world: World) -> tuple[Stage, Data]:
    codec = trained(_start(options), options.preset, new_decoder=True).to(world.device)
    frames = round((options.seconds or 0.96) * codec.config.frame_rate)
    share = 0.8 if options.agent_share is None else options.agent_share
    seed, batch = options.run_config.seed, options.batch or 6
    data = CodeBatches(codec, options.segments / "train", batch, frames, share, seed, world.rank)
    held_out = CodeBatches(codec, options.segments / "valid-agent", 4, 50, 1.0)
    config = DecoderConfig(options.lr or DecoderConfig.lr, steps=options.run_config.steps)
    config = by_spectra(config) if codec.config.frames else config
    return DecoderStage(codec, config, [held_out.make(i) for i in range(6)], world), data


def _start(options: TrainCodec) -> Path:
    if options.start is None:
        raise InputError(f"stage {options.stage} goes on from an earlier one: name its folder with --start")
    return options.start


NOT_SEMANTIC = (
    "acoustic_encoder.",
    "quantizer.acoustic.",
    "quantizer.semantic.out_proj",
    "upsample.",
    "decoder",
)


def trained(start: Path, preset: str, new_decoder: bool = False, new_half: bool = False) -> Codec:
    """The codec of a run. With `new_decoder` its decoder may be missing, and starts from nothing; with `new_half` so
    does all that the semantic stage does not train."""
    codec = Codec(PRESETS[preset]())
    new = NOT_SEMANTIC if new_half else ("decoder.",)
    weights = checkpoint.load_weights(start)
    found = {n.removeprefix("codec."): w for n, w in weights.items() if n.startswith("codec.")}
    own = codec.state_dict()
    other = found.keys() ^ own.keys() | {n for n in own if n in found and own[n].shape != found[n].shape}
    if (new_half or (new_decoder and other)) and all(name.startswith(new) for name in other):
        found = {n: own[n] if n.startswith(new) else w for n, w in found.items() if n in own}
        found |= {n: w for n, w in own.items() if n.startswith(new)}
    elif other:
        raise InputError(f"{start} holds another codec than {preset}: {min(other)!r} does not fit")
    codec.load_state_dict(found)
    return codec.eval()


def _crops(
    options: TrainCodec,
    folder: Path,
    tokenizer: sentencepiece.SentencePieceProcessor,
    world: World,
    share: float,
) -> CropBatches:
    share = share if options.agent_share is None else options.agent_share
    seed, seconds = options.run_config.seed, options.seconds or 6.4
    return CropBatches(folder, tokenizer, options.batch or 4, seconds, share, seed, world.rank)


def _held_out(
    options: TrainCodec, tokenizer: sentencepiece.SentencePieceProcessor
) -> dict[str, list[dict[str, torch.Tensor]]]:
    """Batches of each kind of held-out segments."""
    data = CropBatches(options.segments / "valid", tokenizer, 8, options.seconds or 6.4, 0.0, 1, noisy=0.0)
    batches, speech = {}, data.speech
    for kind in sorted({block.meta[i]["kind"] for block, i in speech}):
        data.speech = [(block, i) for block, i in speech if block.meta[i]["kind"] == kind]
        batches[kind] = [data.make(i) for i in range(6)]
    return batches


def _word_pieces(folder: Path, out: Path, size: int = 400) -> sentencepiece.SentencePieceProcessor:
    """The pieces of words that the reader spells with; made once from the training texts."""
    model = out / "words.model"
    if not model.exists():
        out.mkdir(parents=True, exist_ok=True)
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(block_words(load_blocks(folder))), model_prefix=str(model.with_suffix("")),
            vocab_size=size, hard_vocab_limit=False, bos_id=-1, eos_id=-1, minloglevel=2,
        )  # fmt: skip
    return sentencepiece.SentencePieceProcessor(str(model))
