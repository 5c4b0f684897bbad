"""Path, bytes, stream, picture or PDF → pages, one at a time: upright, RGB, as the published `infer` makes them."""

from __future__ import annotations

import glob
import math
import os
import re
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, Literal, TypeAlias

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from pypdfium2 import PdfDocument, PdfiumError
from pypdfium2.raw import FPDF_ERR_PASSWORD

from folioscope.types import InputError, Page

Source: TypeAlias = "str | os.PathLike[str] | bytes | BinaryIO | Image.Image | np.ndarray"
Alpha: TypeAlias = Literal["white", "drop"]
Pages: TypeAlias = "tuple[int, Callable[[int], Page]]"  # how many, and what reads one by its number

MAX_PIXELS = 200_000_000
"""Larger pictures are refused before they are decoded; larger PDF pages are rendered at a lower resolution."""

PDF_DPI = 144
"""The published scripts render at zoom 2."""

FORMATS = ("PNG", "JPEG", "TIFF", "WEBP", "BMP", "GIF", "JPEG2000", "PPM")
"""Pillow's names of the pictures that are read; some it knows besides would start programs (EPS)."""

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp", ".gif", ".jp2", ".ppm", ".pgm", ".pbm", ".pdf")
"""What is taken from a directory."""

STDIN = "-"
POINTS_PER_INCH = 72

# pdfium must not be entered by two threads; reentrant, for a forgotten generator may be collected while one renders.
_PDFIUM = threading.RLock()
_PILLOW_LIMIT = threading.Lock()


@dataclass(frozen=True)
class UnreadablePage:
    """One of several pages of a PDF or a TIFF that cannot be had; `error` is one line."""

    source: str
    number: int
    error: str


def open_pages(
    source: Source,
    *,
    pages: str | None = None,
    dpi: float | None = None,
    password: str | None = None,
    alpha: Alpha = "white",
) -> Iterator[Page | UnreadablePage]:
    """The pages of a path ("-" is standard input), bytes, binary stream, Pillow image or array, one at a time.

    Args:
        source: A PDF, or a picture in one of FORMATS. Each frame of a TIFF is a page; of an animation, the first is.
            An array is (height, width[, 1, 3 or 4]): uint8, uint16, bool, or numbers in 0..1 or 0..255.
        pages: 1-based, such as "1-3,5,8-"; each page comes once, in the document's order. None is all.
        dpi: Resolution PDFs are rendered in; None is 144. Pages that would go above MAX_PIXELS get less.
        password: Opens an encrypted PDF.
        alpha: What transparency becomes: "white" paper, or "drop", which shows what was hidden, as `infer` does.

    Yields UnreadablePage in place of one page of several that cannot be had. Raises InputError, when the first page is
    asked for, if none can be: missing, empty, broken, encrypted, above MAX_PIXELS, or an option out of range.
    """
    name, data = _input(source)
    with _opened(name, data, PDF_DPI if dpi is None else dpi, password, alpha) as (count, read):
        for number in _page_numbers(pages, count, name):
            try:
                page = read(number)
            except InputError as error:
                if count == 1:
                    raise
                page = UnreadablePage(name, number, str(error))
            yield page


def expand_sources(paths: Iterable[str | os.PathLike[str]]) -> list[str]:
    """Files, the pictures and PDFs in directories (sorted, not deeper), files that match patterns, and "-", each once.

    Raises InputError for what names no file.
    """
    return list(dict.fromkeys(name for path in paths for name in _expand(os.fspath(path))))


def _expand(path: str) -> list[str]:
    if path == STDIN or os.path.isfile(path):
        return [path]
    if os.path.isdir(path):
        names = [name for name in os.listdir(path) if name.lower().endswith(SUFFIXES) and not name.startswith(".")]
        found, problem = [os.path.join(path, name) for name in names], f"has no picture or PDF ({' '.join(SUFFIXES)})"
    else:
        found, problem = glob.glob(path, recursive=True), "no such file or directory, and no file matches it"
    files = sorted(name for name in found if os.path.isfile(name))
    if not files:
        raise InputError(f"{path}: {problem}")
    return files


def _input(source: Source) -> tuple[str, Path | bytes | Image.Image]:
    """The source's name for messages, and its path, content or picture."""
    if isinstance(source, Image.Image):
        return str(getattr(source, "filename", "") or "image"), source
    if isinstance(source, np.ndarray):
        return "array", _from_array(source)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return "bytes", bytes(source)
    if isinstance(source, (str, os.PathLike)) and source != STDIN:
        return os.fspath(source), Path(source)
    stream = sys.stdin.buffer if source == STDIN else source
    read = getattr(stream, "read", None)
    if read is None:
        raise InputError(f"{type(source).__name__}: give a path, bytes, a binary stream, a Pillow image or an array")
    name, content = str(getattr(stream, "name", None) or "stream"), read()
    if not isinstance(content, bytes):
        raise InputError(f'{name}: a stream of text; open it with mode "rb"')
    return name, content


def _opened(
    name: str, data: Path | bytes | Image.Image, dpi: float, password: str | None, alpha: Alpha
) -> AbstractContextManager[Pages]:
    if isinstance(data, Image.Image):
        return nullcontext((1, lambda number: Page(_rgb(data, name, alpha), name, number)))
    if b"%PDF-" in _head(name, data):
        return _pdf(name, data, dpi, password)
    return _pictures(name, data, alpha)


def _binary(data: Path | bytes) -> BinaryIO:
    return BytesIO(data) if isinstance(data, bytes) else data.open("rb")


def _head(name: str, data: Path | bytes) -> bytes:
    try:
        with _binary(data) as file:
            head = file.read(1024)  # a PDF's header may come as late
    except (OSError, ValueError) as error:
        raise InputError(f"{name}: {getattr(error, 'strerror', None) or error}; give a picture or a PDF") from error
    if not head:
        raise InputError(f"{name}: is empty (0 bytes)")
    return head


def _page_numbers(pages: str | None, count: int, name: str) -> Sequence[int]:
    numbers: set[int] = set()
    for part in [] if pages is None else pages.split(","):
        match = re.fullmatch(r"\s*([0-9]{1,9})\s*(?:(-)\s*([0-9]{1,9})?\s*)?", part)
        if not match:
            raise InputError(f'pages="{pages}": "{part}" is not a page or a range; write them as "1-3,5,8-"')
        first = int(match[1])
        last = int(match[3]) if match[3] else max(first, count) if match[2] else first
        if first < 1:
            raise InputError(f'pages="{pages}": pages count from 1')
        if last < first:
            raise InputError(f'pages="{pages}": "{part}" runs backwards; write "{last}-{first}"')
        if last > count:
            raise InputError(f'{name}: pages="{pages}" goes beyond its end, page {count}')
        numbers.update(range(first, last + 1))
    return sorted(numbers) or range(1, count + 1)


@contextmanager
def _refusing(name: str, problem: str) -> Iterator[None]:
    """Pillow and pdfium raise whatever a broken file drives them into; all of it becomes one InputError."""
    try:
        yield
    except UnidentifiedImageError as error:
        raise InputError(
            f"{name}: not a PDF, and has no picture header that can be read ({', '.join(FORMATS)})"
        ) from error
    except Exception as error:
        raise InputError(f"{name}: {problem} ({' '.join(str(error).split()) or type(error).__name__})") from error


@contextmanager
def _own_limit() -> Iterator[None]:
    """Pillow refuses without saying how large a picture is, so MAX_PIXELS stands in while a header is read."""
    with _PILLOW_LIMIT:
        theirs, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = theirs


@contextmanager
def _pictures(name: str, data: Path | bytes, alpha: Alpha) -> Iterator[Pages]:
    with _binary(data) as file:
        with _refusing(name, "its header is broken"), _own_limit():
            image = Image.open(file, formats=FORMATS)
            count = getattr(image, "n_frames", 1) if image.format == "TIFF" else 1
        yield count, lambda number: _frame(image, name, number, alpha)


def _frame(image: Image.Image, name: str, number: int, alpha: Alpha) -> Page:
    with _refusing(name, f"the header of page {number} is broken"), _own_limit():
        image.seek(number - 1)
    return Page(_rgb(image, name, alpha), name, number)


def _rgb(image: Image.Image, name: str, alpha: Alpha) -> Image.Image:
    """A new picture: upright, RGB, 8 bits."""
    width, height = image.size
    if not 0 < width * height <= MAX_PIXELS:
        limit = f"from 1 to {MAX_PIXELS:,} can be read"
        raise InputError(f"{name}: {width} x {height} pixels, {limit}; scale it down or cut it in parts")
    with _refusing(name, "the picture is broken or cut short"):
        image.load()
        with suppress(Exception):  # as published: EXIF that cannot be read does not cost the page
            image = ImageOps.exif_transpose(image)
        return _opaque(image, alpha)


def _opaque(image: Image.Image, alpha: Alpha) -> Image.Image:
    if image.mode.startswith(("I", "F")):  # Pillow would clip these to 0..255
        image = Image.fromarray(_eight_bit(np.asarray(image)))
    if image.mode == "P":  # Pillow warns when palettes with transparency go straight to RGB
        image = image.convert("RGBA")
    if alpha == "drop" or not image.has_transparency_data:
        return image.convert("RGB")
    paper = Image.new("RGBA", image.size, "white")
    paper.alpha_composite(image.convert("RGBA"))
    return paper.convert("RGB")


def _from_array(array: np.ndarray) -> Image.Image:
    flat = array[..., 0] if array.shape[2:] == (1,) else array
    if flat.shape[2:] not in ((), (3,), (4,)) or flat.ndim < 2 or not flat.size or flat.dtype.kind not in "buif":
        raise InputError(f"array: {array.dtype} {array.shape} is no picture; give numbers (height, width[, 1, 3 or 4])")
    return Image.fromarray(_eight_bit(flat))


def _eight_bit(values: np.ndarray) -> np.ndarray:
    """uint8: uint16 by its full scale, others by the least of 1, 255, 65535 that holds them all, else stretched."""
    if values.dtype == np.uint8:
        return values
    scales = (65535,) if values.dtype.str[1:] == "u2" else (1, 255, 65535)
    finite = np.nan_to_num(values.astype(np.float32), posinf=0, neginf=0)
    low, high = float(finite.min()), float(finite.max())
    full = next((scale for scale in scales if low >= 0 and high <= scale), None)
    if full is None:
        finite, full = finite - low, high - low or 1
    return np.rint(finite * (255 / full)).astype(np.uint8)


@contextmanager
def _pdf(name: str, data: Path | bytes, dpi: float, password: str | None) -> Iterator[Pages]:
    if not (math.isfinite(dpi) and dpi > 0):
        raise InputError(f"dpi={dpi}: must be a positive number, such as {PDF_DPI}")
    with _PDFIUM:
        document = _pdf_document(name, data, password)
        count = len(document)
    try:
        yield count, lambda number: _pdf_page(document, name, number, dpi)
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


def _pdf_page(document: PdfDocument, name: str, number: int, dpi: float) -> Page:
    with _PDFIUM, _refusing(name, f"page {number} cannot be drawn"), closing(document[number - 1]) as page:
        points = page.get_size()
        scale = _pdf_scale(*points, dpi)
        with closing(page.render(scale)) as bitmap:  # pyright: ignore[reportArgumentType]
            return Page(bitmap.to_pil(), name, number, points)


def _pdf_scale(width: float, height: float, dpi: float) -> float:
    """Pixels per point: as `dpi` asks, or the most for which (width + 1 px) x (height + 1 px) is within MAX_PIXELS."""
    sides = width + height
    most = 2 * (MAX_PIXELS - 1) / (sides + math.sqrt(sides**2 + 4 * width * height * (MAX_PIXELS - 1)))
    return min(dpi / POINTS_PER_INCH, most)
