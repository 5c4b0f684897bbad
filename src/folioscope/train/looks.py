"""Where heads of CLIP are led to look in training: to the page's corner, and to the edges of one's own block.

An image token that is to know its block's box has to find four edges far away, and how large the page is in its view.
In the first layer one head looks at the token in the page's upper left corner; in the last one, four look at tokens of
the same block: those furthest to the left, at the top, furthest to the right, at the bottom.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from folioscope.model.clip import Block


@contextmanager
def noted(blocks: nn.ModuleList) -> Iterator[list[Tensor]]:
    """What each of the blocks is given while this lasts."""
    inputs: list[Tensor] = []
    hooks = [block.register_forward_pre_hook(lambda _, given: inputs.append(given[0])) for block in blocks]
    try:
        yield inputs
    finally:
        for hook in hooks:
            hook.remove()


def unled(blocks: nn.ModuleList, inputs: Sequence[Tensor], known: Tensor) -> Tensor:
    """How little these heads look where they should: of each of the two layers the mean of -log of shares, together.

    Args:
        blocks: CLIP's.
        inputs: (B, 1 + N, C) that each was given, the class token first.
        known: (B, s, s, 6 or more), of each token the box of its block and its place, see `Grid.seen`.
    """
    return _unled(blocks[0], inputs[0], _corner(known)) + _unled(blocks[-1], inputs[-1], _edges(known))


def _corner(known: Tensor) -> Tensor:
    """(B, 1, N, N) bool: whether the second token is in the corner of the page that the first is on."""
    on_page = ~known[..., 4].isnan().flatten(1)  # (B, N)
    number = torch.arange(on_page.shape[1])
    corner = number == on_page.int().argmax(dim=1, keepdim=True)  # (B, N)
    return (on_page[:, :, None] & corner[:, None])[:, None]


def _edges(known: Tensor) -> Tensor:
    """(B, 4, N, N) bool: whether the second token is furthest left, up, right, down of the first one's block."""
    side = known.shape[1]
    boxes = known[..., :4].flatten(1, 2)  # (B, N, 4)
    kin = (boxes[:, :, None] == boxes[:, None]).all(-1)[:, None]  # (B, 1, N, N); no block is like none
    number = torch.arange(side * side, dtype=torch.int16)
    column, row = number % side, number // side
    along = torch.stack([-column, -row, column, row])[:, None]  # (4, 1, N)
    reached = along.where(kin, -side)  # (B, 4, N, N)
    return kin & (reached == reached.amax(-1, keepdim=True))


def _attention(block: nn.Module, x: Tensor, heads: int) -> Tensor:
    """Shares of attention of the first heads between image tokens, (B, heads, N, N); the class token has the rest."""
    assert isinstance(block, Block)
    attn = block.self_attn
    qkv = attn.qkv_proj(block.layer_norm1(x)).unflatten(-1, (3, attn.heads, -1))[:, :, :2, :heads]
    q, k = qkv.permute(2, 0, 3, 1, 4)  # 2 x (B, heads, 1+N, hd)
    scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
    return scores.float().softmax(-1)[..., 1:, 1:]


def _unled(block: nn.Module, x: Tensor, wanted: Tensor) -> Tensor:
    """How little the first heads look at what is wanted, (B, heads, N, N); of fewer heads, so many are led."""
    shares = _attention(block, x, wanted.shape[1])
    wanted = wanted[:, : shares.shape[1]]
    asked = wanted.any(-1)  # (B, heads, N)
    return missed((shares * wanted).sum(-1)[asked])


def missed(shares: Tensor) -> Tensor:
    """How little is looked where it should be: the mean of -log of shares of attention (n,), 0..1; 0 of none."""
    return -shares.clamp_min(1e-6).log().sum() / max(1, len(shares))
