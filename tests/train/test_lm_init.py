"""Embeddings of semantic codes begin as the codebook's vectors."""

from dataclasses import replace

import pytest
import torch

from duologue import presets
from duologue.config import QuantizerConfig
from duologue.errors import InputError
from duologue.lm import LM
from duologue.train.lm_init import embed_semantic_codes
from duologue.weights.random import random_codec

CODEC = replace(presets.tiny_codec(), quantizer=QuantizerConfig(dim=8, codebooks=8, entries=32, semantic=2))


def test_codes_that_are_near_have_embeddings_that_are_near() -> None:
    codec, lm = random_codec(CODEC), LM(presets.tiny_lm())
    before = [embedding.weight.detach().clone() for embedding in lm.audio_embs]
    embed_semantic_codes(lm, codec)
    for q, codebook in enumerate(codec.quantizer.semantic.codebooks):
        vectors_VD = codebook.lookup(torch.arange(32))
        far_P = torch.pdist(vectors_VD)
        for stream in (q, 8 + q):  # the agent's, the user's
            rows_VD = lm.audio_embs[stream].weight.detach()[:32]
            ratio_P = torch.pdist(rows_VD) / far_P
            torch.testing.assert_close(ratio_P, ratio_P.mean().expand_as(ratio_P), rtol=1e-3, atol=1e-3)
            assert float(rows_VD.std()) == pytest.approx(32**-0.5, rel=1e-3)
            assert torch.equal(lm.audio_embs[stream].weight[32], before[stream][32])  # the initial token
    for stream in (2, 7, 10, 15):  # acoustic codes stay as they were drawn
        assert torch.equal(lm.audio_embs[stream].weight, before[stream])


def test_the_codec_of_another_model_is_refused() -> None:
    with pytest.raises(InputError, match="32 entries"):
        embed_semantic_codes(LM(replace(presets.tiny_lm(), card=64)), random_codec(CODEC))
