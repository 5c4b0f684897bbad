"""Attention for training equals the plain one, forwards and backwards, however many heads are taken at a time."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from folioscope.model import relative_attention

B, HEADS, H, W, WIDTH = 2, 3, 4, 5, 6


def inputs(dtype: torch.dtype) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    widths = (WIDTH, WIDTH, WIDTH, H, W)
    parts = (torch.randn(B, HEADS, H * W, width, generator=generator, dtype=torch.float64) for width in widths)
    return tuple(part.to(dtype).requires_grad_() for part in parts)


def plain(q: Tensor, k: Tensor, v: Tensor, rows: Tensor, cols: Tensor) -> Tensor:
    bias = (rows[..., :, None] + cols[..., None, :]).flatten(3)
    return (q @ k.transpose(2, 3) + bias).softmax(dim=-1) @ v


@pytest.mark.parametrize("at_once", [1, 2 * (H * W) ** 2, 1 << 23])
def test_gradients(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    monkeypatch.setattr(relative_attention, "_AT_ONCE", at_once)
    given = inputs(torch.float64)
    torch.testing.assert_close(relative_attention.attend(*given), plain(*given))
    assert torch.autograd.gradcheck(relative_attention.attend, given)


def test_half_precision_is_as_near_as_the_plain_way() -> None:
    exact, half = inputs(torch.float64), inputs(torch.bfloat16)
    wanted = torch.autograd.grad(plain(*exact).square().sum(), exact)
    with torch.autocast("cpu", torch.bfloat16):
        ours, theirs = relative_attention.attend(*half), plain(*half)
    assert ours.dtype == torch.bfloat16
    for way in (ours, theirs):
        gradients = torch.autograd.grad(way.float().square().sum(), half)
        for gradient, right in zip(gradients, wanted, strict=True):
            assert (gradient.double() - right).norm() < 0.05 * right.norm()
