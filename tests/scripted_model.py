"""A model whose logits are a function of the ids so far: what the decode loop does can be read off its answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from folioscope.generate import Prompt
from folioscope.types import GenerateOptions

VOCAB = 12
PLAIN = GenerateOptions(no_repeat_ngram_size=0, stop_ids=())


def text(*ids: int) -> Prompt:
    return Prompt(ids, (False,) * len(ids))


class ScriptedCache:
    """The sequences themselves; refuses to hold more than it has room for."""

    def __init__(self, batch: int, capacity: int):
        self.rows: list[list[int]] = [[] for _ in range(batch)]
        self.places, self.capacity = batch, capacity
        self.rooms = [(batch, capacity)]

    @property
    def extent(self) -> int:
        return max(map(len, self.rows))

    def reserve(self, places: int, capacity: int) -> None:
        self.places, self.capacity = max(places, self.places), max(capacity, self.capacity)
        if self.rooms[-1] != (self.places, self.capacity):
            self.rooms.append((self.places, self.capacity))

    def join(self, newcomers: ScriptedCache) -> None:
        self.rows += newcomers.rows
        assert len(self.rows) <= self.places

    def keep(self, rows: Sequence[int]) -> None:
        self.rows = [self.rows[row] for row in rows]


class ScriptedModel:
    """Logits are a function of the whole row; by default a random table over its last two ids."""

    device = torch.device("cpu")

    def __init__(self, logits_of: Callable[[list[int]], Tensor] | None = None, positions: int = 64):
        table = 3 * torch.randn(VOCAB, VOCAB, VOCAB, generator=torch.Generator().manual_seed(0))
        self.logits_of = logits_of or (lambda row: table[tuple(([0, *row])[-2:])])
        self.config = SimpleNamespace(decoder=SimpleNamespace(max_position_embeddings=positions))
        self.batches: list[int] = []
        self.caches: list[ScriptedCache] = []

    def new_cache(self, batch: int, capacity: int) -> ScriptedCache:
        self.caches.append(ScriptedCache(batch, capacity))
        return self.caches[-1]

    def prefill(self, ids: Tensor, lengths: Tensor, features: Any, image_mask: Tensor, cache: ScriptedCache) -> Tensor:
        assert image_mask.shape == ids.shape
        assert len(features) == len(ids)
        cache.rows = [row[:length] for row, length in zip(ids.tolist(), lengths.tolist(), strict=True)]
        return self.logits(cache)

    def step(self, ids: Tensor, cache: ScriptedCache) -> Tensor:
        for row, token in zip(cache.rows, ids.tolist(), strict=True):
            row.append(token)
        return self.logits(cache)

    def logits(self, cache: ScriptedCache) -> Tensor:
        assert cache.extent <= cache.capacity
        self.batches.append(len(cache.rows))
        return torch.stack([self.logits_of(row) for row in cache.rows])


def counting(row: list[int]) -> Tensor:
    """Always the next number."""
    return torch.nn.functional.one_hot(torch.tensor((row[-1] + 1) % VOCAB), VOCAB).float()
