"""From torch to MLX and back, for tests that hold the two against each other."""

import mlx.core as mx
import numpy as np
import torch
from mlx import nn
from torch import Tensor

from duologue.codec import Codec
from duologue.lm import LM
from duologue.mlx import load


def of(tensor: Tensor) -> mx.array:
    """The same numbers; int64 as int32."""
    array = tensor.detach().contiguous().numpy()
    return mx.array(array.astype(np.int32) if array.dtype == np.int64 else array)


def back(array: mx.array) -> Tensor:
    """The same numbers; whole ones as int64."""
    tensor = torch.from_numpy(np.array(array))
    return tensor.long() if tensor.dtype in (torch.int32, torch.uint32) else tensor


def filled(module: nn.Module, twin: torch.nn.Module) -> nn.Module:
    """`module` with the weights of its torch twin."""
    load.fill(module, twin.state_dict().items(), mx.float32, None)
    return module


def codec(twin: Codec):
    return load.codec_of(twin.config, twin.state_dict().items())


def lm(twin: LM):
    return load.lm_of(twin.config, twin.state_dict().items(), mx.float32)


def same_bits(a: mx.array, b: mx.array) -> bool:
    return a.shape == b.shape and np.array(a).tobytes() == np.array(b).tobytes()
