"""Losses that exist in training only: which patches belong together, and where a click is.

Without them a small segmenter stays for long on masks of nothing. They need no weights of the published layout.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from folioscope.config import SamConfig
from folioscope.model.sam_prompts import FOREGROUND
from folioscope.train.mask_losses import dice

_WIDTH = 64


class SceneGuides(nn.Module):
    """Judges the image encoder's output and the decoder's first look at the image."""

    def __init__(self, config: SamConfig):
        super().__init__()
        self.patch = config.vit.patch_size
        self.first_point = 1 + (1 + config.multimask_outputs)
        self.kin = nn.Conv2d(config.width, _WIDTH, 1)
        self.sharpness = nn.Parameter(torch.tensor(8.0))
        self.threshold = nn.Parameter(torch.tensor(4.0))

    def kinship(self, embeddings: Tensor, inside: Tensor, targets: Tensor) -> Tensor:
        """How badly the patches of an object can be told by their likeness to the one under a click.

        Args:
            embeddings: (B, C, h, w).
            inside: (B, N, 2) pixels x, y on each object.
            targets: (B, N, 4h, 4w), 0..1.
        """
        kin = F.normalize(self.kin(embeddings).float().flatten(2), dim=1)  # (B, 64, hw)
        under = self._patches(inside, embeddings.shape[3])[:, None].expand(-1, _WIDTH, -1)
        chosen = kin.gather(2, under)  # (B, 64, N)
        logits = self.sharpness * (chosen.transpose(1, 2) @ kin) - self.threshold  # (B, N, hw)
        shares = F.avg_pool2d(targets, 4).flatten(2)
        entropy = F.binary_cross_entropy_with_logits(logits, shares)
        return entropy + dice(logits.sigmoid(), shares, (2,)).mean()

    def attention(self, maps: Sequence[Tensor], points: Tensor, labels: Tensor, width: int) -> Tensor:
        """How little the first head of the first block looks from a click's token to the patch under it.

        Args:
            maps: (B, N, heads, T, h * w) of each block, from a `Trace`.
            points, labels: As the decoder was given them; the first point counts, if it is a click on the object.
            width: w.
        """
        seen = maps[0][:, :, 0, self.first_point].float()  # (B, N, hw)
        share = seen.gather(2, self._patches(points[:, :, 0], width)[..., None])[..., 0]
        is_click = labels[:, :, 0] == FOREGROUND
        return -((share + 1e-5).log() * is_click).sum() / is_click.sum().clamp(min=1)

    def _patches(self, points: Tensor, width: int) -> Tensor:
        """(B, N) the patch that each (B, N, 2) point is on."""
        column, row = (points // self.patch).long().clamp(0, width - 1).unbind(-1)
        return row * width + column
