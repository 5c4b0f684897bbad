"""Stock operators in the kernels' place: equal in integers, near in floats, at odd sizes. No kernels are needed."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from folioscope.native import Weight, torch_path
from folioscope.native.bags import Bags
from folioscope.native.layout import integers, pack
from folioscope.native.torch_path import Product, attend, rounded, uses_bags

SIZES = ((16, 32), (40, 100), (17, 33), (600, 64), (32, 2080), (1, 1))
needs_bags = pytest.mark.skipif(not uses_bags(), reason="embedding_bag of bytes is not fbgemm's here")


def weight(rows: int, columns: int) -> Weight:
    return Weight("int8", rows, columns, *pack(torch.randn(rows, columns), "int8"))


def exact(one: Weight, x: Tensor) -> Tensor:
    """x (R, columns) times the weight, in integers until the end."""
    assert one.scale is not None
    whole, unit = rounded(x)
    sums = whole[:, : one.columns].double() @ integers(one.data, "int8")[: one.rows, : one.columns].double().T
    return sums.float() * (one.scale[: one.rows] * unit)


def same(found: Tensor, expected: Tensor) -> None:
    """Up to the order in which units are multiplied."""
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("columns", [33, 64, 100])
def test_weights_side_by_side(columns: int) -> None:
    torch.manual_seed(0)
    parts, x = [weight(rows, columns) for rows in (5, 32, 17)], torch.randn(3, columns)
    same(Product(*parts)(x), torch.cat([exact(part, x) for part in parts], dim=1))


@needs_bags
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_products_with_chosen_experts(size: tuple[int, int]) -> None:
    torch.manual_seed(1)
    experts = [(weight(*size), weight(*size)) for _ in range(4)]
    bags, ids = Bags(iter(experts), len(experts)), torch.tensor([[2, 0, 3], [1, 2, 2]])
    x, own = torch.randn(2, size[1]) * 10, torch.randn(6, size[1])
    x[1] = 0
    for inputs, rows in ((x, x.repeat_interleave(3, dim=0)), (own, own)):
        found = bags.times(rounded(inputs), ids)  # (6, 2, N)
        for row, expert, pair in zip(rows, ids.flatten().tolist(), found, strict=True):
            same(pair, torch.cat([exact(one, row[None]) for one in experts[expert]]))


@needs_bags
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_products_of_many_rows_with_one_expert(size: tuple[int, int]) -> None:
    torch.manual_seed(2)
    experts, x = [(weight(*size), weight(*size)) for _ in range(2)], torch.randn(7, size[1])
    chosen = Bags(iter(experts), len(experts)).one(1)
    same(chosen.times(chosen.prepared(x)), torch.cat([exact(one, x) for one in experts[1]], dim=1))


@needs_bags
def test_the_largest_sums_are_exact() -> None:
    ones = Weight("int8", 16, 4160, *pack(torch.ones(16, 4160), "int8"))
    x = torch.ones(1, 4160)
    x[:, 2080:], x[0, 0] = -1, 2 / 127  # half of the sum is more than float32 has integers for, all of it is little
    bags = Bags(iter([(ones,)]), 1)
    same(bags.times(rounded(x), torch.zeros(1, 1, dtype=torch.int64))[0], exact(ones, x))


@pytest.mark.parametrize("converted", [1, 3000, 10**6])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_attention_of_one_query(dtype: torch.dtype, converted: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_path, "CONVERTED", converted)
    torch.manual_seed(3)
    q, visible = torch.randn(2, 6, 1, 16), torch.arange(50) <= torch.tensor([49, 20]).view(2, 1, 1, 1)
    keys, values = (torch.randn(2, 3, 60, 16).to(dtype)[:, :, :50] for _ in range(2))
    for mask in (None, visible):
        expected = F.scaled_dot_product_attention(q, keys.float(), values.float(), attn_mask=mask, enable_gqa=True)
        torch.testing.assert_close(attend(q, keys, values, mask), expected, rtol=0, atol=2e-6)
