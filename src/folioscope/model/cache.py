"""The decoder's memory: keys and values of every position so far, preallocated, one length a row."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from folioscope.config import DecoderConfig


class KVCache:
    """Keys and values for sequences of different lengths, which may come and go.

    The first `len(lengths)` of its places hold a sequence each; the others wait for one. A query at position p sees the
    keys at positions 0..p of its row and nothing else, so what lies beyond a row's length (padding of a longer
    neighbour, what a former row left, or nothing yet) is never seen and is overwritten as the row grows.

    Attributes:
        keys, values: (layers, places, heads, capacity, hd).
        lengths: (rows,) int64, positions filled in each row.
    """

    def __init__(self, config: DecoderConfig, batch: int, capacity: int, dtype: torch.dtype, device: torch.device):
        shape = (config.num_hidden_layers, batch, config.num_key_value_heads, capacity, config.head_dim)
        self.keys = torch.zeros(shape, dtype=dtype, device=device)
        self.values = torch.zeros(shape, dtype=dtype, device=device)
        self.lengths = torch.zeros(batch, dtype=torch.int64, device=device)
        self._extent = 0  # the longest row, known without asking the device

    @property
    def dtype(self) -> torch.dtype:
        return self.keys.dtype

    @property
    def places(self) -> int:
        """Rows there is room for."""
        return self.keys.shape[1]

    @property
    def capacity(self) -> int:
        """Positions there is room for in each row."""
        return self.keys.shape[3]

    @property
    def extent(self) -> int:
        """Positions in the longest row."""
        return self._extent

    def positions(self, count: int) -> Tensor:
        """(rows, count): the positions of the next `count` tokens of every row."""
        return self.lengths[:, None] + torch.arange(count, device=self.lengths.device)

    def append(self, layer: int, positions: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Store (rows, heads, T, hd) at `positions` (rows, T); return all keys and values up to the longest row."""
        count = keys.shape[0]
        rows = torch.arange(count, device=keys.device)[:, None]
        self.keys[layer][rows, :, positions] = keys.transpose(1, 2).to(self.dtype)
        self.values[layer][rows, :, positions] = values.transpose(1, 2).to(self.dtype)
        seen = self._extent + positions.shape[1]
        return self.keys[layer, :count, :, :seen], self.values[layer, :count, :, :seen]  # (rows, heads, seen, hd)

    def advance(self, lengths: Tensor, longest: int) -> None:
        """Every layer has stored: rows are now `lengths` (rows,) long, the longest of them `longest`."""
        self.lengths, self._extent = lengths, longest

    def reserve(self, places: int, capacity: int) -> None:
        """Make room for so many rows and positions, keeping what is stored; never gives room back."""
        rows, positions = max(0, places - self.places), max(0, capacity - self.capacity)
        if rows or positions:
            room = (0, 0, 0, positions, 0, 0, 0, rows)  # of the last axis first
            self.keys, self.values = (torch.nn.functional.pad(t, room) for t in (self.keys, self.values))

    def join(self, newcomers: KVCache) -> None:
        """Take the rows of another cache in, behind those that are here."""
        first, count, seen = len(self.lengths), len(newcomers.lengths), newcomers.extent
        self.reserve(first + count, seen)
        for ours, theirs in ((self.keys, newcomers.keys), (self.values, newcomers.values)):
            ours[:, first : first + count, :, :seen] = theirs[:, :count, :, :seen]
            # attention multiplies by 0 what it must not see: a NaN that a former row left would show
            ours[:, first : first + count, :, seen:] = 0
        self.lengths = torch.cat([self.lengths, newcomers.lengths])
        self._extent = max(self._extent, seen)

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these rows, in this order. A row that moves goes to the place of one that leaves."""
        for place, row in enumerate(rows):
            if row != place:
                assert place not in rows, "a row would move to a place that is taken"
                for stored in (self.keys, self.values):
                    stored[:, place] = stored[:, row]
        self.lengths = self.lengths[torch.tensor(rows, dtype=torch.int64, device=self.lengths.device)]
        self._extent = int(self.lengths.max()) if len(rows) else 0
