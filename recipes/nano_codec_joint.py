"""nano's codec, stage 2: encoder, all codebooks and decoder together; its codes are frozen afterwards.

python -m recipes.nano_codec_joint --strips DIR --start DIR --out DIR [--minutes M]
"""

from dataclasses import dataclass
from pathlib import Path

import sentencepiece
import torch
import tyro

from duologue import presets
from duologue.codec import Codec
from duologue.train import checkpoint, parallel
from duologue.train.codec_batches import CropBatches
from duologue.train.codec_joint import JointConfig, JointStage
from duologue.train.loop import LoopConfig, run


@dataclass(frozen=True)
class Recipe:
    strips: Path
    """Folder with the training blocks (train/) and the held-out ones (valid/)."""
    start: Path
    """The run of stage 1 to start from."""
    out: Path
    steps: int = 9_000
    minutes: float = 0.0
    batch: int = 4
    seconds: float = 6.4
    agent_share: float = 0.4
    seed: int = 0


def main(recipe: Recipe) -> None:
    torch.manual_seed(recipe.seed)
    world = parallel.start()
    tokenizer = sentencepiece.SentencePieceProcessor(str(recipe.start / "words.model"))
    data = CropBatches(
        recipe.strips / "train",
        tokenizer,
        recipe.batch,
        recipe.seconds,
        recipe.agent_share,
        recipe.seed,
        world.rank,
    )
    held_out = CropBatches(recipe.strips / "valid", tokenizer, 8, recipe.seconds, 0.0, 1, noisy=0.0)
    stage = JointStage(
        parallel.parallelize(Codec(presets.nano_codec()), world),
        tokenizer,
        torch.zeros(2, 512),  # the teacher's mean and spread come with the weights
        JointConfig(steps=recipe.steps),
        [held_out.make(i) for i in range(8)],
        world,
    )
    stage.module.load_state_dict(checkpoint.load_weights(recipe.start, ema=True))
    loop = LoopConfig(recipe.steps, 1, 20, 500, save_minutes=5, minutes=recipe.minutes, seed=recipe.seed)
    run(stage, data, loop, recipe.out)


if __name__ == "__main__":
    main(tyro.cli(Recipe, description=__doc__))
