import pytest
import torch
from torch.testing import assert_close

from duologue.nn.attention import causal_mask
from duologue.nn.kv_cache import KVCache


@pytest.mark.parametrize(("context", "step"), [(3, 1), (5, 2), (5, 3), (100, 3)])
def test_the_ring_holds_what_a_query_may_see(context: int, step: int) -> None:
    """Against plain lists, far past the capacity: each query sees the last `context` positions, itself included."""
    cache = KVCache.empty(2, 1, context + step - 1, 1, like=torch.zeros(()))
    written: list[list[float]] = [[], []]
    pattern = torch.Generator().manual_seed(0)
    for _ in range(3 * context + 10):
        exec_B = torch.rand(2, generator=pattern) < 0.8
        k_BHTD = torch.rand(2, 1, step, 1, generator=pattern)
        position_BT = cache.positions(step).clone()
        keys, values, entry_BC = cache.update(k_BHTD, -k_BHTD, exec_B)
        mask = causal_mask(position_BT, entry_BC, context)
        for b in range(2):
            if not exec_B[b]:
                continue
            assert position_BT[b].tolist() == list(range(len(written[b]), len(written[b]) + step))
            written[b] += k_BHTD[b].flatten().tolist()
            for t in range(step):
                end = len(written[b]) - step + t + 1
                seen = keys[b, 0, mask[b, 0, t], 0]
                order = entry_BC[b, mask[b, 0, t]].argsort()
                assert seen[order].tolist() == written[b][max(0, end - context) : end]
                assert_close(values[b, 0, mask[b, 0, t], 0], -seen)
    assert min(map(len, written)) > 2 * cache.capacity


def test_a_young_conversation_attends_to_few_entries() -> None:
    cache = KVCache.empty(1, 1, 200, 1, like=torch.zeros(()))
    one = torch.ones(1, 1, 1, 1)
    lengths = [cache.update(one, one, None)[0].shape[2] for _ in range(300)]
    assert lengths == sorted(lengths)
    assert (lengths[0], lengths[-1]) == (64, 200)
    assert len(set(lengths)) == 4


def test_memory_does_not_grow() -> None:
    cache = KVCache.empty(1, 2, 8, 4, like=torch.zeros(()))
    size = cache.nbytes()
    assert size == 4 * 2 * (1 * 2 * 8 * 4) + 8
    one = torch.ones(1, 2, 1, 4)
    for _ in range(50):
        cache.update(one, one, None)
    assert cache.nbytes() == size
