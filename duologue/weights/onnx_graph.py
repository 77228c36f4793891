"""ONNX files of the steps in `onnx_steps`: traced, and their weights stored in as few bits as hold their exact values."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from duologue.errors import InputError
from duologue.weights.onnx_steps import Part
from duologue.weights.packed import INT8_LEVELS, Int8Rows
from duologue.weights.read import Stored

OPSET = 20
SMALL = 1024  # values of a tensor that stays as it is


def write_graph(part: Part, packed: dict[str, Stored], path: Path) -> None:
    """Trace a step and write it. `packed`: the weights, by the module's names for them, as the model's files store
    them; what these have in 8 bits keeps them. Raises InputError without the packages that this needs."""
    try:
        import onnx
        import onnxscript  # noqa: F401  (the exporter needs it)
    except ImportError:
        raise InputError("ONNX files need two more packages: pip install 'duologue[onnx]'") from None
    state = part.module.tensors()
    numbers = range(len(state))
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the exporter's own use of what torch deprecates
        part.module(*part.example, *state)  # fills what is computed once from weights, outside of the trace
        program = torch.onnx.export(
            part.module,
            (*part.example, *state),
            dynamo=True,
            verbose=False,
            opset_version=OPSET,
            input_names=[*part.inputs, *(f"state_{i}" for i in numbers)],
            output_names=[*part.outputs, *(f"next_{i}" for i in numbers)],
        )
    assert program is not None
    graph = program.model_proto
    _pack(graph, packed)
    onnx.save(graph, str(path))




def _pack(model: Any, packed: dict[str, Stored]) -> None:
    """Store each float32 weight as 8-bit rows or as float16, where that loses nothing; nodes turn it into float32 when
    the file is opened."""
    from onnx import helper, numpy_helper

    graph, nodes = model.graph, []
    for tensor in list(graph.initializer):
        if tensor.data_type != helper.np_dtype_to_tensor_dtype(np.dtype(np.float32)):
            continue
        values = numpy_helper.to_array(tensor)
        if values.size < SMALL:
            continue
        stored = packed.get(tensor.name)
        if isinstance(stored, Int8Rows) and len(stored.data) == len(values):
            rows = stored.data.numpy().reshape(values.shape)
            scale = (stored.largest.float() / INT8_LEVELS).numpy().reshape(-1, *[1] * (values.ndim - 1))
            assert np.array_equal(rows.astype(np.float32) * scale, values)
            parts = {"_rows": rows, "_scale": scale}
            nodes += [
                helper.make_node("Cast", [f"{tensor.name}_rows"], [f"{tensor.name}_wide"], to=1),
                helper.make_node("Mul", [f"{tensor.name}_wide", f"{tensor.name}_scale"], [tensor.name]),
            ]
        elif np.array_equal((half := values.astype(np.float16)).astype(np.float32), values):
            parts = {"_half": half}
            nodes.append(helper.make_node("Cast", [f"{tensor.name}_half"], [tensor.name], to=1))
        else:
            continue
        graph.initializer.remove(tensor)
        graph.initializer.extend(numpy_helper.from_array(v, tensor.name + end) for end, v in parts.items())
    for number, node in enumerate(nodes):
        graph.node.insert(number, node)
