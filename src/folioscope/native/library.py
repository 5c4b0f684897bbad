"""The compiled kernels, found or made once a process, and which level of them this processor runs."""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress
from functools import cache

from folioscope.native.build import BUILT, cached, compile_kernels

OFF = frozenset({"0", "off", "torch"})
"""Values of FOLIOSCOPE_NATIVE that leave everything to PyTorch; the name of a level asks for that level at most."""

_POINTER, _COUNT, _THREADS = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int
_SIGNATURES = {
    "folio_linear": (_POINTER, _COUNT, _POINTER, _COUNT, _POINTER, _THREADS),
    "folio_experts": (_POINTER, *(_COUNT,) * 2, _POINTER, _COUNT, _POINTER, _POINTER, _COUNT, _POINTER, _THREADS),
    "folio_attend": (*(_POINTER,) * 5, *(_COUNT,) * 3, _POINTER, *(_COUNT,) * 4, _POINTER, _THREADS),
    "folio_norm": (*(_POINTER,) * 3, *(_COUNT,) * 3, ctypes.c_float),
    "folio_step": (_POINTER, _POINTER, _COUNT, *(_POINTER,) * 4, *(_COUNT,) * 4, _POINTER, _THREADS),
    "folio_pack": (_POINTER, *(_COUNT,) * 4, _POINTER, _POINTER, _THREADS),
}


@cache
def kernels() -> ctypes.CDLL | None:
    """The kernels, with the best level selected; None if switched off, not compiled, or not loadable."""
    wanted = os.environ.get("FOLIOSCOPE_NATIVE", "").lower()
    if wanted in OFF:
        return None
    with suppress(OSError, AttributeError):
        path = next((path for path in (BUILT, cached()) if path.is_file()), None)
        if path is None and compile_kernels(cached()):
            path = cached()
        if path is not None:
            loaded = _declared(ctypes.CDLL(str(path)))
            names = _names(loaded)
            loaded.folio_select(names.index(wanted) if wanted in names else len(names) - 1)
            return loaded
    return None


def _declared(loaded: ctypes.CDLL) -> ctypes.CDLL:
    for name, arguments in _SIGNATURES.items():
        getattr(loaded, name).argtypes = arguments
    loaded.folio_level.restype = ctypes.c_char_p
    return loaded


def _names(loaded: ctypes.CDLL) -> list[str]:
    names: list[str] = []
    while name := loaded.folio_level(len(names)):
        names.append(name.decode())
    return names


def levels() -> list[str]:
    """The levels this processor can run, slowest first; empty without the kernels."""
    loaded = kernels()
    return _names(loaded) if loaded else []


def select(level: str) -> None:
    """Use another of `levels()` from now on, for all threads."""
    loaded = kernels()
    assert loaded is not None
    loaded.folio_select(levels().index(level))
