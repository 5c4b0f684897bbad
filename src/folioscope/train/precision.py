"""What training computes in: bfloat16 where the machine multiplies it quickly, float32 where it does not."""

from __future__ import annotations

import torch

_QUICK = ("amx_bf16", "avx512_bf16", "bf16")
"""What torch calls instructions of a CPU that multiply bfloat16, of x86 and of Arm."""


def training_dtype(device: str = "cpu") -> torch.dtype:
    """bfloat16, or float32 on CPUs without instructions for products of it: emulated, these are several times slower.

    Where torch cannot tell what a CPU has, bfloat16.
    """
    known = getattr(torch.cpu, "get_capabilities", None)
    if device != "cpu" or known is None or any(known().get(name) for name in _QUICK):
        return torch.bfloat16
    return torch.float32


def mixed_precision(device: str = "cpu") -> torch.autocast:
    """Products within are of `training_dtype`, weights stay float32."""
    dtype = training_dtype(device)
    return torch.autocast(device, torch.bfloat16, enabled=dtype == torch.bfloat16)
