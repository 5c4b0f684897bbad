"""Losses that exist in training only, of boxes: what image tokens know of them, and the decoder that writes them.

Digits are written one after the other, each from what is left of a number when those before it are taken off, so what
has to be known is the number itself, sharply.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from folioscope.config import OcrConfig
from folioscope.train.answers import IGNORE
from folioscope.train.render import GRID

MARKS = 101
"""Places along each axis of a page between which the side of a box is to be put."""


class BoxGuides(nn.Module):
    """The heads that are asked for boxes."""

    def __init__(self, config: OcrConfig):
        super().__init__()
        hidden = config.decoder.hidden_size
        self.block = nn.Linear(hidden, 6)
        self.side = nn.Linear(hidden, 4 * MARKS)
        self.part = nn.Linear(config.clip.width, 4 * MARKS)
        self.number = nn.Linear(hidden, MARKS)

    def forward(self, halfway: Tensor, tokens: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        """How badly image tokens know their place and the box of their block, and its sides between marks.

        Args:
            halfway: (B, 1 + s * s, C), what CLIP's last layer is given: it knows the part of the block in its square.
            tokens: (B, s, s, hidden).
            known: (B, s, s, 10), see `Grid.seen`.
        """
        side = _between_marks(self.side(tokens).unflatten(-1, (4, MARKS)), known[..., :4])
        part = self.part(halfway[:, 1:]).unflatten(1, tokens.shape[1:3]).unflatten(-1, (4, MARKS))
        return _misplaced(self.block(tokens).float(), known[..., :6]), side + _between_marks(part, known[..., 6:])

    def written(self, hidden: Tensor, numbers: Tensor) -> Tensor:
        """How badly what writes the next digit of a box's number (B, T), or IGNORE, knows the number."""
        known = numbers != IGNORE
        return _between_marks(self.number(hidden[known]), numbers[known] / GRID)


def _misplaced(said: Tensor, there: Tensor) -> Tensor:
    """The mean distance of what (B, s, s, 6) says from what is there, NaN left out.

    Boxes' sides are off by parts of the box and a tenth of the page: a line of type is lost by what a column can bear.
    """
    size = there[..., 2:4] - there[..., :2] + 0.1  # (B, s, s, 2)
    unit = torch.cat([size, size, torch.ones_like(size)], dim=-1)
    known = ~there.isnan()
    return ((said[known] - there[known]).abs() / unit[known]).mean()


def _between_marks(said: Tensor, sides: Tensor) -> Tensor:
    """Cross-entropy of logits (..., MARKS) and the marks around sides (...), 0..1, NaN left out; 0 of none.

    Both marks have a share, the nearer the more (generalised focal loss, arXiv 2006.04388, section 3.2).
    """
    known = ~sides.isnan()
    places = sides[known].clamp(0, 1) * (MARKS - 1)  # (n,)
    below = places.long().clamp(max=MARKS - 2)
    above = places - below
    logs = said.float()[known].log_softmax(-1)  # (n, MARKS)
    nearer, further = (logs.gather(1, mark[:, None])[:, 0] for mark in (below, below + 1))
    return -((1 - above) * nearer + above * further).sum() / max(1, len(places))
