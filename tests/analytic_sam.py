"""A network that is a formula, in place of SAM's: what Meta's generator made of it is known to the pixel."""

from __future__ import annotations

import torch
from torch import Tensor

from folioscope.config import SamConfig, VitConfig
from folioscope.model.sam import Prediction, Sam

CONFIG = SamConfig(vit=VitConfig(image_size=256, width=32, heads=2, neck_channels=32))


class AnalyticSam(Sam):
    """A click gives a disc with a hole and a satellite, in three sizes; see sam_toy in the goldens' README."""

    def __init__(self) -> None:
        torch.nn.Module.__init__(self)
        self.config, self.vit = CONFIG, torch.nn.Identity()

    def embed(self, pixels: Tensor) -> Tensor:
        grid = self.config.vit.grid
        return torch.zeros(len(pixels), self.config.width, grid, grid)

    def predict(self, embeddings: Tensor, *, points: Tensor, multimask: bool = True, **unread: Tensor) -> Prediction:  # type: ignore[override]
        assert multimask
        px, py = points[:, :, 0].float().unbind(-1)  # (1, N)
        k = torch.arange(3.0)
        wave = torch.sin(0.05 * px + 0.03 * py)[..., None]  # (1, N, 1)
        radius = (4 + 3 * k + 1.5 * wave)[..., None, None]  # (1, N, 3, 1, 1)
        disc = torch.minimum(radius - distance(px, py, 0, 0), distance(px, py, 1, 0.5) - 1.1)
        logits = (1 + 0.5 * k)[:, None, None] * torch.maximum(disc, 1 - distance(px, py, 14, -6))
        scores = 0.62 + 0.12 * k + 0.22 * torch.sin(0.11 * px + 0.07 * py)[..., None]
        return Prediction(logits, scores)  # (1, N, 3, 64, 64), (1, N, 3)


def distance(px: Tensor, py: Tensor, dx: float, dy: float) -> Tensor:
    """(1, N, 1, 64, 64) from each cell's centre to what lies dx, dy beside the click."""
    centres = torch.arange(64) + 0.5
    x, y = (place[..., None, None, None] / 4 for place in (px, py))  # (1, N, 1, 1, 1)
    return ((centres[None, :] - (x + dx)) ** 2 + (centres[:, None] - (y + dy)) ** 2).sqrt()
