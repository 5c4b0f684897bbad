"""The decoder's pass in training: a page's image tokens once for all that is asked of it, and where its heads look."""

from __future__ import annotations

import torch
from torch import Tensor

from folioscope.model.decoder import Block, rotary_table
from folioscope.model.ocr import DeepseekOcr
from folioscope.train.answers import IGNORE, Row


def decode_guided(model: DeepseekOcr, x: Tensor, rows: Row, pages: int) -> tuple[Tensor, Row, Tensor]:
    """Go through embedded questions and answers.

    Most of a row are image tokens, and all rows of a page begin with the same: these are gone through once.

    The first layer is not guided: it has yet to see what was just written. Of the others the first head is for text,
    the second for the numbers of boxes.

    Args:
        x: (B, T, hidden), as many rows of each page, page by page.

    Returns:
        hidden: (B, R, hidden), normalised, of what comes after the tokens that rows share.
        rows: That part of the rows, (B, R) each.
        attention: (n,), 0..1, of heads where it is known where to look: how much of it is there.
    """
    shared = 1 + int(rows.image_mask.sum(1).min())
    positions = torch.arange(x.shape[1])[None]
    rotation = rotary_table(positions, model.config.decoder, x.dtype)
    before, after = _part(rotation, slice(shared)), _part(rotation, slice(shared, None))
    visible = positions <= positions[0, shared:, None]  # (R, T)
    page, x = x[:: len(x) // pages, :shared], x[:, shared:]
    rows, attention = rows.since(shared), []
    wanted = _guided(rows)
    for layer, block in enumerate(model.decoder.blocks):
        assert isinstance(block, Block)
        page_q, page_k, page_v = _projected(block, page, before)
        q, k, v = _projected(block, x, after)
        k, v = _behind(page_k, k), _behind(page_v, v)
        x = _through(block, x, q, k, v, visible)
        if layer + 1 < len(model.decoder.blocks):  # of the last only its keys and values are looked at
            page = _through(block, page, page_q, page_k, page_v)
        if layer > 0:
            attention += [_shares(q[:, head], k[:, head], slots) for head, slots in enumerate(wanted)]
    return model.decoder.norm(x), rows, torch.cat(attention)


def _part(rotation: tuple[Tensor, Tensor], places: slice) -> tuple[Tensor, Tensor]:
    cos, sin = rotation
    return cos[:, :, places], sin[:, :, places]


def _projected(block: Block, x: Tensor, rotation: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    return block.self_attn.queries_keys_values(block.input_layernorm(x), rotation)


def _behind(seen: Tensor, own: Tensor) -> Tensor:
    """Keys or values of pages, and behind them those of each page's rows: (B, heads, T, hd)."""
    return torch.cat([seen.repeat_interleave(len(own) // len(seen), 0), own], 2)


def _through(block: Block, x: Tensor, q: Tensor, k: Tensor, v: Tensor, visible: Tensor | None = None) -> Tensor:
    """A block's output; `visible` (R, T) bool, None: each position sees those up to its own."""
    x = x + block.self_attn.attend(q, k, v, visible)
    return x + block.mlp(block.post_attention_layernorm(x))


def _guided(rows: Row) -> list[Tensor]:
    """Where each guided head is to look, (B, R) each."""
    is_number = rows.numbers != IGNORE
    return [rows.slots.masked_fill(others, IGNORE) for others in (is_number, ~is_number)]


def _shares(q: Tensor, k: Tensor, slots: Tensor) -> Tensor:
    """Attention of a head, q (B, R, hd) and k (B, T, hd), where it is known where to look, to the token there: (n,)."""
    rows, places = (slots != IGNORE).nonzero(as_tuple=True)  # (n,)
    scores = (q @ k.transpose(1, 2) * q.shape[-1] ** -0.5)[rows, places]  # (n, T)
    future = torch.arange(k.shape[1]) > places[:, None] + k.shape[1] - q.shape[1]  # (n, T)
    shares = scores.float().masked_fill(future, float("-inf")).softmax(-1)
    return shares.gather(1, slots[rows, places][:, None])[:, 0]
