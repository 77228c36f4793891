"""nano's codec, stage 3: a better decoder for codes that no longer change.

python -m recipes.nano_codec_decoder --strips DIR --start DIR --out DIR [--minutes M]
"""

from dataclasses import dataclass
from pathlib import Path

import torch
import tyro

from duologue import presets
from duologue.codec import Codec
from duologue.train import checkpoint, parallel
from duologue.train.codec_decoder import CodeBatches, DecoderConfig, DecoderStage
from duologue.train.loop import LoopConfig, run


@dataclass(frozen=True)
class Recipe:
    strips: Path
    """Folder with the training blocks (train/) and the agent's held-out sentences (valid-agent/)."""
    start: Path
    """The run of stage 2 to start from."""
    out: Path
    steps: int = 10_000
    minutes: float = 0.0
    batch: int = 6
    frames: int = 12
    agent_share: float = 0.8
    seed: int = 0


def main(recipe: Recipe) -> None:
    torch.manual_seed(recipe.seed)
    world = parallel.start()
    codec = Codec(presets.nano_codec())
    weights = checkpoint.load_weights(recipe.start, ema=True)
    codec.load_state_dict(
        {name.removeprefix("codec."): w for name, w in weights.items() if name.startswith("codec.")}
    )
    codec = parallel.parallelize(codec.eval(), world)
    data = CodeBatches(
        codec,
        recipe.strips / "train",
        recipe.batch,
        recipe.frames,
        recipe.agent_share,
        recipe.seed,
        world.rank,
    )
    held_out = CodeBatches(codec, recipe.strips / "valid-agent", 4, 50, 1.0)
    stage = DecoderStage(
        codec, DecoderConfig(steps=recipe.steps), [held_out.make(i) for i in range(6)], world
    )
    loop = LoopConfig(recipe.steps, 1, 20, 500, save_minutes=5, minutes=recipe.minutes, seed=recipe.seed)
    run(stage, data, loop, recipe.out)


if __name__ == "__main__":
    main(tyro.cli(Recipe, description=__doc__))
