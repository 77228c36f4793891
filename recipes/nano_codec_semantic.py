"""nano's codec, stage 1: the encoder and the semantic codebook.

python -m recipes.nano_codec_semantic --strips DIR --out DIR [--minutes M]
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import sentencepiece
import torch
import tyro

from duologue import presets
from duologue.codec import Codec
from duologue.codec.init import scale_to_speech
from duologue.data.strips import load_blocks
from duologue.train import parallel
from duologue.train.codec_batches import CropBatches, block_words
from duologue.train.codec_semantic import SemanticConfig, SemanticStage
from duologue.train.loop import LoopConfig, run


@dataclass(frozen=True)
class Recipe:
    strips: Path
    """Folder with the training blocks (train/) and the held-out ones (valid/)."""
    out: Path
    steps: int = 9_000
    minutes: float = 0.0
    batch: int = 4
    seconds: float = 6.4
    seed: int = 0


def word_pieces(folder: Path, out: Path, size: int = 400) -> sentencepiece.SentencePieceProcessor:
    """The pieces of words that the reader spells with; made once from the training texts."""
    model = out / "words.model"
    if not model.exists():
        out.mkdir(parents=True, exist_ok=True)
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(block_words(load_blocks(folder))), model_prefix=str(model.with_suffix("")),
            vocab_size=size, model_type="unigram", character_coverage=1.0, bos_id=-1, eos_id=-1, minloglevel=2,
        )  # fmt: skip
    return sentencepiece.SentencePieceProcessor(str(model))


def main(recipe: Recipe) -> None:
    torch.manual_seed(recipe.seed)
    world = parallel.start()
    train = recipe.strips / "train"
    tokenizer = word_pieces(train, recipe.out)
    block = load_blocks(train)[0]
    sample_TD = torch.from_numpy(np.concatenate(list(block.teacher[:40, ::10])).astype(np.float32))
    data = CropBatches(train, tokenizer, recipe.batch, recipe.seconds, 0.15, recipe.seed, world.rank)
    held_out = CropBatches(recipe.strips / "valid", tokenizer, 8, recipe.seconds, 0.0, 1, noisy=0.0)
    codec = Codec(presets.nano_codec())
    scale_to_speech(codec, data.make(0)["clean"])
    stage = SemanticStage(
        parallel.parallelize(codec, world),
        tokenizer,
        sample_TD,
        SemanticConfig(steps=recipe.steps),
        [held_out.make(i) for i in range(12)],
        world,
    )
    loop = LoopConfig(recipe.steps, 1, 20, 500, save_minutes=5, minutes=recipe.minutes, seed=recipe.seed)
    run(stage, data, loop, recipe.out)


if __name__ == "__main__":
    main(tyro.cli(Recipe, description=__doc__))
