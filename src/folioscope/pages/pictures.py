"""Pictures and arrays → pages: upright, RGB, 8 bits."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from folioscope.pages.limits import FORMATS, Alpha, Pages, binary, refusing
from folioscope.types import InputError, Page

_PILLOW_LIMIT = threading.Lock()


@contextmanager
def open_pictures(name: str, data: Path | bytes, alpha: Alpha, max_pixels: int) -> Iterator[Pages]:
    with binary(data) as file:
        with refusing(name, "its header is broken"), _own_limit():
            image = Image.open(file, formats=FORMATS)
            count = getattr(image, "n_frames", 1) if image.format == "TIFF" else 1
        if count == 1:
            _check_size(image, name, max_pixels)
        yield count, lambda number: _frame(image, name, number, alpha, max_pixels)


def _frame(image: Image.Image, name: str, number: int, alpha: Alpha, max_pixels: int) -> Page:
    with refusing(name, f"the header of page {number} is broken"), _own_limit():
        image.seek(number - 1)
    return Page(rgb(image, name, alpha, max_pixels), name, number)


def rgb(image: Image.Image, name: str, alpha: Alpha, max_pixels: int) -> Image.Image:
    """A new picture: upright, RGB, 8 bits."""
    _check_size(image, name, max_pixels)
    with refusing(name, "the picture is broken or cut short"):
        image.load()
        with suppress(Exception):  # as published: EXIF that cannot be read does not cost the page
            image = ImageOps.exif_transpose(image)
        return _opaque(image, alpha)


def _check_size(image: Image.Image, name: str, max_pixels: int) -> None:
    width, height = image.size
    if not 0 < width * height <= max_pixels:
        limit = f"from 1 to {max_pixels:,} can be read"
        raise InputError(f"{name}: {width} x {height} pixels, {limit}; scale it down or cut it in parts")


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


def from_array(array: np.ndarray) -> Image.Image:
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
def _own_limit() -> Iterator[None]:
    """Pillow refuses without saying how large a picture is, so MAX_PIXELS stands in while a header is read."""
    with _PILLOW_LIMIT:
        theirs, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = theirs
