"""Muon beside torch's, and what it does to singular values."""

from __future__ import annotations

import pytest
import torch

from folioscope.train import muon
from folioscope.train.muon import Muon, orthogonal

SHAPES = (24, 24), (16, 48), (48, 16)


def _stepped(optimizer: type[torch.optim.Optimizer], **options: object) -> list[torch.Tensor]:
    torch.manual_seed(0)
    matrices = [torch.nn.Parameter(torch.randn(shape)) for shape in SHAPES]
    stepping = optimizer(matrices, lr=0.02, weight_decay=0.1, **options)
    for _ in range(3):
        for matrix in matrices:
            matrix.grad = torch.randn_like(matrix)
        stepping.step()
    return [matrix.detach() for matrix in matrices]


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this torch has no Muon to compare with")
def test_in_bfloat16_it_is_torchs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(muon, "training_dtype", lambda device: torch.bfloat16)
    theirs = _stepped(torch.optim.Muon, adjust_lr_fn="match_rms_adamw")
    torch.testing.assert_close(_stepped(Muon), theirs, rtol=0, atol=1e-3)  # a step moves by up to 0.02


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_singular_values_become_alike(
    shape: tuple[int, int], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(muon, "training_dtype", lambda device: dtype)
    torch.manual_seed(1)
    left, values, right = torch.linalg.svd(torch.randn(shape), full_matrices=False)
    values = torch.linspace(1, 0.05, len(values))
    made = orthogonal(left @ values.diag() @ right)
    assert made.dtype == dtype
    found = torch.linalg.svdvals(made.float())
    assert 0.6 < found.min() <= found.max() < 1.3
    assert torch.linalg.svdvals(left.T @ made.float() @ right.T).allclose(found, atol=0.05)
    assert (left.T @ made.float() @ right.T).diag().min() > 0.6, "the directions are the matrix's"


def test_without_a_gradient_a_matrix_stays() -> None:
    matrix = torch.nn.Parameter(torch.ones(4, 4))
    Muon([matrix], lr=0.1, weight_decay=0.1).step()
    assert torch.equal(matrix, torch.ones(4, 4))
