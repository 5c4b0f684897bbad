"""PDFs → pages, drawn by pdfium one at a time."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from pypdfium2 import PdfDocument, PdfImage, PdfiumError, PdfPage
from pypdfium2.raw import FPDF_ERR_PASSWORD, FPDF_PAGEOBJ_IMAGE, FPDF_LoadMemDocument

from folioscope.pages.limits import Pages, refusing
from folioscope.pages.pdf_text import smallest_type, text_regions
from folioscope.types import InputError, Page, Region

PDF_DPI = 144
"""The published scripts render at zoom 2."""

MOST_DPI, MOST_SCAN_DPI = 300, 200
"""Up to which the resolution is raised, when none is asked for: for small type; for a scan that has it."""

LETTER_PIXELS = 9
"""Height of letters that the resolution is raised for: of 8 points at PDF_DPI."""

SCAN = 0.5
"""A page without text is a scan if one picture covers more than this part of it."""

AUTO_PIXELS = 40_000_000
"""A page larger than a sheet of A0 is drawn in fewer dots an inch, unless asked otherwise."""

LIES = 100
"""Pages that a PDF claims beyond the last that is there, and that are reported one by one."""

POINTS_PER_INCH = 72

# pdfium must not be entered by two threads; reentrant, for a forgotten generator may be collected while one renders.
_PDFIUM = threading.RLock()


@contextmanager
def open_pdf(
    name: str, data: Path | bytes, dpi: float | None, password: str | None, max_pixels: int
) -> Iterator[Pages]:
    if dpi is not None and not (math.isfinite(dpi) and dpi > 0):
        raise InputError(f"dpi={dpi}: must be a positive number, such as {PDF_DPI}")
    with _PDFIUM:
        document = _pdf_document(name, data, password)
        count, more = _page_count(document)

    def read(number: int) -> Page:
        if number == count and more:
            claim = f"this page and the {more:,} after it are not there: the PDF claims more pages than it has"
            raise InputError(f"{name}: {claim}")
        page = _pdf_page(document, name, number, dpi, max_pixels)
        return replace(page, text_layer=partial(_text_layer, name, data, password, number, page.image.size))

    try:
        yield count, read
    finally:
        with _PDFIUM:
            document.close()


def _pdf_document(name: str, data: Path | bytes, password: str | None) -> PdfDocument:
    # pdfium sets its last error, of the process, only at some failures: a known one must not be an earlier file's
    FPDF_LoadMemDocument(b"-", 1, None)
    try:
        document = PdfDocument(data if isinstance(data, bytes) else data.absolute(), password=password)
    except PdfiumError as error:
        if error.err_code != FPDF_ERR_PASSWORD:
            raise InputError(f"{name}: the PDF is broken or has no pages ({error})") from error
        raise InputError(f"{name}: is encrypted; {'this is not' if password else 'give'} its password") from error
    with suppress(PdfiumError):  # a page without its form fields is better than no page
        document.init_forms()
    return document


def _page_count(document: PdfDocument) -> tuple[int, int]:
    """How many pages to report, and how many more the last of them stands for.

    A page tree may claim what it likes. Unless its last page is there, all are looked for, without being drawn, and of
    a long tail that is not there one page is reported.
    """
    claimed = len(document)
    if _is_there(document, claimed):
        return claimed, 0
    last, number = 0, 1
    while number <= claimed and number - last <= 10 * LIES:
        last = number if _is_there(document, number) else last
        number += 1
    tail = claimed - last
    return (claimed, 0) if tail <= LIES else (last + 1, tail - 1)


def _is_there(document: PdfDocument, number: int) -> bool:
    try:
        document[number - 1].close()
    except (PdfiumError, IndexError):
        return False
    return True


def _text_layer(
    name: str, data: Path | bytes, password: str | None, number: int, size: tuple[int, int]
) -> tuple[Region, ...]:
    """The page's own text; boxes in pixels of its picture in `size`. Opens the file anew."""
    with (
        _PDFIUM,
        refusing(name, f"the text of page {number} cannot be had"),
        closing(_pdf_document(name, data, password)) as document,
        closing(document[number - 1]) as page,
    ):
        return text_regions(page, size)


def _pdf_page(document: PdfDocument, name: str, number: int, dpi: float | None, max_pixels: int) -> Page:
    with _PDFIUM, refusing(name, f"page {number} cannot be drawn"), closing(document[number - 1]) as page:
        points = page.get_size()
        if dpi is None:
            dpi, max_pixels = _dpi_for(page), min(max_pixels, AUTO_PIXELS)
        scale = _pdf_scale(*points, dpi, max_pixels)
        with closing(page.render(scale)) as bitmap:  # pyright: ignore[reportArgumentType]
            return Page(bitmap.to_pil(), name, number, points)


def _dpi_for(page: PdfPage) -> float:
    """More than PDF_DPI where the type is small, or where a scan has more to show."""
    with suppress(PdfiumError):  # what is wrong with a page, drawing it will tell
        letter = smallest_type(page)
        if letter is not None:
            return min(max(PDF_DPI, POINTS_PER_INCH * LETTER_PIXELS / max(letter, 0.1)), MOST_DPI)
        return min(max(PDF_DPI, _scanned_dpi(page)), MOST_SCAN_DPI)
    return PDF_DPI


def _scanned_dpi(page: PdfPage) -> float:
    """Dots an inch of the picture that covers most of the page; 0 if none does."""
    width, height = page.get_size()
    for image in page.get_objects([FPDF_PAGEOBJ_IMAGE], max_depth=2):
        left, bottom, right, top = image.get_bounds()
        if isinstance(image, PdfImage) and (right - left) * (top - bottom) > SCAN * width * height:
            return POINTS_PER_INCH * max(image.get_px_size()) / max(right - left, top - bottom)
    return 0


def _pdf_scale(width: float, height: float, dpi: float, max_pixels: int) -> float:
    """Pixels per point: as `dpi` asks, or the most for which (width + 1 px) x (height + 1 px) is in `max_pixels`."""
    sides = width + height
    most = 2 * (max_pixels - 1) / (sides + math.sqrt(sides**2 + 4 * width * height * (max_pixels - 1)))
    return min(dpi / POINTS_PER_INCH, most)
