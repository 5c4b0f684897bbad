"""Figures cut out of their pages, and the links to them.

A page's own Markdown says `images/{k}.jpg`. Saved, several pages and several documents may stand in one folder, so a
figure is `{stem}_images/{page}_{k}.jpg` and the links say so.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

from PIL import Image

from folioscope.export.files import File, jpeg
from folioscope.grounding import tidy
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


def figure_name(stem: str, page: int, number: int) -> str:
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


def with_saved_links(document: Document, stem: str) -> Document:
    """The document with its Markdown linking to the files of `figure_files`."""
    return replace(document, pages=tuple(_relinked(page, stem) for page in document.pages))


def _relinked(page: PageResult, stem: str) -> PageResult:
    """A link to a figure of this page follows its file; without the page's image there is none, and no link."""
    figures = figure_boxes(page)

    def link(found: re.Match[str]) -> str:
        number = int(found[1])
        if number not in figures:
            return found[0]
        return f"![]({figure_name(stem, page.number, number)})" if page.pixels else ""

    return replace(page, markdown=tidy(_LINK.sub(link, page.markdown)))


def cropped(image: Image.Image, box: PixelBox, quality: int) -> bytes:
    """The box of the image as JPEG."""
    return jpeg(image.crop(box), quality)
