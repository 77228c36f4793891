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


def test_bytes_of_a_step() -> None:
    """In bfloat16: of tables of embeddings a row, everything else once; the depth transformer's weights once for each
    codebook, shared ones too."""
    for case in ("lm_heads", "lm_prefix"):
        config = model_config(json.loads((golden.FOLDER / case / "config.json").read_text())).lm
        read, resident, state = bytes_of(config)
        sizes = {name: weight.numel() for name, weight in LM(config).named_parameters()}
        assert resident == 2 * sum(sizes.values())
        rows = 2 * (config.temporal.dim * config.streams)
        whole = 2 * sum(
            n for name, n in sizes.items() if name.startswith(("temporal.", "out_norm", "text_head"))
        )
        ring = config.temporal.layers * 2 * config.temporal.dim * 2 * (config.temporal.context or 0)
        assert ring <= state < 1.2 * ring + 20_000
        if config.depth is None:
            assert read == rows + whole
        else:
            sets = config.depth.weight_sets
            layers = 2 * sum(n for name, n in sizes.items() if name.startswith("depth.layers"))
            assert rows + whole + layers / sets * config.depth_steps < 1.1 * read
            assert read < 1.3 * (rows + whole + layers / sets * config.depth_steps)


def test_when_a_word_is_written() -> None:
    """No sooner than its end, and in the order in which the words were said."""
    steps: list[float] = []
    question_S = read_mono(ASSETS / "question.opus")
    written = arrivals(Recogniser(load("nano")), question_S, steps)
    assert "capital" in [word for word, _ in written]
    times = [time for _, time in written]
    assert times == sorted(times)
    assert 0.3 < times[0] < times[-1] < len(question_S) / 24_000 + 1.0
    later = arrivals(
        Recogniser(load("nano")), np.concatenate([np.zeros(24_000, np.float32), question_S]), steps
    )
    assert dict(later)["capital"] == pytest.approx(dict(written)["capital"] + 1.0, abs=0.17)
