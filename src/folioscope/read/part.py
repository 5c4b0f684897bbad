"""What of a page is shown to the model: all of it, turned, or one of its halves; and the way back to the page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from PIL import Image

from folioscope.ink import Ink
from folioscope.types import Box, Region

TRANSPOSED: Mapping[int, Image.Transpose] = {
    90: Image.Transpose.ROTATE_270,  # Pillow counts the other way round
    180: Image.Transpose.ROTATE_180,
    270: Image.Transpose.ROTATE_90,
}

CUT_FROM, CUT_TO = 0.4, 0.6
"""A page is cut in halves where least ink is between these parts of it."""


@dataclass(frozen=True)
class Part:
    """A picture of a page or of a part of it.

    Attributes:
        image: What the model is shown.
        turned: Degrees clockwise by which it was turned.
        corner: Its left top on the page in pixels, before it was turned.
    """

    image: Image.Image
    turned: int = 0
    corner: tuple[int, int] = (0, 0)

    def on_page(self, box: Box) -> Box:
        """A box in pixels of `image`, in pixels of the page."""
        (x1, y1, x2, y2), (width, height) = box, self.image.size
        if self.turned == 90:
            x1, y1, x2, y2 = y1, width - x2, y2, width - x1
        elif self.turned == 180:
            x1, y1, x2, y2 = width - x2, height - y2, width - x1, height - y1
        elif self.turned == 270:
            x1, y1, x2, y2 = height - y2, x1, height - y1, x2
        left, top = self.corner
        return x1 + left, y1 + top, x2 + left, y2 + top

    def region_on_page(self, region: Region, figures: int) -> Region:
        """A region of `image` as one of the page, on which `figures` figures come before those of this part."""
        figure = None if region.figure is None else region.figure + figures
        return replace(region.moved(self.on_page), figure=figure)


def turned(image: Image.Image, degrees: int) -> Part:
    """The page turned clockwise by 90, 180 or 270 degrees."""
    return Part(image.transpose(TRANSPOSED[degrees]), degrees)


def halves(image: Image.Image, ink: Ink) -> tuple[Part, Part]:
    """The page cut across its longer side, where it has least ink near the middle: in lines of text, between two."""
    (width, height), axis = image.size, int(image.width > image.height)
    at = min(max(1, ink.gap(CUT_FROM, CUT_TO, axis)), max(image.size) - 1)
    boxes = ((0, 0, at, height), (at, 0, width, height)) if axis else ((0, 0, width, at), (0, at, width, height))
    first, second = (Part(image.crop(box), corner=box[:2]) for box in boxes)
    return first, second
