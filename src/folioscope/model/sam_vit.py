"""SAM's image encoder: a plain ViT, mostly with windowed attention, up to its narrow neck.

Both readers of this map, DeepEncoder's compressor and SAM's mask decoder, bring their own weights.
Source: Segment Anything (arXiv 2304.02643, section 3 and appendix A); ViTDet (arXiv 2203.16527) for the windows.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from folioscope.config import VitConfig
from folioscope.model.positions import relative_rows, resize_grid


class SamViT(nn.Module):
    """Images to a feature map `patch_size` times smaller."""

    def __init__(self, config: VitConfig):
        super().__init__()
        self.patch_embed = PatchEmbed(config)
        self.pos_embed = nn.Parameter(torch.zeros(1, config.grid, config.grid, config.width))
        self.blocks = nn.ModuleList(
            Block(config, layer in config.global_attn_indexes) for layer in range(config.layers)
        )
        self.neck = nn.Sequential(
            nn.Conv2d(config.width, config.neck_channels, 1, bias=False),
            LayerNorm2d(config.neck_channels),
            nn.Conv2d(config.neck_channels, config.neck_channels, 3, padding=1, bias=False),
            LayerNorm2d(config.neck_channels),
        )

    def forward(self, pixels: Tensor) -> Tensor:
        """Encode (B, 3, H, W) normalised pixels, H and W multiples of the patch, to (B, neck, H/p, W/p)."""
        x = self.patch_embed(pixels)  # (B, h, w, C)
        x = x + resize_grid(self.pos_embed, *x.shape[1:3])
        for block in self.blocks:
            x = block(x)
        return self.neck(x.permute(0, 3, 1, 2))  # (B, neck, h, w)


class PatchEmbed(nn.Module):
    def __init__(self, config: VitConfig):
        super().__init__()
        self.proj = nn.Conv2d(3, config.width, config.patch_size, stride=config.patch_size)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.proj(pixels).permute(0, 2, 3, 1)  # (B, h, w, C)


class Block(nn.Module):
    """A pre-norm transformer block; attention sees the whole map or one window of it."""

    def __init__(self, config: VitConfig, sees_all: bool):
        super().__init__()
        self.window = 0 if sees_all else config.window_size
        self.norm1 = nn.LayerNorm(config.width, eps=1e-6)
        self.attn = Attention(config, config.grid if sees_all else config.window_size)
        self.norm2 = nn.LayerNorm(config.width, eps=1e-6)
        self.mlp = Mlp(config)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self._attend(self.norm1(x))
        return x + self.mlp(self.norm2(x))

    def _attend(self, x: Tensor) -> Tensor:
        if not self.window:
            return self.attn(x)
        windows = split_windows(x, self.window)  # (B * windows, window, window, C)
        return join_windows(self.attn(windows), self.window, x.shape)


class Attention(nn.Module):
    """Multi-head attention over a 2-D map with decomposed relative positions."""

    def __init__(self, config: VitConfig, grid: int):
        super().__init__()
        self.heads = config.heads
        self.qkv = nn.Linear(config.width, 3 * config.width)
        self.proj = nn.Linear(config.width, config.width)
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * grid - 1, config.width // config.heads))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * grid - 1, config.width // config.heads))

    def forward(self, x: Tensor) -> Tensor:
        B, H, W, C = x.shape
        qkv = self.qkv(x).view(B, H * W, 3, self.heads, C // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # 3 x (B, heads, HW, hd)
        x = F.scaled_dot_product_attention(q, k, v, attn_mask=self._relative_bias(q, H, W))
        return self.proj(x.transpose(1, 2).reshape(B, H, W, C))

    def _relative_bias(self, q: Tensor, H: int, W: int) -> Tensor:
        """What each query adds for a key's row and for its column; the published code leaves q unscaled here."""
        q = q.unflatten(2, (H, W))  # (B, heads, H, W, hd)
        rows = torch.einsum("bnhwc,hkc->bnhwk", q, relative_rows(self.rel_pos_h, H))  # (B, heads, H, W, H)
        cols = torch.einsum("bnhwc,wkc->bnhwk", q, relative_rows(self.rel_pos_w, W))  # (B, heads, H, W, W)
        bias = rows[..., :, None] + cols[..., None, :]  # (B, heads, H, W, H, W)
        return bias.flatten(4).flatten(2, 3)  # (B, heads, HW, HW)


class Mlp(nn.Module):
    def __init__(self, config: VitConfig):
        super().__init__()
        self.lin1 = nn.Linear(config.width, config.mlp_width)
        self.lin2 = nn.Linear(config.mlp_width, config.width)

    def forward(self, x: Tensor) -> Tensor:
        return self.lin2(F.gelu(self.lin1(x)))


class LayerNorm2d(nn.Module):
    """LayerNorm over the channels of (B, C, H, W)."""

    def __init__(self, channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        x = F.layer_norm(x.permute(0, 2, 3, 1), self.weight.shape, self.weight, self.bias, eps=1e-6)
        return x.permute(0, 3, 1, 2)  # (B, C, H, W)


def split_windows(x: Tensor, window: int) -> Tensor:
    """(B, H, W, C) to (B * windows, window, window, C), padded with zeros at the right and bottom.

    The padding is not masked: after the qkv projection it is the bias, and takes part in the softmax.
    """
    B, H, W, C = x.shape
    x = F.pad(x, (0, 0, 0, -W % window, 0, -H % window))
    x = x.unflatten(2, (-1, window)).unflatten(1, (-1, window))  # (B, nh, window, nw, window, C)
    return x.transpose(2, 3).reshape(-1, window, window, C)


def join_windows(windows: Tensor, window: int, shape: torch.Size) -> Tensor:
    """Undo `split_windows`: back to (B, H, W, C) = `shape`, the padding cut off."""
    B, H, W, C = shape
    x = windows.view(B, -(-H // window), -(-W // window), window, window, C).transpose(2, 3)
    return x.flatten(3, 4).flatten(1, 2)[:, :H, :W]  # (B, H, W, C)
