"""Where CLIP's heads are led to look."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from folioscope.config import ClipConfig
from folioscope.model.clip import ClipTrunk
from folioscope.train.looks import _corner, _edges, noted, unled

NONE = math.nan
UPPER, LOWER = (0.1, 0.1, 0.8, 0.3), (0.2, 0.6, 0.5, 0.9)
SIDE = 4


@pytest.fixture
def known() -> Tensor:
    """A page in the three lower rows of a view; an L of three tokens above a block of two beside one another."""
    known = torch.full((1, SIDE, SIDE, 6), NONE)
    known[0, 1:, :, 4:] = 0.5
    for row, column in ((1, 1), (1, 2), (2, 1)):
        known[0, row, column, :4] = torch.tensor(UPPER)
    for row, column in ((3, 0), (3, 1)):
        known[0, row, column, :4] = torch.tensor(LOWER)
    return known


def places(wanted: Tensor) -> set[tuple[int, int]]:
    return {divmod(number, SIDE) for number in wanted.nonzero()[:, 0].tolist()}


def test_each_token_on_the_page_is_led_to_its_upper_left_corner(known: Tensor) -> None:
    wanted = _corner(known)[0, 0]
    assert places(wanted[SIDE + 3]) == places(wanted[-1]) == {(1, 0)}
    assert not wanted[:SIDE].any()


def test_each_token_is_led_to_the_edges_of_its_own_block(known: Tensor) -> None:
    for row, column in ((1, 1), (1, 2), (2, 1)):
        left, top, right, bottom = (places(head[SIDE * row + column]) for head in _edges(known)[0])
        assert left == {(1, 1), (2, 1)}
        assert top == {(1, 1), (1, 2)}
        assert right == {(1, 2)}
        assert bottom == {(2, 1)}
    assert places(_edges(known)[0, 0, 3 * SIDE + 1]) == {(3, 0)}
    assert not _edges(known)[0, :, SIDE].any()  # on the page, in no block


def test_heads_that_look_everywhere_alike_miss_by_what_a_share_says(known: Tensor) -> None:
    clip = ClipTrunk(ClipConfig(layers=2, width=32, heads=4, image_size=64, patch_size=16))
    for block in clip.blocks:
        torch.nn.init.zeros_(block.self_attn.qkv_proj.weight)
        torch.nn.init.zeros_(block.self_attn.qkv_proj.bias)
    with noted(clip.blocks) as inputs:
        clip(torch.randn(1, 32, SIDE, SIDE))
    share = 1 / (1 + SIDE**2)
    edges = 3 * [2, 2, 1, 1] + 2 * [1, 2, 1, 2]  # so many tokens serve, of the upper and of the lower block
    expected = -math.log(share) - sum(math.log(share * count) for count in edges) / len(edges)
    assert unled(clip.blocks, inputs, known).item() == pytest.approx(expected, rel=1e-5)


def test_only_the_led_heads_are_told(known: Tensor) -> None:
    clip = ClipTrunk(ClipConfig(layers=2, width=64, heads=8, image_size=64, patch_size=16))
    with noted(clip.blocks) as inputs:
        clip(torch.randn(1, 64, SIDE, SIDE))
    unled(clip.blocks, [x.detach() for x in inputs], known).backward()
    for block, heads in zip(clip.blocks, (1, 4), strict=True):
        queries, keys, values = block.self_attn.qkv_proj.weight.grad.view(3, 8, -1).abs().sum(-1)
        for told in (queries, keys):
            assert (told[:heads] > 0).all()
            assert not told[heads:].any()
        assert not values.any()


def test_of_two_heads_two_are_led(known: Tensor) -> None:
    clip = ClipTrunk(ClipConfig(layers=2, width=32, heads=2, image_size=64, patch_size=16))
    with noted(clip.blocks) as inputs:
        clip(torch.randn(1, 32, SIDE, SIDE))
    unled(clip.blocks, inputs, known).backward()
    assert all(block.self_attn.qkv_proj.weight.grad is not None for block in clip.blocks)


def test_blocks_are_noted_only_as_long_as_asked() -> None:
    clip = ClipTrunk(ClipConfig(layers=2, width=32, heads=4, image_size=64, patch_size=16))
    with noted(clip.blocks) as inputs:
        clip(torch.randn(1, 32, 2, 2))
    clip(torch.randn(1, 32, 2, 2))
    assert [tuple(x.shape) for x in inputs] == [(1, 5, 32)] * 2


def test_a_page_without_a_block_costs_nothing() -> None:
    clip = ClipTrunk(ClipConfig(layers=2, width=32, heads=4, image_size=64, patch_size=16))
    with noted(clip.blocks) as inputs:
        clip(torch.randn(1, 32, SIDE, SIDE))
    loss = unled(clip.blocks, inputs, torch.full((1, SIDE, SIDE, 6), NONE))
    assert loss == 0
    loss.backward()
