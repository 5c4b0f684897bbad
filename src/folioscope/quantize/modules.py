"""The decoder's modules as they run on a CPU: same names and results, quicker paths where the kernels are there.

Each class takes the place of the plain one (`module.__class__`, as torch.nn.utils.parametrize does) and falls back to
its forward. Between the modules activations are float32, whatever the weights are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from folioscope import native
from folioscope.model.cache import KVCache
from folioscope.model.decoder import Attention, Decoder, RMSNorm, rotary_table, rotate
from folioscope.model.moe import MoE, SwiGLU
from folioscope.native.bags import Bags
from folioscope.native.step import Block, Plan, Sizes, step
from folioscope.native.torch_path import Inputs, alone_but_for_products, attend, rounded, uses_bags
from folioscope.quantize.linear import Banked, BFloat16Linear, is_stock, runs_natively


class PackedAttention(Banked, Attention):
    """Attention whose decoding step is two products and one call between them."""

    def settle(self) -> None:
        self.lay_out("qkv", self.q_proj, self.k_proj, self.v_proj)

    def queries_keys_values(self, x: Tensor, rotation: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        if not self._products:
            return super().queries_keys_values(x, rotation)
        product = self._products["qkv"]
        qkv = product.times(product.prepared(x.flatten(0, 1))).view(*x.shape[:2], -1)
        qkv = self._heads(qkv)  # (B, heads of all, T, hd)
        query, key = (layer.out_features // self.head_dim for layer in (self.q_proj, self.k_proj))
        q, k = rotate(qkv[:, : query + key], rotation).split((query, key), dim=1)
        return q, k, qkv[:, query + key :]

    def mix(self, q: Tensor, k: Tensor, v: Tensor, visible: Tensor | None) -> Tensor:
        if self._products and q.shape[2] == 1:
            return attend(q, k, v, visible)
        return super().mix(q, k, v, visible)

    def forward(self, x: Tensor, rotation: tuple[Tensor, Tensor], positions: Tensor, cache: KVCache | None) -> Tensor:
        if cache is None or x.shape[1] != 1 or self.head_dim % 16 or not runs_natively(self.q_proj, x):
            return super().forward(x, rotation, positions, cache)
        qkv = native.linear(self.bank("qkv", self.q_proj, self.k_proj, self.v_proj), x[:, 0])
        turn = rotation[0][:, 0, 0], rotation[1][:, 0, 0]  # (B, hd) each
        heads = self.q_proj.out_features // self.head_dim
        keys, values = cache.keys[self.layer], cache.values[self.layer]
        mixed = native.attend(qkv, turn, keys, values, positions[:, 0], heads)  # (B, heads * hd)
        return native.linear(self.bank("out", self.o_proj), mixed)[:, None]  # (B, 1, hidden)


class PackedSwiGLU(Banked, SwiGLU):
    """A gated network of one call, which is a mixture of the one expert that every row has."""

    def forward(self, x: Tensor) -> Tensor:
        rows = x.flatten(0, -2)  # (N, hidden)
        if self._products:
            return self.stock(self._products["in"].prepared(rows)).view(x.shape)
        if not runs_natively(self.gate_proj, x):
            return super().forward(x)
        nobody = torch.empty(len(rows), 0, dtype=torch.int64), torch.empty(len(rows), 0)
        return native.experts(self.whole(), True, rows, *nobody).view(x.shape)

    def settle(self) -> None:
        self.lay_out("in", self.gate_proj, self.up_proj)
        self.lay_out("out", self.down_proj)

    def stock(self, inputs: Inputs) -> Tensor:
        """(N, hidden) of N inputs, from stock operators."""
        assert self._products
        gate, up = self._products["in"].times(inputs).chunk(2, dim=1)  # (N, width) each
        out = self._products["out"]
        return out.times(out.prepared(F.silu(gate) * up))

    def whole(self) -> native.Bank:
        return self.bank("all", self.gate_proj, self.up_proj, self.down_proj)


FEW = 32
"""Rows of which each is multiplied by itself with the experts it chose; more are sorted by expert."""


class PackedMoE(Banked, MoE):
    """A mixture of experts, the shared ones included, of one call."""

    _bags: tuple[Bags, Bags] | None = None

    def forward(self, x: Tensor) -> Tensor:
        rows = x.flatten(0, -2)  # (N, hidden)
        if self._bags and len(rows) <= FEW:
            return self._chosen(rows, *self._bags).view(x.shape)
        if not runs_natively(self.shared_experts.gate_proj, x):
            return super().forward(x)
        weights, ids = self.gate(rows)  # (N, k)
        return native.experts(self.whole(), True, rows, ids, weights).view(x.shape)

    def settle(self) -> None:
        """Without the kernels: int8 experts go to where one call reads those that a row chose."""
        experts: list[Any] = list(self.experts)
        layer = experts[0].gate_proj
        if self._bags or not is_stock(layer) or layer.kind != "int8" or not uses_bags():
            return
        inner = Bags(((one.gate_proj.taken(), one.up_proj.taken()) for one in experts), len(experts))
        outer = Bags(((one.down_proj.taken(),) for one in experts), len(experts))
        self._bags = inner, outer
        for place, one in enumerate(experts):
            one._products = {"in": inner.one(place), "out": outer.one(place)}

    def _chosen(self, rows: Tensor, inner: Bags, outer: Bags) -> Tensor:
        """(N, hidden) of (N, hidden): one call for what all chosen experts take in, one for what they give."""
        weights, ids = self.gate(rows)  # (N, k)
        shared: Any = self.shared_experts
        inputs = rounded(rows)
        gate, up = inner.times(inputs, ids).unbind(1)  # (N * k, width) each
        outputs = outer.times(rounded(F.silu(gate) * up), ids).view(*ids.shape, -1)  # (N, k, hidden)
        return torch.bmm(weights[:, None], outputs)[:, 0] + shared.stock(inputs)

    def whole(self) -> native.Bank:
        if self._banks is not None and "all" in self._banks:
            return self._banks["all"]
        networks: list[Any] = [*self.experts, self.shared_experts]
        return self.bank("all", *(layer for one in networks for layer in (one.gate_proj, one.up_proj, one.down_proj)))


class PackedDecoder(Banked, Decoder):
    """The decoder, whose steps are one call for all blocks."""

    _plan: Plan | None = None

    def forward(self, x: Tensor, cache: KVCache | None = None) -> Tensor:
        first: Any = self.blocks[0]
        if x.shape[:2] == (1, 1) and first.self_attn.is_laid_out:
            with alone_but_for_products():
                return super().forward(x, cache)
        if cache is None or x.shape[1] != 1 or not runs_natively(first.self_attn.q_proj, x):
            return super().forward(x, cache)
        self._plan = self._plan or self._planned()
        if self._plan is None:
            return super().forward(x, cache)
        positions = cache.positions(1)  # (B, 1)
        cos, sin = rotary_table(positions, self.config, torch.float32)  # (B, 1, 1, hd) each
        turn = cos[:, 0, 0], sin[:, 0, 0]
        return self.norm(step(self._plan, x[:, 0], turn, cache.keys, cache.values, positions[:, 0]))[:, None]

    def _planned(self) -> Plan | None:
        """The blocks for the kernels; None if something happens in them that the kernels do not know."""
        dtypes = {weight.dtype for name, weight in self.blocks.named_parameters() if "norm" in name or "gate.w" in name}
        if self.config.head_dim % 16 or len(dtypes) != 1:
            return None
        return Plan(list(map(_weights, self.blocks)), self._sizes())

    def _sizes(self) -> Sizes:
        config = self.config
        heads = (config.num_attention_heads, config.num_key_value_heads, config.head_dim)
        renormalise = config.norm_topk_prob and config.num_experts_per_tok > 1
        experts = (config.n_routed_experts, config.num_experts_per_tok, renormalise, config.routed_scaling_factor)
        return Sizes(*heads, *experts, config.rms_norm_eps)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        self._plan = None  # the weights move
        return super()._apply(fn, recurse)


def _weights(block: Any) -> Block:
    attention, network, router = block.self_attn, block.mlp, getattr(block.mlp, "gate", None)
    return Block(
        norms=(block.input_layernorm.weight.detach(), block.post_attention_layernorm.weight.detach()),
        router=None if router is None else router.weight.detach(),
        qkv=attention.bank("qkv", attention.q_proj, attention.k_proj, attention.v_proj),
        out=attention.bank("out", attention.o_proj),
        network=network.whole(),
    )


class PackedNorm(RMSNorm):
    """RMSNorm of float32 activations."""

    def forward(self, x: Tensor) -> Tensor:
        if runs_natively(self, x):
            return native.norm(x, self.weight, self.eps)
        return x * torch.rsqrt((x * x).mean(dim=-1, keepdim=True) + self.eps) * self.weight.float()


class WideEmbedding(nn.Embedding):
    """Embeddings in float32, whatever their table is stored in."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input).float()


TAKES_PLACE_OF: dict[type[nn.Module], type[nn.Module]] = {
    Decoder: PackedDecoder,
    Attention: PackedAttention,
    MoE: PackedMoE,
    SwiGLU: PackedSwiGLU,
    RMSNorm: PackedNorm,
    nn.Linear: BFloat16Linear,
    nn.Embedding: WideEmbedding,
}
"""Of the decoder's modules."""
