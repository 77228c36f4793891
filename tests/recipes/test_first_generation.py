"""A language model that starts from another's, with another vocabulary and another codec."""

from dataclasses import replace

import pytest
import torch

from duologue import presets
from duologue.lm import LM
from duologue.lm.model import NO_INPUT
from duologue.lm.tokenizer import Tokenizer
from duologue.weights.model import ASSETS
from recipes.nano.first_generation import fit, spelling, transfer

ENTRIES, WIDTH = 6, 4


def test_embeddings_are_fitted_to_what_they_replace() -> None:
    """Codes that are those of another codec in other numbers get its vectors, up to what few examples allow."""
    generator = torch.Generator().manual_seed(0)
    old_QVD = torch.randn(2, ENTRIES, WIDTH, generator=generator)
    codes_QN = torch.randint(ENTRIES, (2, 4000), generator=generator)
    renamed = torch.randperm(ENTRIES, generator=generator)
    target_ND = old_QVD[0][codes_QN[0]] + old_QVD[1][codes_QN[1]]
    tables, explained = fit(renamed[codes_QN], target_ND, ENTRIES)
    sum_ND = tables[0][renamed[codes_QN[0]]] + tables[1][renamed[codes_QN[1]]]
    assert explained > 0.99
    assert torch.allclose(sum_ND, target_ND, atol=0.05)


def test_an_entry_that_nothing_uses_stays_at_zero() -> None:
    tables, _ = fit(torch.tensor([[0, 1, 0, 1]]), torch.tensor([[1.0], [3.0], [1.0], [3.0]]), 3)
    assert tables[0, 2].abs().max() == 0


@pytest.fixture(scope="module")
def small() -> Tokenizer:
    return Tokenizer(ASSETS / "tiny" / "tokenizer.model")


@pytest.fixture(scope="module")
def large() -> Tokenizer:
    return Tokenizer(ASSETS / "nano" / "tokenizer.model")


def test_pieces_are_spelt_with_the_old_ones(small: Tokenizer, large: Tokenizer) -> None:
    mix_NO = spelling(small, large)
    assert torch.allclose(mix_NO.sum(1), torch.ones(large.size))
    words = [token for token in range(large.size) if large.piece(token).strip().isalpha()]
    assert len(words) > 1000
    for token in words:
        parts = [small.piece(part).strip() for part in mix_NO[token].nonzero().flatten().tolist()]
        assert set("".join(parts)) == set(large.piece(token).strip())


def test_the_same_vocabulary_stays_as_it_is(large: Tokenizer) -> None:
    assert torch.equal(spelling(large, large), torch.eye(large.size))


def test_what_is_said_without_sound_stays_the_same(large: Tokenizer) -> None:
    """Another codec, and ears for the user's words: the text that the first model says is still what it says."""
    config = presets.nano_lm()
    assert config.depth is not None
    former = replace(
        config,
        depth=replace(config.depth, schedule=(0, 1, 2, 2, 2, 2, 2, 2)),
        audio_streams=16,
        delays=(0, *(0, 1, 1, 1, 1, 1, 1, 1) * 2),
        card=512,
        second_text_stream=False,
    )
    torch.manual_seed(0)
    first, lm = LM(former), LM(config)
    transfer(first, large, large, lm)
    text_B1T = torch.randint(4, large.size, (1, 1, 20))
    logits = []
    for model in (first, lm):
        codes_BKT = torch.full((1, model.config.streams, 20), NO_INPUT)
        codes_BKT[:, :1] = text_B1T
        # The initial token of an audio stream is its codec's: here it counts nothing.
        for table in model.audio_embs:
            table.weight.data[model.config.card] = 0
        logits.append(model.text_head(model.context(codes_BKT)[0]))
    torch.testing.assert_close(logits[1], logits[0])
    assert lm.depth is not None
    pairs = zip(lm.depth.layers[0].mlps[2].parameters(), lm.depth.layers[0].mlps[3].parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
