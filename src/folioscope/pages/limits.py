"""What every source is held to: a size, and one line for whatever its decoder is driven into."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, Literal, TypeAlias

from PIL import UnidentifiedImageError

from folioscope.types import InputError, Page

Alpha: TypeAlias = Literal["white", "drop"]
Pages: TypeAlias = "tuple[int, Callable[[int], Page]]"  # how many, and what reads one by its number

MAX_PIXELS = 200_000_000
"""Larger pictures are refused before they are decoded; larger PDF pages are rendered at a lower resolution."""

FORMATS = ("PNG", "JPEG", "TIFF", "WEBP", "BMP", "GIF", "JPEG2000", "PPM")
"""Pillow's names of the pictures that are read; some it knows besides would start programs (EPS)."""


def binary(data: Path | bytes) -> BinaryIO:
    return BytesIO(data) if isinstance(data, bytes) else data.open("rb")


@contextmanager
def refusing(name: str, problem: str) -> Iterator[None]:
    """Pillow and pdfium raise whatever a broken file drives them into; all of it becomes one InputError."""
    try:
        yield
    except UnidentifiedImageError as error:
        raise InputError(
            f"{name}: not a PDF, and has no picture header that can be read ({', '.join(FORMATS)})"
        ) from error
    except Exception as error:
        raise InputError(f"{name}: {problem} ({' '.join(str(error).split()) or type(error).__name__})") from error
