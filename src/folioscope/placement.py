"""Where a checkpoint's weights go, and in which dtype."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch

from folioscope.types import InputError

AUTO = "auto"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

SMALL_BYTES = 200_000_000
"""A hundred million parameters in bfloat16: what is smaller computes faster, and exactly, in float32 on a CPU."""


def choose_device(name: str) -> torch.device:
    """The device of that name, or for "auto" the first there is of CUDA, MPS and CPU. Raises InputError."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    usable = [kind for kind, is_there in there.items() if is_there]
    if name == AUTO:
        return torch.device(usable[0])
    with suppress(RuntimeError):
        device = torch.device(name)
        if device.type in usable and (device.type != "cuda" or (device.index or 0) < torch.cuda.device_count()):
            return device
    raise InputError(f"device {name!r}: not on this machine; choose from {', '.join([AUTO, *usable])}")


def mapped_device(device_map: Any) -> torch.device:
    """The device that transformers' argument of this name means: a name, a number of CUDA's, or a map to one place.

    None is the CPU. Raises InputError for a map to several places, or a device that is not here.
    """
    if isinstance(device_map, Mapping):
        places = set(device_map.values())
        if len(places) != 1:
            raise InputError(f"device_map={dict(device_map)}: the model must be in one place, such as {{'': 'cuda:0'}}")
        (device_map,) = places
    if device_map is None:
        return torch.device("cpu")
    return choose_device(f"cuda:{device_map}" if isinstance(device_map, int) else str(device_map))


def choose_dtype(name: str, also: Sequence[str] = ()) -> torch.dtype | None:
    """The dtype of that name; None for "auto", which `best_dtype` then decides.

    Raises InputError, which lists these names and what the caller takes `also`.
    """
    if name not in (AUTO, *DTYPES):
        raise InputError(f"dtype {name!r}: there is no such dtype; choose from {', '.join([AUTO, *DTYPES, *also])}")
    return DTYPES.get(name)


def best_dtype(device: torch.device, stored_bytes: int) -> torch.dtype | None:
    """What weights that are `stored_bytes` large compute best in on a device; None is as they are stored.

    CUDA: bfloat16 where the hardware has it, else float16. MPS: float32. CPU: float32 for checkpoints below
    SMALL_BYTES; larger ones as they are stored, since twice the memory costs more than it gives.
    """
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    return torch.float32 if device.type == "mps" or stored_bytes < SMALL_BYTES else None


@contextmanager
def threads(count: int | None) -> Iterator[None]:
    """Compute with so many threads of the CPU meanwhile; None leaves their number."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
