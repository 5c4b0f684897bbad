"""A step of the decoder, one new token a row through all its blocks, in one call."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from folioscope import native

_POINTER, _COUNT = ctypes.c_void_p, ctypes.c_int64


class _Block(ctypes.Structure):
    """`block` in step.c."""

    _fields_ = tuple(
        (name, _POINTER) for name in ("before_attention", "before_network", "router", "qkv", "out", "network")
    )


class _Decoder(ctypes.Structure):
    """`decoder` in step.c."""

    _fields_ = (
        ("blocks", _POINTER),
        *((name, _COUNT) for name in ("layers", "hidden", "heads", "kv_heads", "dim", "experts", "chosen")),
        *((name, _COUNT) for name in ("renormalise", "is_float")),
        *((name, ctypes.c_float) for name in ("eps", "scale")),
    )


@dataclass(frozen=True)
class Block:
    """A block's weights.

    Attributes:
        norms: Of attention's input and of the network's, (hidden,), bfloat16 or float32.
        router: (experts, hidden), of the norms' dtype; None for a network that every token goes through.
        qkv, out: Attention's.
        network: Gate, up and down weights of each expert, then of the shared ones; or of the only network.
    """

    norms: tuple[Tensor, Tensor]
    router: Tensor | None
    qkv: native.Bank
    out: native.Bank
    network: native.Bank


@dataclass(frozen=True)
class Sizes:
    """What `Block`s do not tell: `chosen` experts of `experts` have weights times `scale`, or that sum up to 1."""

    heads: int
    kv_heads: int
    dim: int
    experts: int
    chosen: int
    renormalise: bool
    scale: float
    eps: float


class Plan:
    """All blocks' weights as the kernel takes them; keeps their tensors alive."""

    def __init__(self, blocks: Sequence[Block], sizes: Sizes):
        self.blocks, first = tuple(blocks), blocks[0].norms[0]
        self.array = (_Block * len(blocks))(*map(_block, blocks))
        whole = {name: int(value) for name, value in vars(sizes).items() if name not in ("scale", "eps")}
        whole |= {"layers": len(blocks), "hidden": len(first), "is_float": int(first.dtype == torch.float32)}
        self.decoder = _Decoder(ctypes.addressof(self.array), **whole, eps=sizes.eps, scale=sizes.scale)


def _block(block: Block) -> _Block:
    tensors = [*block.norms, *([] if block.router is None else [block.router])]
    assert all(tensor.is_contiguous() and tensor.dtype == block.norms[0].dtype for tensor in tensors)
    router = None if block.router is None else block.router.data_ptr()
    banks = (ctypes.addressof(bank.array) for bank in (block.qkv, block.out, block.network))
    return _Block(*(norm.data_ptr() for norm in block.norms), router, *banks)


def step(
    plan: Plan, x: Tensor, rotation: tuple[Tensor, Tensor], keys: Tensor, values: Tensor, positions: Tensor
) -> Tensor:
    """(B, hidden) float32: x (B, hidden) after all blocks, before the last norm.

    Args:
        rotation: Cosines and sines, (B, dim) each.
        keys, values: (layers, B or more, key heads, capacity, dim), as `native.attend` takes those of one layer.
        positions: (B,) int64: where the tokens are stored.
    """
    x, positions = x.to(torch.float32, copy=True).contiguous(), positions.contiguous()
    cos, sin = (table.to(torch.float32).contiguous() for table in rotation)
    assert keys.stride() == values.stride() == (*keys.stride()[:3], keys.shape[-1], 1)
    cache = (keys.data_ptr(), values.data_ptr(), *keys.stride()[:3], int(keys.dtype == torch.float32))
    given = (ctypes.addressof(plan.decoder), x.data_ptr(), len(x), cos.data_ptr(), sin.data_ptr())
    native.call("folio_step", *given, *cache, positions.data_ptr())
    return x
