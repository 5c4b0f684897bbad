"""Pages from sources of every kind, page ranges, and what is said of sources that are none."""

from __future__ import annotations

import io
import struct
import sys
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from folioscope.pages import UnreadablePage, expand_sources, open_pages, page_numbers
from folioscope.types import InputError, Page

WHITE, BLACK, RED = (255, 255, 255), (0, 0, 0), (255, 0, 0)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def only(source: Any, **options: Any) -> Page:
    (page,) = open_pages(source, **options)
    assert isinstance(page, Page)
    assert page.image.mode == "RGB"
    return page


def photo(width: int = 40, height: int = 30) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def png_header(width: int, height: int) -> bytes:
    """As far as a PNG needs to go to say its size."""
    header = b"IHDR" + struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header)) + b"\0\0\1\0IDAT"
    )


def tiff(*frames: Image.Image, **options: Any) -> bytes:
    return encoded(frames[0], "TIFF", save_all=True, append_images=frames[1:], **options)


def refusal(source: Any, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        list(open_pages(source, **options))
    message = str(caught.value)
    assert "\n" not in message
    return message


# Sources


def test_every_kind_of_source_gives_the_same_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image, path = photo(), tmp_path / "page.png"
    image.save(path)
    content = path.read_bytes()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    sources = [path, str(path), content, bytearray(content), io.BytesIO(content), image, np.asarray(image), "-"]
    found = [only(source) for source in sources]
    assert all(page.image.tobytes() == image.tobytes() and (page.number, page.points) == (1, None) for page in found)
    assert [page.source for page in found[:7]] == [str(path), str(path), "bytes", "bytes", "stream", "image", "array"]


def test_a_given_image_is_left_alone() -> None:
    image = photo()
    only(image).image.paste(RED, (0, 0, 40, 30))
    assert image.tobytes() == photo().tobytes()
    with Image.open(io.BytesIO(encoded(image, "PNG"))) as lazy:
        assert only(lazy).source == "image"


def test_a_file_is_closed_after_use(tmp_path: Path) -> None:
    path = tmp_path / "page.png"
    photo().save(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        only(path)
        path.rename(tmp_path / "moved.png")


# Pages of pictures


def test_frames_of_a_tiff_are_pages_and_of_an_animation_the_first_is() -> None:
    frames = [Image.new("RGB", (size, 9), color) for size, color in ((9, RED), (10, WHITE), (11, BLACK))]
    found = [page for page in open_pages(tiff(*frames)) if isinstance(page, Page)]
    assert [(page.number, page.image.width, page.image.getpixel((0, 0))) for page in found] == [
        *[(1, 9, RED), (2, 10, WHITE), (3, 11, BLACK)]
    ]
    assert only(tiff(*frames), pages="2").image.width == 10
    for kind in ("GIF", "WEBP", "PNG"):
        animation = encoded(frames[0], kind, save_all=True, append_images=[Image.new("RGB", (9, 9), BLACK)])
        assert only(animation).number == 1


def test_a_broken_frame_does_not_cost_the_others() -> None:
    content = bytearray(tiff(photo(), photo(), photo(), compression="tiff_lzw"))
    with Image.open(io.BytesIO(content)) as image:
        image.seek(1)
        (start,), (length,) = image.tag_v2[273], image.tag_v2[279]
    content[start : start + length] = bytes(length)
    found = list(open_pages(bytes(content)))
    assert [type(page) for page in found] == [Page, UnreadablePage, Page]
    assert "bytes: the picture is broken" in found[1].error  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [("1", [1]), ("2-3", [2, 3]), ("3-", [3, 4, 5]), ("5,1-2,2", [1, 2, 5]), (" 1 - 2 , 4 ", [1, 2, 4]), ("5-", [5])],
)
def test_page_ranges(wanted: str, expected: list[int]) -> None:
    content = tiff(*[photo(5, 5)] * 5)
    assert [page.number for page in open_pages(content, pages=wanted)] == expected


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("0", "pages count from 1"),
        ("0-2", "pages count from 1"),
        ("2-1", '"2-1" runs backwards; write "1-2"'),
        *[(wanted, "goes beyond its end, page 2") for wanted in ("3", "1-3", "3-", "999999999")],
        *[
            (wanted, "is not a page or a range")
            for wanted in ("", "a", "-2", "1,,2", "1--2", "1 2", "1.5", "١", "9" * 99)
        ],
    ],
)
def test_bad_page_ranges_are_refused(wanted: str, message: str) -> None:
    assert message in refusal(tiff(photo(), photo()), pages=wanted)
    assert f'pages="{wanted}"' in refusal(photo(), pages=wanted)


# Limits and refusals


@pytest.mark.parametrize("size", [(1, 5000), (5000, 1), (1, 1)])
def test_thin_pictures_work(size: tuple[int, int]) -> None:
    assert only(encoded(Image.new("RGB", size), "PNG")).image.size == size


def test_pictures_above_the_limit_are_refused_before_decoding() -> None:
    message = refusal(png_header(35000, 35000))
    assert message == "bytes: 35000 x 35000 pixels, from 1 to 200,000,000 can be read; scale it down or cut it in parts"
    assert Image.MAX_IMAGE_PIXELS is not None


def test_the_limit_is_ours_not_pillows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert only(encoded(photo(), "PNG")).image.size == (40, 30)
    assert len(list(open_pages(tiff(photo(), photo())))) == 2
    for source in (encoded(photo(), "PNG"), photo(), np.asarray(photo())):
        assert "40 x 30 pixels" in refusal(source, max_pixels=40 * 30 - 1)


def test_page_numbers_are_those_of_the_pages_and_decode_nothing() -> None:
    source = tiff(photo(), photo(), photo())
    assert list(page_numbers(source, pages="2-")) == [page.number for page in open_pages(source, pages="2-")]
    assert list(page_numbers(encoded(photo(), "PNG")[:500])) == [1]
    with pytest.raises(InputError, match="35000 x 35000 pixels, from 1 to 1,000"):
        page_numbers(png_header(35000, 35000), max_pixels=1000)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (b"", "bytes: is empty (0 bytes)"),
        (b"plain text, no picture", "bytes: not a PDF, and has no picture header that can be read (PNG, JPEG,"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a PDF, and has no picture header"),
        (encoded(photo(), "PNG")[:500], "bytes: the picture is broken or cut short ("),
        (encoded(photo(), "JPEG")[:-300], "bytes: the picture is broken or cut short ("),
        (encoded(photo(), "TIFF")[:300], "bytes: "),
        (Image.new("RGB", (0, 5)), "image: 0 x 5 pixels"),
        (np.zeros((0, 5, 3), np.uint8), "array: uint8 (0, 5, 3) is no picture"),
        (np.zeros((3, 5, 5), np.uint8), "array: uint8 (3, 5, 5) is no picture"),
        (np.zeros(5), "array: float64 (5,) is no picture"),
        (np.zeros((2, 2), complex), "array: complex128 (2, 2) is no picture"),
        (np.array([["a"]]), "is no picture"),
        (io.StringIO("text"), 'stream: a stream of text; open it with mode "rb"'),
        (7, "int: give a path, bytes, a binary stream, a Pillow image or an array"),
        (None, "NoneType: give a path"),
        ("a\0b", "embedded null byte"),
        ("", "directory"),
    ],
)
def test_what_is_no_page_is_refused(source: Any, message: str) -> None:
    assert message in refusal(source)


def test_bad_paths_are_refused_by_name(tmp_path: Path) -> None:
    assert (
        refusal(tmp_path / "none.png") == f"{tmp_path / 'none.png'}: No such file or directory; give a picture or a PDF"
    )
    assert refusal(tmp_path) == f"{tmp_path}: Is a directory; give a picture or a PDF"
    (tmp_path / "notes.pdf").write_text("not a PDF")
    assert refusal(tmp_path / "notes.pdf").startswith(f"{tmp_path / 'notes.pdf'}: not a PDF")


# What the command line is given


def test_sources_are_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("scans", "deeper").mkdir(parents=True)
    for name in ("b.PNG", "a.pdf", "c.txt", ".hidden.png", "deeper/d.png", "[x].png"):
        Path("scans", name).write_bytes(b"x")
    assert expand_sources(["scans"]) == ["scans/[x].png", "scans/a.pdf", "scans/b.PNG"]
    several = [Path("scans/c.txt"), "-", "scans/*.p*", "scans/a.pdf"]
    assert expand_sources(several) == ["scans/c.txt", "-", "scans/[x].png", "scans/a.pdf"]
    assert expand_sources(["scans/[x].png"]) == ["scans/[x].png"]
    assert expand_sources(["**/d.png"]) == ["scans/deeper/d.png"]


@pytest.mark.parametrize("path", ["none.png", "*.tiff", "", "a\0b"])
def test_sources_that_are_not_there_are_refused(path: str) -> None:
    with pytest.raises(InputError, match="no such file or directory, and no file matches it"):
        expand_sources([path])


def test_a_directory_without_pages_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(InputError, match=r"has no picture or PDF \(\.png"):
        expand_sources([tmp_path])
