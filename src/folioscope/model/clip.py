"""CLIP's ViT-L trunk as DeepEncoder uses it: fed with the compressor's map, read before any final norm.

Source: CLIP (arXiv 2103.00020, section 2.4); DeepSeek-OCR (arXiv 2510.18234, section 3.2.1).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from folioscope.config import ClipConfig
from folioscope.model.positions import resize_grid


class ClipTrunk(nn.Module):
    """A map of image tokens to knowledge-rich tokens of the same number. The patch convolution is bypassed."""

    def __init__(self, config: ClipConfig):
        super().__init__()
        self.grid = config.grid
        self.class_embed = nn.Parameter(torch.zeros(config.width))
        self.pos_embed = nn.Parameter(torch.zeros(1 + config.grid**2, config.width))
        self.pre_norm = nn.LayerNorm(config.width, eps=1e-5)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))

    def forward(self, features: Tensor) -> Tensor:
        """Encode (B, C, h, w) to (B, h * w, C), row-major; the class token is used and dropped."""
        x = self.pre_norm(self.tokens(features))
        for block in self.blocks:
            x = block(x)
        return x[:, 1:]  # (B, hw, C)

    def tokens(self, features: Tensor) -> Tensor:
        """The class token and (B, C, h, w) features as tokens (B, 1 + h * w, C) with their positions."""
        B, C, h, w = features.shape
        tokens = features.flatten(2).transpose(1, 2)  # (B, hw, C)
        x = torch.cat([self.class_embed.expand(B, 1, C).to(tokens.dtype), tokens], dim=1)  # (B, 1+hw, C)
        return x + self._positions(h, w)

    def _positions(self, h: int, w: int) -> Tensor:
        first, grid = self.pos_embed[:1], self.pos_embed[1:]
        grid = resize_grid(grid.unflatten(0, (self.grid, self.grid))[None], h, w)  # (1, h, w, C)
        return torch.cat([first, grid.flatten(0, 2)])  # (1+hw, C)


class Block(nn.Module):
    def __init__(self, config: ClipConfig):
        super().__init__()
        self.layer_norm1 = nn.LayerNorm(config.width, eps=1e-5)
        self.self_attn = Attention(config)
        self.layer_norm2 = nn.LayerNorm(config.width, eps=1e-5)
        self.mlp = Mlp(config)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.self_attn(self.layer_norm1(x))
        return x + self.mlp(self.layer_norm2(x))


class Attention(nn.Module):
    def __init__(self, config: ClipConfig):
        super().__init__()
        self.heads = config.heads
        self.qkv_proj = nn.Linear(config.width, 3 * config.width)
        self.out_proj = nn.Linear(config.width, config.width)

    def forward(self, x: Tensor) -> Tensor:
        B, T, C = x.shape
        qkv = self.qkv_proj(x).view(B, T, 3, self.heads, C // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # 3 x (B, heads, T, hd)
        x = F.scaled_dot_product_attention(q, k, v)
        return self.out_proj(x.transpose(1, 2).reshape(B, T, C))


class Mlp(nn.Module):
    """Two layers around CLIP's quick GELU, x * sigmoid(1.702 x)."""

    def __init__(self, config: ClipConfig):
        super().__init__()
        self.fc1 = nn.Linear(config.width, config.mlp_width)
        self.fc2 = nn.Linear(config.mlp_width, config.width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.fc1(x)
        return self.fc2(x * torch.sigmoid(1.702 * x))
