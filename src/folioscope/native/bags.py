"""Products of one row with the experts that it chose, in one call of a stock operator.

A row times a weight is the sum of the weight's columns, each times one input. Sums of weighted rows of a table of bytes
are what `embedding_bag` was made for, and fbgemm reads such a table at twice the rate at which it multiplies one row by
a weight laid out for products; many sums, of places in the table that are only now known, are one call.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from folioscope.native import Weight
from folioscope.native.layout import BLOCK, padded
from folioscope.native.memory import Arena, give_back
from folioscope.native.torch_path import Inputs, product, rounded

WIDEST = 256
"""Outputs of a block at most: of more, the operator sums in several passes over rows that are far from one another."""

EXACT = 1024
"""Inputs of a bag at most: so many products of integers up to 127 are less than 2^24, and exact in float32."""

ONE_AND_ZERO = torch.tensor((1.0, -128.0)).view(torch.uint8)
"""Scale and offset that the operator finds at the end of each row of bytes: integers plus 128 are stored."""


class Bags:
    """int8 weights of several experts, the same number of one size for each.

    Attributes:
        table: (experts, weights * blocks, K, N / blocks + 8) uint8, the outputs of a block side by side.
        scale: (experts, weights, N) float32.
    """

    def __init__(self, experts: Iterable[Sequence[Weight]], count: int):
        """Of `count` experts, each with its weights, which are asked for one expert at a time and not kept."""
        for place, weights in enumerate(experts):
            if not place:
                self._make_room(weights, count)
            for own, weight in enumerate(weights):
                self._put(place, own, weight)

    def _make_room(self, weights: Sequence[Weight], count: int) -> None:
        self.rows = weights[0].rows
        outputs, self.columns = padded(weights[0].rows, weights[0].columns)
        self.blocks = -(-outputs // WIDEST)
        self.width = -(-outputs // (BLOCK * self.blocks)) * BLOCK
        blocks = len(weights) * self.blocks
        self.table = Arena().empty((count, blocks, self.columns, self.width + len(ONE_AND_ZERO)), torch.uint8)
        self.table.view(torch.int64)[..., -1] = int(ONE_AND_ZERO.view(torch.int64))
        self.scale = torch.empty(count, len(weights), self.rows)
        self._places = torch.arange(blocks * self.columns, dtype=torch.int32)
        self._starts = self._bags(1)

    def _bags(self, pairs: int) -> Tensor:
        """(pairs, blocks, parts) int32: where each bag begins among the places that are summed."""
        parts = -(-self.columns // EXACT)
        starts = torch.arange(parts, dtype=torch.int32) * self.columns // parts
        blocks = torch.arange(pairs * self.table.shape[1], dtype=torch.int32) * self.columns
        return (blocks[:, None] + starts).view(pairs, -1, parts)

    def _put(self, place: int, own: int, weight: Weight) -> None:
        assert weight.kind == "int8"
        assert weight.scale is not None
        self.scale[place, own] = weight.scale[: self.rows]
        for block, part in enumerate(weight.data.split(self.width // BLOCK), own * self.blocks):
            rows = self.table[place, block, :, : len(part) * BLOCK]  # (K, N / blocks)
            rows.view(-1, 4, len(part), BLOCK).copy_(part.permute(1, 3, 0, 2))
        give_back(weight.data)

    def times(self, inputs: Inputs, ids: Tensor) -> Tensor:
        """(R * k, weights, N) float32: R rows by all weights of the k experts that each chose.

        Args:
            inputs: R, or R * k with one for each expert chosen.
            ids: (R, k) int64.
        """
        blocks, pairs = self.table.shape[1], ids.numel()
        values = inputs.values.view(len(ids), -1, 1, self.columns)  # (R, 1 or k, 1, K)
        values = values.expand(len(ids), ids.shape[1], blocks, self.columns)
        places = ids.view(-1, 1).int() * len(self._places) + self._places  # (R * k, blocks * K)
        if len(self._starts) < pairs:
            self._starts = self._bags(pairs)
        starts = self._starts[:pairs]
        bags = product(
            places.numel() * self.width,
            torch.ops.quantized.embedding_bag_byte_rowwise_offsets.default,
            self.table.view(-1, self.table.shape[-1]), places.view(-1), starts.view(-1), False, 0, False,
            values.reshape(-1), None, False,
        )  # (R * k * blocks * parts, N / blocks)  # fmt: skip
        sums = bags.view(*starts.shape, -1).sum(dim=2) if starts.shape[2] > 1 else bags
        unit = inputs.unit.view(len(ids), -1).expand(ids.shape).reshape(-1, 1, 1)
        scale = self.scale.index_select(0, ids.view(-1)) * unit  # (R * k, weights, N)
        return sums.view(*scale.shape[:2], -1)[..., : self.rows] * scale

    def one(self, place: int) -> Chosen:
        """The weights of one expert."""
        return Chosen(self, place)


class Chosen(NamedTuple):
    """The weights of one expert, side by side, for many rows; as `Product`."""

    bags: Bags
    place: int

    def prepared(self, x: Tensor) -> Inputs:
        """x (R, columns) as `times` takes it."""
        return rounded(x)

    def times(self, inputs: Inputs) -> Tensor:
        """(R, rows of all weights) float32 of R inputs."""
        table, width = self.bags.table[self.place].view(torch.int8), self.bags.width
        whole = torch.empty(table.shape[1], table.shape[0], width, dtype=torch.int8)  # (K, blocks, N / blocks)
        torch.bitwise_xor(table[..., :width].transpose(0, 1), -128, out=whole)
        out = torch.ops.aten._int_mm(inputs.values.to(torch.int8), whole.flatten(1)).float()  # (R, blocks * width)
        scale = self.bags.scale[self.place]  # (weights, N)
        out = out.view(len(out), len(scale), -1)[..., : self.bags.rows] * scale
        return out.flatten(1) * inputs.unit
