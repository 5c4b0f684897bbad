"""What is ink and what is not, on pages drawn here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from folioscope.grounding import parse
from folioscope.ink import ink_of
from folioscope.pages import open_pages
from folioscope.types import Box, Page, Region

LETTER = (1224, 1584)
"""At 144 dpi."""

FIGURE_ONE = (600, 1500, 602, 1514)
"""A page number in 10 points."""


def drawn(*boxes: tuple[int, int, int, int], paper: str = "white", pen: str = "black") -> Image.Image:
    page = Image.new("RGB", LETTER, paper)
    for box in boxes:
        ImageDraw.Draw(page).rectangle(box, fill=pen)
    return page


def noisy(grain: float) -> Image.Image:
    levels = 235 + grain * np.random.default_rng(0).standard_normal((LETTER[1], LETTER[0]))
    return Image.fromarray(levels.clip(0, 255).astype(np.uint8)).convert("RGB")


def shadowed() -> Image.Image:
    """A scan of an empty page: the gutter's shadow and specks of dust."""
    levels = np.full((LETTER[1], LETTER[0]), 240.0) - 150 * np.exp(-np.arange(LETTER[0]) / 120)
    for y, x in np.random.default_rng(1).integers(0, 1200, (40, 2)):
        levels[y, x] = 0
    return Image.fromarray(levels.astype(np.uint8)).convert("RGB")


@pytest.mark.parametrize(
    "page",
    [drawn(), drawn(paper="black"), drawn(paper="beige"), noisy(12), shadowed(), Image.new("RGB", (1, 1))],
    ids=["white", "black", "coloured", "grain", "shadow and dust", "a pixel"],
)
def test_blank(page: Image.Image) -> None:
    ink = ink_of(page)
    assert ink.blank
    assert ink.inside([(0, 0, *page.size)]) is None


@pytest.mark.parametrize(
    "page",
    [drawn(FIGURE_ONE), drawn(FIGURE_ONE, paper="black", pen="white"), drawn(FIGURE_ONE, pen=(150, 150, 150))],
    ids=["black on white", "white on black", "grey on white"],
)
def test_a_page_number_alone_is_not_blank(page: Image.Image) -> None:
    assert not ink_of(page).blank


def test_small_pictures_have_ink_too() -> None:
    picture = Image.new("RGB", (12, 12), "white")
    picture.paste("black", (4, 4, 8, 7))
    assert not ink_of(picture).blank


def test_coverage_is_the_share_of_ink_in_boxes() -> None:
    page = drawn((100, 100, 500, 120), (100, 1000, 500, 1020))
    ink = ink_of(page)
    assert ink.inside([]) == 0
    assert ink.inside([(90, 90, 510, 130)]) == pytest.approx(0.5, abs=0.02)
    assert ink.inside([(90, 90, 510, 130), (80, 80, 520, 140)]) == pytest.approx(0.5, abs=0.02)
    assert ink.inside([(100, 1000, 500, 1020), (0, 0, 1224, 500)]) == 1
    assert ink.inside([(-50, -50, 9999, 9999)]) == 1


def test_the_gap_is_where_there_is_least_ink() -> None:
    lines = [(100, y, 1100, y + 8) for y in range(100, 1500, 20) if not 760 <= y < 800]
    assert 748 < ink_of(drawn(*lines)).gap(0.4, 0.6, axis=0) < 800
    assert ink_of(drawn()).gap(0.4, 0.6, axis=1) == pytest.approx(612, abs=3)
    assert 0 <= ink_of(Image.new("RGB", (3, 1))).gap(0.4, 0.6, axis=1) < 3


TITLE, FIRST, SECOND, THIRD = ((100, y, 700, y + 30) for y in (100, 300, 350, 400))
WORD, NEXT_WORD, NEXT_COLUMN = (100, 700, 300, 730), (315, 700, 500, 730), (560, 700, 900, 730)


@pytest.mark.parametrize(
    ("rough", "meant"),
    [
        (TITLE, TITLE),
        ((80, 80, 730, 150), TITLE),
        ((130, 112, 650, 142), TITLE),
        ((100, 125, 700, 155), TITLE),
        ((100, 310, 700, 395), (100, 300, 700, 380)),
        ((100, 320, 700, 425), (100, 350, 700, 430)),
        ((110, 290, 400, 440), (100, 300, 700, 430)),
        ((120, 705, 480, 725), (100, 700, 500, 730)),
        ((120, 705, 540, 725), (100, 700, 500, 730)),
        ((570, 705, 850, 725), NEXT_COLUMN),
    ],
    ids=[
        "exact", "too large", "too small", "beside it", "two lines", "a line and a half", "cut through the words",
        "two words", "up to the next column", "the next column",
    ],
)  # fmt: skip
def test_a_rough_box_is_fitted_to_the_lines_that_it_means(rough: Box, meant: Box) -> None:
    page = drawn(TITLE, FIRST, SECOND, THIRD, WORD, NEXT_WORD, NEXT_COLUMN)
    ink = ink_of(page)
    fitted = ink.fitted(rough)
    assert fitted == pytest.approx(meant, abs=2)
    assert ink.fitted(fitted) == fitted
    x1, y1, x2, y2 = rough
    down = ink_of(page.transpose(Image.Transpose.TRANSPOSE)).fitted((y1, x1, y2, x2), sideways=True)
    assert down == (fitted[1], fitted[0], fitted[3], fitted[2])


@pytest.mark.parametrize(
    "box",
    [(100, 900, 700, 950), (100, 140, 700, 170), (-20, -30, 4, 5), (5000, 5000, 6000, 6000), (300, 300, 300, 300)],
)
def test_a_box_that_meets_no_line_stays(box: Box) -> None:
    assert ink_of(drawn(TITLE, FIRST)).fitted(box) == box


def test_boxes_on_photographs_stay() -> None:
    levels = np.random.default_rng(0).integers(0, 256, (600, 400, 3), dtype=np.uint8)
    assert ink_of(Image.fromarray(levels)).fitted((50, 200, 300, 400)) == (50, 200, 300, 400)


def test_boxes_of_figures_only_grow() -> None:
    page = drawn((100, 160, 300, 200))  # a hill below a sky that is no ink
    sky = (95.0, 120.0, 280.0, 190.0)
    regions = Region("image", (sky,), figure=0), Region("text", (sky,))
    figure, text = (ink_of(page).fitted_region(region) for region in regions)
    assert figure.box == pytest.approx((95, 120, 301, 201), abs=2)
    assert text.box == pytest.approx((100, 160, 301, 201), abs=2)


def test_boxes_that_the_published_model_wrote_hardly_move(shared: Callable[..., Path]) -> None:
    page = next(iter(open_pages(shared("data", "real_output", "tables_page.pdf"))))
    assert isinstance(page, Page)
    raw = shared("data", "real_output", "tables_page.md").read_text(encoding="utf-8")
    boxes = [box for region in parse(raw, page.image.size).regions for box in region.boxes]
    ink = ink_of(page.image)
    moved = abs(np.array([ink.fitted(box) for box in boxes]) - boxes)
    assert len(boxes) == 7
    assert 0 < moved.max() < 9


def test_fitted_boxes_are_in_pixels_of_the_page_and_within_it() -> None:
    page = Image.new("RGB", (2001, 2003), "white")
    page.paste("black", (100, 1983, 2001, 2003))
    ink = ink_of(page)
    fitted = ink.fitted((150, 1970, 1950, 2000))
    assert ink.scale == 2
    assert fitted == pytest.approx((100, 1983, 2001, 2003), abs=2)
    assert fitted[2:] == page.size
