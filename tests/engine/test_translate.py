"""Translation: what the reference's own program says, to its end."""

from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from duologue.audio.files import read_mono, write_audio
from duologue.cli import main
from duologue.engine.options import Options
from duologue.engine.streams import open_streams
from duologue.engine.translate import EOS, Translation, translate
from duologue.errors import InputError
from duologue.interfaces import Conditions, Streams, Unguided
from duologue.lm import LM, Sampling
from duologue.lm.tokenizer import Tokenizer
from duologue.weights import Model, load
from duologue.weights.convert import convert
from duologue.weights.model import ASSETS
from tests import golden
from tests.engine.speech_models import GoldenModel

FRAMES = 12
GOLDEN = load_file(golden.FOLDER / "translation.safetensors")


class Hibiki(GoldenModel):
    def __init__(self) -> None:
        super().__init__("lm_hibiki", Tokenizer(ASSETS / "tiny" / "tokenizer.model"))

    @cached_property
    def lm(self) -> LM:
        return Model.lm.func(self)  # with EOS read as PAD


class OnCodes(Translation):
    """Hears given codes in place of a recording, and keeps those that it says."""

    codes_QT: np.ndarray

    def _open(
        self, model: Model, options: Options, conditions: Conditions, unguided: Unguided | None
    ) -> Streams:
        streams = open_streams(model, 1, options, conditions, unguided)
        heard, decode, self.said = iter(self.codes_QT.T), streams.decode, []

        def kept(codes_BQ: np.ndarray, exec_B: np.ndarray) -> np.ndarray:
            self.said.append(codes_BQ[0])
            return decode(codes_BQ, exec_B)

        streams.encode = lambda wav_BS, exec_B: next(heard)[None]  # pyright: ignore
        streams.decode = kept  # pyright: ignore
        return streams


@pytest.mark.parametrize("backend", ["torch", "mlx"])
@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_it_says_what_the_reference_says_until_the_end(guidance: float, backend) -> None:
    if backend == "mlx":
        pytest.importorskip("mlx.core")
    expected = {name: GOLDEN[f"{guidance:g}.{name}"].numpy() for name in ("codes", "text", "audio")}
    OnCodes.codes_QT = expected["codes"]
    work = OnCodes(Hibiki(), replace(Sampling.greedy(), guidance=guidance), Options(backend))
    silence_S = np.zeros(1920, np.float32)
    spoken = [work.push(silence_S) for _ in range(FRAMES)]
    while len(spoken) < 100 and not (spoken[-1] and spoken[-1].last):
        spoken.append(work.finish())
    said = [frame for frame in spoken if frame is not None]
    assert [frame.token for frame in said] == expected["text"].tolist()
    assert said[-1].token == EOS
    np.testing.assert_array_equal(np.stack(work.said, 1), expected["audio"])


def test_an_early_end_ends_nothing_and_a_late_one_is_waited_for_no_longer_than_told() -> None:
    model, frames = Hibiki(), []
    recording = [np.zeros(1920, np.float32)] * FRAMES
    translate(model, recording, frames.append, sampling=Sampling(seed=1), tail=0.8)
    assert FRAMES - 2 <= len(frames) <= FRAMES + 10
    with pytest.raises(InputError, match="nothing to translate"):
        translate(model, [], frames.append)


def test_it_is_told_to_do_well_in_a_conversation_too() -> None:
    """A live one, through the page or the protocols: the model must not run without its condition."""
    from duologue.engine.duplex import Duplex

    model = Hibiki()
    assert model.conditions == {"description": "very_good"}
    told = Duplex(model, [Sampling.greedy()])._state.inner.conditions.summed_B1D
    assert model.lm.conditioning is not None
    assert told.equal(model.lm.conditioning({"description": "very_good"}).summed_B1D)
    assert not told.equal(model.lm.conditioning({}).summed_B1D)


def test_the_verb(tmp_path: Path, monkeypatch, capsys) -> None:
    write_audio(tmp_path / "in.wav", np.zeros(5 * 1920, np.float32), 24_000)
    monkeypatch.setattr("duologue.cli.commands.load", lambda *_, **__: Hibiki())
    main(["translate", str(tmp_path / "in.wav"), str(tmp_path / "out.wav"), "--model", "x", "--tail", "0.5"])
    assert 2 * 1920 < read_mono(tmp_path / "out.wav").size < 12 * 1920


def test_models_that_do_not_translate(tmp_path: Path) -> None:
    convert("tiny", tmp_path / "tiny", "pytorch")
    with pytest.raises(InputError, match="does not translate: use a model of the Hibiki family"):
        Translation(load(str(tmp_path / "tiny")), Sampling())
