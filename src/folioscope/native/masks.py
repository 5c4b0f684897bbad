"""The kernels of the mask decoder, `masks.c`: what happens to the image's positions, of which an object has thousands.

Maps are `blocked`. Every tensor is contiguous and on the CPU.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from folioscope.native import vision

BLOCK = 64
"""Positions of a block; maps are whole numbers of them."""

LANES = 16
PARTS = 4
"""Of an image's positions: what threads share one object in."""

_POINTER, _COUNT = ctypes.c_void_p, ctypes.c_int64


class _Pass(ctypes.Structure):
    """`image_pass` in masks.c."""

    _fields_ = (
        *((name, _POINTER) for name in ("image", "positions", "keys", "bias", "update")),
        *((name, _POINTER) for name in ("added", "norm_weight", "norm_bias", "out", "queries")),
        *((name, _POINTER) for name in ("asking", "asked", "told", "most", "total", "mixed")),
        *((name, _COUNT) for name in ("objects", "own", "width", "blocks", "tokens", "heads", "parts", "inner")),
        ("eps", ctypes.c_float),
        ("failed", ctypes.c_int),
    )


class _Upscaling(ctypes.Structure):
    """`upscaling` in masks.c."""

    _fields_ = (
        *((name, _POINTER) for name in ("image", "first", "second", "first_bias", "second_bias", "norm_weight")),
        *((name, _POINTER) for name in ("norm_bias", "mixes", "out")),
        *((name, _COUNT) for name in ("objects", "width", "middle", "narrow", "outputs", "high", "across")),
        ("eps", ctypes.c_float),
        ("failed", ctypes.c_int),
    )


@dataclass(frozen=True)
class Update:
    """How N objects' tokens change the image: attention of positions to tokens, a residual, a LayerNorm.

    Attributes:
        keys: (N, heads, T, C) bfloat16, to be multiplied with positions; or (N, heads, T, hd), with `asking`.
        bias: (N, heads, T) float32, added to those logits.
        values: (N, C, heads * T) bfloat16: what a token adds to a position that attends to nothing else.
        added, norm_weight, norm_bias: (C,) float32.
    """

    keys: Tensor
    bias: Tensor
    values: Tensor
    added: Tensor
    norm_weight: Tensor
    norm_bias: Tensor
    eps: float


@dataclass(frozen=True)
class Shared:
    """Maps (blocks, heads * hd, 64) of an image that many objects share, worth making once for all of them.

    Attributes:
        asking: Its queries, for an update's keys.
        asked, told: Its keys and values, for tokens' queries.
    """

    asking: Tensor
    asked: Tensor
    told: Tensor


@dataclass(frozen=True)
class Upscaling:
    """Two transposed convolutions of stride 2 with a LayerNorm after the first, and GELU after each.

    Attributes:
        first, second: (4 * outputs, inputs) bfloat16, rows by place in the square of four that a position becomes.
        first_bias, second_bias, norm_weight, norm_bias: (outputs of its layer,) float32.
    """

    first: Tensor
    first_bias: Tensor
    norm_weight: Tensor
    norm_bias: Tensor
    eps: float
    second: Tensor
    second_bias: Tensor


def available(width: int, positions: int, columns: int) -> bool:
    """Whether the kernels can be called for maps and heads * tokens of this size."""
    return width % LANES == 0 and positions % BLOCK == 0 and columns % 2 == 0 and vision.kernels() is not None


def blocked(maps: Tensor) -> Tensor:
    """(…, C, h * w) to (…, h * w / 64, C, 64) bfloat16."""
    return maps.bfloat16().unflatten(-1, (-1, BLOCK)).transpose(-3, -2).contiguous()


def image_pass(
    image: Tensor, positions: Tensor, queries: Tensor, update: Update | None, shared: Shared | None = None
) -> tuple[Tensor, Tensor]:
    """Change the image as `update` says, if it does; then let tokens attend to what it has become.

    Args:
        image: (1 | N, blocks, C, 64); overwritten if it is N objects' and there is an update.
        positions: (blocks, C, 64), added to keys and queries of the image.
        queries: (N, heads, T, C) bfloat16, to be multiplied with positions; (N, heads, T, hd), with the keys
            of `shared`, if that is given and there is no update.
        shared: Of the image as given: used for an update's keys if there is one, and else for queries.

    Returns:
        The image (N, blocks, C, 64), or as given without an update; and the means (N, heads, T, C) float32 of positions
        by the weights that tokens give them, or (N, heads, T, hd) of the values of `shared`.
    """
    (objects, heads, tokens, _), width = queries.shape, image.shape[2]
    out = image if update is None or len(image) == objects else image.new_empty(objects, *image.shape[1:])
    inner = 0 if shared is None else shared.told.shape[1]
    rows, columns = (inner // heads, tokens) if shared and update is None else (width, heads * tokens)
    most, total = torch.empty(2, objects, PARTS, heads * tokens)
    mixed = torch.empty(objects, PARTS, heads * tokens // columns, rows, -(-columns // LANES) * LANES)
    given = {"image": image, "positions": positions, "queries": queries, "most": most, "total": total, "mixed": mixed}
    if update is not None:
        given |= {"keys": update.keys, "bias": update.bias, "update": update.values, "added": update.added, "out": out}
        given |= {"norm_weight": update.norm_weight, "norm_bias": update.norm_bias}
    if shared is not None:
        given |= {"asked": shared.asked, "told": shared.told} if update is None else {"asking": shared.asking}
    sizes = {"width": width, "blocks": image.shape[1], "tokens": tokens, "heads": heads, "parts": PARTS, "inner": inner}
    sizes |= {"objects": objects, "own": int(len(image) == objects)}
    _call("folio_image_pass", _Pass(**_pointers(given), **sizes, eps=update.eps if update else 0))
    weight = (most - most.amax(dim=1, keepdim=True)).exp()  # (N, parts, heads * T)
    weight = (weight / (weight * total).sum(dim=1, keepdim=True)).unflatten(2, (-1, 1, columns))
    means = (mixed[..., :columns] * weight).sum(dim=1)  # (N, 1, C, heads * T), (N, heads, hd, T)
    return out, means.transpose(2, 3).reshape(objects, heads, tokens, rows)


def upscale(image: Tensor, size: tuple[int, int], layers: Upscaling, mixes: Tensor) -> Tensor:
    """Logits (N, outputs, 4h, 4w) bfloat16.

    Args:
        image: (N, blocks, C, 64) of `size` h x w.
        mixes: (N, outputs, channels) bfloat16: how the channels that the last layer makes are added up.
    """
    (objects, outputs, narrow), (height, width) = mixes.shape, size
    out = image.new_empty(objects, outputs, 4 * height, 4 * width)
    middle = len(layers.first_bias)
    given = {"image": image, "first": layers.first, "second": layers.second, "mixes": mixes, "out": out}
    given |= {name: getattr(layers, name) for name in ("first_bias", "second_bias", "norm_weight", "norm_bias")}
    sizes = {"width": image.shape[2], "middle": middle, "narrow": narrow, "high": height, "across": width}
    call = _Upscaling(**_pointers(given), **sizes, objects=objects, outputs=outputs, eps=layers.eps)
    _call("folio_upscale", call)
    return out


def _pointers(tensors: dict[str, Tensor]) -> dict[str, Any]:
    assert all(tensor.is_contiguous() and tensor.device.type == "cpu" for tensor in tensors.values())
    return {name: tensor.data_ptr() for name, tensor in tensors.items()}


def _call(name: str, given: ctypes.Structure) -> None:
    loaded = vision.kernels()
    assert loaded is not None, "ask available() first"
    if getattr(loaded, name)(ctypes.byref(given), torch.get_num_threads()):
        raise MemoryError("no memory for the positions of this call")
