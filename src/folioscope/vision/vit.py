"""SAM's image encoder on a CPU."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from folioscope.model.positions import resize_grid, resize_line
from folioscope.model.sam_vit import Block, SamViT
from folioscope.native import vision as native
from folioscope.vision.attention import attend
from folioscope.vision.linear import Kind, packed
from folioscope.vision.prepared import Encoder


class Steps:
    """What `SamViT.forward` does, on weights laid out for maps of about the size that its tables are made for."""

    def __init__(self, vit: Any, kind: Kind | None):
        rows, patch = vit.pos_embed.shape[1] ** 2, vit.patch_embed.proj
        self.side = patch.kernel_size[0]
        self.embed, self.narrow = packed(_as_linear(patch), rows), packed(_as_linear(vit.neck[0]), rows)
        self.blocks = [BlockSteps(block, rows, kind) for block in vit.blocks]
        self.pos_embed, self.neck = vit.pos_embed, list(vit.neck[1:])
        self.positions: dict[tuple[int, int], Tensor] = {}

    def __call__(self, pixels: Tensor) -> Tensor:
        x = self.embed(self._patches(pixels))  # (B, h, w, C)
        x = x + self._positions((x.shape[1], x.shape[2]))
        for block in self.blocks:
            x = block(x)
        x = self.narrow(x).permute(0, 3, 1, 2)  # (B, neck, h, w), channels last in memory
        for layer in self.neck:
            x = layer(x)
        return x.contiguous()

    def _patches(self, pixels: Tensor) -> Tensor:
        x = pixels.unflatten(3, (-1, self.side)).unflatten(2, (-1, self.side))  # (B, 3, h, p, w, p)
        return x.permute(0, 2, 4, 1, 3, 5).flatten(3)  # (B, h, w, 3 p p)

    def _positions(self, size: tuple[int, int]) -> Tensor:
        if size not in self.positions:
            self.positions[size] = resize_grid(self.pos_embed, *size)
        return self.positions[size]


def _as_linear(convolution: nn.Conv2d) -> nn.Linear:
    """The layer that does to patches what the convolution does to the map that they are cut from."""
    outputs, inputs = convolution.weight.shape[0], convolution.weight[0].numel()
    linear = nn.Linear(inputs, outputs, device="meta")
    bias = convolution.weight.new_zeros(outputs) if convolution.bias is None else convolution.bias.detach()
    linear.weight = nn.Parameter(convolution.weight.detach().flatten(1), requires_grad=False)
    linear.bias = nn.Parameter(bias, requires_grad=False)
    return linear


class BlockSteps:
    """What `Block.forward` does; windows are padded after the qkv layer, whose bias is what padding becomes there."""

    def __init__(self, block: Block, rows: int, kind: Kind | None):
        attention, mlp = block.attn, block.mlp
        self.norm1, self.norm2, self.window, self.heads = block.norm1, block.norm2, block.window, attention.heads
        self.tables, self.integers = (attention.rel_pos_h, attention.rel_pos_w), kind == "int8"
        layers = (attention.qkv, attention.proj, mlp.lin1, mlp.lin2)
        self.qkv, self.proj, self.lin1, self.lin2 = (packed(layer, rows, kind) for layer in layers)

    def __call__(self, x: Tensor) -> Tensor:
        x = self.proj(self._attend(self.qkv(x, self.norm1)), add=x)
        return self.lin2(self.lin1(x, self.norm2, act="gelu"), add=x)

    def _attend(self, qkv: Tensor) -> Tensor:
        """(B, H, W, C) of (B, H, W, 3 C)."""
        sides = (self.window, self.window) if self.window else (qkv.shape[1], qkv.shape[2])
        if native.attends(qkv, self.heads):
            by_row, by_col = (resize_line(table, 2 * side - 1) for table, side in zip(self.tables, sides, strict=True))
            return native.attend(qkv, self.qkv.bias, (by_row, by_col), self.heads, sides, self.integers)
        return attend(qkv, self.qkv.bias, self.tables, self.heads, self.window)


class QuickVit(Encoder, SamViT):  # pyright: ignore[reportIncompatibleMethodOverride]
    """`SamViT` with its weights laid out, residuals and GELU inside the products, and no bias of the map's size."""

    steps = Steps
