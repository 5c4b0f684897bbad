"""Losses that exist in training only: they tell a small network where to look and what stands there.

The text loss alone leaves a small reader guessing from language for very long; the renderer knows more. The patch
loss asks the ViT for the glyph under each patch, the cell loss asks each image token for the glyphs in its square.
Boxes have losses of their own (see `boxes`), and heads of CLIP are led to where a box can be seen (see `looks`). The
guide asks some heads of the decoder to attend to the image token that holds the next glyph.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from folioscope.config import OcrConfig
from folioscope.model.ocr import DeepseekOcr
from folioscope.train.answers import IGNORE, weighted_cross_entropy
from folioscope.train.boxes import BoxGuides
from folioscope.train.grid import CELL_GLYPHS, CHARSET
from folioscope.train.guided_decoder import decode_guided
from folioscope.train.looks import missed, noted, unled
from folioscope.train.samples import Batch

CLASSES = len(CHARSET) + 2


@dataclass(frozen=True)
class Losses:
    """Means over what they are asked on; all but `text` exist in training only. `attention` and `accuracy` are 0..1."""

    text: Tensor
    patch: Tensor
    cell: Tensor
    block: Tensor
    side: Tensor
    number: Tensor
    look: Tensor
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
        self.boxes = BoxGuides(config)
        background = torch.ones(CLASSES)
        background[0] = 0.2  # most patches and places in cells hold nothing
        self.register_buffer("balance", background, persistent=False)
        self.balance: Tensor

    def forward(self, model: DeepseekOcr, batch: Batch) -> Losses:
        with torch.set_grad_enabled(not batch.is_tiled):
            seen = model.encoder.vit(batch.views)  # (B, neck, h, w)
            with noted(model.encoder.clip.blocks) as inputs:
                tokens = model.encoder.understand(seen)  # (B, s, s, hidden)
            tiles = [None if some is None else model.encoder(some) for some in batch.tiles]
            features = [model.encoder.arrange(*page) for page in zip(tokens, tiles, batch.grids, strict=True)]
        ids, image_mask = batch.rows.ids, batch.rows.image_mask
        asked_of = [page for page in features for _ in range(len(ids) // len(features))]
        embedded = model.embed(ids, image_mask, asked_of).to(tokens.dtype)
        hidden, rows, attention = decode_guided(model, embedded, batch.rows, len(features))
        asked = rows.targets != IGNORE
        logits = model.decoder.logits(hidden[asked])  # (n, vocab)
        answers = rows.targets[asked]
        if batch.is_tiled:  # its view is too small for type to be named
            patch = cell = block = side = look = torch.zeros(())
        else:
            patch = self._classify(self.patch(seen.permute(0, 2, 3, 1)), batch.patches)
            cell = self._classify(self.cell(tokens).unflatten(-1, (CELL_GLYPHS, CLASSES)), batch.cells)
            block, side = self.boxes(inputs[-1], tokens, batch.blocks)
            look = unled(model.encoder.clip.blocks, inputs, batch.blocks)
        return Losses(
            text=weighted_cross_entropy(logits, answers, rows.weights[asked]),
            patch=patch,
            cell=cell,
            block=block,
            side=side,
            number=self.boxes.written(hidden, rows.numbers),
            look=look,
            guide=missed(attention),
            attention=attention.sum() / max(1, len(attention)),
            accuracy=(logits.argmax(-1) == answers).float().mean(),
        )

    def _classify(self, logits: Tensor, classes: Tensor) -> Tensor:
        return F.cross_entropy(logits.flatten(0, -2).float(), classes.flatten(), self.balance)
