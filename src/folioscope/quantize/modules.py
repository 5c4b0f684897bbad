"""The decoder's modules as they run on a CPU: same names and results, quicker paths where the kernels are there.

Each class takes the place of the plain one (`module.__class__`, as torch.nn.utils.parametrize does) and falls back to
its forward. Between the modules activations are float32, whatever the weights are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from folioscope import native
from folioscope.model.cache import KVCache
from folioscope.model.decoder import Attention, Decoder, RMSNorm, rotary_table
from folioscope.model.moe import MoE, SwiGLU
from folioscope.native.layout import Kind, pack, packed_shapes, unpacked
from folioscope.native.memory import Arena
from folioscope.native.step import Block, Plan, Sizes, step
from folioscope.native.torch_path import Inputs, Product


class PackedLinear(nn.Module):
    """A linear layer without bias, of integer weights that lie as the kernels read them.

    Attributes:
        kind: "int8" or "int4".
        weight, scale: See `folioscope.native.layout`.
    """

    weight: Tensor
    scale: Tensor

    def __init__(self, kind: Kind, inputs: int, outputs: int, weight: Tensor, scale: Tensor):
        super().__init__()
        self.kind: Kind = kind
        self.in_features, self.out_features = inputs, outputs
        self.register_buffer("weight", weight)
        self.register_buffer("scale", scale)
        self._product: Product | None = None

    @classmethod
    def of(cls, linear: nn.Linear, kind: Kind, arena: Arena) -> PackedLinear:
        """The layer with its weight quantised, into the arena; on the meta device, with the shapes it will have."""
        assert linear.bias is None
        weight = linear.weight.detach()
        outputs, inputs = weight.shape
        shapes = packed_shapes(kind, outputs, inputs)
        dtypes = torch.uint8, torch.float32 if kind == "int8" else torch.bfloat16
        if weight.is_meta:
            data, scale = (torch.empty(shapes[i], dtype=dtypes[i], device="meta") for i in (0, 1))
        elif native.available():
            data, scale = map(arena.empty, shapes, dtypes)
            weight = weight if weight.dtype == torch.bfloat16 else weight.float()
            native.pack(weight.contiguous(), kind, data, scale)
        else:
            data, scale = pack(weight, kind)
        return cls(kind, inputs, outputs, data, scale)

    @property
    def packed(self) -> native.Weight:
        return native.Weight(self.kind, self.out_features, self.in_features, self.weight, self.scale)

    def move(self, arena: Arena) -> None:
        """Where the kernels will read them: weight and scale go from a mapped file into the arena."""
        if native.available():
            self.weight, self.scale = arena.moved(self.weight), arena.moved(self.scale)

    def settle(self) -> None:
        """Without the kernels: what stock operators need takes the place of the weight."""
        if is_stock(self):
            self.product()

    def product(self) -> Product:
        """The layer for stock operators, in place of its weight."""
        if self._product is None:
            self._product = Product(self.packed)
            self.weight = self.scale = torch.empty(0)
        return self._product

    def widened(self) -> Tensor:
        """The weight (outputs, inputs) float32 that this layer multiplies with."""
        return unpacked(self.weight, self.scale, self.kind, self.out_features, self.in_features)

    def forward(self, x: Tensor) -> Tensor:
        """(…, inputs) to (…, outputs) float32."""
        if runs_natively(self, x):
            return native.linear(native.Bank([self.packed]), x)
        self.settle()
        if self._product is None:
            return F.linear(x.float(), self.widened())
        return self._product(x.flatten(0, -2)).unflatten(0, x.shape[:-1])

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, kind={self.kind}"


class BFloat16Linear(nn.Linear):
    """A linear layer whose weight stays as checkpoints have it; in and out are float32."""

    @property
    def packed(self) -> native.Weight:
        return native.Weight("bfloat16", self.out_features, self.in_features, self.weight.detach())

    def forward(self, input: Tensor) -> Tensor:
        if runs_natively(self, input):
            return native.linear(native.Bank([self.packed]), input)
        return super().forward(input.to(self.weight.dtype)).float()


def runs_natively(layer: nn.Module, x: Tensor) -> bool:
    """Whether the kernels can multiply x with this layer's weight."""
    fits = layer.weight.dtype in (torch.uint8, torch.bfloat16) or isinstance(layer, RMSNorm)
    return fits and x.device.type == "cpu" and native.available() and not (x.requires_grad and torch.is_grad_enabled())


def is_stock(layer: nn.Module) -> bool:
    """Whether stock operators multiply with this layer's integers, since there are no kernels."""
    return isinstance(layer, PackedLinear) and not native.available()


class Banked(nn.Module):
    """A module that keeps its weights' addresses for the kernels, until the weights change."""

    _banks: dict[str, native.Bank] | None = None

    def bank(self, name: str, *layers: nn.Module) -> native.Bank:
        if self._banks is None:
            self._banks = {}
        if name not in self._banks:
            self._banks[name] = native.Bank([layer.packed for layer in layers])  # pyright: ignore
        return self._banks[name]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        self._banks = None  # the weights move
        return super()._apply(fn, recurse)


class PackedAttention(Banked, Attention):
    """Attention whose decoding step is two products and one call between them."""

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
        first: Any = self.gate_proj
        if is_stock(first):
            return self.stock(first.product().prepared(rows)).view(x.shape)
        if not runs_natively(first, x):
            return super().forward(x)
        nobody = torch.empty(len(rows), 0, dtype=torch.int64), torch.empty(len(rows), 0)
        return native.experts(self.whole(), True, rows, *nobody).view(x.shape)

    def stock(self, inputs: Inputs) -> Tensor:
        """(N, hidden) of N inputs, from stock operators."""
        layers: Any = self
        inner = F.silu(layers.gate_proj.product().times(inputs)) * layers.up_proj.product().times(inputs)
        return layers.down_proj(inner)

    def whole(self) -> native.Bank:
        return self.bank("all", self.gate_proj, self.up_proj, self.down_proj)


class PackedMoE(Banked, MoE):
    """A mixture of experts, the shared ones included, of one call."""

    def forward(self, x: Tensor) -> Tensor:
        rows = x.flatten(0, -2)  # (N, hidden)
        first = self.shared_experts.gate_proj
        if len(rows) == 1 and is_stock(first):
            return self._alone(rows).view(x.shape)
        if not runs_natively(first, x):
            return super().forward(x)
        weights, ids = self.gate(rows)  # (N, k)
        return native.experts(self.whole(), True, rows, ids, weights).view(x.shape)

    def _alone(self, row: Tensor) -> Tensor:
        """(1, hidden) of one row from few stock operators: what is done to it for all of its experts is done once."""
        weights, ids = self.gate(row)  # (1, k)
        chosen: list[Any] = [self.experts[expert] for expert in ids[0].tolist()]
        first, shared = chosen[0], cast(PackedSwiGLU, self.shared_experts)
        inputs = first.gate_proj.product().prepared(row)
        gate = torch.cat([one.gate_proj.product().times(inputs) for one in chosen])  # (k, width)
        up = torch.cat([one.up_proj.product().times(inputs) for one in chosen])
        inner = first.down_proj.product().prepared(F.silu(gate) * up).rows()
        outputs = [one.down_proj.product().times(mine) for one, mine in zip(chosen, inner, strict=True)]
        return weights @ torch.cat(outputs) + shared.stock(inputs)

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
        return F.rms_norm(x.float(), self.weight.shape, self.weight.float(), self.eps)


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
