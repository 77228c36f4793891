"""Files of other programs: each opens to the model that its own program ran (see tests/golden/README.md)."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.testing import assert_close

from duologue.errors import InputError
from duologue.lm import LM
from duologue.weights import load
from duologue.weights.lora import LoRALinear
from duologue.weights.packed import AFFINE_BITS, Affine, Int8Rows, Packed, Q8Blocks, quantize_affine
from tests import golden
from tests.weights.talking import converse

RUN = ["mlx_bf16", "mlx_q8", "mlx_q4", "hf_moshi", "candle_q8", "torch_q8"]


def lm_of(case: str) -> LM:
    return load(str(golden.FOLDER / case)).lm


@pytest.mark.parametrize("case", RUN)
def test_the_same_conversation(case: str) -> None:
    """200 greedy steps: the same tokens, and the same logits where they are kept."""
    io, said = golden.io(case), converse(lm_of(case), golden.io(case)["user"])
    assert torch.equal(said.text_S, io["text"])
    assert torch.equal(said.audio_QS, io["audio"])
    kept = io["kept_steps"]
    assert_close(said.text_logits_SV[kept], io["text_logits"], atol=1e-3, rtol=0)
    assert_close(said.audio_logits_SQV[kept], io["audio_logits"], atol=1e-3, rtol=0)
    assert len(said.text_S.unique()) > 5


def test_candle_and_hugging_face_hold_the_same_model() -> None:
    theirs = lm_of("hf_moshi").state_dict()
    for name, value in lm_of("candle_bf16").state_dict().items():
        assert torch.equal(value, theirs[name]), name


KINDS = {"mlx_q8": Affine, "mlx_q4": Affine, "candle_q8": Q8Blocks, "torch_q8": Int8Rows}


@pytest.mark.parametrize("case", KINDS)
def test_packed_weights_can_be_had_packed(case: str) -> None:
    model = load(str(golden.FOLDER / case))
    values = dict(model.stored_lm())
    assert isinstance(values["temporal.layers.0.attention.in_proj.weight"], KINDS[case])
    assert values.keys() == model.lm.state_dict().keys()
    for name, value in model.lm.state_dict().items():
        stored = values[name]
        plain = stored.dense() if isinstance(stored, Packed) else stored.float()
        assert torch.equal(plain, value), name


@pytest.mark.parametrize("bits", [8, 6, 4, 3, 2])
def test_the_reference_quantises_to_the_same_bits(bits: int) -> None:
    theirs = load_file(golden.FOLDER / "mlx_q8" / "quantise.safetensors")
    packed = quantize_affine(theirs["w"], bits, theirs["w"].shape[1] // theirs[f"{bits}.scales"].shape[1])
    assert torch.equal(packed.data, theirs[f"{bits}.data"])
    assert torch.equal(packed.scales, theirs[f"{bits}.scales"])
    assert torch.equal(packed.biases, theirs[f"{bits}.biases"])
    assert bits in AFFINE_BITS


def test_the_reference_quantises_half_precision_to_the_same_bits() -> None:
    theirs = load_file(golden.FOLDER / "mlx_q8" / "quantise.safetensors")
    packed = quantize_affine(theirs["w"].half(), 8, 64)
    for ours, name in ((packed.data, "data"), (packed.scales, "scales"), (packed.biases, "biases")):
        assert torch.equal(ours, theirs[f"half.{name}"])


@pytest.mark.parametrize("bits", AFFINE_BITS)
def test_quantised_weights_are_near(bits: int) -> None:
    w = torch.randn(5, 128, generator=torch.Generator().manual_seed(bits))
    step = (w.unflatten(1, (2, 64)).amax(-1) - w.unflatten(1, (2, 64)).amin(-1)) / (2**bits - 1)
    error = (quantize_affine(w, bits, 64).dense() - w).unflatten(1, (2, 64)).abs().amax(-1)
    assert (error <= 1.01 * step).all()
    assert (error > 0).all()


# ---- the codec -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", ["hf_mimi", "hf_moshi"])
def test_mimi_of_hugging_face(case: str) -> None:
    io, model = golden.io("hf_mimi"), load(str(golden.FOLDER / case))
    codec = model.codec
    used = codec.config.codebooks
    codes_BQT = codec.encode(io["wav_in"].float() / 32768)
    assert torch.equal(codes_BQT, io["codes"][:, :used])
    assert len(codes_BQT.unique()) > 10
    assert_close(codec.decode(io["codes_in"]), io["wav_out"], atol=1e-3, rtol=0)


def test_a_codec_alone_has_no_language_model() -> None:
    model = load(str(golden.FOLDER / "hf_mimi"))
    assert not model.has_lm
    with pytest.raises(InputError, match="is a codec, without a language model"):
        _ = model.lm


# ---- weights in several files --------------------------------------------------------------------------


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    """The Hugging Face model in two files and an index."""
    tensors = load_file(golden.FOLDER / "hf_moshi" / "model.safetensors")
    names = sorted(tensors)
    weight_map = {}
    for i, part in enumerate((names[::2], names[1::2])):
        save_file({name: tensors[name] for name in part}, tmp_path / f"model-{i}.safetensors")
        weight_map |= dict.fromkeys(part, f"model-{i}.safetensors")
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    shutil.copy(golden.FOLDER / "hf_moshi" / "config.json", tmp_path)
    return tmp_path


def test_weights_in_several_files(sharded: Path) -> None:
    model, whole = load(str(sharded)), load(str(golden.FOLDER / "hf_moshi"))
    for part in ("lm", "codec"):
        theirs = getattr(whole, part).state_dict()
        assert all(torch.equal(v, theirs[n]) for n, v in getattr(model, part).state_dict().items())


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ({}, "does not say where the weights are"),
        ({"weight_map": {"a": 3}}, "does not say where the weights are"),
        ({"weight_map": {"a": "../out.safetensors"}}, "leads out of the model's folder"),
        ({"weight_map": {"a": "absent.safetensors"}}, "absent.safetensors is missing"),
        ({"weight_map": {"a": "model-0.safetensors"}}, "is missing"),
    ],
)
def test_an_index_that_is_wrong(sharded: Path, index: dict, message: str) -> None:
    (sharded / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match=message):
        _ = load(str(sharded)).lm


# ---- adapters ------------------------------------------------------------------------------------------


@pytest.fixture
def adapter() -> Path:
    return golden.FOLDER / "lora" / "lora.safetensors"


def logits_of(lm: LM) -> tuple[torch.Tensor, torch.Tensor]:
    io = golden.io("lora")
    with torch.no_grad():
        out = lm(io["codes"])
    assert out.audio_BQTV is not None
    return out.text_BTV, out.audio_BQTV


@pytest.mark.parametrize("merge", [True, False])
def test_an_adapter(adapter: Path, merge: bool) -> None:
    """The reference's logits, with the adapter in the weights or beside them."""
    io = golden.io("lora")
    model = load(str(golden.FOLDER / "lm_moshi"), lora=adapter, merge_lora=merge)
    text_BTV, audio_BQTV = logits_of(model.lm)
    assert_close(text_BTV, io["text_logits"][:, 0], atol=1e-3, rtol=0)
    known = io["mask"].bool()
    assert_close(audio_BQTV[known], io["logits"][known], atol=1e-3, rtol=0)
    beside = [m for m in model.lm.modules() if isinstance(m, LoRALinear)]
    assert bool(beside) != merge
    plain = load(str(golden.FOLDER / "lm_moshi")).lm
    assert not torch.allclose(logits_of(plain)[0], text_BTV, atol=0.1)
    for module in beside:
        module.scaling = 0.0
    if beside:
        plain.audio_embs[3].weight.data = model.lm.audio_embs[3].weight.data  # trained in full
        assert torch.equal(logits_of(model.lm)[0], logits_of(plain)[0])


def test_an_adapter_that_the_configuration_names(adapter: Path, tmp_path: Path) -> None:
    shutil.copy(golden.FOLDER / "lm_moshi" / "model.safetensors", tmp_path)
    shutil.copy(adapter, tmp_path / "mine.safetensors")
    config = json.loads((adapter.parent / "config.json").read_text()) | {"lora_name": "mine.safetensors"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    given = load(str(golden.FOLDER / "lm_moshi"), lora=adapter).lm.state_dict()
    assert all(torch.equal(v, given[n]) for n, v in load(str(tmp_path)).lm.state_dict().items())


def test_an_adapter_with_stacked_names(adapter: Path, tmp_path: Path) -> None:
    """As the reference saved them before projections had one entry a codebook."""
    tensors = load_file(adapter)
    for side in ("in", "out"):
        for half in ("lora_A", "lora_B"):
            for layer in range(2):
                base = f"depformer.layers.{layer}.self_attn.{side}_proj"
                parts = [tensors.pop(f"{base}s.{k}.{half}.weight") for k in range(8)]
                tensors[f"{base}.{half}.weight"] = torch.cat(parts)
    save_file(tensors, tmp_path / "lora.safetensors")
    shutil.copy(adapter.parent / "config.json", tmp_path)
    base = str(golden.FOLDER / "lm_moshi")
    given = load(base, lora=adapter).lm.state_dict()
    assert all(
        torch.equal(v, given[n])
        for n, v in load(base, lora=tmp_path / "lora.safetensors").lm.state_dict().items()
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("text_linear.lora_A.weight"), "text_linear.lora_B.weight is alone"),
        (lambda t: t.update(surprise=torch.zeros(1)), "unknown tensor surprise"),
        (lambda t: t.update({"text_linear.lora_A.weight": torch.zeros(3, 24)}), "do not make the model's"),
        (lambda t: t.update({"emb.3.weight": torch.zeros(3, 24)}), "emb.3.weight has shape"),
        (lambda t: t.clear(), "holds no adapter"),
    ],
)  # fmt: skip
def test_adapters_that_do_not_fit(adapter: Path, tmp_path: Path, change, message: str) -> None:
    tensors = load_file(adapter)
    change(tensors)
    save_file(tensors, tmp_path / "lora.safetensors")
    with pytest.raises(InputError, match=message):
        _ = load(str(golden.FOLDER / "lm_moshi"), lora=tmp_path / "lora.safetensors").lm
