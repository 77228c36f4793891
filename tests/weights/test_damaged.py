"""Files that are cut, altered or contradict themselves: one line, no crash."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from duologue.errors import InputError
from duologue.weights import load
from tests import golden

Tensors = dict[str, Tensor]
IN_PROJ = "transformer.layers.0.self_attn.in_proj"
K_PROJ = "decoder.model.layers.0.self_attn.k_proj.linear.weight"


def edited(case: str, tmp_path: Path, change: Callable[[Tensors], object]) -> Path:
    """A golden model whose weights are changed."""
    path = tmp_path / case
    shutil.copytree(golden.FOLDER / case, path)
    (weights,) = path.glob("model*.safetensors")
    tensors = load_file(weights)
    change(tensors)
    save_file(tensors, weights)
    return path


def one_off(name: str) -> Callable[[Tensors], object]:
    return lambda t: t.update({name: t[name] + 1})


BROKEN: list[tuple[str, Callable[[Tensors], object], str]] = [
    ("mlx_q8", lambda t: t.pop(f"{IN_PROJ}.scales"), "holds uint32 numbers without scales"),
    ("mlx_q8", lambda t: t.pop(f"{IN_PROJ}.biases"), f"the tensor {IN_PROJ}.biases is missing"),
    ("mlx_q8", lambda t: t.pop(f"{IN_PROJ}.weight"), f"the tensor {IN_PROJ}.weight is missing"),
    ("mlx_q8", lambda t: t.update({f"{IN_PROJ}.scales": torch.ones(192, 3)}), "is not 64 columns packed"),
    ("mlx_q8", lambda t: t.update({f"{IN_PROJ}.scales": torch.ones(191, 1)}), "is not 64 columns packed"),
    ("mlx_q8", lambda t: t.update({f"{IN_PROJ}.weight": t[f"{IN_PROJ}.weight"][:, 1:].clone()}), "columns packed"),
    ("mlx_q8", lambda t: t.update(surprise=torch.ones(1)), "unknown tensor surprise"),
    ("mlx_bf16", one_off("depformer.slices.1.transformer.layers.0.norm1.weight"), "differ, but one weight"),
    ("mlx_q8", one_off("depformer.slices.2.linear_in.scales"), "differ, but one weight"),
    ("mlx_bf16", lambda t: t.pop("depformer.slices.2.linear_out.weight"), "slices.2.linear_out.weight is missing"),
    ("candle_bf16", lambda t: t.pop("depformer.1.emb.weight"), "depformer.1.emb.weight is missing"),
    ("torch_q8", lambda t: t.pop("text_linear.weight_scb"), "holds int8 numbers without scales"),
    ("torch_q8", lambda t: t.update({"text_linear.weight_scb": torch.ones(3)}), "are not 8-bit rows"),
    ("torch_q8", lambda t: t.pop("depformer.layers.0.self_attn.in_proj_weight_scb"), "without scales"),
    ("hf_moshi", lambda t: t.pop(K_PROJ), f"{K_PROJ} is missing"),
    ("hf_moshi", lambda t: t.update({"depth_decoder.lm_heads.weight": torch.ones(2, 24, 32)}), "is not 3 equal parts"),
    ("hf_moshi", lambda t: t.update({"decoder.surprise": torch.ones(1)}), "unknown tensor decoder.surprise"),
    ("hf_moshi", lambda t: t.update({K_PROJ: torch.ones(16, 32)}), "needs 32 rows"),
]  # fmt: skip


@pytest.mark.parametrize(("case", "change", "message"), BROKEN, ids=range(len(BROKEN)))
def test_tensors_that_do_not_fit(tmp_path: Path, case: str, change, message: str) -> None:
    path = edited(case, tmp_path, change)
    with pytest.raises(InputError) as error:
        _ = load(str(path)).lm
    assert message in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def gguf_with(tmp_path: Path, data: bytes) -> str:
    shutil.copy(golden.FOLDER / "candle_q8" / "config.json", tmp_path)
    (tmp_path / "model.q8.gguf").write_bytes(data)
    return str(tmp_path)


def test_cut_and_altered_gguf_files(tmp_path: Path) -> None:
    """Cut anywhere, or with bytes of its header changed: refused, or read to numbers of the right shapes."""
    whole = (golden.FOLDER / "candle_q8" / "model.q8.gguf").read_bytes()
    header = whole.find(b"text_linear.weight") + 60
    rng = random.Random(0)
    complaints = []
    for trial in range(150):
        data = bytearray(whole)
        if trial % 3 == 0:
            del data[rng.randrange(len(data)) :]
        else:
            for _ in range(rng.randrange(1, 4)):
                data[rng.randrange(header)] = rng.choice([0, 1, 127, 255, rng.randrange(256)])
        try:
            _ = load(gguf_with(tmp_path, bytes(data))).lm
        except InputError as error:
            complaints.append(str(error))
    assert len(complaints) > 100
    assert not [line for line in complaints if "\n" in line or str(tmp_path) not in line]


def test_gguf_files_that_are_not_supported(tmp_path: Path) -> None:
    whole = (golden.FOLDER / "candle_q8" / "model.q8.gguf").read_bytes()
    with pytest.raises(InputError, match="GGUF version 9 is not supported"):
        _ = load(gguf_with(tmp_path, whole[:4] + b"\x09" + whole[5:])).lm
    at = whole.index(b"text_emb.weight") + len(b"text_emb.weight") + 4 + 16
    with pytest.raises(InputError, match="text_emb.weight is of GGUF type 12, which is not supported"):
        _ = load(gguf_with(tmp_path, whole[:at] + b"\x0c" + whole[at + 1 :])).lm


@pytest.mark.parametrize("case", ["mlx_q8", "torch_q8", "hf_moshi", "candle_bf16"])
def test_cut_files(tmp_path: Path, case: str) -> None:
    path = tmp_path / case
    shutil.copytree(golden.FOLDER / case, path)
    (weights,) = path.glob("model*.safetensors")
    whole = weights.read_bytes()
    for keep in (0, 7, 100, len(whole) // 2, len(whole) - 1):
        weights.write_bytes(whole[:keep])
        with pytest.raises(InputError, match="damaged"):
            _ = load(str(path)).lm


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_size": "32"}, "hidden_size must be of type int"),
        ({"hidden_act": "gelu"}, 'only hidden_act = "silu"'),
        ({"head_dim": 3}, "only head_dim = 16"),
        ({"rms_norm_eps": 0.1}, "only rms_norm_eps"),
        ({"num_codebooks": 0}, "cannot be"),
        ({"num_key_value_heads": 3}, "do not share"),
        ({"rope_parameters": {"rope_type": "yarn"}}, "only the default rope_type"),
        ({"depth_decoder_config": 3}, "depth_decoder_config must be of type dict"),
        ({"audio_encoder_config": {"model_type": "mimi", "pad_mode": "reflect"}}, "only pad_mode"),
    ],
)
def test_configurations_of_hugging_face_that_are_not_supported(change: dict, message: str) -> None:
    from duologue.weights.fields import read_json
    from duologue.weights.hf_config import hf_model_config

    values = read_json(golden.FOLDER / "hf_moshi" / "config.json")
    hf_model_config(values, "config.json")
    with pytest.raises(InputError, match=message):
        hf_model_config(values | change, "config.json")
