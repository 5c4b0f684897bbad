"""Random SAMs of any size, quick to make, and prompts for them."""

from __future__ import annotations

import torch
from torch import Tensor

from folioscope.config import SamConfig, VitConfig
from folioscope.model.sam import Sam

VIT = VitConfig(
    image_size=64,
    patch_size=8,
    width=24,
    layers=3,
    heads=2,
    mlp_width=40,
    global_attn_indexes=(1,),
    window_size=3,
    neck_channels=16,
)
SMALL = SamConfig(vit=VIT, mask_channels=8, decoder_heads=2, decoder_mlp_width=20, iou_head_width=12)
"""8 x 8 patches, windows that do not divide them, and no two sizes alike that need not be."""

SIDE, GRID = VIT.image_size, (VIT.grid, VIT.grid)


@torch.no_grad()
def random_sam(config: SamConfig = SMALL, seed: int = 0) -> Sam:
    """A model with no weight at zero or one, where a wrong use of it would not show."""
    torch.manual_seed(seed)
    model = Sam(config)
    for weight in model.parameters():
        weight.add_(torch.randn_like(weight), alpha=0.1 if weight.ndim >= 2 else 0.3)
    return model.eval().requires_grad_(False)


def random_embeddings(batch: int = 1, seed: int = 1, config: SamConfig = SMALL) -> Tensor:
    """(batch, C, h, w), as an image encoder's."""
    return torch.randn(batch, config.width, *GRID, generator=torch.Generator().manual_seed(seed))


def random_points(*shape: int, seed: int = 2) -> Tensor:
    """(*shape, 2) float64 pixels of the encoded image."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(*shape, 2, generator=generator, dtype=torch.float64) * SIDE


def random_boxes(*shape: int, seed: int = 3) -> Tensor:
    """(*shape, 4) float64 x1, y1, x2, y2 in pixels of the encoded image."""
    corners = random_points(*shape, 2, seed=seed).sort(dim=-2).values
    return corners.flatten(-2)


def random_masks(*shape: int, seed: int = 4) -> Tensor:
    """(*shape, 4h, 4w) mask logits."""
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(*shape, 4 * GRID[0], 4 * GRID[1], generator=generator)
