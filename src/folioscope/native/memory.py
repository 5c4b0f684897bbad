"""Where weights lie in memory: in large pages if they are read again and again, nowhere if a copy is used instead.

Only Linux can be told so; elsewhere memory is as torch takes it, and what is mapped stays until the system needs room.
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

LARGE = 1 << 21
"""Bytes of a large page on x86, and of most on ARM."""

REGION, ALIGNMENT = 1 << 28, 64

PAGEMAP = Path("/proc/self/pagemap")
"""What lies in each page of this process: eight bytes a page."""

OF_FILE, SWAPPED, PRESENT = 1, 2, 4
"""The highest three bits of those; the first is also that of memory shared between processes."""


class Arena:
    """Memory for tensors, side by side in regions of large pages.

    A core looks up the address of every page that it reads; with pages of 4 KB that slows reading down by a fifth.
    """

    def __init__(self) -> None:
        self._region: mmap.mmap | None = None
        self._next = 0

    def empty(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """A tensor of its own storage, of zeros or of no values in particular."""
        size = prod(shape) * dtype.itemsize
        if not size or not hasattr(mmap, "MADV_HUGEPAGE"):
            return torch.empty(shape, dtype=dtype)
        if self._region is None or self._next + size > len(self._region):
            self._region, self._next = _region(max(size, REGION))
        place = torch.frombuffer(self._region, dtype=torch.uint8, count=size, offset=self._next)
        self._next += -(-size // ALIGNMENT) * ALIGNMENT
        return place.view(dtype).view(torch.Size(shape))

    def moved(self, tensor: Tensor) -> Tensor:
        """A copy in this memory, in place of a tensor that is used no more, see `give_back`."""
        copy = self.empty(tensor.shape, tensor.dtype).copy_(tensor)
        give_back(tensor)
        return copy


def _region(size: int) -> tuple[mmap.mmap, int]:
    """New memory, and where in it the first large page begins."""
    region = mmap.mmap(-1, size + LARGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with suppress(OSError):  # a system without large pages
        region.madvise(mmap.MADV_HUGEPAGE)
    return region, -torch.frombuffer(region, dtype=torch.uint8).data_ptr() % LARGE


def give_back(tensor: Tensor) -> None:
    """Take a mapped file's pages under a tensor out of this process's memory. They come back when they are read.

    Nothing happens to memory that is no file's, or where the system does not tell: a page that was written to since it
    was mapped is no file's any more. Nobody may be writing to the tensor meanwhile.
    """
    start, end = tensor.data_ptr(), tensor.data_ptr() + tensor.nbytes
    start, end = -(-start // mmap.PAGESIZE) * mmap.PAGESIZE, end // mmap.PAGESIZE * mmap.PAGESIZE
    if start < end and tensor.is_contiguous() and _only_of_files(start, end):
        _madvise()(start, end - start, mmap.MADV_DONTNEED)


def _only_of_files(start: int, end: int) -> bool:
    """Whether all pages that are in memory between these addresses are in files as well."""
    try:
        with PAGEMAP.open("rb", buffering=0) as pagemap:
            pagemap.seek(start // mmap.PAGESIZE * 8)
            entries = np.frombuffer(pagemap.read((end - start) // mmap.PAGESIZE * 8), dtype=np.uint64) >> 61
    except OSError:
        return False
    held = entries & (SWAPPED | PRESENT) != 0
    return len(entries) == (end - start) // mmap.PAGESIZE and bool(np.all(entries[held] & OF_FILE))


@cache
def _madvise() -> Any:
    function = ctypes.CDLL(None, use_errno=True).madvise
    function.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    return function
