"""CLIP's trunk on a CPU."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from folioscope.model.clip import Block, ClipTrunk
from folioscope.vision.linear import Kind, packed
from folioscope.vision.prepared import Encoder


class Steps:
    """What `ClipTrunk.forward` does."""

    def __init__(self, trunk: ClipTrunk, kind: Kind | None):
        self.trunk = trunk
        self.blocks = [BlockSteps(block, trunk.grid**2, kind) for block in list[Any](trunk.blocks)]

    def __call__(self, features: Tensor) -> Tensor:
        x = self.trunk.pre_norm(self.trunk.tokens(features))
        for block in self.blocks:
            x = block(x)
        return x[:, 1:]  # (B, hw, C)


class BlockSteps:
    """What `Block.forward` does."""

    def __init__(self, block: Block, rows: int, kind: Kind | None):
        attention, mlp = block.self_attn, block.mlp
        self.layer_norm1, self.layer_norm2, self.heads = block.layer_norm1, block.layer_norm2, attention.heads
        layers = (attention.qkv_proj, attention.out_proj, mlp.fc1, mlp.fc2)
        self.qkv_proj, self.out_proj, self.fc1, self.fc2 = (packed(layer, rows, kind) for layer in layers)

    def __call__(self, x: Tensor) -> Tensor:
        qkv = self.qkv_proj(x, self.layer_norm1).unflatten(2, (3, self.heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # 3 x (B, heads, T, hd)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = self.out_proj(mixed, add=x)
        return self.fc2(self.fc1(x, self.layer_norm2, act="quick_gelu"), add=x)


class QuickClip(Encoder, ClipTrunk):  # pyright: ignore[reportIncompatibleMethodOverride]
    """`ClipTrunk` with its weights laid out and residuals inside the products."""

    steps = Steps
