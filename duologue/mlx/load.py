"""Load torch tensors, plain or packed, into MLX modules; quantised if asked."""

from collections.abc import Iterable
from typing import Literal, TypeAlias

import mlx.core as mx
import mlx.nn as nn
import torch
from mlx.utils import tree_flatten, tree_unflatten

from duologue.config import CodecConfig, LMConfig
from duologue.mlx.codec import Codec
from duologue.mlx.conv import CausalConv1d
from duologue.mlx.device import on_gpu
from duologue.mlx.model import LM
from duologue.mlx.quantizer import Codebook
from duologue.weights import Model
from duologue.weights.packed import MLX_GROUP, Affine, Packed

Quantize: TypeAlias = Literal["q8", "q4"]
Tensors: TypeAlias = Iterable[tuple[str, torch.Tensor | Packed]]


def load_codec(model: Model) -> Codec:
    """A model's codec."""
    return codec_of(model.codec_config, model.stored_codec())


def load_lm(model: Model, dtype: mx.Dtype | None = None, quantize: Quantize | None = None) -> LM:
    """A model's language model; by default in bfloat16 on Apple silicon and float32 elsewhere."""
    config = model.files.config
    lm = lm_of(config.lm, model.stored_lm(), dtype or default_dtype(), quantize)
    if config.model_type == "hibiki":  # it reads EOS as PAD, as in torch
        for rows in lm.text_emb.values():
            if isinstance(rows, mx.array):
                rows[2] = rows[config.lm.pad_id]
                mx.eval(rows)
    return lm


def default_dtype() -> mx.Dtype:
    return mx.bfloat16 if on_gpu() else mx.float32


def codec_of(config: CodecConfig, tensors: Tensors) -> Codec:
    """The codec with the tensors that `duologue.codec.Codec` names so, in float32."""
    codec = Codec(config)
    fill(codec, tensors, mx.float32, None)
    for module in codec.modules():
        if isinstance(module, Codebook):
            module.prepare()
    return codec


def lm_of(config: LMConfig, tensors: Tensors, dtype: mx.Dtype, quantize: Quantize | None = None) -> LM:
    """The language model with the tensors that `duologue.lm.LM` names so.

    Weights that are packed in MLX's format stay packed. Otherwise `quantize` packs what the published files pack: every
    linear layer, and the embeddings without projections (unless their width is no multiple of the group size).
    """
    lm = LM(config)
    fill(lm, tensors, dtype, quantize)
    return lm


def fill(model: nn.Module, tensors: Tensors, dtype: mx.Dtype, quantize: Quantize | None) -> None:
    """Give every parameter of a module its value, one at a time: never more than the model and one tensor in memory.

    `tensors` have the names and shapes of the torch module's; those of convolutions get their channels last.
    """
    modules = dict(model.named_modules())
    missing = {name for name, _ in tree_flatten(model.parameters())}
    for name, tensor in tensors:
        path, _, leaf = name.rpartition(".")
        missing.remove(name)
        packed = _packed(modules[path], tensor, dtype, quantize)
        if packed is not None:
            model.update_modules(tree_unflatten([(path, packed)]))
            mx.eval(packed.parameters())
            continue
        array = _array(tensor.dense() if isinstance(tensor, Packed) else tensor, dtype)
        modules[path][leaf] = _laid_out(modules[path], leaf, array)
        mx.eval(modules[path][leaf])
    if missing:
        raise ValueError(f"no values for {sorted(missing)}")


def _laid_out(module: nn.Module, leaf: str, array: mx.array) -> mx.array:
    """In the module's layout: convolutions with their channels last; on a CPU matrices are column-major, which the BLAS
    of MLX's Linux build multiplies twice as fast."""
    if array.ndim == 3:
        array = mx.contiguous(array.swapaxes(1, 2))
    if on_gpu() or leaf != "weight" or not isinstance(module, nn.Linear | CausalConv1d):
        return array
    rows = len(array)
    return mx.contiguous(array.reshape(rows, -1).T).T.reshape(array.shape)


def _packed(
    module: nn.Module, tensor: torch.Tensor | Packed, dtype: mx.Dtype, quantize: Quantize | None
) -> nn.Module | None:
    """The layer with its matrix packed; None if it should or can not be."""
    bits = tensor.bits if isinstance(tensor, Affine) else int(quantize[1:]) if quantize else 0
    group = tensor.group if isinstance(tensor, Affine) else MLX_GROUP.get(bits, 0)
    to_quantized = None if module.children() else getattr(module, "to_quantized", None)
    if not bits or to_quantized is None or len(tensor.shape) != 2 or tensor.shape[-1] % group:
        return None
    layer = to_quantized(group_size=group, bits=bits)
    if isinstance(tensor, Affine):
        layer.weight = mx.array(tensor.data.numpy())
        layer.scales, layer.biases = _array(tensor.scales, dtype), _array(tensor.biases, dtype)
    else:
        array = _array(tensor.dense() if isinstance(tensor, Packed) else tensor, dtype)
        layer.weight, layer.scales, layer.biases = mx.quantize(array, group, bits)
    return layer


def _array(tensor: torch.Tensor, dtype: mx.Dtype) -> mx.array:
    tensor = tensor.detach().cpu().contiguous()
    if tensor.dtype == torch.bfloat16:  # which numpy does not have
        return mx.array(tensor.view(torch.uint16).numpy()).view(mx.bfloat16).astype(dtype)
    return mx.array(tensor.numpy()).astype(dtype)
