"""`benchmarks/speech.py`: what it counts."""

import json

import numpy as np
import pytest

from benchmarks.speech import arrivals, bytes_of
from duologue.audio.files import read_mono
from duologue.engine.recognise import Recogniser
from duologue.lm import LM
from duologue.weights import load
from duologue.weights.model import ASSETS
from duologue.weights.published import model_config
from tests import golden


@pytest.mark.parametrize("case", ["lm_heads", "lm_prefix"])
def test_bytes_of_a_step(case: str) -> None:
    """In bfloat16: the temporal transformer once, the depth transformer's weights once for each codebook, shared ones
    too; of tables of embeddings no more than a row."""
    config = model_config(json.loads((golden.FOLDER / case / "config.json").read_text())).lm
    read, resident, state = bytes_of(config)
    sizes = {name: weight.numel() for name, weight in LM(config).named_parameters()}

    def of(*names: str) -> int:
        return 2 * sum(size for name, size in sizes.items() if name.startswith(names))

    expected = of("temporal.", "out_norm", "text_head")
    if config.depth is not None:
        shared = of("depth.in_projs", "depth.layers") / config.depth.weight_sets
        expected += of("depth.heads") + config.depth_steps * shared
    assert resident == of("")
    assert expected - 500 <= read < 1.1 * expected
    ring = config.temporal.layers * 2 * config.temporal.dim * 2 * (config.temporal.context or 0)
    assert ring <= state < 1.2 * ring + 1000


def test_when_a_word_is_written() -> None:
    """No sooner than its end, and in the order in which the words were said."""
    steps: list[float] = []
    question_S = read_mono(ASSETS / "question.opus")
    written = arrivals(Recogniser(load("nano")), question_S, steps)
    assert "capital" in [word for word, _ in written]
    times = [time for _, time in written]
    assert times == sorted(times)
    assert 0.1 < times[0] < times[-1] < len(question_S) / 24_000 + 1.0
    later = arrivals(
        Recogniser(load("nano")), np.concatenate([np.zeros(24_000, np.float32), question_S]), steps
    )
    assert dict(later)["capital"] == pytest.approx(dict(written)["capital"] + 1.0, abs=0.17)
