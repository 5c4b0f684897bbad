"""Figures cut out of their pages, and the links to them.

A page's own Markdown says `images/{k}.jpg`. Saved, several pages and several documents may stand in one folder, so a
figure is `{stem}_images/{page}_{k}.jpg` and the links say so.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator
from functools import cache, partial

from PIL import Image

from folioscope.export.files import File, jpeg
from folioscope.types import Box, Document, PageResult

QUALITY = 95
"""JPEG quality of figures: they may be read or cut again."""

_LINK = re.compile(r"!\[\]\(images/(\d{1,9})\.jpg\)")

PixelBox = tuple[int, int, int, int]


def pixel_box(box: Box, size: tuple[int, int]) -> PixelBox:
    """Whole pixels of the page, cut off as the published code does, at least one each way."""
    left, top = min(int(box[0]), size[0] - 1), min(int(box[1]), size[1] - 1)
    return left, top, max(int(box[2]), left + 1), max(int(box[3]), top + 1)


def figure_boxes(page: PageResult) -> dict[int, PixelBox]:
    """Number → box in pixels of the page, for every figure on it."""
    return {
        region.figure + offset: pixel_box(box, page.size)
        for region in page.regions
        if region.figure is not None
        for offset, box in enumerate(region.boxes)
    }


def figure_name(stem: str | None, page: int, number: int) -> str:
    """Where figure `number` of page `page` is saved, below the document's folder."""
    return f"{stem}_images/{page}_{number}.jpg"


def figure_files(document: Document, stem: str) -> Iterator[File]:
    """A JPEG of each figure, in the pixels of its page."""
    for page in document.pages:
        if page.pixels is None:
            continue
        for number, box in figure_boxes(page).items():
            yield File(figure_name(stem, page.number, number), partial(_figure, page.pixels, box))


def _figure(pixels: Callable[[], Image.Image], box: PixelBox) -> bytes:
    return cropped(pixels(), box, QUALITY)


def with_figures(page: PageResult, markdown: str, shown: str, stem: str | None) -> str:
    """Markdown of a page with its figures shown as `ExportOptions.figures` says.

    Without the page's image there is no figure to link or to embed, and no link; without a stem, links stay as they
    are.
    """
    figures = figure_boxes(page)
    image = cache(page.pixels) if page.pixels else None

    def link(found: re.Match[str]) -> str:
        number = int(found[1])
        if number not in figures or (shown == "link" and stem is None):
            return found[0]
        if shown == "placeholder":
            return f"<!-- figure {number} -->"
        if image is None:
            return ""
        name = figure_name(stem, page.number, number)
        return f"![]({data_url(image(), figures[number]) if shown == 'embed' else name})"

    return _LINK.sub(link, markdown)


def data_url(image: Image.Image, box: PixelBox) -> str:
    """A figure as an address that holds it."""
    return "data:image/jpeg;base64," + base64.b64encode(cropped(image, box, QUALITY)).decode("ascii")


def cropped(image: Image.Image, box: PixelBox, quality: int) -> bytes:
    """The box of the image as JPEG."""
    return jpeg(image.crop(box), quality)
