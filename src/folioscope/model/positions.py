"""Position tables made for one grid, used on another."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def resize_grid(table: Tensor, height: int, width: int) -> Tensor:
    """Resize a learned position grid by antialiased bicubic interpolation, as the published code does.

    Args:
        table: (1, h, w, C), any float dtype.

    Returns:
        (1, height, width, C) in the table's dtype and on its device; the table itself when the size is the same.
    """
    if table.shape[1:3] == (height, width):
        return table
    # On the CPU: antialiased bicubic is missing on MPS, and the table is small.
    grid = table.permute(0, 3, 1, 2).float().cpu()  # (1, C, h, w)
    grid = F.interpolate(grid, size=(height, width), mode="bicubic", antialias=True, align_corners=False)
    return grid.permute(0, 2, 3, 1).to(table)  # (1, height, width, C)


def relative_rows(table: Tensor, size: int) -> Tensor:
    """The row of a relative-position table for each query and key along one axis.

    Args:
        table: (2 n - 1, C), made for an axis of n positions; resized linearly when `size` differs.

    Returns:
        (size, size, C): entry [q, k] is the table's row q - k + (size - 1).
    """
    table = resize_line(table, 2 * size - 1)
    # Window [q] of the reversed table, read backwards, is what query q sees of keys 0..size-1.
    return table.unfold(0, size, 1).flip(2).transpose(1, 2)  # (size, size, C)


def resize_line(table: Tensor, length: int) -> Tensor:
    """Resize (n, C) rows linearly to (length, C); the table itself when the length is the same."""
    if len(table) == length:
        return table
    return F.interpolate(table.float().T[None], size=length, mode="linear")[0].T.to(table)
