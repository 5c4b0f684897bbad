"""What is ink and what is not, on pages drawn here."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw

from folioscope.ink import ink_of

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
