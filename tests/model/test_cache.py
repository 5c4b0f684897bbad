"""The cache as rows come, go and grow: what a row stored is what it finds."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from folioscope.model.cache import KVCache

CONFIG: Any = SimpleNamespace(num_hidden_layers=2, num_key_value_heads=3, head_dim=4)


def filled(*lengths: int, capacity: int = 8) -> KVCache:
    """Rows of random keys; values are their negatives."""
    cache = KVCache(CONFIG, len(lengths), capacity, torch.float32, torch.device("cpu"))
    longest = max(lengths)
    for layer in range(2):
        keys = torch.randn(len(lengths), 3, longest, 4)
        cache.append(layer, cache.positions(longest), keys, -keys)
    cache.advance(torch.tensor(lengths), longest)
    return cache


def rows(cache: KVCache) -> list[torch.Tensor]:
    assert (cache.values == -cache.keys).all()
    return [cache.keys[:, row, :, :length] for row, length in enumerate(cache.lengths.tolist())]


def equal(found: list[torch.Tensor], wanted: list[torch.Tensor]) -> bool:
    return len(found) == len(wanted) and all(map(torch.equal, found, wanted))


def copies(cache: KVCache) -> list[torch.Tensor]:
    return [row.clone() for row in rows(cache)]


def test_rows_leave_and_the_last_takes_the_place() -> None:
    cache = filled(3, 7, 2, 5)
    before, storage = copies(cache), cache.keys.data_ptr()
    cache.keep([0, 3, 2])
    assert equal(rows(cache), [before[0], before[3], before[2]])
    assert (cache.extent, cache.places, cache.keys.data_ptr()) == (5, 4, storage)
    cache.keep([])
    assert (rows(cache), cache.extent) == ([], 0)
    with pytest.raises(AssertionError, match="taken"):
        filled(1, 2, 3).keep([1, 0])


@pytest.mark.parametrize("capacity", [4, 12])
def test_newcomers_join_behind(capacity: int) -> None:
    cache, fresh = filled(3, 7, 2), filled(4, 1, capacity=capacity)
    before, new = copies(cache), copies(fresh)
    cache.keep([0, 2])
    cache.join(fresh)
    assert equal(rows(cache), [before[0], before[2], *new])
    assert (cache.places, cache.capacity, cache.extent) == (4, 8, 4)
    cache.reserve(6, 20)
    assert equal(rows(cache), [before[0], before[2], *new])
    assert cache.keys.shape == (2, 6, 3, 20, 4)


def test_a_place_is_clean_for_the_next() -> None:
    cache = filled(3, 7)
    cache.keys[:, 1] = cache.values[:, 1] = torch.nan
    cache.keep([0])
    cache.join(filled(2))
    assert cache.keys.isfinite().all()
    assert cache.values.isfinite().all()


def test_rows_go_on_where_they_are() -> None:
    cache = filled(3, 6, 2)
    before = copies(cache)
    cache.keep([0, 2])
    new = torch.randn(2, 3, 1, 4)
    for layer in range(2):
        keys, values = cache.append(layer, cache.positions(1), new, -new)
        assert keys.shape == values.shape == (2, 3, 4, 4)
    cache.advance(cache.lengths + 1, cache.extent + 1)
    for row, old, added in zip(rows(cache), (before[0], before[2]), new, strict=True):
        assert torch.equal(row, torch.cat([old, added.expand(2, 3, 1, 4)], dim=2))
