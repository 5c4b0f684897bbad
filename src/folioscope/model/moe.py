"""DeepSeekMoE: a few experts chosen for each token, and shared experts that see every token.

Source: DeepSeekMoE (arXiv 2401.06066, section 3); greedy top-k without renormalisation, as DeepSeek-OCR runs it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from folioscope.config import DecoderConfig


class SwiGLU(nn.Module):
    """The gated feed-forward network of the dense layer, of each expert and of the shared experts."""

    def __init__(self, hidden: int, width: int):
        super().__init__()
        self.gate_proj = nn.Linear(hidden, width, bias=False)
        self.up_proj = nn.Linear(hidden, width, bias=False)
        self.down_proj = nn.Linear(width, hidden, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Router(nn.Module):
    """Scores every expert for every token, in float32."""

    def __init__(self, config: DecoderConfig):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(config.n_routed_experts, config.hidden_size))
        self.chosen = config.num_experts_per_tok
        self.renormalise = config.norm_topk_prob and config.num_experts_per_tok > 1
        self.scale = config.routed_scaling_factor
        nn.init.normal_(self.weight, std=0.02)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, hidden) to the chosen experts' weights (N, k) float32 and indices (N, k) int64."""
        scores = F.linear(x.float(), self.weight.float()).softmax(dim=-1)  # (N, experts)
        weights, experts = scores.topk(self.chosen, dim=-1, sorted=False)
        if self.renormalise:
            return weights / (weights.sum(dim=-1, keepdim=True) + 1e-20), experts
        return weights * self.scale, experts


class MoE(nn.Module):
    """Routed experts, weighted by the router, plus the shared experts as one wider network."""

    def __init__(self, config: DecoderConfig):
        super().__init__()
        width = config.moe_intermediate_size
        self.gate = Router(config)
        self.experts = nn.ModuleList(SwiGLU(config.hidden_size, width) for _ in range(config.n_routed_experts))
        self.shared_experts = SwiGLU(config.hidden_size, width * config.n_shared_experts)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(0, -2)  # (N, hidden)
        return (self._routed(tokens) + self.shared_experts(tokens)).view_as(x)

    def _routed(self, tokens: Tensor) -> Tensor:
        """Sort the (token, expert) pairs by expert, so that each expert sees its tokens in one matrix."""
        weights, experts = self.gate(tokens)  # (N, k)
        order = experts.flatten().argsort(stable=True)  # (N*k,)
        owner = order // experts.shape[1]  # (N*k,) the token of each pair
        counts = torch.bincount(experts.flatten(), minlength=len(self.experts)).tolist()
        inputs = tokens[owner].split(counts)
        outputs = [expert(x) for expert, x in zip(self.experts, inputs, strict=True) if len(x)]
        weighted = torch.cat(outputs) * weights.flatten()[order, None]  # (N*k, hidden) float32
        return torch.zeros_like(tokens, dtype=weighted.dtype).index_add_(0, owner, weighted).to(tokens.dtype)
