"""What is seen inside the image encoder is what it computes with."""

from __future__ import annotations

import pytest
import torch

from folioscope.model.sam import Sam
from folioscope.model.sam_vit import VitTrace, join_windows
from random_sam import GRID, SIDE, VIT, random_sam

HEADS, AREA = VIT.heads, VIT.grid**2


@pytest.fixture(scope="module")
def sam() -> Sam:
    return random_sam()


@pytest.fixture(scope="module")
def trace(sam: Sam) -> VitTrace:
    return sam.vit.trace(pixels(), attention_maps=True)


def pixels(side: int = SIDE) -> torch.Tensor:
    return torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(5))


def test_features_are_those_of_the_encoder(sam: Sam, trace: VitTrace) -> None:
    assert trace.features.equal(sam.embed(pixels()))
    assert sam.vit.trace(pixels()).attention_maps == ()


def test_states_lead_from_one_block_to_the_next(sam: Sam, trace: VitTrace) -> None:
    assert [tuple(state.shape) for state in trace.hidden_states] == [(2, *GRID, VIT.width)] * (VIT.layers + 1)
    for block, before, after in zip(sam.vit.blocks, trace.hidden_states, trace.hidden_states[1:], strict=False):
        assert block(before).equal(after)


def test_maps_are_the_weights_that_the_blocks_used(sam: Sam, trace: VitTrace) -> None:
    windowed, everywhere = (2, 9, HEADS, 9, 9), (2, 1, HEADS, AREA, AREA)
    assert [tuple(weights.shape) for weights in trace.attention_maps] == [windowed, everywhere, windowed]
    for block, before, weights in zip(sam.vit.blocks, trace.hidden_states, trace.attention_maps, strict=False):
        torch.testing.assert_close(weights.sum(dim=-1), torch.ones(weights.shape[:-1]))
        side = block.window or VIT.grid
        x = block.norm1(before)
        values = x if not block.window else torch.nn.functional.pad(x, (0, 0, 0, 1, 0, 1))
        n = values.shape[1] // side
        values = values.view(2, n, side, n, side, -1).transpose(2, 3).reshape(2, n * n, side**2, -1)
        values = block.attn.qkv(values)[..., 2 * VIT.width :].unflatten(-1, (HEADS, -1)).transpose(2, 3)
        mixed = (weights @ values).transpose(2, 3).flatten(3)  # (2, windows, side * side, C)
        attended = block.attn.proj(mixed).unflatten(2, (side, side)).flatten(0, 1)
        attended = join_windows(attended, side, before.shape)
        x = before + attended
        torch.testing.assert_close(x + block.mlp(block.norm2(x)), block(before), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("side", [48, 96])
def test_other_image_sizes(sam: Sam, side: int) -> None:
    embeddings = sam.embed(pixels(side))
    assert embeddings.shape == (2, VIT.neck_channels, side // VIT.patch_size, side // VIT.patch_size)
    assert embeddings.isfinite().all()
