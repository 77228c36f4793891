import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from duologue.nn.kv_cache import KVCache, Place, Ring


def make(batch: int, capacity: int, context: int) -> tuple[Ring, KVCache]:
    ring = Ring(torch.zeros(batch, dtype=torch.int64), capacity, context)
    return ring, KVCache.empty(batch, 1, capacity, 1, like=torch.zeros(()))


def push(
    ring: Ring, cache: KVCache, k_BHTD: Tensor, exec_B: Tensor | None = None
) -> tuple[Place, Tensor, Tensor]:
    place = ring.advance(k_BHTD.shape[2], exec_B, torch.float32)
    [(keys, values)] = cache.update(torch.cat([k_BHTD, -k_BHTD], 1), place)
    return place, keys, values


@pytest.mark.parametrize(("context", "step"), [(3, 1), (5, 2), (5, 3), (100, 3)])
def test_the_ring_holds_what_a_query_may_see(context: int, step: int) -> None:
    """Against plain lists, far past the capacity: each query sees the last `context` positions, itself included."""
    ring, cache = make(2, context + step - 1, context)
    written: list[list[float]] = [[], []]
    pattern = torch.Generator().manual_seed(0)
    for _ in range(3 * context + 10):
        exec_B = torch.rand(2, generator=pattern) < 0.8
        k_BHTD = torch.rand(2, 1, step, 1, generator=pattern)
        place, keys, values = push(ring, cache, k_BHTD, exec_B)
        assert set(place.mask_B1TS.flatten().tolist()) <= {0.0, -torch.inf}
        for b in range(2):
            if not exec_B[b]:
                continue
            assert place.position_BT[b].tolist() == list(range(len(written[b]), len(written[b]) + step))
            written[b] += k_BHTD[b].flatten().tolist()
            for t in range(step):
                end = len(written[b]) - step + t + 1
                visible = place.mask_B1TS[b, 0, t] == 0
                seen = keys[b, 0, visible, 0]
                assert sorted(seen.tolist()) == sorted(written[b][max(0, end - context) : end])
                assert_close(values[b, 0, visible, 0], -seen)
    assert min(map(len, written)) > 2 * ring.capacity


def test_a_young_conversation_attends_to_few_entries() -> None:
    ring, cache = make(1, 200, 200)
    lengths = [push(ring, cache, torch.ones(1, 1, 1, 1))[1].shape[2] for _ in range(300)]
    assert lengths == sorted(lengths)
    assert (lengths[0], lengths[-1]) == (64, 200)
    assert len(set(lengths)) == 4


def test_memory_does_not_grow() -> None:
    ring, cache = make(1, 8, 8)
    size = cache.nbytes() + ring.nbytes()
    assert size == 4 * 2 * 8 + 8
    for _ in range(50):
        push(ring, cache, torch.ones(1, 1, 1, 1))
    assert cache.nbytes() + ring.nbytes() == size
