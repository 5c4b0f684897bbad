"""Freed memory stays with the process while it trains.

A training step frees a gigabyte or more and takes it again. glibc gives large blocks back to the system, which must
clear every page of them before it hands it out the next time; source: mallopt(3).
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # malloc.h
_KEPT = {_MMAP_MAX: 0, _TRIM_THRESHOLD: (1 << 31) - 1}
_USUAL = {_MMAP_MAX: 65536, _TRIM_THRESHOLD: 128 << 10}


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Within, freed memory is kept; then it is given back. Nothing changes where C's library is not glibc."""
    mallopt = _of_glibc("mallopt")
    for option, value in _KEPT.items():
        mallopt(option, value)
    try:
        yield
    finally:
        for option, value in _USUAL.items():
            mallopt(option, value)
        _of_glibc("malloc_trim")(0)


def _of_glibc(name: str) -> Callable[..., object]:
    try:
        return getattr(ctypes.CDLL(None), name)
    except (AttributeError, OSError, TypeError):  # musl, macOS; Windows has no such handle
        return lambda *_: None
