"""A network with blocks put in computes what it did, and learns with all of them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from folioscope.config import VitConfig
from folioscope.train.growth import deeper, grown
from folioscope.types import InputError
from random_sam import SIDE, VIT, random_sam

MORE_SEE_ALL = replace(VIT, layers=6, global_attn_indexes=(2, 5))


def pixels() -> torch.Tensor:
    return torch.randn(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


def test_it_computes_what_it_did() -> None:
    sam = random_sam()
    deeper = grown(sam, replace(VIT, layers=5, global_attn_indexes=(2,)))
    assert [block.window > 0 for block in deeper.vit.blocks] == [True, True, False, True, True]
    with torch.no_grad():
        torch.testing.assert_close(deeper.embed(pixels()), sam.embed(pixels()))


def test_new_blocks_learn() -> None:
    deeper = grown(random_sam(), replace(VIT, layers=VIT.layers + 1))
    deeper.embed(pixels()).square().mean().backward()
    gradients = [block.mlp.lin2.weight.grad for block in deeper.vit.blocks]
    assert all(gradient is not None and gradient.abs().max() > 0 for gradient in gradients)


@pytest.mark.parametrize(
    "vit", [replace(VIT, layers=2), replace(VIT, layers=4, global_attn_indexes=(0,)), MORE_SEE_ALL]
)
def test_blocks_that_do_not_fit_are_named(vit: VitConfig) -> None:
    with pytest.raises(InputError, match="cannot grow"):
        grown(random_sam(), vit)


def test_an_encoder_without_blocks_that_see_all_is_named() -> None:
    windows = replace(VIT, layers=2, global_attn_indexes=())
    with pytest.raises(InputError, match=r"3 blocks \(1 see all\) cannot grow to 2 blocks \(none see all\)"):
        deeper(random_sam().vit, VIT, windows)
