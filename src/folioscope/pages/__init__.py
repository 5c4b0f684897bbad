"""Path, URL, bytes, stream, picture or PDF → pages, one at a time: upright, RGB, as the published `infer` has them."""

from __future__ import annotations

import glob
import os
import re
import sys
from collections.abc import Generator, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import BinaryIO, TypeAlias

import numpy as np
from PIL import Image

from folioscope.pages.limits import MAX_PIXELS, Alpha, Pages, binary
from folioscope.pages.pdf import PDF_DPI as PDF_DPI
from folioscope.pages.pdf import open_pdf
from folioscope.pages.pictures import from_array, open_pictures, rgb
from folioscope.pages.remote import fetch, is_url, listed
from folioscope.types import InputError, Page

Source: TypeAlias = "str | os.PathLike[str] | bytes | BinaryIO | Image.Image | np.ndarray"

Opened: TypeAlias = "Generator[Page | UnreadablePage, None, None]"
"""What `open_pages` gives."""

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp", ".gif", ".jp2", ".ppm", ".pgm", ".pbm", ".pdf")
"""What is taken from a directory."""

STDIN = "-"


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
    max_pixels: int = MAX_PIXELS,
) -> Opened:
    """The pages of a path ("-" is standard input), a URL, bytes, binary stream, Pillow image or array, one at a time.

    Args:
        source: A PDF, or a picture in one of FORMATS. A text with :// in it is a URL: `http(s)`, or one of fsspec's
            (`s3://`, `gs://`); what it names is fetched whole, up to `remote.MAX_BYTES`. Each frame of a TIFF is a
            page; of an animation, the first is.
            An array is (height, width[, 1, 3 or 4]): uint8, uint16, bool, or numbers in 0..1 or 0..255.
        pages: 1-based, such as "1-3,5,8-"; each page comes once, in the document's order. None is all.
        dpi: Resolution PDFs are rendered in; None is 144, or more, up to 300, for small type and fine scans. Pages that
            would go above `max_pixels` get less.
        password: Opens an encrypted PDF.
        alpha: What transparency becomes: "white" paper, or "drop", which shows what was hidden, as `infer` does.
        max_pixels: Larger pictures are refused before they are decoded.

    Yields UnreadablePage in place of one page of several that cannot be had. Raises InputError, when the first page is
    asked for, if none can be: missing, empty, broken, encrypted, above `max_pixels`, or an option out of range.
    """
    name, data = _input(source)
    how = (dpi, password, alpha, max_pixels)
    with _opened(name, data, *how) as (count, read):
        for number in _page_numbers(pages, count, name):
            try:
                page = read(number)
                if not isinstance(data, Image.Image):
                    page = replace(page, again=partial(_drawn_again, name, data, *how, number, page.image.size))
            except InputError as error:
                if count == 1:
                    raise
                page = UnreadablePage(name, number, str(error))
            yield page


def page_numbers(
    source: Source, *, pages: str | None = None, password: str | None = None, max_pixels: int = MAX_PIXELS
) -> Sequence[int]:
    """The numbers of the pages that `open_pages` would give, found without drawing one.

    Raises InputError as it does, but for what only drawing shows; of a source of one picture, its size is checked.
    """
    name, data = _input(source)
    with _opened(name, data, None, password, "white", max_pixels) as (count, _):
        return _page_numbers(pages, count, name)


def open_page(source: Source, *, alpha: Alpha = "white", max_pixels: int = MAX_PIXELS) -> Page:
    """The first page of a source, see `open_pages`. Raises InputError if it cannot be had."""
    page = next(open_pages(source, pages="1", alpha=alpha, max_pixels=max_pixels))
    if isinstance(page, UnreadablePage):
        raise InputError(page.error)
    return page


def expand_sources(paths: Iterable[str | os.PathLike[str]]) -> list[str]:
    """Files, the pictures and PDFs in directories (sorted, not deeper), files that match patterns, and "-", each once.

    URLs of fsspec's name files, directories and patterns too; those of the web are taken as they are. Raises InputError
    for what names no file.
    """
    return list(dict.fromkeys(name for path in paths for name in _expand(os.fspath(path))))


def _expand(path: str) -> list[str]:
    if path == STDIN or os.path.isfile(path):
        return [path]
    if is_url(path):
        return listed(path, SUFFIXES)
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
        return "array", from_array(source)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return "bytes", bytes(source)
    if isinstance(source, str) and is_url(source):
        return source, fetch(source)
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
    name: str,
    data: Path | bytes | Image.Image,
    dpi: float | None,
    password: str | None,
    alpha: Alpha,
    max_pixels: int,
) -> AbstractContextManager[Pages]:
    if isinstance(data, Image.Image):
        return nullcontext((1, lambda number: Page(rgb(data, name, alpha, max_pixels), name, number)))
    if b"%PDF-" in _head(name, data):
        return open_pdf(name, data, dpi, password, max_pixels)
    return open_pictures(name, data, alpha, max_pixels)


@lru_cache(maxsize=1)  # for the figures of a page, which are cut out one after the other
def _drawn_again(
    name: str,
    data: Path | bytes,
    dpi: float | None,
    password: str | None,
    alpha: Alpha,
    max_pixels: int,
    number: int,
    size: tuple[int, int],
) -> Image.Image:
    """The picture of a page that was read before, so that nobody need keep it."""
    with _opened(name, data, dpi, password, alpha, max_pixels) as (_, read):
        image = read(number).image
    if image.size != size:
        raise InputError(f"{name}: page {number} has changed since it was read; read it again")
    return image


def _head(name: str, data: Path | bytes) -> bytes:
    try:
        with binary(data) as file:
            head = file.read(1024)  # a PDF's header may come as late
    except (OSError, ValueError) as error:
        raise InputError(f"{name}: {getattr(error, 'strerror', None) or error}; give a picture or a PDF") from error
    if not head:
        raise InputError(f"{name}: is empty (0 bytes)")
    return head


def page_ranges(pages: str | None) -> list[tuple[int, int | None]]:
    """The first and last page of each range in a text such as "1-3,5,8-", None being the document's last.

    Raises InputError for any other text, before there is a document.
    """
    ranges: list[tuple[int, int | None]] = []
    for part in [] if pages is None else pages.split(","):
        match = re.fullmatch(r"\s*([0-9]{1,9})\s*(?:(-)\s*([0-9]{1,9})?\s*)?", part)
        if not match:
            raise InputError(f'pages="{pages}": "{part}" is not a page or a range; write them as "1-3,5,8-"')
        first = int(match[1])
        last = int(match[3]) if match[3] else None if match[2] else first
        if first < 1:
            raise InputError(f'pages="{pages}": pages count from 1')
        if last is not None and last < first:
            raise InputError(f'pages="{pages}": "{part}" runs backwards; write "{last}-{first}"')
        ranges.append((first, last))
    return ranges


def _page_numbers(pages: str | None, count: int, name: str) -> Sequence[int]:
    numbers: set[int] = set()
    for first, last in page_ranges(pages):
        if max(first, last or 0) > count:
            raise InputError(f'{name}: pages="{pages}" goes beyond its end, page {count}')
        numbers.update(range(first, (last or count) + 1))
    return sorted(numbers) or range(1, count + 1)
