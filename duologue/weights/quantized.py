"""Load a language model in 8 or 4 bits, tensor by tensor, so that it is never in memory at full size; and its
codec in 16 bits."""

from collections.abc import Iterator

import torch
from torch import nn

from duologue.codec import Codec
from duologue.errors import InputError
from duologue.lm import LM
from duologue.nn.linear import HALF_MAX, Linear
from duologue.nn.quantized import Int8Linear, check_kind, quantized
from duologue.weights.model import Model
from duologue.weights.packed import Int8Rows, Packed
from duologue.weights.read import Stored, fill_values


def quantized_lm(model: Model, kind: str) -> LM:
    """The language model of `model` with linear layers of 8 ("q8") or 4 ("q4") bits a weight. What a file has in 8 bits
    and a scale a row is taken as it is for "q8". Raises InputError for another kind or device."""
    check_kind(kind)
    device = model.device
    if device.type != "cpu" and (device.type, kind) != ("cuda", "q8"):
        raise InputError(f"--quantize {kind} is for a CPU (q8 also for cuda); this model is on {device}")
    config, values = model.files.config, model.stored_lm()  # which checks sizes, before anything is built
    with torch.device("meta"):
        lm = LM(config.lm)
    linears = {f"{name}.weight" for name, module in lm.named_modules() if isinstance(module, Linear)}

    def others() -> Iterator[tuple[str, Stored]]:
        for name, value in values:
            if name not in linears:
                yield name, value
                continue
            parent, _, child = name.removesuffix(".weight").rpartition(".")
            if kind == "q8" and isinstance(value, Int8Rows):
                layer = Int8Linear(value.data.to(device), value.largest.to(device))
            else:
                layer = quantized((value.dense() if isinstance(value, Packed) else value).to(device), kind)
            setattr(lm.get_submodule(parent), child, layer)

    fill_values(lm, others(), model.device, model.dtype)
    if config.model_type == "hibiki":  # reads EOS as PAD, as `Model.lm`
        lm.text_emb.weight.data[2] = lm.text_emb.weight.data[config.lm.pad_id]
    return lm.eval()


def halved_codec(model: Model) -> Codec:
    """The codec of `model`, its products' weights rounded to float16: a step of Mimi then reads half the bytes. Norms,
    biases and codebooks stay as they are."""
    for module in model.codec.modules():
        if isinstance(module, nn.Linear | nn.Conv1d | nn.ConvTranspose1d):
            weight = module.weight
            if weight.dtype == torch.float32 and weight.abs().amax() < HALF_MAX:
                weight.data = weight.data.half().float()
    return model.codec
