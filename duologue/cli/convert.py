"""The verb `convert` of the command line."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg


@dataclass(frozen=True)
class Convert:
    """Write a model in another format: a new folder that the format's own programs open, and this one too (but onnx).

    Weights are exact unless --quantize is given. A file with only a codec is converted as such.
    """

    source: Annotated[Positional[str], arg(metavar="SRC")]
    """A name, folder, file (.safetensors, .gguf) or hf://owner/name@revision, in any format."""
    target: Annotated[Positional[Path], arg(metavar="DST")]
    """The folder to make."""
    format: Literal["pytorch", "mlx", "candle", "hf", "onnx"]
    """The format of the reference in PyTorch, of moshi_mlx, of the Rust implementation, of Hugging Face transformers,
    or for the page that runs the model itself."""
    quantize: Literal["q8", "q4"] | None = None
    """Pack the language model in 8 bits (pytorch, mlx, onnx; candle: GGUF q8_0) or 4 (mlx)."""
    lora: Annotated[Path | None, arg(metavar="FILE")] = None
    """An adapter (lora.safetensors of moshi-finetune) to merge into the weights."""

    def run(self) -> None:
        from duologue.weights.convert import convert

        for path in convert(self.source, self.target, self.format, self.quantize, self.lora):
            print(f"{self.target / path.name}  {path.stat().st_size / 1e6:,.1f} MB")
