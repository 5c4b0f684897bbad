"""What training computes in, by what the processor has."""

from __future__ import annotations

from types import MappingProxyType

import pytest
import torch

from folioscope.train.precision import mixed_precision, training_dtype


@pytest.mark.parametrize(
    ("has", "dtype"),
    [
        ({"architecture": "x86_64", "avx512_f": True, "avx512_bf16": False, "amx_bf16": False}, torch.float32),
        ({"architecture": "x86_64", "avx512_f": True, "avx512_bf16": True}, torch.bfloat16),
        ({"architecture": "x86_64", "amx_bf16": True}, torch.bfloat16),
        ({"architecture": "aarch64", "neon": True, "bf16": False}, torch.float32),
        ({"architecture": "aarch64", "neon": True, "bf16": True}, torch.bfloat16),
    ],
)
def test_bfloat16_is_for_processors_that_multiply_it(
    has: dict[str, object], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: MappingProxyType(has), raising=False)
    assert training_dtype() == dtype
    assert training_dtype("cuda") == torch.bfloat16
    with mixed_precision():
        assert (torch.ones(8, 8) @ torch.ones(8, 8)).dtype == dtype


def test_where_torch_cannot_tell_it_is_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert training_dtype() == torch.bfloat16
