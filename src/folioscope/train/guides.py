"""Losses that exist in training only: they tell a small network where to look and what stands there.

The text loss alone leaves a small reader guessing from language for very long; the renderer knows more. The patch
loss asks the ViT for the glyph under each patch, the cell loss asks each image token for the glyphs in its square, the
block loss for its place on the page and the box of the block it lies in, and the guide asks some decoder heads to
attend to the image token that holds the next glyph.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from folioscope.config import OcrConfig
from folioscope.model.decoder import Block, rotary_table
from folioscope.model.ocr import DeepseekOcr
from folioscope.train.answers import IGNORE, weighted_cross_entropy
from folioscope.train.grid import CELL_GLYPHS, CHARSET
from folioscope.train.samples import Batch

CLASSES = len(CHARSET) + 2


@dataclass(frozen=True)
class Losses:
    """Means over what they are asked on; all but `text` exist in training only. `attention` and `accuracy` are 0..1."""

    text: Tensor
    patch: Tensor
    cell: Tensor
    block: Tensor
    guide: Tensor
    attention: Tensor
    accuracy: Tensor


class Guides(nn.Module):
    """The training-only heads, and the forward pass that collects every loss.

    Tiled pages teach the decoder alone: a tile is a view like any other, and seven views a page are much to learn from.
    """

    def __init__(self, config: OcrConfig):
        super().__init__()
        self.patch = nn.Linear(config.vit.neck_channels, CLASSES)
        self.cell = nn.Linear(config.decoder.hidden_size, CLASSES * CELL_GLYPHS)
        self.block = nn.Linear(config.decoder.hidden_size, 6)
        background = torch.ones(CLASSES)
        background[0] = 0.2  # most patches and places in cells hold nothing
        self.register_buffer("balance", background, persistent=False)
        self.balance: Tensor

    def forward(self, model: DeepseekOcr, batch: Batch) -> Losses:
        with torch.set_grad_enabled(not batch.is_tiled):
            seen = model.encoder.vit(batch.views)  # (B, neck, h, w)
            tokens = model.encoder.understand(seen)  # (B, s, s, hidden)
            tiles = [None if some is None else model.encoder(some) for some in batch.tiles]
            features = [model.encoder.arrange(*page) for page in zip(tokens, tiles, batch.grids, strict=True)]
        rows = batch.rows
        asked_of = [page for page in features for _ in range(len(rows.ids) // len(features))]
        embedded = model.embed(rows.ids, rows.image_mask, asked_of).to(tokens.dtype)
        hidden, attention = self._decode(model, embedded, rows.slots)
        asked = rows.targets != IGNORE
        logits = model.decoder.logits(hidden[asked])  # (n, vocab)
        answers = rows.targets[asked]
        patch, cell, block = self._named(seen, tokens, batch)
        return Losses(
            text=weighted_cross_entropy(logits, answers, rows.weights[asked]),
            patch=patch,
            cell=cell,
            block=block,
            guide=-attention.clamp_min(1e-6).log().mean(),
            attention=attention.mean(),
            accuracy=(logits.argmax(-1) == answers).float().mean(),
        )

    def _named(self, seen: Tensor, tokens: Tensor, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """The patch, cell and block losses. Of tiled pages none: in their view type is too small to be named."""
        if batch.is_tiled:
            return torch.zeros(()), torch.zeros(()), torch.zeros(())
        cells = self.cell(tokens).unflatten(-1, (CELL_GLYPHS, CLASSES))
        patches = self.patch(seen.permute(0, 2, 3, 1))
        block = _misplaced(self.block(tokens).float(), batch.blocks)
        return self._classify(patches, batch.patches), self._classify(cells, batch.cells), block

    def _decode(self, model: DeepseekOcr, x: Tensor, slots: Tensor) -> tuple[Tensor, Tensor]:
        """The decoder's pass, and how much its guided heads look where they should: (n,), 0..1.

        The first layer is not guided: it has yet to see what was just written.
        """
        positions = torch.arange(x.shape[1])[None]
        rotation = rotary_table(positions, model.config.decoder, x.dtype)
        attention = []
        for layer, block in enumerate(model.decoder.blocks):
            assert isinstance(block, Block)
            if layer > 0:
                attention.append(_attention(block, x, rotation, slots))
            x = block(x, rotation, positions, None)
        return model.decoder.norm(x), torch.cat(attention)

    def _classify(self, logits: Tensor, classes: Tensor) -> Tensor:
        return F.cross_entropy(logits.flatten(0, -2).float(), classes.flatten(), self.balance)


def _misplaced(said: Tensor, there: Tensor) -> Tensor:
    """The mean distance of what (B, s, s, 6) says from what is there, NaN left out.

    Boxes' sides are off by parts of the box and a tenth of the page: a line of type is lost by what a column can bear.
    """
    size = there[..., 2:4] - there[..., :2] + 0.1  # (B, s, s, 2)
    unit = torch.cat([size, size, torch.ones_like(size)], dim=-1)
    known = ~there.isnan()
    return ((said[known] - there[known]).abs() / unit[known]).mean()


def _attention(block: Block, x: Tensor, rotation: tuple[Tensor, Tensor], slots: Tensor) -> Tensor:
    """Attention of a block's first head, where a next glyph is known, to the image token that holds it: (n,)."""
    rows, places = (slots != IGNORE).nonzero(as_tuple=True)  # (n,)
    q, k = block.self_attn.queries_keys(block.input_layernorm(x), rotation)  # (B, heads, T, hd)
    scores = q[:, 0] @ k[:, 0].transpose(1, 2) * q.shape[-1] ** -0.5  # (B, T, T)
    future = torch.arange(slots.shape[1]) > places[:, None]  # (n, T)
    shares = scores[rows, places].float().masked_fill(future, float("-inf")).softmax(-1)  # (n, T)
    return shares.gather(1, slots[rows, places][:, None])[:, 0]
