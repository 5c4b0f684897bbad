"""SAM's mask decoder: an image's embedding and prompts in, low-resolution masks and their expected quality out.

Source: Segment Anything (arXiv 2304.02643, figure 14 and appendix A).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from folioscope.config import SamConfig
from folioscope.model.sam_prompts import PromptEmbeddings
from folioscope.model.sam_vit import LayerNorm2d
from folioscope.model.two_way import Guidance, Mlp, Trace, TwoWayTransformer


class MaskDecoder(nn.Module):
    def __init__(self, config: SamConfig):
        super().__init__()
        width, outputs = config.width, 1 + config.multimask_outputs
        self.iou_token = nn.Embedding(1, width)
        self.mask_tokens = nn.Embedding(outputs, width)
        self.transformer = TwoWayTransformer(config)
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(width, width // 4, 2, stride=2),
            LayerNorm2d(width // 4),
            nn.GELU(),
            nn.ConvTranspose2d(width // 4, width // 8, 2, stride=2),
            nn.GELU(),
        )
        self.output_hypernetworks_mlps = nn.ModuleList(Mlp(width, width, width, width // 8) for _ in range(outputs))
        self.iou_prediction_head = Mlp(width, config.iou_head_width, config.iou_head_width, outputs)

    def forward(
        self,
        image: Tensor,
        positions: Tensor,
        prompts: PromptEmbeddings,
        guidance: Guidance | None = None,
        trace: Trace | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Draw every mask of every object.

        Args:
            image: (B, C, h, w), from the image encoder.
            positions: (C, h, w), from `PromptEncoder.image_positions`.
            prompts: Of N objects in each image.

        Returns:
            (B, N, 1 + multimask_outputs, 4h, 4w) logits, and (B, N, 1 + multimask_outputs) estimates of each mask's
            IoU with the object, not held to 0..1. Number 0 is the mask for when only one is wanted.
        """
        tokens, visible = self._tokens(prompts)
        seen = (image[:, None] + prompts.dense).flatten(3).transpose(2, 3)  # (B, n, hw, C)
        tokens, seen = self.transformer(tokens, seen, positions.flatten(1).T, visible, guidance, trace)
        maps = seen.transpose(2, 3).unflatten(3, image.shape[2:])  # (B, N, C, h, w)
        maps = self.output_upscaling(maps.flatten(0, 1)).unflatten(0, maps.shape[:2])  # (B, N, C/8, 4h, 4w)
        mixes = [mlp(tokens[:, :, number]) for number, mlp in enumerate(self.output_hypernetworks_mlps, 1)]
        logits = torch.stack(mixes, dim=2) @ maps.flatten(3)  # (B, N, outputs, 16 hw)
        return logits.unflatten(3, maps.shape[3:]), self.iou_prediction_head(tokens[:, :, 0])

    def _tokens(self, prompts: PromptEmbeddings) -> tuple[Tensor, Tensor | None]:
        """All tokens (B, N, T, C): IoU's, masks', prompts'; and which of them to attend to, (B * N, 1, 1, T)."""
        own = torch.cat([self.iou_token.weight, self.mask_tokens.weight])  # (1 + outputs, C)
        tokens = torch.cat([own.expand(*prompts.sparse.shape[:2], -1, -1), prompts.sparse], dim=2)
        if prompts.padding is None:
            return tokens, None
        visible = F.pad(~prompts.padding, (len(own), 0), value=True)
        return tokens, visible.flatten(0, 1)[:, None, None]
