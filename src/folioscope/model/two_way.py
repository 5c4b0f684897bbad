"""The mask decoder's transformer: prompt tokens and image positions attend to each other, both ways.

Source: Segment Anything (arXiv 2304.02643, appendix A, "Lightweight mask decoder"). Every projection of an image's
positions before the first block's end is done once for all its objects: n is 1 there, and N behind it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from folioscope.config import SamConfig


@dataclass(frozen=True)
class Guidance:
    """A target that the tokens are drawn to, as in PerSAM (arXiv 2305.03048, section 3.2).

    Attributes:
        logits: Added to the logits of the blocks' token-to-image attention, as transformers does since 4.54 or so.
        weights: Added to its weights, which then go through a second softmax, as PerSAM and transformers did before.
            Both broadcast to (B * N, heads, T, h * w).
        target: Added to the tokens before each block; broadcasts to (B, N, T, C).
    """

    logits: Tensor | None = None
    weights: Tensor | None = None
    target: Tensor | None = None


@dataclass
class Trace:
    """Collects what is seen in the decoder, one entry a block.

    Attributes:
        maps: (B, N, heads, T, h * w), the weights with which tokens attend to the image.
        updates: (B, N, h * w, C), what the image's positions take over from the tokens.
    """

    maps: list[Tensor] = field(default_factory=list)
    updates: list[Tensor] = field(default_factory=list)


class TwoWayTransformer(nn.Module):
    def __init__(self, config: SamConfig):
        super().__init__()
        self.layers = nn.ModuleList(TwoWayBlock(config, layer == 0) for layer in range(config.decoder_layers))
        self.final_attn_token_to_image = Attention(config.width, config.decoder_heads, config.final_downsample)
        self.norm_final_attn = nn.LayerNorm(config.width, eps=1e-5)

    def forward(
        self,
        tokens: Tensor,
        image: Tensor,
        positions: Tensor,
        visible: Tensor | None = None,
        guidance: Guidance | None = None,
        trace: Trace | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Let tokens and image read each other.

        Args:
            tokens: (B, N, T, C).
            image: (B, n, h * w, C), n 1 or N.
            positions: (h * w, C), of the image's positions.
            visible: Bool, broadcasts to (B * N, heads, queries, T): tokens that others may attend to; None is all.

        Returns:
            The tokens (B, N, T, C) and the image (B, N, h * w, C) as they then are.
        """
        guidance = guidance or Guidance()
        if guidance.target is not None:
            tokens = tokens + guidance.target  # also where they serve as positions, in the published code
        queries, keys = tokens, image
        for number, block in enumerate(self.layers):
            if number and guidance.target is not None:
                queries = queries + guidance.target
            queries, keys = block(queries, keys, tokens, positions, visible, guidance, trace)
        mixed = self.final_attn_token_to_image(queries + tokens, keys + positions, keys)
        return self.norm_final_attn(queries + mixed), keys


class TwoWayBlock(nn.Module):
    """Tokens to tokens, tokens to image, MLP, image to tokens."""

    def __init__(self, config: SamConfig, first: bool):
        super().__init__()
        width, heads = config.width, config.decoder_heads
        self.first = first
        self.self_attn = Attention(width, heads)
        self.norm1 = nn.LayerNorm(width, eps=config.norm_eps)
        self.cross_attn_token_to_image = Attention(width, heads, downsample=2)
        self.norm2 = nn.LayerNorm(width, eps=config.norm_eps)
        self.mlp = Mlp(width, config.decoder_mlp_width, width)
        self.norm3 = nn.LayerNorm(width, eps=config.norm_eps)
        self.cross_attn_image_to_token = Attention(width, heads, downsample=2)
        self.norm4 = nn.LayerNorm(width, eps=config.norm_eps)

    def forward(
        self,
        queries: Tensor,
        keys: Tensor,
        tokens: Tensor,
        positions: Tensor,
        visible: Tensor | None,
        guidance: Guidance,
        trace: Trace | None,
    ) -> tuple[Tensor, Tensor]:
        """See `TwoWayTransformer`; `tokens` are the queries' positions."""
        queries = self.norm1(self._attend_to_tokens(queries, tokens, visible))
        q, k = queries + tokens, keys + positions
        to_image = self.cross_attn_token_to_image
        queries = self.norm2(queries + to_image(q, k, keys, guidance.logits, guidance.weights))
        queries = self.norm3(queries + self.mlp(queries))
        update = self.cross_attn_image_to_token(k, queries + tokens, queries, visible)  # (B, N, hw, C)
        if trace is not None:
            trace.maps.append(to_image.weights(q, k, guidance.logits, guidance.weights))
            trace.updates.append(update)
        return queries, self.norm4(keys + update)

    def _attend_to_tokens(self, queries: Tensor, tokens: Tensor, visible: Tensor | None) -> Tensor:
        if self.first:  # where queries still are their own positions, and nothing yet to keep
            return self.self_attn(queries, queries, queries, visible)
        q = queries + tokens
        return queries + self.self_attn(q, q, queries, visible)


class Attention(nn.Module):
    """Multi-head attention that works `downsample` times narrower inside."""

    def __init__(self, width: int, heads: int, downsample: int = 1):
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(width, width // downsample)
        self.k_proj = nn.Linear(width, width // downsample)
        self.v_proj = nn.Linear(width, width // downsample)
        self.out_proj = nn.Linear(width // downsample, width)

    def forward(
        self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, weights_bias: Tensor | None = None
    ) -> Tensor:
        """Attend from (B, N | 1, Q, C) to (B, N | 1, K, C); return (B, N, Q, C).

        Args:
            mask: Bool (True takes part) or added to the logits; broadcasts to (B * N, heads, Q, K).
            weights_bias: Added to the weights before they go through a second softmax; broadcasts alike.
        """
        B, N = q.shape[0], max(q.shape[1], k.shape[1])
        values = self._heads(self.v_proj(v), N)
        if weights_bias is None and not torch.is_grad_enabled():
            queries, keys = self._heads(self.q_proj(q), N), self._heads(self.k_proj(k), N)
            mixed = F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
        else:  # torch's fused attention is slow where few tokens and a mask want gradients
            mixed = self.weights(q, k, mask, weights_bias).flatten(0, 1).to(values.dtype) @ values
        return self.out_proj(mixed.transpose(1, 2).flatten(2)).unflatten(0, (B, N))  # (B, N, Q, C)

    def weights(self, q: Tensor, k: Tensor, bias: Tensor | None = None, weights_bias: Tensor | None = None) -> Tensor:
        """The weights (B, N, heads, Q, K) of `forward`; `bias` is its `mask`."""
        B, N = q.shape[0], max(q.shape[1], k.shape[1])
        queries, keys = self._heads(self.q_proj(q), N), self._heads(self.k_proj(k), N)
        logits = queries @ keys.transpose(2, 3) * queries.shape[-1] ** -0.5  # (B * N, heads, Q, K)
        weights = _masked(logits, bias).softmax(dim=-1)
        if weights_bias is not None:
            weights = (weights + weights_bias).softmax(dim=-1)
        return weights.unflatten(0, (B, N))

    def _heads(self, x: Tensor, N: int) -> Tensor:
        x = x.unflatten(3, (self.heads, -1)).transpose(2, 3)  # (B, n, heads, S, hd)
        return x.expand(-1, N, -1, -1, -1).flatten(0, 1)  # (B * N, heads, S, hd)


def _masked(logits: Tensor, mask: Tensor | None) -> Tensor:
    if mask is None:
        return logits
    return logits.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else logits + mask


class Mlp(nn.Module):
    """Linear layers between the given widths, with ReLU between them."""

    def __init__(self, *widths: int):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(*pair) for pair in pairwise(widths))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
        return self.layers[-1](x)
