"""PDFs → pages, drawn by pdfium one at a time."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from pypdfium2 import PdfDocument, PdfiumError
from pypdfium2.raw import FPDF_ERR_PASSWORD

from folioscope.pages.limits import Pages, refusing
from folioscope.types import InputError, Page

PDF_DPI = 144
"""The published scripts render at zoom 2."""

POINTS_PER_INCH = 72

# pdfium must not be entered by two threads; reentrant, for a forgotten generator may be collected while one renders.
_PDFIUM = threading.RLock()


@contextmanager
def open_pdf(name: str, data: Path | bytes, dpi: float, password: str | None, max_pixels: int) -> Iterator[Pages]:
    if not (math.isfinite(dpi) and dpi > 0):
        raise InputError(f"dpi={dpi}: must be a positive number, such as {PDF_DPI}")
    with _PDFIUM:
        document = _pdf_document(name, data, password)
        count = len(document)
    try:
        yield count, lambda number: _pdf_page(document, name, number, dpi, max_pixels)
    finally:
        with _PDFIUM:
            document.close()


def _pdf_document(name: str, data: Path | bytes, password: str | None) -> PdfDocument:
    try:
        document = PdfDocument(data if isinstance(data, bytes) else data.absolute(), password=password)
    except PdfiumError as error:
        if error.err_code != FPDF_ERR_PASSWORD:
            raise InputError(f"{name}: the PDF is broken or has no pages ({error})") from error
        raise InputError(f"{name}: is encrypted; {'this is not' if password else 'give'} its password") from error
    with suppress(PdfiumError):  # a page without its form fields is better than no page
        document.init_forms()
    return document


def _pdf_page(document: PdfDocument, name: str, number: int, dpi: float, max_pixels: int) -> Page:
    with _PDFIUM, refusing(name, f"page {number} cannot be drawn"), closing(document[number - 1]) as page:
        points = page.get_size()
        scale = _pdf_scale(*points, dpi, max_pixels)
        with closing(page.render(scale)) as bitmap:  # pyright: ignore[reportArgumentType]
            return Page(bitmap.to_pil(), name, number, points)


def _pdf_scale(width: float, height: float, dpi: float, max_pixels: int) -> float:
    """Pixels per point: as `dpi` asks, or the most for which (width + 1 px) x (height + 1 px) is in `max_pixels`."""
    sides = width + height
    most = 2 * (max_pixels - 1) / (sides + math.sqrt(sides**2 + 4 * width * height * (max_pixels - 1)))
    return min(dpi / POINTS_PER_INCH, most)
