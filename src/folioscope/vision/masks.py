"""SAM's mask decoder on a CPU.

An object has a few tokens and thousands of positions, so every product of the two is arranged the short way around:
logits of token q and position x are (W_k^T q) · x rather than q · (W_k x), and means of values are W_v times means of
positions. Then all that is done to an object's positions happens in two kernels.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from folioscope.model.sam_masks import MaskDecoder
from folioscope.model.sam_prompts import PromptEmbeddings
from folioscope.model.two_way import Attention, Guidance, Trace, TwoWayBlock
from folioscope.native import masks as native
from folioscope.vision.prepared import Forgetful, prepared, runs_plain

AT_ONCE = 8
"""Objects whose maps are in the cache together."""

MANY = 4
"""Objects from which on it pays to make the first block's queries, keys and values of the image once for all."""

HIDDEN = -1e30
"""Added to the logits of what is not to be attended to."""


class QuickMaskDecoder(Forgetful, MaskDecoder):
    """`MaskDecoder`, an image's positions in bfloat16 kernels. Guided, traced or not in bfloat16 it is as ever."""

    def forward(
        self,
        image: Tensor,
        positions: Tensor,
        prompts: PromptEmbeddings,
        guidance: Guidance | None = None,
        trace: Trace | None = None,
    ) -> tuple[Tensor, Tensor]:
        asked = guidance not in (None, Guidance()) or trace is not None
        columns = self.transformer.final_attn_token_to_image.heads
        fits = native.available(image.shape[1], image.shape[2] * image.shape[3], columns)
        if asked or not fits or image.dtype != torch.bfloat16 or runs_plain(self, image):
            return MaskDecoder.forward(self, image, positions, prompts, guidance, trace)
        return prepared(self, lambda: Steps(self))(image, positions, prompts)


class Steps:
    """What `MaskDecoder.forward` does."""

    def __init__(self, decoder: QuickMaskDecoder):
        self.decoder = decoder
        self.blocks = [BlockSteps(block) for block in list[Any](decoder.transformer.layers)]
        self.final = ToImage(decoder.transformer.final_attn_token_to_image)
        first, norm, _, second, _ = list[Any](decoder.output_upscaling)
        layers = (*_transposed(first), _wide(norm.weight), _wide(norm.bias), norm.eps, *_transposed(second))
        self.upscaling = native.Upscaling(*layers)

    def __call__(self, image: Tensor, positions: Tensor, prompts: PromptEmbeddings) -> tuple[Tensor, Tensor]:
        tokens, visible = self.decoder._tokens(prompts)  # (B, N, T, C), (B * N, 1, 1, T)
        places = native.blocked(positions.flatten(1))  # (blocks, C, 64)
        B, N = tokens.shape[:2]
        dense = prompts.dense.expand(B, *prompts.dense.shape[1:])
        logits, quality = [], []
        for b in range(B):
            maps = (image[b] + dense[b]).flatten(2)  # (1 | N, C, hw)
            seen = native.blocked(maps)  # (1 | N, blocks, C, 64)
            shared = self.blocks[0].shared(maps[0], positions.flatten(1)) if len(maps) == 1 and N >= MANY else None
            for some in torch.arange(N).split(AT_ONCE):
                chosen = slice(int(some[0]), int(some[-1]) + 1)
                shown = None if visible is None else visible.unflatten(0, (B, N))[b, chosen]  # (n, 1, 1, T)
                own = seen if len(seen) == 1 else seen[chosen]
                drawn = self._objects(tokens[b, chosen], own, places, shown, shared, (image.shape[2], image.shape[3]))
                logits.append(drawn[0])
                quality.append(drawn[1])
        return torch.cat(logits).unflatten(0, (B, N)), torch.cat(quality).unflatten(0, (B, N))

    def _objects(
        self,
        tokens: Tensor,
        image: Tensor,
        places: Tensor,
        visible: Tensor | None,
        shared: native.Shared | None,
        size: tuple[int, int],
    ) -> tuple[Tensor, Tensor]:
        """Logits (n, outputs, 4h, 4w) and estimates (n, outputs) of objects with tokens (n, T, C)."""
        queries, update, maps = tokens, None, shared
        for number, block in enumerate(self.blocks):
            queries = block.read_tokens(queries, tokens, visible)
            short = shared is not None and number == 0
            asked = block.to_image.queries(queries + tokens, short)
            image, means = native.image_pass(image, places, asked, update, maps)
            maps = shared if number == 0 else None  # still for what the first block does to the image
            queries = block.think(queries + block.to_image.mixed(means, short))
            update = block.update(queries, tokens, visible, short)
        image, means = native.image_pass(image, places, self.final.queries(queries + tokens), update, maps)
        decoder = self.decoder
        tokens = decoder.transformer.norm_final_attn(queries + self.final.mixed(means))
        mixes = [mlp(tokens[:, number]) for number, mlp in enumerate(decoder.output_hypernetworks_mlps, 1)]
        logits = native.upscale(image, size, self.upscaling, torch.stack(mixes, dim=1))
        return logits, decoder.iou_prediction_head(tokens[:, 0])


class BlockSteps:
    """What `TwoWayBlock.forward` does to the tokens."""

    def __init__(self, block: TwoWayBlock):
        self.block, self.to_image = block, ToImage(block.cross_attn_token_to_image)
        self.to_tokens = block.cross_attn_image_to_token
        self.heads = self.to_tokens.heads
        self.asks, self.asks_bias = _by_head(self.to_tokens.q_proj, self.heads)
        self.tells = self.to_tokens.out_proj.weight.detach().unflatten(1, (self.heads, -1))  # (C, heads, hd)
        norm, added = block.norm4, self.to_tokens.out_proj.bias
        self.settled = _wide(added), _wide(norm.weight), _wide(norm.bias), norm.eps

    def read_tokens(self, queries: Tensor, tokens: Tensor, visible: Tensor | None) -> Tensor:
        block = self.block
        return block.norm1(block._attend_to_tokens(queries[None], tokens[None], visible))[0]  # (n, T, C)

    def think(self, queries: Tensor) -> Tensor:
        queries = self.block.norm2(queries)
        return self.block.norm3(queries + self.block.mlp(queries))

    def shared(self, image: Tensor, positions: Tensor) -> native.Shared:
        """What attention to and from an image (C, hw) projects it to."""
        placed, layer = image + positions, self.to_image.attention
        asking, asked, told = (
            native.blocked(torch.addmm(projection.bias[:, None], projection.weight, x))
            for projection, x in ((self.to_tokens.q_proj, placed), (layer.k_proj, placed), (layer.v_proj, image))
        )
        return native.Shared(asking, asked, told)

    def update(self, queries: Tensor, tokens: Tensor, visible: Tensor | None, short: bool) -> native.Update:
        """What tokens (n, T, C) do to the image; `short` keys are for its own queries."""
        keys = _heads(self.to_tokens.k_proj(queries + tokens), self.heads)  # (n, heads, T, hd)
        values = _heads(self.to_tokens.v_proj(queries), self.heads)
        keys = keys * keys.shape[-1] ** -0.5
        bias = (keys.float() @ self.asks_bias[:, :, None])[..., 0] * (not short)  # (n, heads, T)
        if visible is not None:
            bias = bias.masked_fill(~visible[:, 0], HIDDEN)
        added = torch.einsum("chd,nhtd->ncht", self.tells, values).flatten(2).contiguous()  # (n, C, heads * T)
        keys = keys if short else keys @ self.asks  # (n, heads, T, hd | C)
        return native.Update(keys.contiguous(), bias.contiguous(), added, *self.settled)


class ToImage:
    """Tokens that attend to an image: `Attention`, but for what stands between tokens and positions."""

    def __init__(self, attention: Attention):
        self.attention, self.heads = attention, attention.heads
        self.keys, _ = _by_head(attention.k_proj, self.heads)  # its bias is the same for every position
        self.values, self.values_bias = _by_head(attention.v_proj, self.heads)

    def queries(self, tokens: Tensor, short: bool = False) -> Tensor:
        """(n, heads, T, C) of tokens (n, T, C), for positions; if `short` (n, heads, T, hd), for the image's keys."""
        queries = _heads(self.attention.q_proj(tokens), self.heads)  # (n, heads, T, hd)
        queries = queries * queries.shape[-1] ** -0.5
        return (queries if short else queries @ self.keys).contiguous()

    def mixed(self, means: Tensor, short: bool = False) -> Tensor:
        """(n, T, C) of means of positions (n, heads, T, C); if `short`, of the image's own values (n, heads, T, hd)."""
        values = means.to(self.values.dtype)
        if not short:
            values = values @ self.values.transpose(1, 2) + self.values_bias[:, None]  # (n, heads, T, hd)
        return self.attention.out_proj(values.to(self.values.dtype).transpose(1, 2).flatten(2))


def _heads(x: Tensor, heads: int) -> Tensor:
    """(n, T, heads * hd) to (n, heads, T, hd)."""
    return x.unflatten(2, (heads, -1)).transpose(1, 2)


def _by_head(linear: nn.Linear, heads: int) -> tuple[Tensor, Tensor]:
    """Weight (heads, hd, inputs), and bias (heads, hd) float32."""
    return linear.weight.detach().unflatten(0, (heads, -1)), _wide(linear.bias).unflatten(0, (heads, -1))


def _transposed(convolution: nn.ConvTranspose2d) -> tuple[Tensor, Tensor]:
    """Weight (4 * outputs, inputs), rows by place in the square that a position becomes; and bias."""
    assert convolution.bias is not None
    rows = convolution.weight.detach().permute(2, 3, 1, 0).flatten(0, 2).contiguous()  # (2 * 2 * outputs, inputs)
    return rows, _wide(convolution.bias)


def _wide(weight: Tensor) -> Tensor:
    return weight.detach().float().contiguous()
