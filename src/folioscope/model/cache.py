"""The decoder's memory: keys and values of every position so far, preallocated, one length a row."""

from __future__ import annotations

import torch
from torch import Tensor

from folioscope.config import DecoderConfig


class KVCache:
    """Keys and values for `batch` sequences of different lengths.

    A query at position p sees the keys at positions 0..p of its row and nothing else, so what lies beyond a row's
    length (padding of a longer neighbour, or nothing yet) is never seen and is overwritten as the row grows.

    Attributes:
        lengths: (batch,) int64, positions filled in each row.
    """

    def __init__(self, config: DecoderConfig, batch: int, capacity: int, dtype: torch.dtype, device: torch.device):
        shape = (config.num_hidden_layers, batch, config.num_key_value_heads, capacity, config.head_dim)
        self.keys = torch.zeros(shape, dtype=dtype, device=device)
        self.values = torch.zeros(shape, dtype=dtype, device=device)
        self.lengths = torch.zeros(batch, dtype=torch.int64, device=device)
        self._extent = 0  # the longest row, known without asking the device

    @property
    def capacity(self) -> int:
        return self.keys.shape[3]

    def positions(self, count: int) -> Tensor:
        """(batch, count): the positions of the next `count` tokens of every row."""
        return self.lengths[:, None] + torch.arange(count, device=self.lengths.device)

    def append(self, layer: int, positions: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Store (B, heads, T, hd) at `positions` (B, T); return all keys and values up to the longest row."""
        rows = torch.arange(keys.shape[0], device=keys.device)[:, None]
        self.keys[layer][rows, :, positions] = keys.transpose(1, 2)
        self.values[layer][rows, :, positions] = values.transpose(1, 2)
        seen = self._extent + positions.shape[1]
        return self.keys[layer, :, :, :seen], self.values[layer, :, :, :seen]  # (B, heads, seen, hd)

    def advance(self, lengths: Tensor, longest: int) -> None:
        """Every layer has stored: rows are now `lengths` (batch,) long, the longest of them `longest`."""
        self.lengths, self._extent = lengths, longest

    def grow(self, capacity: int) -> None:
        """Make room for `capacity` positions, keeping what is stored."""
        extra = max(0, capacity - self.capacity)
        self.keys, self.values = (torch.nn.functional.pad(t, (0, 0, 0, extra)) for t in (self.keys, self.values))

    def keep(self, rows: Tensor) -> None:
        """Keep only these rows (int64 indices): finished pages leave the batch."""
        self.keys, self.values = self.keys[:, rows], self.values[:, rows]
        self.lengths = self.lengths[rows]
        self._extent = int(self.lengths.max()) if len(rows) else 0

    @property
    def extent(self) -> int:
        """Positions in the longest row."""
        return self._extent
