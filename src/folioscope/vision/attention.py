"""Attention over a map, or windows of it, with decomposed relative positions, in blocks of queries.

The (HW, HW) bias never exists: a block of queries has its own rows of it, added to logits that fit in the cache.
"""

from __future__ import annotations

import torch
from torch import Tensor

from folioscope.model.positions import relative_rows
from folioscope.model.sam_vit import join_windows, split_windows

BLOCK = 1 << 21
"""Logits computed at a time: 8 MB in float32."""


def attend(qkv: Tensor, beyond: Tensor, tables: tuple[Tensor, Tensor], heads: int, window: int) -> Tensor:
    """What `model.sam_vit.Attention` computes between its two linear layers.

    Args:
        qkv: (B, H, W, 3 C), of the map without padding.
        beyond: (3 C), what stands beyond the map: the bias of the layer that made `qkv`.
        tables: Relative positions of rows and of columns, (2 n - 1, C / heads) each.
        window: Side of the windows; 0 is the whole map.

    Returns:
        (B, H, W, C), contiguous.
    """
    if not window:
        return _in_blocks(qkv, tables, heads)
    B, H, W, _ = qkv.shape
    if H % window or W % window:
        padded = beyond.expand(B, H + -H % window, W + -W % window, -1).clone()
        padded[:, :H, :W] = qkv
        qkv = padded
    attended = _in_blocks(split_windows(qkv, window), tables, heads)
    return join_windows(attended, window, torch.Size((B, H, W, attended.shape[-1]))).contiguous()


def _in_blocks(qkv: Tensor, tables: tuple[Tensor, Tensor], heads: int) -> Tensor:
    """(B, H, W, C) of (B, H, W, 3 C): each map or window by itself, some rows of queries at a time."""
    B, H, W, C = *qkv.shape[:3], qkv.shape[3] // 3
    q, k, v = qkv.view(B, H * W, 3, heads, C // heads).permute(2, 0, 3, 1, 4)  # 3 x (B, heads, HW, hd)
    k, v = k.transpose(2, 3).contiguous(), v.contiguous()
    by_row, by_col = (relative_rows(table, side) for table, side in zip(tables, (H, W), strict=True))
    out = qkv.new_empty(B, H * W, heads, C // heads)
    images, rows = _block(B, heads * (H * W) ** 2, H)
    for b in range(0, B, images):
        for top in range(0, H, rows):
            some, part = slice(b, b + images), slice(top * W, (top + rows) * W)
            queries = q[some, :, part]  # (b, heads, rW, hd)
            bias = _bias(queries.unflatten(2, (-1, W)), by_row[top : top + rows], by_col)
            logits = torch.matmul(queries, k[some]).mul_(queries.shape[-1] ** -0.5)  # (b, heads, rW, HW)
            logits.unflatten(3, (H, W)).add_(bias[0]).add_(bias[1])
            out[some, part] = torch.matmul(logits.softmax(dim=-1), v[some]).transpose(1, 2)
    return out.view(B, H, W, C)


def _block(batch: int, logits: int, height: int) -> tuple[int, int]:
    """How many maps to take at a time or, of a map with more logits than a block has, how many rows of queries."""
    if logits <= BLOCK:
        return max(1, min(batch, BLOCK // logits)), height
    return 1, max(1, height * BLOCK // logits)


def _bias(q: Tensor, by_row: Tensor, by_col: Tensor) -> tuple[Tensor, Tensor]:
    """What queries q (b, heads, r, W, hd) add for a key's row, (b, heads, rW, H, 1), and column, (…, 1, W)."""
    rows = torch.einsum("bnhwc,hkc->bnhwk", q, by_row)  # (b, heads, r, W, H)
    cols = torch.einsum("bnhwc,wkc->bnhwk", q, by_col)  # (b, heads, r, W, W)
    return rows.flatten(2, 3)[..., :, None], cols.flatten(2, 3)[..., None, :]
