"""Memory of large pages, and memory of mapped files that is given back: values stay what they were."""

from __future__ import annotations

import mmap
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from folioscope.native import memory
from folioscope.native.memory import LARGE, PAGEMAP, REGION, Arena, give_back

linux = pytest.mark.skipif(not PAGEMAP.exists(), reason="only Linux tells what lies in a page")


def mapped(file: Path, count: int = 1 << 20) -> Tensor:
    """0, 1, 2, … in a file, mapped as checkpoints are."""
    np.arange(count, dtype=np.int32).tofile(file)
    return torch.from_file(str(file), shared=False, size=count, dtype=torch.int32)


def resident(tensor: Tensor) -> int:
    """How many whole pages under it are in this process's memory."""
    first, last = -(-tensor.data_ptr() // mmap.PAGESIZE), (tensor.data_ptr() + tensor.nbytes) // mmap.PAGESIZE
    with PAGEMAP.open("rb", buffering=0) as pagemap:
        pagemap.seek(8 * first)
        entries = np.frombuffer(pagemap.read(8 * (last - first)), dtype=np.uint64)
    return int((entries >> 63).sum())


@pytest.mark.parametrize("large", [True, False], ids=["large pages", "none"])
def test_tensors_side_by_side(large: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not large:
        monkeypatch.delattr(mmap, "MADV_HUGEPAGE", raising=False)
    arena = Arena()
    shapes = [(3, 5), (), (0, 7), (1 << 20,), (7, 1, 2)]
    given = [torch.randn(shape).to(dtype) for shape in shapes for dtype in (torch.bfloat16, torch.float32)]
    held = [arena.moved(tensor) for tensor in given]
    assert all(one.equal(other) and one.dtype == other.dtype for one, other in zip(held, given, strict=True))
    assert all(tensor.untyped_storage().nbytes() == tensor.nbytes for tensor in held)


@pytest.mark.skipif(not hasattr(mmap, "MADV_HUGEPAGE"), reason="no large pages here")
def test_regions_begin_with_a_large_page_and_grow_with_what_they_hold() -> None:
    arena = Arena()
    first, second = arena.empty((5,), torch.uint8), arena.empty((3,), torch.float32)
    assert first.data_ptr() % LARGE == 0
    assert second.data_ptr() - first.data_ptr() == memory.ALIGNMENT
    large = arena.empty((REGION + LARGE,), torch.uint8)  # touched nowhere, so it takes no memory
    assert large.data_ptr() % LARGE == 0
    del arena, second, large
    assert first.fill_(7).sum() == 35


@linux
def test_a_mapped_file_is_given_back_and_read_again(tmp_path: Path) -> None:
    tensor = mapped(tmp_path / "file")
    total = tensor.sum()
    assert resident(tensor) > 1000
    give_back(tensor[1:])
    assert resident(tensor) <= 1
    assert tensor.sum() == total
    give_back(tensor.view(1024, 1024).T)
    assert resident(tensor) > 1000


@linux
def test_what_was_written_is_kept(tmp_path: Path) -> None:
    changed = mapped(tmp_path / "file")
    changed[12345] = -1
    own = torch.arange(1 << 20, dtype=torch.int32)
    for tensor in (changed, own):
        before = tensor.clone()
        give_back(tensor)
        assert tensor.equal(before)


def test_nothing_is_given_back_where_the_system_does_not_tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "PAGEMAP", tmp_path / "none")
    tensor = mapped(tmp_path / "file")
    total = tensor.sum()
    give_back(tensor)
    assert tensor.sum() == total
    if PAGEMAP.exists():
        assert resident(tensor) > 1000
