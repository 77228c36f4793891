"""Opening models: folders and files, whole and broken."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from duologue import presets
from duologue.config import LMConfig
from duologue.errors import InputError
from duologue.lm import LM, Sampling
from duologue.weights import load
from duologue.weights.model import ASSETS
from duologue.weights.names import lm_sources
from tests import golden

Tensors = dict[str, Tensor]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A whole model, put together of the golden ones."""
    path = tmp_path / "model"
    path.mkdir()
    config = json.loads((golden.FOLDER / "lm_moshi" / "config.json").read_text())
    config |= {
        "mimi_name": "codec.safetensors",
        "mimi_config_name": "codec.json",
        "tokenizer_name": "text.model",
        "lm_gen_config": {"temp": 0.5, "temp_text": 0.4, "top_k": 9, "top_k_text": 8},
    }
    (path / "config.json").write_text(json.dumps(config))
    shutil.copy(golden.FOLDER / "lm_moshi" / "model.safetensors", path / "model.safetensors")
    shutil.copy(golden.FOLDER / "mimi_small" / "model.safetensors", path / "codec.safetensors")
    shutil.copy(golden.FOLDER / "mimi_small" / "config.json", path / "codec.json")
    shutil.copy(ASSETS / "tiny" / "tokenizer.model", path / "text.model")
    return path


def edit(path: Path, change: Callable[[Tensors], object]) -> None:
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


def edit_config(folder: Path, **values: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_a_folder(folder: Path) -> None:
    model = load(str(folder))
    assert model.name == str(folder)
    assert model.sampling == Sampling(0.5, 9, 0.4, 8)
    assert model.tokenizer.size > 100
    assert model.codec.config.codebooks == 8
    for ours, theirs in ((model.codec, golden.codec("mimi_small", 8)), (model.lm, golden.lm("lm_moshi"))):
        expected = theirs.state_dict()
        assert ours.state_dict().keys() == expected.keys()
        assert all(torch.equal(value, expected[name]) for name, value in ours.state_dict().items())
        assert not ours.training


def test_parts_are_read_when_asked_for(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "text.model").unlink()
    model = load(str(folder))
    assert model.codec is model.codec
    with pytest.raises(InputError, match="model.safetensors is missing"):
        _ = model.lm
    with pytest.raises(InputError, match="text.model is missing"):
        _ = model.tokenizer


def test_the_language_model_takes_a_dtype_and_the_codec_does_not(folder: Path) -> None:
    model = load(str(folder), dtype=torch.bfloat16)
    assert {t.dtype for t in model.lm.state_dict().values()} == {torch.bfloat16}
    assert {t.dtype for t in model.codec.state_dict().values()} == {torch.float32}
    full = golden.lm("lm_moshi").state_dict()
    assert all(torch.equal(t, full[name].bfloat16()) for name, t in model.lm.state_dict().items())


def new_names(tensors: Tensors) -> Tensors:
    """Projections one a step, as the reference writes them today."""
    renamed = {}
    for name, value in tensors.items():
        sets = 8 if name.startswith("depformer.") else 1
        if found := re.fullmatch(r"(.*self_attn\.(?:in|out)_proj)[._]weight", name):
            for i, part in enumerate(value.chunk(sets)):
                renamed[f"{found[1]}s.{i}.weight"] = part.contiguous()
        else:
            renamed[name] = value
    return renamed


@pytest.mark.parametrize("part", ["lm", "codec"])
def test_old_and_new_names_load_the_same(folder: Path, part: str) -> None:
    if part == "codec":
        shutil.copy(golden.FOLDER / "mimi_32" / "model.safetensors", folder / "codec.safetensors")
        shutil.copy(golden.FOLDER / "mimi_32" / "config.json", folder / "codec.json")
    path = folder / ("model.safetensors" if part == "lm" else "codec.safetensors")
    old = getattr(load(str(folder)), part).state_dict()
    tensors = load_file(path)
    renamed = new_names(tensors)
    assert any("in_projs.0" in name for name in renamed)
    assert not any("in_proj" in name for name in renamed.keys() & tensors.keys())
    save_file(renamed, path)
    new = getattr(load(str(folder)), part).state_dict()
    assert all(torch.equal(value, new[name]) for name, value in old.items())


TEXT, STACKED = "text_linear.weight", "depformer.layers.0.self_attn.in_proj_weight"
BROKEN: list[tuple[Callable[[Tensors], object], str]] = [
    (lambda t: t.pop(TEXT), f"the tensor {TEXT} is missing"),
    (lambda t: t.pop(STACKED), f"the tensor {STACKED} is missing"),
    (lambda t: t.update(surprise=torch.zeros(1)), "unknown tensor surprise"),
    (lambda t: t.update({TEXT: t[TEXT][:, 1:].clone()}), rf"{TEXT} has shape \[48, 23\], the model needs \[48, 24\]"),
    (lambda t: t.update({TEXT: t[TEXT].T.contiguous()}), rf"{TEXT} has shape \[24, 48\]"),
    (lambda t: t.update({STACKED: t[STACKED][1:].contiguous()}), "is not 8 equal parts"),
    (lambda t: t.update({STACKED: torch.zeros(())}), "is not 8 equal parts"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "message"), BROKEN, ids=[message for _, message in BROKEN])
def test_tensors_that_do_not_fit(folder: Path, change: Callable[[Tensors], object], message: str) -> None:
    edit(folder / "model.safetensors", change)
    with pytest.raises(InputError, match=message) as error:
        _ = load(str(folder)).lm
    assert str(folder / "model.safetensors") in str(error.value)
    assert "\n" not in str(error.value)


def test_codec_tensors_that_do_not_fit(folder: Path) -> None:
    edit(
        folder / "codec.safetensors",
        lambda t: t.pop("quantizer.rvq_first.vq.layers.0._codebook.embedding_sum"),
    )
    with pytest.raises(InputError, match="embedding_sum is missing"):
        _ = load(str(folder)).codec


@pytest.mark.parametrize(
    ("keep", "message"), [(0, "damaged"), (5, "damaged"), (900, "damaged"), (-1, "damaged")]
)
def test_truncated_files(folder: Path, keep: int, message: str) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match=message) as error:
        _ = load(str(folder)).lm
    assert "\n" not in str(error.value)


def test_other_formats_are_named(folder: Path) -> None:
    torch.save({"a": torch.zeros(1)}, folder / "model.pt")
    edit_config(folder, moshi_name="model.pt")
    with pytest.raises(InputError, match=r"unknown format; .* \.safetensors"):
        _ = load(str(folder)).lm
    (folder / "renamed.safetensors").write_bytes((folder / "model.pt").read_bytes())
    edit_config(folder, moshi_name="renamed.safetensors")
    with pytest.raises(InputError, match="not a safetensors file"):
        _ = load(str(folder)).lm
    with pytest.raises(InputError, match="unknown format"):
        load(str(folder / "model.pt"))


@pytest.mark.parametrize("name", ["../secret.safetensors", "a/../../secret.safetensors", "/etc/passwd", ".."])
@pytest.mark.parametrize("key", ["moshi_name", "mimi_name", "tokenizer_name", "mimi_config_name"])
def test_names_that_lead_out_of_the_folder(folder: Path, key: str, name: str) -> None:
    shutil.copy(folder / "model.safetensors", folder.parent / "secret.safetensors")
    edit_config(folder, **{key: name})
    model = load(str(folder))
    part = {"moshi_name": "lm", "tokenizer_name": "tokenizer"}.get(key, "codec")
    with pytest.raises(InputError, match="leads out of the model's folder"):
        getattr(model, part)


def test_names_that_do_not(folder: Path) -> None:
    """Folders inside, links (how the hub's cache is made), and whole paths that say that they are."""
    (folder / "inner").mkdir()
    (folder / "codec.safetensors").rename(folder.parent / "elsewhere.safetensors")
    (folder / "inner" / "link.safetensors").symlink_to(folder.parent / "elsewhere.safetensors")
    edit_config(folder, mimi_name="inner/link.safetensors", mimi_config_name=f"file://{folder}/codec.json")
    assert load(str(folder)).codec.config.quantizer.entries == 64


@pytest.mark.parametrize(
    "name", ["hf://only", "hf://owner/repo", "hf://a b/c/d", "file:///absent.safetensors", ""]
)
def test_names_that_are_none(folder: Path, name: str) -> None:
    edit_config(folder, moshi_name=name)
    with pytest.raises(InputError):
        _ = load(str(folder)).lm


@pytest.mark.parametrize(
    "name", ["absent", "hf://", "hf://owner", "hf://owner/repo/more", "hf://own er/repo", "", "hf://a/b@../c"]
)
def test_models_that_are_none(name: str) -> None:
    with pytest.raises(InputError):
        load(name)


def empty_file_of(path: Path, config: LMConfig) -> None:
    """Every tensor of the model in the PyTorch format's names, none of them with a value."""
    with torch.device("meta"):
        names = LM(config).state_dict()
    save_file({lm_sources(name, config)[0].name: torch.zeros(0) for name in names}, path)


def test_without_a_config_it_is_moshi(tmp_path: Path) -> None:
    empty_file_of(tmp_path / "model.safetensors", presets.moshi_7b())
    model = load(str(tmp_path))
    (tmp_path / "model.safetensors").unlink()
    assert model.files.config.lm == presets.moshi_7b()
    assert model.codec_config == presets.mimi()
    with pytest.raises(InputError, match="model.safetensors is missing"):
        _ = model.lm


@pytest.mark.parametrize("config", [None, "{}", '{"model_type": "personaplex", "version": "7b-v1"}'])
def test_personaplex_is_seen_by_its_tensors_or_its_name(tmp_path: Path, config: str | None) -> None:
    empty_file_of(tmp_path / "model.safetensors", presets.personaplex_7b())
    if config is not None:
        (tmp_path / "config.json").write_text(config)
    model = load(str(tmp_path))
    assert model.files.config.lm == presets.personaplex_7b()
    assert model.files.config.model_type == "personaplex"
    assert (model.files.config.lm.depth_steps, model.files.config.lm.heard) == (16, 8)
    assert model.codec_config == presets.mimi(8)


def test_folders_that_hold_no_model(tmp_path: Path, monkeypatch) -> None:
    with pytest.raises(InputError, match="holds no model: it has neither a config.json nor weights"):
        load(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"^\. holds no model"):
        load(".")


def test_a_fine_tuned_model_as_moshi_finetune_saves_it(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "consolidated.safetensors")
    assert torch.equal(load(str(folder)).lm.text_head.weight, golden.lm("lm_moshi").text_head.weight)


def test_an_adapter_without_its_model(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "lora.safetensors")
    with pytest.raises(InputError, match=r"without its model: .* --lora .*/lora.safetensors"):
        load(str(folder))


def test_files_of_other_folders_are_not_read(folder: Path) -> None:
    outside = folder.parent / "secret.model"
    shutil.copy(folder / "text.model", outside)
    for name in (f"file://{outside}", "file://../secret.model", str(outside), "../secret.model"):
        edit_config(folder, tokenizer_name=name)
        with pytest.raises(InputError, match="leads out of the model's folder"):
            _ = load(str(folder)).tokenizer
    for name in (f"file://{folder / 'text.model'}", "file://text.model", "text.model"):
        edit_config(folder, tokenizer_name=name)
        assert load(str(folder)).tokenizer.size
    edit_config(folder, tokenizer_name="hf://kit/codec/text.model")
    with pytest.raises(InputError, match="must say which revision"):
        _ = load(str(folder)).tokenizer


def test_a_file_of_a_language_model(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "tuned.safetensors")
    model = load(str(folder / "tuned.safetensors"))
    assert model.name == str(folder / "tuned.safetensors")
    assert torch.equal(model.lm.text_head.weight, golden.lm("lm_moshi").text_head.weight)
    assert model.codec.config.quantizer.entries == 64


def test_a_file_of_a_codec(folder: Path) -> None:
    model = load(str(folder / "codec.safetensors"))
    assert torch.equal(model.codec.encoder.stem.weight, golden.codec("mimi_small", 8).encoder.stem.weight)
    (folder / "config.json").unlink()
    assert (
        load(str(folder / "codec.safetensors")).codec.config.quantizer.entries == 64
    )  # codec.json is beside it
    (folder / "codec.json").unlink()
    with pytest.raises(InputError, match="is missing"):  # alone, it must be Mimi
        _ = load(str(folder / "codec.safetensors")).codec


def test_a_file_of_something_else(tmp_path: Path) -> None:
    save_file({"x": torch.zeros(2)}, tmp_path / "x.safetensors")
    with pytest.raises(InputError, match="neither a codec nor a language model"):
        load(str(tmp_path / "x.safetensors"))


def test_the_file_may_vanish_once_it_is_read(folder: Path) -> None:
    model = load(str(folder))
    before = model.lm.text_head.weight.clone()
    path = folder / "model.safetensors"
    path.write_bytes(b"\xff" * path.stat().st_size)
    assert torch.equal(model.lm.text_head.weight, before)


def test_hibiki_reads_the_end_of_a_text_as_padding(folder: Path) -> None:
    for name in ("config.json", "model.safetensors"):
        shutil.copy(golden.FOLDER / "lm_hibiki" / name, folder / name)
    lm, plain = load(str(folder)).lm, golden.lm("lm_hibiki")
    assert torch.equal(lm.text_emb.weight[2], plain.text_emb.weight[3])
    assert not torch.equal(plain.text_emb.weight[2], plain.text_emb.weight[3])
    edit_config(folder, model_type="moshi")
    assert torch.equal(load(str(folder)).lm.text_emb.weight, plain.text_emb.weight)


def test_a_codec_too_small_for_its_model(folder: Path) -> None:
    values = json.loads((folder / "codec.json").read_text())
    values["quantizer"]["n_q"] = 4
    (folder / "codec.json").write_text(json.dumps(values))
    with pytest.raises(InputError, match="8 codebooks are in use, but the codec has 4"):
        _ = load(str(folder)).codec


# A language model of 50 M parameters, all but empty, whose file and memory are large enough to be seen.
MEMORY = """
import resource, sys, torch
from duologue import presets
from duologue.lm import LM
from duologue.weights import load, read

with torch.device("meta"):  # which torch imports much for, the first time
    LM(presets.tiny_lm())

def anonymous():
    lines = open("/proc/self/status").read().split("\\n")
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024

folder, peak = sys.argv[1], 0.0
take = read._take
def watched(*args):
    global peak
    value = take(*args)
    peak = max(peak, anonymous())
    return value
read._take = watched
before, highest = anonymous(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
lm = load(folder).lm
print(before, max(peak, anonymous()), highest, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
print(sum(p.nbytes for p in lm.parameters()) / 2**20, next(lm.parameters()).dtype)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_loading_needs_the_models_size_once(tmp_path: Path) -> None:
    """A file in bfloat16 becomes float32 tensor by tensor. The file itself is mapped: its pages count as resident, but
    the system takes them back when it needs them."""
    config = {
        "dim": 512, "num_heads": 8, "num_layers": 12, "context": 8, "hidden_scale": 4.125, "gating": "silu",
        "norm": "rms_norm_f32", "n_q": 2, "dep_q": 0, "delays": [0, 0, 0], "card": 2048, "text_card": 8000,
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    with torch.device("meta"):
        from duologue.lm import LM
        from duologue.weights.names import lm_sources
        from duologue.weights.published import model_config

        lm_config = model_config(config).lm
        shapes = {lm_sources(n, lm_config)[0].name: t.shape for n, t in LM(lm_config).state_dict().items()}
    save_file(
        {name: torch.zeros(shape, dtype=torch.bfloat16) for name, shape in shapes.items()},
        tmp_path / "model.safetensors",
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", MEMORY, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    before, peak, highest, highest_after, size, dtype = done.stdout.split()
    assert dtype == "torch.float32"
    assert float(size) > 150
    # 70 MB belong to the first use of torch, whatever the model's size.
    assert float(peak) - float(before) < 1.15 * float(size) + 80
    assert float(highest_after) - float(highest) < 1.65 * float(size) + 80
