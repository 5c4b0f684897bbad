"""The page with what the model pointed at drawn on it, in the manner of the published `result_with_boxes.jpg`."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from PIL import Image, ImageDraw, ImageFont

from folioscope.export.figures import PixelBox, pixel_box
from folioscope.export.files import File, jpeg
from folioscope.types import Document, PageResult

Colour = tuple[int, int, int]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

COLOURS: dict[str, Colour] = {
    "text": (31, 119, 180),
    "title": (214, 39, 40),
    "sub_title": (255, 127, 14),
    "table": (44, 160, 44),
    "table_caption": (23, 160, 140),
    "image": (148, 103, 189),
    "image_caption": (227, 90, 180),
    "equation": (140, 86, 75),
    "list": (60, 60, 200),
    "header": (110, 110, 110),
}
"""The commonest labels are never drawn alike; the others take one of these by their name."""

VEIL_ALPHA = 20
FONT_SIZE, CAPTION_RISE = 10, 15
CAPTION_LENGTH = 40
PIXELS_PER_SCALE = 1000
"""One more pixel of line width for each this many of the page, so that a scan is as legible as a screenshot."""


@dataclass(frozen=True)
class Mark:
    """Boxes in whole pixels to be drawn in one colour under one label."""

    label: str
    boxes: tuple[PixelBox, ...]
    colour: Colour


def draw(image: Image.Image, marks: Iterable[Mark], scale: int = 1) -> Image.Image:
    """A copy of the RGB image with outlines (a title's double), a thin veil of colour in each box, and its label above.

    `scale` 1 is the published look: lines of 2 pixels, labels of 10. A box with its corners swapped is left out.
    """
    picture, veil = image.copy(), Image.new("RGBA", image.size, (0, 0, 0, 0))
    pen, veil_pen = ImageDraw.Draw(picture), ImageDraw.Draw(veil)
    font = ImageFont.load_default(FONT_SIZE * scale)
    for mark in marks:
        width = scale * (4 if mark.label == "title" else 2)
        for box in mark.boxes:
            if box[0] <= box[2] and box[1] <= box[3]:
                pen.rectangle(box, outline=mark.colour, width=width)
                veil_pen.rectangle(box, fill=(*mark.colour, VEIL_ALPHA), outline=(0, 0, 0, 0), width=1)
                with suppress(OSError, ValueError):  # a label the font cannot draw is no reason to lose the picture
                    _caption(pen, mark, (box[0], max(0, box[1] - CAPTION_RISE * scale)), font)
    picture.paste(veil, (0, 0), veil)
    return picture


def _caption(pen: ImageDraw.ImageDraw, mark: Mark, corner: tuple[int, int], font: Font) -> None:
    left, top, right, bottom = pen.textbbox((0, 0), mark.label, font=font)
    x, y = corner
    pen.rectangle((x, y, x + right - left, y + bottom - top), fill=(255, 255, 255))
    pen.text(corner, mark.label, font=font, fill=mark.colour)


def colour_of(label: str) -> Colour:
    """The colour of a label, the same on every page."""
    colours = tuple(COLOURS.values())
    return COLOURS.get(label.lower(), colours[zlib.crc32(label.lower().encode("utf-8", "replace")) % len(colours)])


def overlay_files(document: Document, stem: str) -> Iterator[File]:
    """`{stem}_overlay.jpg`, or `{stem}_overlay_{page}.jpg` when there are several pages; none for a page not kept."""
    for page in document.pages:
        number = f"_{page.number}" if len(document.pages) > 1 else ""
        if page.pixels:
            yield File(f"{stem}_overlay{number}.jpg", partial(_overlay, page, page.pixels))


def _overlay(page: PageResult, pixels: Callable[[], Image.Image]) -> bytes:
    image = pixels()
    marks = [
        Mark(
            region.label[:CAPTION_LENGTH],
            tuple(pixel_box(box, page.size) for box in region.boxes),
            colour_of(region.label),
        )
        for region in page.regions
    ]
    return jpeg(draw(image, marks, scale=max(1, round(max(image.size) / PIXELS_PER_SCALE))))
