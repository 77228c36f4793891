"""Opens the encoder of references of a model (`lm.reference`). Its projection is in the model's own file, the rest
there too or in the repository that the configuration names.
"""

import re
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path

import torch

from duologue.errors import InputError
from duologue.lm.reference import HEAD, EncoderShape, ReferenceEncoder
from duologue.weights.conditions import LLAMA
from duologue.weights.files import download, find_weights
from duologue.weights.model import Model
from duologue.weights.names import Source, encoder_prefix
from duologue.weights.published import LM_FILE
from duologue.weights.read import TensorFile, fill_values, open_tensors, stored_tensors

MOST_LAYERS = 128
NAMES = {
    "attention.q_proj": "attention.wq",
    "attention.k_proj": "attention.wk",
    "attention.v_proj": "attention.wv",
    "attention.out_proj": "attention.wo",
    "norm1": "attention_norm",
    "norm2": "ffn_norm",
    "gate": "feed_forward.w1",
    "down": "feed_forward.w2",
    "up": "feed_forward.w3",
}
OUTSIDE = {
    "embedding": "embedder.tok_embeddings",
    "bridge_in": "bridge_module.layer1",
    "bridge_out": "bridge_module.layer2",
    "projection": "output_proj",
}


def foreign_name(ours: str) -> str:
    """The published name of one of the encoder's tensors."""
    head = ours.removesuffix(".weight")
    if found := re.fullmatch(r"layers\.(\d+)\.(.*)", head):
        return f"embedder.layers.{found[1]}.{NAMES[found[2]]}.weight"
    return OUTSIDE[head] + ".weight"


def load_encoder(model: Model) -> ReferenceEncoder:
    """Raises InputError if the model has none, or files are missing or damaged."""
    config = model.files.config.lm
    encoder, prefix = config.conditioning.encoder, encoder_prefix(config)
    if encoder is None or encoder.reference is None or prefix is None:
        raise InputError(f"{model.name} takes no references: moshika-rag is a model that does")
    with ExitStack() as stack:

        def opened(*path: Path | list[Path] | None) -> TensorFile:
            return stack.enter_context(closing(open_tensors(*path)))  # pyright: ignore[reportArgumentType]

        own = opened(*find_weights(model.files, model.files.config.lm_file))
        rest, start = own, prefix
        if prefix + foreign_name("embedding.weight") not in own.names():
            rest, start = opened(download(encoder.reference.repo, LM_FILE, None)), ""
        shape = _shape(own, prefix, rest, start)
        wanted = encoder.reference.dim, encoder.reference.hidden, encoder.dim, config.temporal.dim
        if (shape.dim, shape.hidden, shape.out, shape.width) != wanted:
            raise InputError(f"{rest.path}: the encoder of references has other widths than {wanted}")
        with torch.device("meta"):
            made = ReferenceEncoder(shape, encoder.reference.group)
        meta = made.state_dict()
        projection = {name: meta.pop(name) for name in list(meta) if name.startswith("projection.")}
        values = [
            *stored_tensors(own, projection, _sources(prefix), _anything),
            *stored_tensors(rest, meta, _sources(start), _anything),
        ]
        fill_values(made, iter(values), model.device, model.dtype)
    return made.eval()


def _sources(prefix: str) -> Callable[[str], list[Source]]:
    return lambda ours: [Source(prefix + foreign_name(ours))]


def _anything(name: str) -> bool:
    """Neither file is the encoder's alone."""
    return True


def _shape(own: TensorFile, prefix: str, rest: TensorFile, start: str) -> EncoderShape:
    def size(ours: str, file: TensorFile = rest, at: str = start) -> list[int]:
        name = at + foreign_name(ours)
        if name not in file.names():
            raise InputError(f"{file.path}: the tensor {name} is missing")
        found = file.shape(name)
        if len(found) != 2 or min(found) < 1:
            raise InputError(f"{file.path}: {name} is no matrix")
        return found

    layer = re.compile(re.escape(start) + r"embedder\.layers\.(\d+)\.attention\.wq\.weight")
    layers = sum(bool(layer.fullmatch(name)) for name in rest.names())
    if layers > MOST_LAYERS:
        raise InputError(f"{rest.path}: an encoder of references has at most {MOST_LAYERS} layers")
    entries, dim = size("embedding.weight")
    q, k = size("layers.0.attention.q_proj.weight")[0], size("layers.0.attention.k_proj.weight")[0]
    if q % HEAD or k % HEAD or (q // HEAD) % (k // HEAD):
        raise InputError(f"{rest.path}: the heads of the encoder of references have {HEAD} channels")
    out, hidden = size("bridge_out.weight")
    return EncoderShape(
        entries, dim, layers, q // HEAD, k // HEAD, size("layers.0.gate.weight")[0], hidden, out,
        size("projection.weight", own, prefix)[0],
    )  # fmt: skip


class ReferenceTokenizer:
    """The tokenizer of Llama 3.2, whose tokens the encoder reads."""

    def __init__(self, path: Path | None = None):
        """`path`: its tokenizer.json; from the hub if not given."""
        try:
            from tokenizers import Tokenizer
        except ImportError as error:
            raise InputError(
                f"references need the extra: pip install 'duologue[references]' ({error})"
            ) from None
        path = path or download(LLAMA, "tokenizer.json", None)
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # whatever a damaged file makes of it
            raise InputError(f"{path} is no tokenizer: {error}") from None

    def encode(self, text: str) -> list[int]:
        return self._tokenizer.encode(text, add_special_tokens=False).ids
