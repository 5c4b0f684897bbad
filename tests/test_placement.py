"""Devices and dtypes: what is asked for, what is best, what is refused."""

from __future__ import annotations

import pytest
import torch

from folioscope.placement import SMALL_BYTES, best_dtype, choose_device, choose_dtype
from folioscope.types import InputError

HERE = [
    name for name, there in (("cuda", torch.cuda.is_available()), ("mps", torch.backends.mps.is_available())) if there
]


def test_the_best_device_is_taken() -> None:
    assert choose_device("auto").type == [*HERE, "cpu"][0]
    assert choose_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["cuda:99", "meta", "gpu", "", "xpu"])
def test_other_devices_are_refused(name: str) -> None:
    with pytest.raises(InputError, match=f"device '{name}'.*choose from auto, .*cpu"):
        choose_device(name)


def test_dtypes() -> None:
    assert choose_dtype("auto") is None
    assert choose_dtype("bfloat16") == torch.bfloat16


@pytest.mark.parametrize("name", ["int8", "int4", "half", ""])
def test_other_dtypes_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="choose from auto, float32, bfloat16, float16"):
        choose_dtype(name)


def test_on_a_cpu_only_small_checkpoints_are_converted() -> None:
    cpu = torch.device("cpu")
    assert best_dtype(cpu, SMALL_BYTES - 1) == torch.float32
    assert best_dtype(cpu, SMALL_BYTES) is None
    assert best_dtype(torch.device("mps"), SMALL_BYTES) == torch.float32


@pytest.mark.parametrize(("supported", "dtype"), [(True, torch.bfloat16), (False, torch.float16)])
def test_on_cuda_the_hardware_decides(monkeypatch: pytest.MonkeyPatch, supported: bool, dtype: torch.dtype) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: supported)
    assert best_dtype(torch.device("cuda"), 1) == dtype
