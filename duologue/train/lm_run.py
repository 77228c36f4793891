"""Runs `duologue train lm`, and exports a run as a model."""

import shutil
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from duologue import presets
from duologue.data.corpus.pack import PackedRows
from duologue.data.shards import ShardReader
from duologue.errors import InputError
from duologue.files import atomic_write, check_writable
from duologue.lm import LM, Sampling
from duologue.lm.depth import DepthLayer
from duologue.lm.lora import add_lora
from duologue.lm.tokenizer import Tokenizer
from duologue.nn.transformer import Layer
from duologue.train import checkpoint, parallel
from duologue.train.lm import LMStage
from duologue.train.lm_batches import LMBatches
from duologue.train.lm_init import embed_semantic_codes
from duologue.train.lm_plans import PLANS, Plan, compile_layers, hear_own, held_out
from duologue.train.lm_speech_text import SpeechTextStage
from duologue.train.lm_text_batches import MixedBatches, MixedConfig, PackedBatches, RowBatches, TextBatches
from duologue.train.loop import run
from duologue.train.optim import OptimConfig
from duologue.train.options import ExportLM, ExportLoRA, TrainLM, TrainTokenizer
from duologue.train.parallel import World
from duologue.train.settings import loop_config
from duologue.train.stage import Data
from duologue.weights import load
from duologue.weights.lora import adapter_tensors
from duologue.weights.write import lm_json, write_json, write_lm

PRESETS = {"nano": presets.nano_lm, "moshi": presets.moshi_7b, "tiny": presets.tiny_lm}


def train_lm(options: TrainLM) -> None:
    """Run one stage of a language model's training. InputError if what it starts from is missing or does not fit."""
    how, plan = options.run_config, PLANS[options.stage]
    torch.manual_seed(how.seed)
    world = parallel.start(how.device, how.precision)
    lm, tokenizer = _model(options)
    if tokenizer.size > lm.config.text_card:
        raise InputError(f"the vocabulary has {tokenizer.size} pieces, the model {lm.config.text_card}")
    if plan.losses.heard and not lm.config.writes_down_user:
        raise InputError(f"stage {options.stage} trains a head for the user's words: this model has none")
    if options.start is not None:
        _fill(lm, checkpoint.load_weights(options.start))
    if plan.rows.own_codebooks is not None:
        hear_own(lm, plan.rows.own_codebooks)
    if options.lora_rank:
        add_lora(lm, options.lora_rank, options.lora_scaling)
    shard = (Layer, DepthLayer) if options.shard else ()
    lm = parallel.parallelize(lm, world, shard, ("context",), options.replicas, options.recompute)
    if options.compile:
        compile_layers(lm)
    optim = plan.optim(how.steps, options.lr)
    build = {"text": _text, "speech-text": _speech_text}.get(options.stage, _conversations)
    stage, data = build(options, plan, lm, tokenizer, optim, world)
    run(stage, data, loop_config(how, world), options.out)


def _model(options: TrainLM) -> tuple[LM, Tokenizer]:
    """What to train and the vocabulary it writes with: a published model, or random weights of a preset."""
    if options.model is not None:
        # What does not move needs no more bits than it is multiplied in.
        frozen = options.lora_rank and options.run_config.precision == "bf16"
        opened = load(options.model, dtype=torch.bfloat16 if frozen else torch.float32)
        lm = opened.lm.train().requires_grad_(True)
        return lm, Tokenizer(options.tokenizer) if options.tokenizer else opened.tokenizer
    if options.tokenizer is None:
        raise InputError("name the vocabulary to write with: --tokenizer FILE.model")
    config = PRESETS[options.preset]()
    if (
        options.stage == "speech-text"
    ):  # the voice has longer to think while it learns what voices are (section 4.2)
        config = replace(config, delays=tuple(2 * delay for delay in config.delays))
    lm = LM(config)
    if options.codec is not None:
        embed_semantic_codes(lm, load(str(options.codec)).codec)
    return lm, Tokenizer(options.tokenizer)


def _text(
    options: TrainLM, plan: Plan, lm: LM, tokenizer: Tokenizer, optim: OptimConfig, world: World
) -> tuple[LMStage, Data]:
    data = _texts(options, lm, tokenizer, world)
    valid: list[dict[str, Tensor]] = []
    for folder in options.valid:
        rows = iter(
            PackedBatches(PackedRows(folder), lm.config.streams, options.batch, options.frames, seed=1)
        )
        valid += [next(rows) for _ in range(8)]
    return LMStage(lm, plan.losses, optim, valid=valid, world=world), data


def _speech_text(
    options: TrainLM, plan: Plan, lm: LM, tokenizer: Tokenizer, optim: OptimConfig, world: World
) -> tuple[LMStage, Data]:
    reader, seed = _reader(options, world), options.run_config.seed
    rows = MixedConfig(options.batch, options.frames)
    data = MixedBatches(reader, _texts(options, lm, tokenizer, world), tokenizer, rows, seed, world.rank)
    return SpeechTextStage(lm, plan.losses, optim, plan.depth_lr, world=world), data


def _conversations(
    options: TrainLM, plan: Plan, lm: LM, tokenizer: Tokenizer, optim: OptimConfig, world: World
) -> tuple[LMStage, Data]:
    rows = replace(plan.rows, batch=options.batch, frames=options.frames).of(lm.config)
    data = LMBatches(_reader(options, world), tokenizer, rows, options.run_config.seed, world.rank)
    valid = held_out(options.valid, tokenizer, rows)
    return LMStage(lm, plan.losses, optim, plan.depth_lr, valid, world), data


def _reader(options: TrainLM, world: World) -> ShardReader:
    if not options.shards:
        raise InputError(f"stage {options.stage} learns from conversations: name their shards with --shards")
    return ShardReader(*options.shards, seed=options.run_config.seed, rank=world.rank, world=world.size)


def _texts(options: TrainLM, lm: LM, tokenizer: Tokenizer, world: World) -> RowBatches:
    streams, seed = lm.config.streams, options.run_config.seed
    if packed := [place for place in options.texts if place.is_dir()]:
        if len(packed) < len(options.texts):
            raise InputError("--texts are files, or folders of packed text, not both")
        rows = PackedRows(*packed)
        return PackedBatches(rows, streams, options.batch, options.frames, seed, world.rank, world.size)
    return TextBatches(
        options.texts, tokenizer, streams, options.batch, options.frames, seed, world.rank, world.size
    )


def _fill(lm: LM, weights: dict[str, Tensor]) -> None:
    """Weights of an earlier stage, which may have had fewer parts; parts of another shape are an error."""
    own = lm.state_dict()
    if odd := [name for name in weights if name not in own or own[name].shape != weights[name].shape]:
        raise InputError(f"the run to start from has another shape: {odd[0]!r} does not fit")
    lm.load_state_dict(weights, strict=False)


def train_tokenizer(options: TrainTokenizer) -> None:
    """A SentencePiece vocabulary with the ids that the published models use."""
    import sentencepiece

    from duologue.data.script import LAST_ANSWER, Script

    items = Script.read(options.script).items.values()
    texts = [text.replace(LAST_ANSWER, "") for item in items for text in (*item.phrasings, item.answer)]
    # Words, not sentences: each word is written on its own, when it is spoken.
    words = (word for text in texts for word in text.split())
    with atomic_write(check_writable(options.out)) as temporary:
        try:
            with temporary.open("wb") as file:
                sentencepiece.SentencePieceTrainer.train(
                    sentence_iterator=words, model_writer=file, vocab_size=options.size, byte_fallback=True,
                    unk_id=0, bos_id=1, eos_id=2, pad_id=3, minloglevel=2, normalization_rule_name="identity",
                    character_coverage=1.0, model_type="bpe",
                )  # fmt: skip
        except RuntimeError as error:
            reason = str(error).rpartition("] ")[2].strip()
            raise InputError(f"no vocabulary of {options.size} pieces from this script: {reason}") from None


def export_lora(options: ExportLoRA) -> None:
    """The adapters of a run, and the configuration that says where they belong (moshi-finetune's layout)."""
    weights = checkpoint.load_weights(options.start)
    ranks = {len(value) for name, value in weights.items() if name.endswith(".lora_A.weight")}
    if len(ranks) != 1:
        raise InputError(f"{options.start} is no run with adapters (--lora-rank)")
    (rank,) = ranks
    lm = load(options.model, dtype=torch.float32).lm
    add_lora(lm, rank, options.lora_scaling)
    _fill(lm, weights)
    options.out.mkdir(parents=True, exist_ok=True)
    with atomic_write(options.out / "lora.safetensors") as temporary:
        save_file(adapter_tensors(lm), temporary, metadata={"format": "pt"})
    how = {"lora": True, "lora_rank": rank, "lora_scaling": options.lora_scaling}
    write_json(options.out / "config.json", lm_json(lm.config) | {"lora_name": "lora.safetensors"} | how)


def export_lm(options: ExportLM) -> None:
    """A model's folder in the published format, from the averaged weights of a run, a codec and a vocabulary."""
    lm = LM(PRESETS[options.preset]())
    _fill(lm, checkpoint.load_weights(options.start))
    sampling = Sampling(options.temperature, text_temperature=options.text_temperature)
    write_model(options.out, lm, options.tokenizer, options.codec, options.store, sampling)


def write_model(
    out: Path,
    lm: LM,
    tokenizer: Path,
    codec: Path | None,
    store: str = "float32",
    sampling: Sampling | None = None,
) -> None:
    """Write a model's folder in the published format. `store`: as in `ExportLM`."""
    out.mkdir(parents=True, exist_ok=True)
    write_lm(out / "model.safetensors", lm, getattr(torch, store))
    _copy(tokenizer, out / "tokenizer.model")
    names = {"moshi_name": "model.safetensors", "tokenizer_name": "tokenizer.model"}
    if codec is not None:
        _copy(codec, out / "mimi.safetensors")
        _copy(codec.with_suffix(".json"), out / "mimi.json")
        names |= {"mimi_name": "mimi.safetensors", "mimi_config_name": "mimi.json"}
    sampling = sampling or Sampling()
    how = {
        "use_sampling": True, "temp": sampling.temperature, "temp_text": sampling.text_temperature,
        "top_k": sampling.top_k, "top_k_text": sampling.text_top_k,
    }  # fmt: skip
    write_json(out / "config.json", lm_json(lm.config) | names | {"lm_gen_config": how})


def _copy(source: Path, target: Path) -> None:
    if not source.is_file():
        raise InputError(f"there is no file {source}")
    with atomic_write(target) as temporary:
        shutil.copyfile(source, temporary)
