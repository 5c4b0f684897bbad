"""Attention with decomposed relative positions, for training: no map of weights is kept for the way back.

A map of 48 x 48 patches has 5 million weights a head. They are computed a few heads at a time, while they fit into a
processor's cache, and computed again when gradients are wanted. Source: FlashAttention (arXiv 2205.14135, section 3.1)
for the recomputation; ViTDet (arXiv 2203.16527) for the positions.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

_AT_ONCE = 1 << 23
"""Weights computed at a time; 16 MB of bfloat16."""


def attend(q: Tensor, k: Tensor, v: Tensor, rows: Tensor, cols: Tensor) -> Tensor:
    """Attend over a map of H x W patches.

    Args:
        q, k, v: (B, heads, HW, hd), q scaled.
        rows, cols: (B, heads, HW, H) and (B, heads, HW, W), what each query adds for a key's row and for its column.

    Returns:
        (B, heads, HW, hd).
    """
    parts = (part.flatten(0, 1).to(v.dtype) for part in (q, k, v, rows, cols))
    return _Attend.apply(*parts).view_as(v)


class _Attend(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Tensor) -> Tensor:
        ctx.save_for_backward(*inputs)
        mixed = torch.empty_like(inputs[2])
        with torch.autocast(mixed.device.type, enabled=False):
            for some, (q, k, v, rows, cols), (weights,) in _by_heads(inputs, 1):
                torch.bmm(_softmax(q, k, rows, cols, weights), v, out=mixed[some])
        return mixed

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        into = tuple(torch.empty_like(part) for part in ctx.saved_tensors)
        with torch.autocast(into[0].device.type, enabled=False):
            for some, (q, k, v, rows, cols), (weights, slopes) in _by_heads(ctx.saved_tensors, 2):
                dq, dk, dv, drows, dcols = (part[some] for part in into)
                dmixed = gradients[0][some]
                weights = _softmax(q, k, rows, cols, weights)
                torch.bmm(weights.transpose(1, 2), dmixed, out=dv)
                torch.bmm(dmixed, v.transpose(1, 2), out=slopes)
                slopes = torch.ops.aten._softmax_backward_data(slopes, weights, -1, weights.dtype)  # (n, HW, HW)
                torch.bmm(slopes, k, out=dq)
                torch.bmm(slopes.transpose(1, 2), q, out=dk)
                on_map = slopes.unflatten(2, (rows.shape[2], cols.shape[2]))  # (n, HW, H, W)
                torch.sum(on_map, 3, out=drows)
                torch.sum(on_map, 2, out=dcols)
        return into


def _by_heads(inputs: tuple[Tensor, ...], maps: int) -> Iterator[tuple[slice, tuple[Tensor, ...], Tensor]]:
    """A few heads at a time: which, their part of every input, and room for so many maps, (maps, n, HW, HW)."""
    heads, length = inputs[0].shape[:2]
    count = min(heads, max(1, _AT_ONCE // length**2))
    room = inputs[0].new_empty(maps, count, length, length)
    for start in range(0, heads, count):
        some = slice(start, min(start + count, heads))
        yield some, tuple(part[some] for part in inputs), room[:, : some.stop - start]


def _softmax(q: Tensor, k: Tensor, rows: Tensor, cols: Tensor, out: Tensor) -> Tensor:
    """Weights (n, HW, HW), in the place given."""
    out.unflatten(2, (rows.shape[2], cols.shape[2])).copy_(cols[..., None, :])
    out += rows.repeat_interleave(cols.shape[2], dim=2)  # whole, as torch adds a repeated number slowly
    torch.baddbmm(out, q, k.transpose(1, 2), out=out)
    return torch.softmax(out, -1, out=out)
