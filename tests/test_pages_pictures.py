"""What pictures become: upright, RGB, eight bits, on white paper."""

from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from test_pages import BLACK, RED, WHITE, encoded, only, photo


def pixel(source: Any, **options: Any) -> Any:
    return only(source, **options).image.getpixel((0, 0))


def greys(source: Any) -> list[int]:
    """The first row's pixels, which are grey."""
    row = np.asarray(only(source).image)[0]
    assert (row == row[:, :1]).all()
    return row[:, 0].tolist()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP", "BMP", "GIF", "JPEG2000", "PPM"])
def test_every_format_is_read_as_published(kind: str) -> None:
    content = encoded(photo(), kind)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(content))).convert("RGB")
    assert only(content).image.tobytes() == expected.tobytes()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(photo(), "PNG", exif=exif)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
    page = only(content)
    assert page.image.size == ((40, 30) if orientation < 5 else (30, 40))
    assert page.image.tobytes() == expected.tobytes()


def test_broken_exif_does_not_cost_the_page() -> None:
    content = encoded(photo(), "PNG", exif=b"garbage")
    with pytest.raises(SyntaxError):
        Image.open(io.BytesIO(content)).getexif()
    assert only(content).image.size == (40, 30)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "P", "L", "1", "RGB"])
def test_transparent_pixels_become_paper(mode: str) -> None:
    image = Image.new("RGBA", (2, 1), (0, 0, 0, 0))
    options = {} if "A" in mode else {"transparency": 0 if mode != "RGB" else BLACK}
    content = encoded(image.convert(mode), "TIFF" if mode == "PA" else "PNG", **options)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert pixel(content) == WHITE
        assert pixel(content, alpha="drop") == BLACK


def test_half_transparent_pixels_are_blended() -> None:
    image = Image.new("RGBA", (2, 2), (255, 0, 0, 128))
    assert pixel(image) == (255, 127, 127)
    assert pixel(np.asarray(image), alpha="drop") == RED


def test_palettes_with_an_alpha_each() -> None:
    image = Image.new("P", (3, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putdata([0, 1, 1])
    content = encoded(image, "PNG", transparency=bytes([0, 128]))
    colours = {alpha: only(content, alpha=alpha).image.getcolors() for alpha in ("white", "drop")}
    assert colours == {"white": [(1, WHITE), (2, (127, 127, 255))], "drop": [(1, RED), (2, (0, 0, 255))]}


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_16_bit_greys_are_scaled(kind: str) -> None:
    image = Image.fromarray(np.array([[0, 128 * 257, 65535]], np.uint16))
    assert greys(encoded(image, kind)) == [0, 128, 255]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0, 128, 255]], np.int32), [0, 128, 255]),
        (np.array([[0, 257, 65535]], np.int32), [0, 1, 255]),
        (np.array([[0, 10**6, 10**8]], np.int32), [0, 3, 255]),
        (np.array([[-100, 0, 100]], np.int32), [0, 128, 255]),
        (np.array([[0, 0.5, 1]], np.float32), [0, 128, 255]),
        (np.array([[0, 0.5, 255]], np.float32), [0, 0, 255]),
        (np.array([[0, np.nan, 1, np.inf]], np.float32), [0, 0, 255, 0]),
        (np.array([[7e8, 7e8]], np.float32), [0, 0]),
    ],
)
def test_wide_pixels_are_scaled_not_clipped(values: np.ndarray, expected: list[int]) -> None:
    assert greys(encoded(Image.fromarray(values), "TIFF")) == expected
    assert greys(values) == expected


@pytest.mark.parametrize("values", [np.eye(3, dtype=bool), np.eye(3)[..., None], np.eye(3, dtype=np.uint16) * 65535])
def test_arrays_of_any_numbers(values: np.ndarray) -> None:
    assert greys(values) == [255, 0, 0]


def test_print_and_line_art_modes() -> None:
    assert pixel(encoded(Image.new("CMYK", (2, 2), (0, 255, 255, 0)), "TIFF")) == RED
    assert pixel(encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG")) == RED
    assert pixel(encoded(Image.new("1", (2, 2), 1), "TIFF", compression="group4")) == WHITE
