"""DeepEncoder: SAM's ViT sees, a 16x compressor shrinks, CLIP understands, a projector hands over.

Source: DeepSeek-OCR (arXiv 2510.18234, section 3.2).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from folioscope.config import OcrConfig
from folioscope.model.clip import ClipTrunk
from folioscope.model.sam_vit import SamViT


class DeepEncoder(nn.Module):
    """Square views to image tokens in the decoder's width."""

    def __init__(self, config: OcrConfig):
        super().__init__()
        middle, last = config.compressor_channels
        hidden = config.decoder.hidden_size
        self.vit = SamViT(config.vit)
        self.compressor = nn.Sequential(  # the published net_2 and net_3, with nothing between them
            nn.Conv2d(config.vit.neck_channels, middle, 3, stride=2, padding=1, bias=False),
            nn.Conv2d(middle, last, 3, stride=2, padding=1, bias=False),
        )
        self.clip = ClipTrunk(config.clip)
        self.projector = nn.Linear(config.clip.width + last, hidden)
        self.newline = nn.Parameter(torch.zeros(hidden))
        self.separator = nn.Parameter(torch.zeros(hidden))

    def forward(self, views: Tensor) -> Tensor:
        """Encode (V, 3, S, S) views, normalised to -1..1, to (V, s, s, hidden), s = S / 64 in the published size."""
        return self.understand(self.vit(views))

    def understand(self, features: Tensor) -> Tensor:
        """Compress and interpret the ViT's (V, neck, h, w) into (V, h / 4, w / 4, hidden)."""
        compressed = self.compressor(features)  # (V, C, s, s)
        understood = self.clip(compressed)  # (V, s*s, C)
        seen = compressed.flatten(2).transpose(1, 2)  # (V, s*s, C)
        tokens = self.projector(torch.cat([understood, seen], dim=-1))  # (V, s*s, hidden)
        return tokens.unflatten(1, compressed.shape[2:])  # (V, s, s, hidden)

    def arrange(self, view: Tensor, tiles: Tensor | None, grid: tuple[int, int]) -> Tensor:
        """Lay out one page's tokens as the decoder reads them: tiles, global view, separator.

        Args:
            view: (s, s, hidden), the global view.
            tiles: (columns * rows, t, t, hidden), row-major, or None.
            grid: Columns and rows of tiles.

        Returns:
            (slots, hidden). Each row of tokens, over all tiles side by side, ends with the newline.
        """
        parts = [self._rows(view), self.separator[None]]
        if tiles is not None:
            columns, rows = grid
            mosaic = tiles.unflatten(0, (rows, columns)).transpose(1, 2)  # (rows, t, columns, t, hidden)
            parts.insert(0, self._rows(mosaic.flatten(2, 3).flatten(0, 1)))
        return torch.cat(parts)

    def _rows(self, tokens: Tensor) -> Tensor:
        newline = self.newline.to(tokens.dtype).expand(tokens.shape[0], 1, -1)
        return torch.cat([tokens, newline], dim=1).flatten(0, 1)  # (rows * (columns+1), hidden)
