"""The language model: DeepSeek's 3B mixture of experts with plain multi-head attention.

Source: DeepSeek-OCR (arXiv 2510.18234, section 3.3). `use_mla` is false there, so attention and its rotary
positions (halves rotated, not pairs) are Llama's.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from folioscope.config import DecoderConfig
from folioscope.model.cache import KVCache
from folioscope.model.moe import MoE, SwiGLU


class Decoder(nn.Module):
    """Token embeddings to hidden states to logits; the first layers are dense, the others mixtures of experts."""

    def __init__(self, config: DecoderConfig):
        super().__init__()
        self.config = config
        self.embed = nn.Embedding(config.vocab_size, config.hidden_size)
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)

    def forward(self, x: Tensor, cache: KVCache | None = None) -> Tensor:
        """Run (B, T, hidden) embeddings after what the cache holds; return (B, T, hidden), normalised."""
        positions = torch.arange(x.shape[1], device=x.device)[None] if cache is None else cache.positions(x.shape[1])
        rotation = rotary_table(positions, self.config, x.dtype)
        for block in self.blocks:
            x = block(x, rotation, positions, cache)
        return self.norm(x)

    def logits(self, hidden: Tensor) -> Tensor:
        """(…, hidden) to (…, vocab) float32."""
        return self.head(hidden).float()


class Block(nn.Module):
    def __init__(self, config: DecoderConfig, layer: int):
        super().__init__()
        dense = layer < config.first_k_dense_replace
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = Attention(config, layer)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = SwiGLU(config.hidden_size, config.intermediate_size) if dense else MoE(config)

    def forward(self, x: Tensor, rotation: tuple[Tensor, Tensor], positions: Tensor, cache: KVCache | None) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), rotation, positions, cache)
        return x + self.mlp(self.post_attention_layernorm(x))


class Attention(nn.Module):
    """Causal multi-head attention; with a cache, over all earlier positions of the same row."""

    def __init__(self, config: DecoderConfig, layer: int):
        super().__init__()
        self.layer, self.head_dim = layer, config.head_dim
        self.groups = config.num_attention_heads // config.num_key_value_heads
        query, key = config.num_attention_heads * config.head_dim, config.num_key_value_heads * config.head_dim
        self.q_proj = nn.Linear(config.hidden_size, query, bias=False)
        self.k_proj = nn.Linear(config.hidden_size, key, bias=False)
        self.v_proj = nn.Linear(config.hidden_size, key, bias=False)
        self.o_proj = nn.Linear(query, config.hidden_size, bias=False)

    def forward(self, x: Tensor, rotation: tuple[Tensor, Tensor], positions: Tensor, cache: KVCache | None) -> Tensor:
        q, k, v = self.queries_keys_values(x, rotation)
        visible = None
        if cache is not None:
            past = cache.append(self.layer, positions, k, v)
            if x.shape[1] > 1:  # one query alone is quicker as it comes than in the cache's dtype
                q = q.to(cache.dtype)
            if cache.extent:  # else what has just come is all there is
                k, v = past
                visible = torch.arange(k.shape[2], device=x.device) <= positions[:, None, :, None]  # (B, 1, T, seen)
        return self.attend(q, k, v, visible)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, visible: Tensor | None) -> Tensor:
        """What `mix` finds, heads together again: (B, T, hidden)."""
        return self.o_proj(self.mix(q, k, v, visible).transpose(1, 2).flatten(2))

    def mix(self, q: Tensor, k: Tensor, v: Tensor, visible: Tensor | None) -> Tensor:
        """What queries (B, heads, T, hd) find in keys and values (B, key heads, seen, hd): (B, heads, T, hd).

        `visible` is (B, 1, T, seen) bool; None: the keys are the queries' own, each seen from its position on.
        """
        k, v = k.to(q.dtype), v.to(q.dtype)
        return F.scaled_dot_product_attention(
            q, k, v, attn_mask=visible, is_causal=visible is None, enable_gqa=self.groups > 1
        )

    def queries_keys_values(self, x: Tensor, rotation: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Rotated queries and keys, and values, of (B, T, hidden): three of (B, heads, T, hd)."""
        return *self.queries_keys(x, rotation), self._heads(self.v_proj(x))

    def queries_keys(self, x: Tensor, rotation: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Rotated queries and keys of (B, T, hidden): two of (B, heads, T, hd)."""
        return rotate(self._heads(self.q_proj(x)), rotation), rotate(self._heads(self.k_proj(x)), rotation)

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(2, (-1, self.head_dim)).transpose(1, 2)  # (B, heads, T, hd)


class RMSNorm(nn.Module):
    """x / rms(x) in float32, cast back, then scaled."""

    def __init__(self, hidden: int, eps: float):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(hidden))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        wide = x.float()
        wide = wide * torch.rsqrt(wide.square().mean(dim=-1, keepdim=True) + self.eps)
        return self.weight * wide.to(x.dtype)


def rotary_table(positions: Tensor, config: DecoderConfig, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Cosines and sines (B, 1, T, hd) of positions (B, T), computed in float32."""
    pairs = torch.arange(0, config.head_dim, 2, device=positions.device, dtype=torch.float32)
    frequencies = config.rope_theta ** (-pairs / config.head_dim)  # (hd/2,)
    angles = positions[:, None, :, None].float() * frequencies  # (B, 1, T, hd/2)
    angles = torch.cat([angles, angles], dim=-1)
    return angles.cos().to(dtype), angles.sin().to(dtype)


def rotate(x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    """Rotate each head's first half against its second, as Llama does."""
    cos, sin = rotation
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-second, first], dim=-1) * sin
