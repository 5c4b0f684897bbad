"""Prompts as tokens: what each label adds, what closes the points, what padding leaves."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from folioscope.model.sam import Sam
from folioscope.model.sam_prompts import BARE, NOT_A_POINT, PADDING, FourierPositions, PromptEncoder, as_tokens
from random_sam import GRID, SIDE, random_boxes, random_masks, random_points, random_sam

NO_BOX = [float(PADDING)] * 4


@pytest.fixture(scope="module")
def sam() -> Sam:
    return random_sam()


@pytest.fixture(scope="module")
def prompts(sam: Sam) -> PromptEncoder:
    return sam.prompts


def position(prompts: PromptEncoder, x: float, y: float) -> Tensor:
    """The published formula: sines, then cosines, of 2 pi (2 c - 1) G, c the pixel's centre in 0..1."""
    angles = [
        2 * math.pi * sum((2 * (c + 0.5) / SIDE - 1) * g for c, g in zip((x, y), column, strict=True))
        for column in prompts.positions.matrix.T.tolist()
    ]
    return torch.tensor([math.sin(a) for a in angles] + [math.cos(a) for a in angles])


def test_a_token_is_its_position_and_what_its_label_adds(prompts: PromptEncoder) -> None:
    labels = torch.tensor([0, 1, 2, 3, BARE, NOT_A_POINT, PADDING])
    tokens = prompts.encode(torch.tensor([10.0, 20.0]).expand(7, 2), labels, GRID)
    learned = [embedding.weight[0] for embedding in prompts.point_embeddings]
    bare = position(prompts, 10, 20)
    expected = [*(bare + vector for vector in learned), bare, prompts.not_a_point_embed.weight[0], torch.zeros(16)]
    torch.testing.assert_close(tokens, torch.stack(expected), atol=1e-5, rtol=0)


def test_width_and_height_are_those_of_the_encoded_image(prompts: PromptEncoder) -> None:
    labels = torch.tensor([BARE])
    wide = prompts.encode(torch.tensor([[2 * 10 + 0.5, 20]]), labels, (GRID[0], 2 * GRID[1]))
    torch.testing.assert_close(wide[0], position(prompts, 10, 20), atol=1e-5, rtol=0)


def test_patches_and_clicks_share_their_positions(prompts: PromptEncoder) -> None:
    centres = prompts.image_positions(GRID)
    patch = SIDE // GRID[0]
    x, y = 3 * patch + patch / 2 - 0.5, 5 * patch + patch / 2 - 0.5
    torch.testing.assert_close(centres[:, 5, 3], position(prompts, x, y), atol=1e-5, rtol=0)


def test_positions_in_bfloat16_tell_pixels_apart() -> None:
    positions = FourierPositions(16)
    fractions = torch.rand(50, 2, generator=torch.Generator().manual_seed(0))
    half = FourierPositions(16)
    half.matrix = positions.matrix.bfloat16()
    positions.matrix = half.matrix.float()
    torch.testing.assert_close(half(fractions), positions(fractions).bfloat16())


def labels_of(points: list[list[int]], boxes: list[list[float]] | None, mask_padding: bool) -> list[list[int]]:
    labels = torch.tensor(points)[None]
    box_tensor = None if boxes is None else torch.tensor(boxes)[None]
    coords, found = as_tokens(torch.zeros(*labels.shape, 2), labels, box_tensor, mask_padding)
    assert coords.shape == (*found.shape, 2)
    return found[0].int().tolist()


BOX = [1.0, 2.0, 3.0, 4.0]


@pytest.mark.parametrize(
    ("points", "boxes", "masked", "published"),
    [
        ([[1]], None, [[1, -1]], [[1, -1]]),
        ([[1, -1]], None, [[1, -1, -1]], [[1, -1, -1]]),
        ([[1, 0]], [BOX], [[1, 0, 2, 3]], [[1, 0, 2, 3]]),
        ([[]], [BOX], [[2, 3]], [[2, 3]]),
        ([[]], None, [[]], [[]]),
        ([[1, 2], [3, 7]], None, [[1, 4, -1], [4, 4, -1]], [[1, 4, -1], [4, 4, -1]]),
        ([[0, 1], [1, -10]], None, [[0, 1, -1], [1, -10, -1]], [[0, 1, -1], [1, -10, -1]]),
        ([[0, 1], [-10, -10]], None, [[0, 1, -1], [-10, -10, -10]], [[0, 1, -1], [-10, -10, -1]]),
        ([[1], [1]], [BOX, NO_BOX], [[1, 2, 3], [1, -1, -10]], [[1, 2, 3], [1, 2, 3]]),
        ([[1], [-10]], [NO_BOX, BOX], [[1, -1, -10], [-10, 2, 3]], [[1, 2, 3], [-10, 2, 3]]),
        ([[], []], [BOX, NO_BOX], [[2, 3], [-10, -10]], [[2, 3], [2, 3]]),
        ([[1]], [[-10.0, -10.0, -10.0, 5.0]], [[1, 2, 3]], [[1, 2, 3]]),
    ],
)
def test_what_follows_the_points(
    points: list[list[int]], boxes: list[list[float]] | None, masked: list[list[int]], published: list[list[int]]
) -> None:
    assert labels_of(points, boxes, mask_padding=True) == masked
    assert labels_of(points, boxes, mask_padding=False) == published


def test_corners_follow_the_points(prompts: PromptEncoder) -> None:
    points, boxes = random_points(2, 3, 2), random_boxes(2, 3)
    coords, _ = as_tokens(points, torch.ones(2, 3, 2), boxes, True)
    assert coords[:, :, :2].equal(points)
    assert coords[:, :, 2].equal(boxes[..., :2])
    assert coords[:, :, 3].equal(boxes[..., 2:])


def test_padding_is_reported_only_where_there_is_some(prompts: PromptEncoder) -> None:
    points, labels = random_points(1, 2, 2), torch.tensor([[[1, 0], [1, PADDING]]])
    assert prompts(points, torch.ones(1, 2, 2), None, None, GRID).padding is None
    assert prompts(points, labels, None, None, GRID, mask_padding=False).padding is None
    padding = prompts(points, labels, None, None, GRID).padding
    assert padding.tolist() == [[[False, False, False], [False, True, False]]]


def test_masks_are_embedded_one_by_one(prompts: PromptEncoder) -> None:
    masks = random_masks(2, 3)
    dense = prompts.dense(masks)
    assert dense.shape == (2, 3, 16, *GRID)
    torch.testing.assert_close(dense[1, 2], prompts.dense(masks[1:, 2:])[0, 0])


def test_no_mask_is_one_vector_everywhere(prompts: PromptEncoder) -> None:
    assert prompts.dense(None).flatten().equal(prompts.no_mask_embed.weight[0])


def test_convolutions_that_do_not_overlap_are_matrix_products(sam: Sam) -> None:
    """What a kernel of 2 at a stride of 2 does: each 2 x 2 block on its own, and back."""
    down, up = sam.prompts.mask_downscaling[3], sam.masks.output_upscaling[0]
    x = torch.randn(1, down.in_channels, 6, 4)
    blocks = x.unflatten(3, (2, 2)).unflatten(2, (3, 2)).permute(0, 2, 4, 1, 3, 5).flatten(3)  # (1, 3, 2, C * 2 * 2)
    product = blocks @ down.weight.flatten(1).T + down.bias
    torch.testing.assert_close(down(x), product.permute(0, 3, 1, 2), atol=1e-5, rtol=0)
    x = torch.randn(1, up.in_channels, 3, 2)
    spread = torch.einsum("bcij,coxy->boixjy", x, up.weight).flatten(4).flatten(2, 3)
    torch.testing.assert_close(up(x), spread + up.bias[:, None, None], atol=1e-5, rtol=0)
