"""Boxes on the page."""

from __future__ import annotations

from io import BytesIO

import pytest
from PIL import Image

from folioscope.export.overlay import COLOURS, Mark, colour_of, draw, overlay_files
from folioscope.types import Document, PageResult, Region

WHITE = (255, 255, 255)


def page(number: int, *regions: Region) -> PageResult:
    return PageResult(number, "a", (400, 300), regions=regions, pixels=lambda: Image.new("RGB", (400, 300), WHITE))


@pytest.mark.parametrize(("label", "width"), [("title", 4), ("text", 2)])
@pytest.mark.parametrize("scale", [1, 2])
def test_outline_veil_and_caption(label: str, width: int, scale: int) -> None:
    image, colour = Image.new("RGB", (400, 300), WHITE), (200, 0, 0)
    picture = draw(image, [Mark(label, ((100, 100, 300, 200),), colour)], scale)
    assert image.getcolors() == [(400 * 300, WHITE)]
    column = [picture.getpixel((200, y)) for y in range(100, 112)]
    assert [pixel == colour for pixel in column] == [True] * width * scale + [False] * (12 - width * scale)
    assert picture.getpixel((200, 150)) == (251, 235, 235)  # 20 of 255 parts of the colour
    caption = picture.crop((100, 100 - 15 * scale, 160, 99))
    assert caption.getbbox() is not None
    assert any(pixel != WHITE for _, pixel in caption.getcolors(10_000))
    assert picture.getpixel((350, 50)) == WHITE


@pytest.mark.parametrize("box", [(300, 100, 100, 200), (100, 200, 300, 100)])
def test_a_box_with_swapped_corners_is_left_out(box: tuple[int, int, int, int]) -> None:
    image = Image.new("RGB", (400, 300), WHITE)
    assert draw(image, [Mark("text", (box,), (0, 0, 0))]).tobytes() == image.tobytes()


@pytest.mark.parametrize("label", ["先天下之忧", "", "two\nlines", "\0", "x" * 5000, "\udcff"])
def test_any_label_can_be_drawn(label: str) -> None:
    image = Image.new("RGB", (100, 100), WHITE)
    assert draw(image, [Mark(label, ((10, 50, 90, 90),), (0, 0, 0))]).getpixel((50, 50)) == (0, 0, 0)
    assert colour_of(label) in COLOURS.values()


def test_a_label_has_one_colour() -> None:
    assert len(set(COLOURS.values())) == len(COLOURS)
    assert colour_of("Table") == colour_of("table") == COLOURS["table"]


def test_one_picture_a_page() -> None:
    region = Region("text", ((10.0, 10.0, 90.0, 90.0),))
    one, several = Document("a", (page(1, region),)), Document("a", (page(2, region), page(5)))
    assert [file.name for file in overlay_files(one, "a")] == ["a_overlay.jpg"]
    files = list(overlay_files(several, "a"))
    assert [file.name for file in files] == ["a_overlay_2.jpg", "a_overlay_5.jpg"]
    pictures = [Image.open(BytesIO(file.content())) for file in files]
    assert [(picture.format, picture.size) for picture in pictures] == [("JPEG", (400, 300))] * 2
    assert len(pictures[0].getcolors(10**6)) > 1
    assert pictures[1].getcolors() == [(400 * 300, WHITE)]
