"""Connected regions, against a flood fill, and masks without the small ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from folioscope.segment.regions import connected, without_small_regions


def flooded(array: np.ndarray) -> list[int]:
    """Sizes of the regions, in the order of their first pixels, pixel by pixel."""
    left = {(int(y), int(x)) for y, x in np.argwhere(array)}
    sizes = []
    for pixel in sorted(left):
        queue, size = [pixel] if pixel in left else [], 0
        left.discard(pixel)
        while queue:
            y, x = queue.pop()
            size += 1
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= near
            queue += near
        sizes += [size] if size else []
    return sizes


@pytest.mark.parametrize("share", [0.0, 0.1, 0.35, 0.45, 0.6, 1.0])
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (24, 31)])
def test_sizes(share: float, shape: tuple[int, int]) -> None:
    array = np.random.default_rng(int(100 * share)).random(shape) < share
    assert connected(array).sizes.tolist() == flooded(array)


def spiral(side: int) -> np.ndarray:
    """One line, wound up: the farthest a region's number has to travel."""
    array = np.zeros((side, side), bool)
    y, x, step = 0, 0, (0, 1)
    array[0, 0] = True
    for length in [side - 1, *np.repeat(np.arange(side - 1, 0, -2), 2).tolist()]:
        for _ in range(length):
            y, x = y + step[0], x + step[1]
            array[y, x] = True
        step = (step[1], -step[0])
    return array


def test_spiral() -> None:
    array = spiral(41)
    assert connected(array).sizes.tolist() == flooded(array) == [array.sum()]


def picture(*rows: str) -> np.ndarray:
    return np.array([[letter == "#" for letter in row] for row in rows])


SPOTTED = picture(
    "#######...",
    "#.#####.#.",
    "###..##...",
    "###..##.##",
    "#######.##",
)


def test_holes_are_filled_and_islands_removed() -> None:
    expected = picture(
        "#######...",
        "#######...",
        "###..##...",
        "###..##.##",
        "#######.##",
    )
    assert (without_small_regions(SPOTTED, 2)[0] == expected).all()


def test_nothing_small_nothing_changed() -> None:
    array, found = without_small_regions(SPOTTED, 1)
    assert (array == SPOTTED).all()
    assert not found


def test_of_small_islands_the_largest_stays() -> None:
    array = picture("#..........", "....##.....", "..........#")
    assert (without_small_regions(array, 10)[0] == picture("...........", "....##.....", "...........")).all()


def test_small_background_is_a_hole() -> None:
    assert without_small_regions(picture("###", "##."), 2)[0].all()


def test_an_empty_mask_stays_so() -> None:
    array, found = without_small_regions(np.zeros((40, 40), bool), 5)
    assert not array.any()
    assert not found


@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 0.5, 0.9])
def test_as_metas_clean_up(share: float) -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    array = np.random.default_rng(int(100 * share)).random((40, 50)) < share
    filled, had_holes = as_published(ndimage, array, 12, holes=True)
    expected, had_islands = as_published(ndimage, filled, 12, holes=False)
    found = without_small_regions(array, 12)
    assert (found[0] == expected).all()
    assert found[1] == (had_holes or had_islands)


def as_published(ndimage: Any, mask: np.ndarray, area: int, *, holes: bool) -> tuple[np.ndarray, bool]:
    """`remove_small_regions` of segment_anything/utils/amg.py at dca509f, with SciPy for OpenCV."""
    regions, count = ndimage.label(holes ^ mask, np.ones((3, 3)))
    sizes = np.bincount(regions.ravel(), minlength=count + 1)[1:]
    small = [number + 1 for number, size in enumerate(sizes) if size < area]
    if not small:
        return mask, False
    fill = [0, *small]
    if not holes:
        fill = [number for number in range(count + 1) if number not in fill] or [int(np.argmax(sizes)) + 1]
    return np.isin(regions, fill), True
