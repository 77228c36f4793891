import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from duologue.codec.codebook import Codebook, kmeans
from duologue.codec.quantizer import ResidualVQ, SplitQuantizer
from duologue.config import QuantizerConfig
from duologue.errors import InputError


def gaussian(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def codebook(entries: int = 16, dim: int = 4, seed: int = 0) -> Codebook:
    book = Codebook(entries, dim)
    book.embedding_sum.copy_(gaussian(entries, dim, seed=seed))
    book.cluster_usage.copy_(gaussian(entries, seed=seed + 1).abs() + 0.5)
    book.initialized.fill_(1)
    return book


def quantizer(codebooks: int = 4) -> SplitQuantizer:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        split = SplitQuantizer(QuantizerConfig(4, codebooks, 16), 6)
    for i, book in enumerate(m for m in split.modules() if isinstance(m, Codebook)):
        book.load_state_dict(codebook(seed=10 * i).state_dict())
    return split.eval()


def test_the_nearest_entry() -> None:
    book, x_BTD = codebook(), gaussian(3, 20, 4)
    vectors_VD = book.embedding_sum / book.cluster_usage[:, None]
    assert torch.equal(book.nearest(x_BTD), torch.cdist(x_BTD, vectors_VD[None]).argmin(-1))
    assert_close(book.lookup(torch.tensor([[3, 5]])), vectors_VD[[3, 5]][None])


def test_vectors_follow_their_buffers() -> None:
    book = codebook()
    first = book.lookup(torch.tensor([[2]]))
    book.embedding_sum.mul_(2)
    assert_close(book.lookup(torch.tensor([[2]])), 2 * first)
    book.cluster_usage.mul_(4)
    assert_close(book.lookup(torch.tensor([[2]])), first / 2)
    book.load_state_dict(codebook(seed=5).state_dict(), assign=True)
    assert_close(book.lookup(torch.tensor([[2]])), codebook(seed=5).lookup(torch.tensor([[2]])))


def test_each_codebook_quantises_what_is_left() -> None:
    config = QuantizerConfig(4, 3, 16)
    rvq = ResidualVQ(config, 3, 4)
    for i, book in enumerate(rvq.codebooks):
        book.load_state_dict(codebook(seed=10 * i).state_dict())
    with torch.no_grad():
        rvq.in_proj.weight.copy_(torch.eye(4)[..., None])
        rvq.out_proj.weight.copy_(torch.eye(4)[..., None])
        z_BDT = gaussian(2, 4, 9)
        codes_BQT = rvq.encode(z_BDT, 3)
        left_BTD = z_BDT.transpose(1, 2)
        for q, book in enumerate(rvq.codebooks):
            assert torch.equal(codes_BQT[:, q], book.nearest(left_BTD))
            left_BTD = left_BTD - book.lookup(codes_BQT[:, q])
            assert_close(rvq.decode(codes_BQT[:, : q + 1]), z_BDT - left_BTD.transpose(1, 2))
        assert torch.equal(rvq.encode(z_BDT, 2), codes_BQT[:, :2])


def test_semantic_and_acoustic_see_the_same_latents() -> None:
    split, z_BDT = quantizer(), gaussian(2, 6, 5)
    with torch.no_grad():
        codes_BQT = split.encode(z_BDT, 4)
        assert torch.equal(codes_BQT[:, :1], split.semantic.encode(z_BDT, 1))
        assert torch.equal(codes_BQT[:, 1:], split.acoustic.encode(z_BDT, 3))
        for q in (1, 2, 4):
            assert torch.equal(split.encode(z_BDT, q), codes_BQT[:, :q])
        parts = split.semantic.decode(codes_BQT[:, :1]) + split.acoustic.decode(codes_BQT[:, 1:])
        assert_close(split.decode(codes_BQT), parts)
        assert_close(split.decode(codes_BQT[:, :1]), split.semantic.decode(codes_BQT[:, :1]))


def test_several_semantic_codebooks_see_their_part_of_the_latents() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        split = SplitQuantizer(QuantizerConfig(4, 7, 16, semantic=3), 6, 10, 8).eval()
    for i, book in enumerate(m for m in split.modules() if isinstance(m, Codebook)):
        book.load_state_dict(codebook(seed=10 * i).state_dict())
    z_BDT = gaussian(2, 10, 5)
    with torch.no_grad():
        codes_BQT = split.encode(z_BDT, 7)
        assert codes_BQT.shape == (2, 7, 5)
        assert torch.equal(codes_BQT[:, :3], split.semantic.encode(z_BDT[:, :8], 3))
        assert torch.equal(codes_BQT[:, 3:], split.acoustic.encode(z_BDT, 4))
        for q in range(1, 8):
            assert torch.equal(split.encode(z_BDT, q), codes_BQT[:, :q])
        parts = split.semantic.decode(codes_BQT[:, :3]) + split.acoustic.decode(codes_BQT[:, 3:])
        assert_close(split.decode(codes_BQT), parts)
        for q in (1, 2, 3):
            assert_close(split.decode(codes_BQT[:, :q]), split.semantic.decode(codes_BQT[:, :q]))
        changed_BDT = z_BDT.clone()
        changed_BDT[:, 8:] += 3
        assert torch.equal(split.encode(changed_BDT, 7)[:, :3], codes_BQT[:, :3])
        assert not torch.equal(split.encode(changed_BDT, 7)[:, 3:], codes_BQT[:, 3:])


def test_all_codebooks_may_be_semantic() -> None:
    split = SplitQuantizer(QuantizerConfig(4, 2, 16, semantic=2), 6)
    codes_BQT = split.encode(gaussian(1, 6, 3), 2)
    assert split.decode(codes_BQT).shape == (1, 6, 3)
    with pytest.raises(InputError, match="3 semantic codebooks are more than the 2"):
        QuantizerConfig(4, 2, 16, semantic=3)


def test_training_starts_one_codebook_a_batch() -> None:
    rvq = ResidualVQ(QuantizerConfig(4, 3, 8), 3, 4).train()
    for started in (1, 2, 3, 3):
        out = rvq.quantize(gaussian(4, 4, 50), 3)
        assert out.codes_BQT.shape[1] == started
    assert all(book.is_initialized() for book in rvq.codebooks)


def test_learning_moves_the_codebook_to_the_data() -> None:
    """Clusters far apart are each found by some of the entries, and stay found."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        centres_VD = 10 * gaussian(8, 4)
        book = Codebook(32, 4).train()
        for seed in range(60):
            near = torch.randint(8, (4, 64), generator=torch.Generator().manual_seed(seed))
            book.learn(centres_VD[near] + 0.1 * gaussian(4, 64, 4, seed=seed))
    codes = book.nearest(centres_VD[None])
    assert len(codes.unique()) == 8
    assert_close(book.lookup(codes)[0], centres_VD, atol=0.3, rtol=0)


def test_learning_gives_codes_of_the_codebook_before_it_moved() -> None:
    book, x_BTD = codebook(), gaussian(2, 30, 4, seed=9)
    expected, vectors = book.nearest(x_BTD), book.lookup(book.nearest(x_BTD))
    usage, sums = book.cluster_usage.clone(), book.embedding_sum.clone()
    book.dead_below = 0
    codes_BT, vector_BTD = book.learn(x_BTD)
    assert torch.equal(codes_BT, expected)
    assert torch.equal(vector_BTD, vectors)
    counts = torch.bincount(expected.flatten(), minlength=16)
    assert_close(book.cluster_usage, 0.99 * usage + 0.01 * counts)
    members = torch.nn.functional.one_hot(expected.flatten(), 16).float().T @ x_BTD.flatten(0, 1)
    assert_close(book.embedding_sum, 0.99 * sums + 0.01 * members)


def test_dead_entries_come_back_as_vectors_of_the_batch() -> None:
    book = codebook()
    book.cluster_usage[3] = 1e-4
    x_BTD = gaussian(2, 30, 4, seed=9)
    book.learn(x_BTD)
    distance = (book.lookup(torch.tensor([[3]]))[0] - x_BTD.flatten(0, 1)).abs().amax(-1).min()
    assert distance < 1e-5
    assert book.cluster_usage[3] > 0.5


@pytest.mark.parametrize("points", [5, 8, 200])
def test_kmeans(points: int) -> None:
    x_ND = gaussian(points, 3)
    centres_VD, counts_V = kmeans(x_ND, 8)
    assert centres_VD.shape == (8, 3)
    assert centres_VD.isfinite().all()
    assert counts_V.min() >= 1


def test_gradients_pass_straight_through() -> None:
    split = quantizer()
    z_BDT = gaussian(2, 6, 5).requires_grad_()
    out = split.acoustic.quantize(z_BDT, 3)
    assert_close(out.z_BDT, split.acoustic.decode(out.codes_BQT))
    out.z_BDT.sum().backward()
    straight = split.acoustic.out_proj.weight[..., 0] @ split.acoustic.in_proj.weight[..., 0]
    assert_close(z_BDT.grad, straight.sum(0)[None, :, None].expand(2, 6, 5))


def test_sequences_may_pass_unquantised() -> None:
    split, z_BDT = quantizer(), gaussian(2, 6, 5)
    out = split.acoustic.quantize(z_BDT, 3, torch.tensor([False, True]))
    plain = split.acoustic.out_proj(split.acoustic.in_proj(z_BDT))
    assert_close(out.z_BDT[1], plain[1])
    assert_close(out.z_BDT[0], split.acoustic.decode(out.codes_BQT)[0])
