"""The kernels of the image encoders, in `vision.c` and `map_attention.c`; all take contiguous bfloat16 on the CPU."""

from __future__ import annotations

import ctypes
import os
from functools import cache
from typing import Literal

import torch
from torch import Tensor

from folioscope.native import library

Activation = Literal["none", "gelu", "quick_gelu"]
ACTIVATIONS: tuple[Activation, ...] = ("none", "gelu", "quick_gelu")
"""In the order of their numbers in vision.c."""

LANES = 16
"""Widths are multiples of this."""

_POINTER, _COUNT, _INT = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int
_SIGNATURES = {
    "folio_map_attention": (*(_POINTER,) * 5, *(_COUNT,) * 7, _INT, _INT),
    "folio_quantise_rows": (*(_POINTER,) * 3, ctypes.c_float, *(_COUNT,) * 2, *(_POINTER,) * 2, _INT),
    "folio_image_pass": (_POINTER, _INT),
    "folio_upscale": (_POINTER, _INT),
    "folio_rescale_rows": (*(_POINTER,) * 4, _INT, *(_COUNT,) * 2, _POINTER, _INT),
}


def kernels() -> ctypes.CDLL | None:
    """The library, where it was compiled, this processor runs these kernels, and no lower level was asked for."""
    loaded = library.kernels()
    lower = os.environ.get("FOLIOSCOPE_NATIVE", "").lower() in library.levels()[:-1]
    return None if loaded is None or lower or not loaded.folio_vision() else _declared(loaded)


@cache
def _declared(loaded: ctypes.CDLL) -> ctypes.CDLL:
    for name, arguments in _SIGNATURES.items():
        getattr(loaded, name).argtypes = arguments
    return loaded


def attends(qkv: Tensor, heads: int) -> bool:
    """Whether `attend` can be called with this."""
    return qkv.dtype == torch.bfloat16 and qkv.shape[-1] % (3 * heads * LANES) == 0 and kernels() is not None


def rows(x: Tensor) -> bool:
    """Whether `quantise_rows` and `rescale_rows` can be called with this."""
    return x.dtype == torch.bfloat16 and x.shape[-1] % LANES == 0 and kernels() is not None


def attend(
    qkv: Tensor,
    beyond: Tensor,
    tables: tuple[Tensor, Tensor],
    heads: int,
    window: tuple[int, int],
    integers: bool = False,
) -> Tensor:
    """(B, H, W, C) of qkv (B, H, W, 3 C): attention over each window by itself.

    Args:
        beyond: (3 C), what stands where a window leaves the map.
        tables: Relative positions (2 rows - 1, C / heads) and (2 columns - 1, C / heads) of a window.
        window: Its rows and columns; those of the map for attention over all of it.
        integers: Whether to multiply queries by keys, and weights by values, as bytes.
    """
    loaded = _loaded()
    B, H, W, width = qkv.shape
    out = qkv.new_empty(B, H, W, width // 3)
    given = (qkv.contiguous(), beyond.contiguous(), *(table.contiguous() for table in tables))
    sizes = (B, H, W, heads, width // 3 // heads, *window)
    pointers = (tensor.data_ptr() for tensor in (*given, out))
    if loaded.folio_map_attention(*pointers, *sizes, int(integers), torch.get_num_threads()):
        raise MemoryError("no memory for the keys of this call")
    return out


def quantise_rows(x: Tensor, norm: tuple[Tensor, Tensor, float] | None = None) -> tuple[Tensor, Tensor]:
    """Rows (…, K) as bytes, integers -127..127 plus 128, and their scales (rows,) float32.

    Args:
        norm: Weight, bias and eps of a LayerNorm that comes first.
    """
    x = x.contiguous()
    integers = torch.empty(x.shape, dtype=torch.uint8)
    rows = x.numel() // x.shape[-1]
    scales = torch.empty(rows)
    weight, bias, eps = norm or (None, None, 0.0)
    pointers = (x.data_ptr(), _pointer(weight), _pointer(bias))
    sizes = (rows, x.shape[-1])
    _loaded().folio_quantise_rows(
        *pointers, eps, *sizes, integers.data_ptr(), scales.data_ptr(), torch.get_num_threads()
    )
    return integers, scales


def rescale_rows(x: Tensor, scales: Tensor, bias: Tensor, act: Activation, add: Tensor | None) -> Tensor:
    """act(x * scales + bias) + add, in place of x (…, N): what `quantise_rows` began."""
    rows = x.numel() // x.shape[-1]
    add = None if add is None else add.contiguous()
    pointers = (x.data_ptr(), scales.data_ptr(), bias.data_ptr(), _pointer(add))
    _loaded().folio_rescale_rows(
        *pointers, ACTIVATIONS.index(act), rows, x.shape[-1], x.data_ptr(), torch.get_num_threads()
    )
    return x


def _pointer(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


def _loaded() -> ctypes.CDLL:
    loaded = kernels()
    assert loaded is not None, "ask kernels() first"
    return loaded
