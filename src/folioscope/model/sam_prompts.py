"""SAM's prompt encoder: points, boxes and rough masks in the mask decoder's terms.

Source: Segment Anything (arXiv 2304.02643, section 3 and appendix A); Fourier features (arXiv 2006.10739).
Coordinates are pixels (x, y) of the image as it was encoded, whole numbers at the pixels' left top corners.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from folioscope.config import SamConfig
from folioscope.model.sam_vit import LayerNorm2d

BACKGROUND, FOREGROUND, TOP_LEFT, BOTTOM_RIGHT = range(4)
"""Labels whose learned vector is added to the position's: two kinds of click, two corners of a box."""

BARE = 4
"""Label of a position without any learned vector, as every label is that has no meaning here."""

NOT_A_POINT = -1
"""Label whose learned vector stands in the position's place; such a token closes the points where there is no box."""

PADDING = -10
"""Label of a point that only fills up its row, and each of the four numbers of a box that does."""


@dataclass(frozen=True)
class PromptEmbeddings:
    """What the mask decoder is told of N objects in each of B images.

    Attributes:
        sparse: (B, N, T, C), one token for each point and each corner of a box.
        dense: (1 | B, 1 | N, C, 1 | h, 1 | w), added to the image's embedding.
        padding: (B, N, T) bool, True where a token is to be ignored; None if every token counts.
    """

    sparse: Tensor
    dense: Tensor
    padding: Tensor | None = None


class PromptEncoder(nn.Module):
    def __init__(self, config: SamConfig):
        super().__init__()
        self.patch_size = config.vit.patch_size
        self.positions = FourierPositions(config.width)
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, config.width) for _ in range(4))
        self.not_a_point_embed = nn.Embedding(1, config.width)
        self.no_mask_embed = nn.Embedding(1, config.width)
        self.mask_downscaling = nn.Sequential(
            nn.Conv2d(1, config.mask_channels // 4, 2, stride=2),
            LayerNorm2d(config.mask_channels // 4),
            nn.GELU(),
            nn.Conv2d(config.mask_channels // 4, config.mask_channels, 2, stride=2),
            LayerNorm2d(config.mask_channels),
            nn.GELU(),
            nn.Conv2d(config.mask_channels, config.width, 1),
        )

    def forward(
        self,
        points: Tensor,
        labels: Tensor,
        boxes: Tensor | None,
        masks: Tensor | None,
        grid: tuple[int, int],
        mask_padding: bool = True,
    ) -> PromptEmbeddings:
        """Encode prompts for images that were encoded to `grid` (h, w) positions.

        Args: as `Sam.predict` has them, but that points and labels may only be empty, (B, N, 0, 2) and (B, N, 0).
        """
        coords, labels = as_tokens(points, labels, boxes, mask_padding)
        padding = labels == PADDING
        hidden = padding if mask_padding and bool(padding.any()) else None
        return PromptEmbeddings(self.encode(coords, labels, grid), self.dense(masks), hidden)

    def encode(self, coords: Tensor, labels: Tensor, grid: tuple[int, int]) -> Tensor:
        """Tokens (..., C) of labelled coordinates: (..., 2) pixels and (...) any of the labels above."""
        height, width = (side * self.patch_size for side in grid)
        wide = coords.to(torch.promote_types(coords.dtype, torch.float32))
        tokens = self.positions((wide + 0.5) / wide.new_tensor([width, height]))  # (..., C)
        labels = labels[..., None]
        tokens = torch.where(labels == NOT_A_POINT, self.not_a_point_embed.weight[0], tokens)
        tokens = torch.where(labels == PADDING, torch.zeros_like(tokens), tokens)
        for label, learned in enumerate(self.point_embeddings.parameters()):
            tokens = torch.where(labels == label, tokens + learned[0], tokens)
        return tokens

    def dense(self, masks: Tensor | None) -> Tensor:
        """Embed (B, n, 4h, 4w) mask logits as (B, n, C, h, w); none at all as (1, 1, C, 1, 1)."""
        if masks is None:
            return self.no_mask_embed.weight[:, None, :, None, None]
        return self.mask_downscaling(masks.flatten(0, 1)[:, None]).unflatten(0, masks.shape[:2])

    def image_positions(self, grid: tuple[int, int]) -> Tensor:
        """Encode the centres of `grid` (h, w) patches as (C, h, w)."""
        y, x = ((torch.arange(side, device=self.positions.matrix.device) + 0.5) / side for side in grid)
        fractions = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)  # (h, w, 2)
        return self.positions(fractions).permute(2, 0, 1)  # (C, h, w)


def as_tokens(points: Tensor, labels: Tensor, boxes: Tensor | None, mask_padding: bool) -> tuple[Tensor, Tensor]:
    """Each object's points and what follows them: the corners of its box, or else the token that is not a point.

    Returns:
        (B, N, T, 2) coordinates and (B, N, T) labels. Unless `mask_padding`, T and labels are the published code's,
        which knows no padded boxes; otherwise an object has the tokens that it would have alone, in the same order.
    """
    labels = torch.where(labels > FOREGROUND, BARE, labels)  # a click is not a corner of a box, whatever its label
    prompted = (labels != PADDING).any(dim=-1) | (not mask_padding)  # (B, N)
    closing = torch.where(prompted, NOT_A_POINT, PADDING)  # (B, N)
    if boxes is not None:
        absent = (boxes == PADDING).all(dim=-1) & mask_padding  # (B, N)
        ends = boxes.unflatten(-1, (2, 2))  # (B, N, 2, 2)
        first, second = torch.where(absent, closing, TOP_LEFT), torch.where(absent, PADDING, BOTTOM_RIGHT)
        end_labels = torch.stack([first, second], dim=-1)  # (B, N, 2)
    else:
        tokens = min(points.shape[2], 1)  # no prompt at all is closed by nothing
        ends = points.new_zeros(*points.shape[:2], tokens, 2)
        end_labels = closing[..., None][..., :tokens]  # (B, N, 0 | 1)
    return torch.cat([points, ends], dim=2), torch.cat([labels, end_labels], dim=2)


class FourierPositions(nn.Module):
    """Random Fourier features of positions, the same for clicks, corners and patches."""

    matrix: Tensor

    def __init__(self, width: int):
        super().__init__()
        self.register_buffer("matrix", nn.init.normal_(torch.empty(2, width // 2)))

    def forward(self, fractions: Tensor) -> Tensor:
        """Encode (..., 2), x and y in 0..1 of the image, as (..., C).

        Computed in float32 at least: bfloat16 cannot tell neighbouring pixels apart.
        """
        wide = torch.promote_types(self.matrix.dtype, torch.float32)
        with torch.autocast(self.matrix.device.type, enabled=False):
            angles = 2 * math.pi * ((2 * fractions - 1).to(wide) @ self.matrix.to(wide))
        return torch.cat([angles.sin(), angles.cos()], dim=-1).to(self.matrix.dtype)
