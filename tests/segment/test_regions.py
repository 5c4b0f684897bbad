"""Connected regions, against a flood fill, and masks without the small ones."""

from __future__ import annotations

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
    assert (without_small_regions(SPOTTED, 2) == expected).all()


def test_nothing_small_nothing_changed() -> None:
    assert (without_small_regions(SPOTTED, 1) == SPOTTED).all()


def test_of_small_islands_the_largest_stays() -> None:
    array = picture("#..........", "....##.....", "..........#")
    assert (without_small_regions(array, 10) == picture("...........", "....##.....", "...........")).all()


def test_small_background_is_a_hole() -> None:
    assert without_small_regions(picture("###", "##."), 2).all()


def test_an_empty_mask_stays_so() -> None:
    assert not without_small_regions(np.zeros((40, 40), bool), 5).any()
