"""`duologue card` and `duologue push`: a model card, and a model with its card on the hub."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg


@dataclass(frozen=True)
class Card:
    """Write a model card from the figures of evaluations: data, training, limits, bias, figures."""

    model: Annotated[Positional[str], arg(metavar="MODEL")]
    """A name, folder, .safetensors file or hf://owner/name@revision."""
    out: Annotated[Positional[Path], arg(metavar="OUT.md")]
    """The file to write."""
    results: Annotated[tuple[Path, ...], arg(metavar="FILE|DIR")] = ()
    """What `duologue eval ... --json` wrote, files or folders of them."""
    about: Annotated[Path | None, arg(metavar="FILE.toml")] = None
    """Texts on data, training and uses; by default card.toml beside the model's config.json."""

    def run(self) -> None:
        from duologue.eval.card import about_of, read_results, technical_facts, write_card
        from duologue.files import atomic_write, check_writable
        from duologue.weights import load

        check_writable(self.out)
        results, model = read_results(self.results), load(self.model, "cpu")
        text = write_card(model.name, technical_facts(model), about_of(model, self.about), results)
        with atomic_write(self.out) as temporary:
            temporary.write_text(text)


@dataclass(frozen=True)
class Push:
    """Upload a model to the Hugging Face hub, with its model card; log in first with `hf auth login`."""

    model: Annotated[Positional[str], arg(metavar="MODEL")]
    """A name, folder, .safetensors file or hf://owner/name@revision."""
    repository: Annotated[Positional[str], arg(metavar="OWNER/NAME")]
    """The repository on the hub; it is created if it does not exist."""
    results: Annotated[tuple[Path, ...], arg(metavar="FILE|DIR")] = ()
    """Figures for the card, as for `duologue card`."""
    about: Annotated[Path | None, arg(metavar="FILE.toml")] = None
    """Texts for the card, as for `duologue card`."""
    format: Literal["pytorch", "mlx", "candle", "hf"] = "pytorch"
    """The format of the weights, as for `duologue convert`."""
    quantize: Literal["q8", "q4"] | None = None
    """Pack the language model in 8 or 4 bits, as for `duologue convert`."""
    private: bool = False
    """Create a private repository."""

    def run(self) -> None:
        from duologue.eval.hub import push_to_hub

        print(
            push_to_hub(
                self.model,
                self.repository,
                self.results,
                self.about,
                self.format,
                self.quantize,
                self.private,
            )
        )
