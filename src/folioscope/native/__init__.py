"""Products with packed weights and the other kernels of decoding, in C where it could be compiled.

The C part is compiled with the wheel or, from a checkout, into the user's cache when it is first needed (some
seconds, once). Without a compiler, or with FOLIOSCOPE_NATIVE=0, `available` is False, and callers take the PyTorch
path, which computes the same (`torch_path` for products; the modules of `folioscope.model` for the rest).

Threads: as many as `torch.get_num_threads()`, from a small pool of the kernels' own. OpenMP would bring a second
runtime beside the one inside torch, whose idle threads spin against each other's, and compilers of macOS lack it. The
calling thread works too and never waits for a helper that has not begun, so a busy core costs its share and no more.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from folioscope.native.layout import KINDS, Kind
from folioscope.native.library import kernels

__all__ = ["Bank", "Weight", "attend", "available", "experts", "linear", "norm", "pack"]


@dataclass(frozen=True)
class Weight:
    """A weight of `rows` outputs and `columns` inputs on the CPU.

    Attributes:
        data: As `layout` says for int8 and int4; contiguous (rows, columns) for bfloat16.
        scale: As `layout` says; None for bfloat16.
    """

    kind: Kind
    rows: int
    columns: int
    data: Tensor
    scale: Tensor | None = None


class _Matrix(ctypes.Structure):
    """`matrix` in kernels.h."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("weight", "scale")),
        *((name, ctypes.c_int64) for name in ("kind", "n", "k")),
    )


class Bank:
    """Weights of one kind that are used together, as the kernels take them; keeps their tensors alive."""

    def __init__(self, weights: Sequence[Weight]):
        assert len({weight.kind for weight in weights}) == 1
        self.weights = tuple(weights)
        self.rows = sum(weight.rows for weight in weights)
        self.array = (_Matrix * len(weights))(*map(_matrix, weights))


def _matrix(weight: Weight) -> _Matrix:
    tensors = [weight.data] if weight.scale is None else [weight.data, weight.scale]
    assert all(tensor.is_contiguous() and tensor.device.type == "cpu" for tensor in tensors)
    scale = None if weight.scale is None else weight.scale.data_ptr()
    return _Matrix(weight.data.data_ptr(), scale, KINDS.index(weight.kind), weight.rows, weight.columns)


def available() -> bool:
    """Whether the kernels below can be called."""
    return kernels() is not None


def linear(bank: Bank, x: Tensor) -> Tensor:
    """(…, rows of all weights) float32: x (…, columns) times each weight, side by side.

    Inputs are quantised as the weights are: int8 with one scale a row, int4's with one a group, bfloat16 rounded.
    """
    x = _floats(x)
    out = torch.empty(*x.shape[:-1], bank.rows)
    count = x.numel() // x.shape[-1]
    call("folio_linear", bank.array, len(bank.weights), x.data_ptr(), count, out.data_ptr())
    return out


def experts(bank: Bank, shared: bool, x: Tensor, ids: Tensor, weights: Tensor) -> Tensor:
    """(N, hidden) float32: what a mixture of SwiGLU experts gives for x (N, hidden).

    Args:
        bank: Gate, up and down weights of each expert in turn.
        shared: Whether the last expert is every row's, unweighted, and not among `ids`.
        ids: (N, k) int64, each row's experts.
        weights: (N, k) float32, by which their outputs are multiplied.
    """
    x, ids, weights = _floats(x), ids.contiguous(), _floats(weights)
    out = torch.empty_like(x)
    count, routed = len(bank.weights) // 3 - shared, (ids.data_ptr(), weights.data_ptr(), ids.shape[1])
    call("folio_experts", bank.array, count, int(shared), x.data_ptr(), len(x), *routed, out.data_ptr())
    return out


def attend(
    qkv: Tensor, rotation: tuple[Tensor, Tensor], keys: Tensor, values: Tensor, positions: Tensor, heads: int
) -> Tensor:
    """Attention of one new token a row, whose key and value it stores; returns (batch, heads * dim) float32.

    Args:
        qkv: (batch, (heads + 2 * key heads) * dim) float32, not rotated; overwritten.
        rotation: Cosines and sines, (batch, dim) float32 each.
        keys, values: (batch or more, key heads, capacity, dim), bfloat16 or float32, the last two axes contiguous;
            `dim` is a multiple of 16.
        positions: (batch,) int64: where the token is stored; it sees 0..position.
    """
    cos, sin = map(_floats, rotation)
    batch, (key_heads, _, dim) = len(qkv), keys.shape[1:]
    assert keys.stride() == values.stride() == (*keys.stride()[:2], dim, 1)
    out = torch.empty(batch, heads * dim)
    cache = (keys.data_ptr(), values.data_ptr(), *keys.stride()[:2], int(keys.dtype == torch.float32))
    sizes = (positions.contiguous().data_ptr(), batch, heads, key_heads, dim)
    call("folio_attend", qkv.data_ptr(), cos.data_ptr(), sin.data_ptr(), *cache, *sizes, out.data_ptr())
    return out


def norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """x (…, n) float32 / rms(x) * weight (n,), which is bfloat16 or float32."""
    loaded = kernels()
    assert loaded is not None
    x = _floats(x)
    out, n = torch.empty_like(x), x.shape[-1]
    wide = int(weight.dtype == torch.float32)
    loaded.folio_norm(x.data_ptr(), weight.data_ptr(), out.data_ptr(), x.numel() // n, n, wide, eps)
    return out


def pack(weight: Tensor, kind: Kind, data: Tensor, scale: Tensor) -> None:
    """Fill `data` and `scale` as `layout.pack` would, from (rows, columns) bfloat16 or float32."""
    rows, columns = weight.shape
    wide = int(weight.dtype == torch.float32)
    assert wide or weight.dtype == torch.bfloat16
    weight = weight.contiguous()
    sizes = (wide, KINDS.index(kind), rows, columns)
    call("folio_pack", weight.data_ptr(), *sizes, data.data_ptr(), scale.data_ptr())


def _floats(x: Tensor) -> Tensor:
    return x.to(torch.float32).contiguous()


def call(name: str, *arguments: object) -> None:
    """Call a kernel with these and the number of threads. Raises MemoryError."""
    loaded = kernels()
    assert loaded is not None, "ask available() first"
    if getattr(loaded, name)(*arguments, torch.get_num_threads()):
        raise MemoryError("no memory for the activations of this call")
