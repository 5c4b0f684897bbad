"""How quantised weights lie in memory and in files: the order in which the kernels read them.

A weight (N, K) is stored for N rounded up to blocks of 16 outputs and K to groups of 32 inputs; what is added is zero.

* int8: one scale a row; uint8 (N/16, K/4, 16, 4), each the integer -127..127 plus 128, and float32 scales (N,).
* int4: one scale a group of 32 inputs of a row; uint8 (N/16, K/8, 16, 4), in each byte the integer -8..7 plus 8 of
  input j (low) and of input j + 4 (high) of eight, and bfloat16 scales (N/16, K/32, 16).
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Kind = Literal["int8", "int4", "bfloat16"]
KINDS: tuple[Kind, ...] = ("int8", "int4", "bfloat16")
"""In the order of the enumeration in kernels.h."""

BLOCK, GROUP = 16, 32


def padded(rows: int, columns: int) -> tuple[int, int]:
    """The size (N, K) that a weight of this size is stored in."""
    return -(-rows // BLOCK) * BLOCK, -(-columns // GROUP) * GROUP


def packed_shapes(kind: Kind, rows: int, columns: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Shapes of the stored weight and of its scales."""
    n, k = padded(rows, columns)
    if kind == "int8":
        return (n // BLOCK, k // 4, BLOCK, 4), (n,)
    return (n // BLOCK, k // 8, BLOCK, 4), (n // BLOCK, k // GROUP, BLOCK)


def pack(weight: Tensor, kind: Kind) -> tuple[Tensor, Tensor]:
    """Quantise (N, K) floats to the nearest integers: the weight and the scales as stored."""
    n, k = padded(*weight.shape)
    wide = F.pad(weight.float(), (0, k - weight.shape[1], 0, n - weight.shape[0]))  # (N, K)
    if kind == "int8":
        scale = wide.abs().amax(dim=1) / 127  # (N,)
        integers = (wide / _divisor(scale)[:, None]).round().to(torch.int16) + 128
        return _in_blocks(integers.to(torch.uint8)), scale
    groups = wide.unflatten(1, (-1, GROUP))  # (N, K/32, 32)
    scale = int4_scales(groups)  # (N, K/32)
    integers = (groups / _divisor(scale.float())[..., None]).round().clamp(-8, 7) + 8
    low, high = integers.to(torch.uint8).reshape(n, k // 8, 2, 4).unbind(2)  # (N, K/8, 4)
    return _in_blocks((low | high << 4).flatten(1)), scale.unflatten(0, (-1, BLOCK)).transpose(1, 2).contiguous()


def int4_scales(groups: Tensor) -> Tensor:
    """The bfloat16 scale of each group (…, 32) float32 that leaves the least squared error, of a few.

    With the largest value at -8 the range is used whole; a little less than that, or the symmetric range, is sometimes
    nearer to the other values.
    """
    extreme = groups.gather(-1, groups.abs().argmax(dim=-1, keepdim=True))  # (…, 1)
    best = least = None
    for steps in (-8.0, -8.6, -7.4, 7.0):
        scale = (extreme / steps).bfloat16().float()
        error = (groups - (groups / _divisor(scale)).round().clamp(-8, 7) * scale).square().sum(dim=-1, keepdim=True)
        if best is None or least is None:
            best, least = scale, error
        else:
            best, least = torch.where(error < least, scale, best), torch.minimum(error, least)
    assert best is not None
    return best[..., 0].bfloat16()


def _divisor(scale: Tensor) -> Tensor:
    return torch.where(scale == 0, 1, scale)


def _in_blocks(bytes_: Tensor) -> Tensor:
    """(N, bytes a row) to (N/16, bytes/4, 16, 4)."""
    return bytes_.view(bytes_.shape[0] // BLOCK, BLOCK, -1, 4).transpose(1, 2).contiguous()


def integers(weight: Tensor, kind: Kind) -> Tensor:
    """The stored integers as (N, K) int8, padding included."""
    rows = weight.transpose(1, 2).flatten(0, 1)  # (N, K/4 or K/8, 4)
    if kind == "int8":
        return (rows.flatten(1) ^ 128).view(torch.int8)
    return (torch.stack((rows & 15, rows >> 4), dim=2).flatten(1).to(torch.int8)) - 8


def unpacked(weight: Tensor, scale: Tensor, kind: Kind, rows: int, columns: int) -> Tensor:
    """The weight (N, K) float32 that is stored."""
    whole = integers(weight, kind).float()  # (N, K)
    if kind == "int8":
        return (whole * scale[:, None])[:rows, :columns]
    by_row = scale.transpose(1, 2).flatten(0, 1).float()  # (N, K/32)
    return (whole.unflatten(1, (-1, GROUP)) * by_row[..., None]).flatten(1)[:rows, :columns]
