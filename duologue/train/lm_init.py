"""Initialise a language model's embeddings of semantic codes from the codec: similar codes get similar embeddings.

Drawn at random, each of a thousand entries has to be learnt by itself, from the few voices that happened to use it.
"""

import torch
from torch import nn

from duologue.codec import Codec
from duologue.errors import InputError
from duologue.lm import LM


@torch.no_grad()
def embed_semantic_codes(lm: LM, codec: Codec, seed: int = 0) -> None:
    """Fill the embeddings of the semantic codebooks, of both speakers, with the codebooks' vectors in `codec`, turned
    at random into the model's width; as large as embeddings are drawn. Raises InputError if `codec` is not `lm`'s."""
    quantizer, width = codec.config.quantizer, lm.config.temporal.dim
    if quantizer.entries != lm.config.card or quantizer.dim > width:
        raise InputError(
            f"the codec has {quantizer.entries} entries of {quantizer.dim} channels, "
            f"the model {lm.config.card} of {width}"
        )
    turn_DD = torch.empty(quantizer.dim, width)
    nn.init.orthogonal_(turn_DD, generator=torch.Generator().manual_seed(seed))
    for q, codebook in enumerate(codec.quantizer.semantic.codebooks):
        vectors_VD = codebook.lookup(torch.arange(quantizer.entries, device=codec.device)[None])[0]
        rows_VD = vectors_VD.float().cpu() @ turn_DD
        rows_VD *= width**-0.5 / rows_VD.std()
        for first in {0, lm.config.depth_steps}:  # the agent's streams, the user's
            weight = lm.audio_embs[first + q].weight
            weight[: quantizer.entries] = rows_VD.to(weight)
