"""SAM's image encoder: a plain ViT, mostly with windowed attention, up to its narrow neck.

Both readers of this map, DeepEncoder's compressor and SAM's mask decoder, bring their own weights.
Source: Segment Anything (arXiv 2304.02643, section 3 and appendix A); ViTDet (arXiv 2203.16527) for the windows.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from folioscope.config import VitConfig
from folioscope.model import relative_attention
from folioscope.model.positions import relative_rows, resize_grid


@dataclass(frozen=True)
class VitTrace:
    """What is seen on the way through the image encoder.

    Attributes:
        features: (B, neck, h, w), what the encoder returns.
        hidden_states: (B, h, w, C) each: the patches with their positions, then the output of every block.
        attention_maps: A block's weights: (B, 1, heads, h * w, h * w) or, in windows of side s,
            (B, windows, heads, s * s, s * s). Empty if not asked for.
    """

    features: Tensor
    hidden_states: tuple[Tensor, ...]
    attention_maps: tuple[Tensor, ...] = ()


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
        x = self.patches(pixels)
        for block in self.blocks:
            x = block(x)
        return self.neck(x.permute(0, 3, 1, 2))  # (B, neck, h, w)

    def patches(self, pixels: Tensor) -> Tensor:
        """Embed (B, 3, H, W) pixels as (B, h, w, C) patches with their positions."""
        x = self.patch_embed(pixels)
        return x + resize_grid(self.pos_embed, *x.shape[1:3])

    def trace(self, pixels: Tensor, attention_maps: bool = False) -> VitTrace:
        """Encode as `forward` does and keep every step; maps cost (h * w)² numbers a head, image and global block."""
        states, maps = [self.patches(pixels)], []
        for block in self.blocks:
            states.append(block(states[-1], maps if attention_maps else None))
        return VitTrace(self.neck(states[-1].permute(0, 3, 1, 2)), tuple(states), tuple(maps))


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

    def forward(self, x: Tensor, maps: list[Tensor] | None = None) -> Tensor:
        """Transform (B, H, W, C); `maps` takes the attention's weights."""
        x = x + self._attend(self.norm1(x), maps)
        return x + self.mlp(self.norm2(x))

    def _attend(self, x: Tensor, maps: list[Tensor] | None) -> Tensor:
        seen = split_windows(x, self.window) if self.window else x  # (B * windows, window, window, C)
        if maps is not None:
            maps.append(self.attn.weights(seen).unflatten(0, (len(x), -1)))
        attended = self.attn(seen)
        return join_windows(attended, self.window, x.shape) if self.window else attended


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
        q, k, v = self._heads(x)
        if torch.is_grad_enabled():  # torch's fused attention is slow where the bias wants a gradient
            x = relative_attention.attend(q * q.shape[-1] ** -0.5, k, v, *self._relative(q, H, W))
        else:
            x = F.scaled_dot_product_attention(q, k, v, attn_mask=self._relative_bias(q, H, W))
        return self.proj(x.transpose(1, 2).reshape(B, H, W, C))

    def weights(self, x: Tensor) -> Tensor:
        """The softmax weights (B, heads, HW, HW) of `forward`."""
        q, k, _ = self._heads(x)
        return self._softmax(q, k, *x.shape[1:3])

    def _softmax(self, q: Tensor, k: Tensor, H: int, W: int) -> Tensor:
        logits = q @ k.transpose(2, 3) * q.shape[-1] ** -0.5 + self._relative_bias(q, H, W)
        return logits.softmax(dim=-1)

    def _heads(self, x: Tensor) -> Tensor:
        B, H, W, C = x.shape
        qkv = self.qkv(x).view(B, H * W, 3, self.heads, C // self.heads)
        return qkv.permute(2, 0, 3, 1, 4)  # 3 x (B, heads, HW, hd)

    def _relative_bias(self, q: Tensor, H: int, W: int) -> Tensor:
        rows, cols = (part.unflatten(2, (H, W)) for part in self._relative(q, H, W))
        bias = rows[..., :, None] + cols[..., None, :]  # (B, heads, H, W, H, W)
        return bias.flatten(4).flatten(2, 3)  # (B, heads, HW, HW)

    def _relative(self, q: Tensor, H: int, W: int) -> tuple[Tensor, Tensor]:
        """What each query adds for a key's row and for its column; the published code leaves q unscaled here."""
        q = q.unflatten(2, (H, W))  # (B, heads, H, W, hd)
        rows = torch.einsum("bnhwc,hkc->bnhwk", q, relative_rows(self.rel_pos_h, H))  # (B, heads, H, W, H)
        cols = torch.einsum("bnhwc,wkc->bnhwk", q, relative_rows(self.rel_pos_w, W))  # (B, heads, H, W, W)
        return rows.flatten(2, 3), cols.flatten(2, 3)


class Mlp(nn.Module):
    def __init__(self, config: VitConfig):
        super().__init__()
        self.lin1 = nn.Linear(config.width, config.mlp_width)
        self.lin2 = nn.Linear(config.mlp_width, config.width)

    def forward(self, x: Tensor) -> Tensor:
        return self.lin2(F.gelu(self.lin1(x)))


class LayerNorm2d(nn.Module):
    """LayerNorm over the channels of (B, C, H, W)."""

    eps = 1e-6

    def __init__(self, channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        x = F.layer_norm(x.permute(0, 2, 3, 1), self.weight.shape, self.weight, self.bias, self.eps)
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
