"""A model as ONNX files: the steps of `onnx_steps` traced, with weights in as few bits as hold their exact values."""

import hashlib
import json
import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from duologue.errors import InputError
from duologue.lm.tokenizer import Tokenizer
from duologue.weights.card_files import copy_card
from duologue.weights.model import Model
from duologue.weights.onnx_steps import Part, Step, parts
from duologue.weights.packed import INT8_LEVELS, Int8Rows, Packed, quantize_int8
from duologue.weights.read import Stored
from duologue.weights.save import linears

MANIFEST = "model.json"
OPSET = 20
SMALL = 1024  # values of a tensor that stays as it is
FLOAT = 1  # ONNX's number for float32


def write_onnx(model: Model, quantize: str | None, folder: Path) -> None:
    """Write encode.onnx, lm.onnx, decode.onnx, and model.json, which says what a program needs to run them: sizes, the
    state of a new conversation, and the text of each token.

    `quantize` "q8": matrices of the language model in 8 bits. Raises InputError without the packages that this needs.
    """
    codec = model.codec_config
    packed = _packed(model, quantize)
    described = {}
    for name, part in parts(model.codec, model.lm, model.sampling).items():
        path = folder / f"{name}.onnx"
        _write_graph(part, packed, path)
        whole = path.read_bytes()
        described[name] = {
            "file": path.name,
            "bytes": len(whole),
            "sha256": hashlib.sha256(whole).hexdigest(),
            "state": [_state_json(tensor) for tensor in part.module.tensors()],
        }
    manifest = {
        "name": model.name,
        "sample_rate": codec.sample_rate,
        "frame_size": codec.frame_size,
        "parts": described,
        "tokens": token_texts(model.tokenizer),
        "card": _card(model, folder),
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, ensure_ascii=False))


def _card(model: Model, folder: Path) -> dict[str, Any] | None:
    """What the model says of itself, if it does. The page finds the recordings of its questions below "model/"."""
    card = copy_card(model.files, folder)
    for question in card.get("questions", []) if card else []:
        if name := question.get("sound"):
            question["sound"] = f"model/{name}"
    return card


def token_texts(tokenizer: Tokenizer) -> list[str | int | None]:
    """Of each token: its text, the value of its byte, or None if it stands for no text."""

    def text(token: int) -> str | int | None:
        if tokenizer.is_control(token):
            return None
        piece = tokenizer.piece(token)
        return int(piece[3:5], 16) if tokenizer.is_byte(token) else piece

    return [text(token) for token in range(tokenizer.size)]


def _packed(model: Model, quantize: str | None) -> dict[str, Int8Rows]:
    """What is stored in 8 bits, by the names of the modules that are traced. `quantize` changes the language model."""
    found: dict[str, Int8Rows] = {}
    packable = linears(model.lm) if quantize else set[str]()
    weights = model.lm.state_dict()
    for name, value in model.stored_lm():
        if name in packable and not isinstance(value, Int8Rows):
            value = quantize_int8(_dense(value))
            weights[name].copy_(value.dense())
        if isinstance(value, Int8Rows):
            found[f"lm.{name}"] = value
    found |= {f"codec.{name}": value for name, value in model.stored_codec() if isinstance(value, Int8Rows)}
    return found


def _dense(value: Stored) -> Tensor:
    return value.dense() if isinstance(value, Packed) else value.float()


def _state_json(tensor: Tensor) -> dict[str, Any]:
    """A tensor of a new conversation's state: all its values are the same."""
    value = tensor.flatten()[0].item()
    assert bool((tensor == value).all())
    kind = str(tensor.dtype).removeprefix("torch.")
    return {"type": kind, "shape": list(tensor.shape), "value": value}


def _write_graph(part: Part, packed: dict[str, Int8Rows], path: Path) -> None:
    try:
        import onnx
    except ImportError:
        raise InputError("ONNX files need more packages: pip install 'duologue[onnx]'") from None
    graph = _traced(part.module, part)
    _pack(graph, packed)
    _strip(graph)
    onnx.save(graph, str(path))


def _traced(module: Step, part: Part) -> Any:
    state = module.tensors()
    numbers = range(len(state))
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of what the exporter uses of torch
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it misses a package that nothing here needs
        module(*part.example, *state)  # outside of the trace, fills what is computed once
        program = torch.onnx.export(
            module,
            (*part.example, *state),
            dynamo=True,
            optimize=False,  # the runtime does it better, and weights keep their names
            verbose=False,
            opset_version=OPSET,
            input_names=[*part.inputs, *(f"state_{i}" for i in numbers)],
            output_names=[*part.outputs, *(f"next_{i}" for i in numbers)],
        )
    assert program is not None
    return program.model_proto


def _strip(model: Any) -> None:
    """Without notes of where in the code each node comes from, a twentieth of the file."""
    del model.metadata_props[:], model.graph.metadata_props[:], model.graph.value_info[:]
    for each in [*model.graph.node, *model.graph.input, *model.graph.output, *model.graph.initializer]:
        del each.metadata_props[:]
        each.doc_string = ""


def _pack(model: Any, packed: dict[str, Int8Rows]) -> None:
    """Store each float32 weight as 8-bit rows or as float16, where that loses nothing; nodes turn it into float32 when
    the file is opened."""
    from onnx import helper, numpy_helper

    graph, nodes = model.graph, []
    for tensor in list(graph.initializer):
        name = tensor.name
        values = numpy_helper.to_array(tensor)
        if tensor.data_type != FLOAT or values.size < SMALL:
            continue
        stored = packed.get(name)
        if stored is not None:
            rows = stored.data.numpy().reshape(values.shape)
            scale = (stored.largest.float() / INT8_LEVELS).numpy().reshape(-1, *[1] * (values.ndim - 1))
            assert np.array_equal(rows.astype(np.float32) * scale, values)
            kept = {f"{name}_rows": rows, f"{name}_scale": scale}
            nodes.append(helper.make_node("Cast", [f"{name}_rows"], [f"{name}_wide"], to=FLOAT))
            nodes.append(helper.make_node("Mul", [f"{name}_wide", f"{name}_scale"], [name]))
        elif np.array_equal((half := values.astype(np.float16)).astype(np.float32), values):
            kept = {f"{name}_half": half}
            nodes.append(helper.make_node("Cast", [f"{name}_half"], [name], to=FLOAT))
        else:
            continue
        graph.initializer.remove(tensor)
        graph.initializer.extend(numpy_helper.from_array(value, key) for key, value in kept.items())
    for number, node in enumerate(nodes):
        graph.node.insert(number, node)
