"""The kernels at every level this processor has, against PyTorch: equal in integers, near in floats, at odd sizes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F

from folioscope import native
from folioscope.config import DecoderConfig
from folioscope.model.cache import KVCache
from folioscope.model.decoder import Attention, RMSNorm, rotary_table
from folioscope.model.moe import MoE
from folioscope.native import Bank, Weight
from folioscope.native.layout import GROUP, integers, pack, padded, unpacked
from folioscope.native.library import levels, select
from folioscope.native.torch_path import Product

LEVELS = levels()
SIZES = ((16, 32), (40, 100), (17, 33), (288, 64), (1, 1))
ROWS = (1, 2, 3, 4, 5, 6, 7, 8, 11)

pytestmark = pytest.mark.skipif(not LEVELS, reason="no compiled kernels: no C compiler, or FOLIOSCOPE_NATIVE=0")


@pytest.fixture(params=LEVELS, autouse=True)
def level(request: pytest.FixtureRequest) -> Iterator[str]:
    select(request.param)
    yield request.param
    select(LEVELS[-1])


def weight(kind: native.Kind, rows: int, columns: int, seed: int = 0) -> Weight:
    torch.manual_seed(seed)
    values = torch.randn(rows, columns)
    return Weight(kind, rows, columns, *(pack(values, kind) if kind != "bfloat16" else (values.bfloat16(), None)))


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_int8_products_are_exact(size: tuple[int, int]) -> None:
    one = weight("int8", *size)
    assert one.scale is not None
    for rows in ROWS:
        x = torch.randn(rows, size[1]) * 10
        x[0, 0] = 1000  # others in the row become small integers, as outliers make them
        most = x.abs().amax(dim=1, keepdim=True)
        whole = (x * (127 / most)).round().double() @ integers(one.data, "int8")[: size[0], : size[1]].double().T
        assert native.linear(Bank([one]), x).equal(whole.float() * (most / 127 * one.scale[: size[0]]))


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_int4_products(size: tuple[int, int]) -> None:
    one = weight("int4", *size)
    assert one.scale is not None
    for rows in ROWS:
        x = torch.randn(rows, size[1])
        groups = F.pad(x, (0, padded(*size)[1] - size[1])).unflatten(1, (-1, GROUP))  # (rows, K/32, 32)
        most = groups.abs().amax(dim=2, keepdim=True)
        rounded = (groups * torch.where(most > 0, 127 / most, 0)).round() * (most / 127)
        expected = rounded.flatten(1)[:, : size[1]].double() @ unpacked(one.data, one.scale, "int4", *size).double().T
        torch.testing.assert_close(native.linear(Bank([one]), x), expected.float(), rtol=1e-5, atol=1e-5 * size[1])


@pytest.mark.parametrize("size", [*SIZES, (75, 72), (33, 1280)], ids=str)
def test_bfloat16_products(size: tuple[int, int]) -> None:
    one = weight("bfloat16", *size)
    for rows in (*ROWS, 13, 200):
        x = torch.randn(rows, size[1])
        expected = x.bfloat16().double() @ one.data.double().T
        torch.testing.assert_close(native.linear(Bank([one]), x), expected.float(), rtol=1e-5, atol=1e-5 * size[1])


def test_weights_side_by_side_and_any_leading_axes() -> None:
    parts = [weight("int8", rows, 48, seed=rows) for rows in (5, 32, 17)]
    x = torch.randn(2, 3, 48)
    apart = [native.linear(Bank([part]), x) for part in parts]
    assert native.linear(Bank(parts), x).equal(torch.cat(apart, dim=2))


def test_threads_give_the_same() -> None:
    one, x = weight("int8", 700, 64), torch.randn(9, 64)
    expected, before = native.linear(Bank([one]), x), torch.get_num_threads()
    try:
        for threads in (2, 3, 1):
            torch.set_num_threads(threads)
            assert all(native.linear(Bank([one]), x).equal(expected) for _ in range(50))
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("kind", ["int8", "int4"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_packing(kind: native.Kind, dtype: torch.dtype) -> None:
    torch.manual_seed(1)
    for size in SIZES:
        values = torch.randn(size).to(dtype)
        values[0] = 0
        data, scale = pack(values, kind)
        ours = torch.empty_like(data), torch.empty_like(scale)
        native.pack(values, kind, *ours)
        assert ours[1].equal(scale)
        assert ours[0].equal(data)


@pytest.mark.parametrize("kind", ["int8", "int4"])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_stock_operators_give_the_same(kind: native.Kind, size: tuple[int, int]) -> None:
    one, x = weight(kind, *size), torch.randn(5, size[1])
    x[1] = 0
    ours, theirs = native.linear(Bank([one]), x), Product(one)(x)
    # int8 differs in the last bit of a float; int4's activations are rounded in two ways
    assert (ours - theirs).abs().max() <= (1e-5 if kind == "int8" else 0.03) * (1 + theirs.abs().max())


CONFIG = DecoderConfig(
    vocab_size=40, hidden_size=96, num_attention_heads=6, num_key_value_heads=3, moe_intermediate_size=24,
    n_routed_experts=5, n_shared_experts=2, num_experts_per_tok=2,
)  # fmt: skip


@pytest.mark.parametrize("rows", [1, 3, 8, 40, 150])
def test_experts(rows: int) -> None:
    torch.manual_seed(2)
    moe, x = MoE(CONFIG).bfloat16(), torch.randn(rows, CONFIG.hidden_size)
    networks = [*moe.experts, moe.shared_experts]
    layers = [layer for one in networks for layer in (one.gate_proj, one.up_proj, one.down_proj)]
    bank = Bank([Weight("bfloat16", *layer.weight.shape, layer.weight.detach()) for layer in layers])
    weights, ids = moe.gate(x)
    out = native.experts(bank, True, x, ids, weights)
    torch.testing.assert_close(out, moe.float()(x), rtol=0, atol=0.02 * float(out.abs().max()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("lengths", [(1,), (64,), (3, 200, 65)])
def test_attention_of_one_query(dtype: torch.dtype, lengths: tuple[int, ...]) -> None:
    torch.manual_seed(3)
    batch, dim = len(lengths), CONFIG.head_dim
    caches = [KVCache(CONFIG, batch + 1, 210, dtype, torch.device("cpu")) for _ in range(2)]
    for ours, theirs in zip(vars(caches[0]).values(), vars(caches[1]).values(), strict=True):
        if isinstance(ours, torch.Tensor) and ours.ndim == 5:
            theirs.copy_(ours.normal_())
    for cache in caches:
        cache.advance(torch.tensor(lengths) - 1, max(lengths) - 1)
    attention, x = Attention(CONFIG, 1), torch.randn(batch, 1, CONFIG.hidden_size)
    positions = caches[0].positions(1)
    rotation = rotary_table(positions, CONFIG, torch.float32)
    attention.o_proj = torch.nn.Identity()  # pyright: ignore[reportAttributeAccessIssue]
    with torch.no_grad():
        expected = attention(x, rotation, positions, caches[0])[:, 0]
        qkv = torch.cat([attention.q_proj(x), attention.k_proj(x), attention.v_proj(x)], dim=2)[:, 0]
    turn, stored = (rotation[0][:, 0, 0], rotation[1][:, 0, 0]), (caches[1].keys[1], caches[1].values[1])
    out = native.attend(qkv, turn, *stored, positions[:, 0], CONFIG.num_attention_heads)
    assert out.shape == (batch, CONFIG.num_attention_heads * dim)
    close = {"rtol": 0, "atol": 2e-6 if dtype == torch.float32 else 0.02}
    torch.testing.assert_close(out, expected.float(), **close)
    torch.testing.assert_close(caches[1].keys.float(), caches[0].keys.float(), **close)
    torch.testing.assert_close(caches[1].values.float(), caches[0].values.float(), **close)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_norm(dtype: torch.dtype) -> None:
    torch.manual_seed(4)
    module, x = RMSNorm(37, 1e-6), torch.randn(2, 3, 37)
    module.weight.data = torch.randn(37).to(dtype)
    with torch.no_grad():
        expected = module.float()(x)
    torch.testing.assert_close(native.norm(x, module.weight.detach().to(dtype), 1e-6), expected, rtol=1e-5, atol=1e-6)
