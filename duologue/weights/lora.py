"""Low-rank adapters as moshi-finetune saves them: merged into the weights, or kept beside them."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from duologue.config import LMConfig
from duologue.errors import InputError
from duologue.lm import LM
from duologue.lm.lora import LoRALinear
from duologue.weights.fields import read_json
from duologue.weights.names import Source, lm_sources
from duologue.weights.packed import Packed
from duologue.weights.read import SafetensorsFile, Stored, TensorFile, is_finite

SCALING = 2.0  # where no configuration says it


@dataclass(frozen=True)
class Delta:
    """An adapter's change of one matrix: `scaling * up @ down`."""

    down: Tensor  # [rank, columns]
    up: Tensor  # [rows, rank]
    scaling: float

    def added_to(self, weight: Tensor) -> Tensor:
        """The sum, in float32."""
        return weight.float() + self.scaling * (self.up.float() @ self.down.float())


@dataclass(frozen=True)
class Adapter:
    """Changes by our parameter names: low-rank ones, and whole tensors (embeddings may have been trained in full)."""

    deltas: dict[str, Delta]
    whole: dict[str, Tensor]

    def merged(self, values: Iterator[tuple[str, Stored]], rounded: bool) -> Iterator[tuple[str, Stored]]:
        """The same tensors with the changes in them: those in float32, or `rounded` to the precision of the base."""
        for ours, value in values:
            if ours in self.whole:
                yield ours, self.whole[ours]
            elif ours in self.deltas:
                plain = value.dense() if isinstance(value, Packed) else value
                summed = self.deltas[ours].added_to(plain)
                yield ours, summed.to(plain.dtype) if rounded else summed
            else:
                yield ours, value


def read_adapter(path: Path, config: LMConfig, scaling: float | None = None) -> Adapter:
    """The adapter of a language model. `scaling`: by default what the `config.json` beside it says, or 2.

    Raises InputError for a tensor that does not fit the model.
    """
    if scaling is None:
        beside = path.parent / "config.json"
        scaling = read_json(beside).get("lora_scaling", SCALING) if beside.is_file() else SCALING
    if not isinstance(scaling, int | float) or isinstance(scaling, bool) or not abs(scaling) < 1e6:
        raise InputError(f"{path}: lora_scaling must be a number")
    with torch.device("meta"):
        shapes = LM(config).state_dict()
    deltas, whole = {}, {}
    if not path.is_file():
        raise InputError(f"there is no file {path}")
    with closing(SafetensorsFile(path)) as file:
        left = file.names()
        for ours, meta in shapes.items():
            places = lm_sources(ours, config)
            for source in places:
                if pair := _pair(file, source, meta.shape):
                    deltas[ours] = Delta(*pair, scaling)
                elif source.name in left and source.parts == 1:
                    whole[ours] = _exactly(path, source.name, file.stored(source.name, 1), meta.shape)
            left -= {name for s in places for name in (s.name, *_names(s))}
    if left:
        raise InputError(f"{path}: unknown tensor {sorted(left)[0]}")
    for name, tensors in [(n, (d.down, d.up)) for n, d in deltas.items()] + [
        (n, (t,)) for n, t in whole.items()
    ]:
        if not all(is_finite(tensor) for tensor in tensors):
            raise InputError(
                f"{path}: what it has for {name} holds NaN or infinity: use an earlier checkpoint"
            )
    if not deltas and not whole:
        raise InputError(f"{path} holds no adapter")
    return Adapter(deltas, whole)


def _names(source: Source) -> tuple[str, str]:
    stem = source.name.removesuffix("weight").rstrip("._")
    return stem + ".lora_A.weight", stem + ".lora_B.weight"


def _pair(file: TensorFile, source: Source, shape: torch.Size) -> tuple[Tensor, Tensor] | None:
    """Both factors of a change, cut as its matrix is."""
    names = file.names()
    found = [name for name in _names(source) if name in names]
    if not found:
        return None
    if len(found) == 1:
        raise InputError(f"{file.path}: {found[0]} is alone; an adapter has lora_A and lora_B")
    halves = []
    for name in found:
        value = file.stored(name, 1)
        if isinstance(value, Packed) or value.dim() != 2 or len(value) % source.parts:
            raise InputError(f"{file.path}: {name} has shape {list(value.shape)}")
        halves.append(value.chunk(source.parts)[source.part].clone())
    down, up = halves
    if len(down) != up.shape[1] or (up.shape[0], down.shape[1]) != tuple(shape):
        raise InputError(
            f"{file.path}: {found[0]} {list(down.shape)} and {found[1]} {list(up.shape)} do not make "
            f"the model's {list(shape)}"
        )
    return down, up


def _exactly(path: Path, name: str, value: Stored, shape: torch.Size) -> Tensor:
    if isinstance(value, Packed) or value.numel() != shape.numel():
        raise InputError(f"{path}: {name} has shape {list(value.shape)}, the model needs {list(shape)}")
    return value.reshape(shape).clone()


def attach(lm: LM, adapter: Adapter) -> None:
    """Put an adapter beside the weights of `lm`. Whole tensors replace theirs."""
    if lm.config.temporal.cross_attention:
        raise InputError("an adapter of a model with cross-attention can only be merged")
    for name, value in adapter.whole.items():
        lm.get_parameter(name).data.copy_(value)
    for name, delta in adapter.deltas.items():
        parent, _, child = name.removesuffix(".weight").rpartition(".")
        base = lm.get_submodule(name.removesuffix(".weight"))
        assert isinstance(base, nn.Linear)
        layer = LoRALinear(base, len(delta.down), delta.scaling).requires_grad_(False)
        layer.lora_A.weight.data.copy_(delta.down)
        layer.lora_B.weight.data.copy_(delta.up)
        setattr(lm.get_submodule(parent), child, layer)


def adapter_tensors(lm: LM) -> dict[str, Tensor]:
    """The adapters beside the weights of `lm` by their published names, such as
    `transformer.layers.0.gating.linear_in.lora_A.weight`: a projection a step, as moshi-finetune names them."""
    return {
        name: getattr(module, side).weight.detach().contiguous()
        for path, module in lm.named_modules()
        if isinstance(module, LoRALinear)
        for name, side in zip(
            _names(lm_sources(f"{path}.weight", lm.config)[-1]), ("lora_A", "lora_B"), strict=True
        )
    }
