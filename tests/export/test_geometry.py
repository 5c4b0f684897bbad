"""Parsed figures: read as data, drawn as matplotlib would."""

from __future__ import annotations

import time

import pytest

from folioscope.export.geometry import Geometry, draw, read

TRIANGLE = (
    "{'Line': {'line': ['(-3, 0) -- (3, 0)', '(3, 0) -- (0, 4.5)'], 'line_type': ['-', '--'], "
    "'line_endpoint': ['A: (-3, 0)', \"A': (3, 0)\"]}, 'Circle': {'circle_center': ['O: (1, -2)'], 'radius': [3]}}"
)


def dark(picture, x: float, y: float) -> bool:
    """Is there ink at these coordinates of the axes?"""
    left, top, right, bottom = 75, 72, 540, 534
    at = round(left + (x + 15) / 30 * (right - left)), round(top + (15 - y) / 30 * (bottom - top))
    return any(picture.getpixel((at[0] + dx, at[1] + dy))[0] < 100 for dx in (-1, 0, 1) for dy in (-1, 0, 1))


def test_read() -> None:
    assert read(TRIANGLE) == Geometry(
        lines=(((-3, 0), (3, 0)), ((3, 0), (0, 4.5))),
        endpoints=(("A", (-3, 0)), ("A'", (3, 0))),
        circles=(((1, -2), 3),),
    )


def test_what_cannot_be_read_is_left_out() -> None:
    text = (
        "{'Line': {'line': ['(1, 2) -- (3, 4)', '(1, 2)--(3', 7, '(exit(), 1) -- (1, 1)'], "
        "'line_endpoint': ['A', 'B: 1, 2', 'C: (99999, 0)']},"
        " 'Circle': {'circle_center': ['O: (1, 2)', 'P: (1, 2)'], 'radius': [-1, 'x']}}"
    )
    assert read(text) == Geometry(lines=(((1, 2), (3, 4)),))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "line_type",
        "[]",
        "{'Line': []}",
        "{'Circle': {}}",
        TRIANGLE[:-1],
        "__import__('os').getcwd()",
        "{'Line': {'line': [i for i in (1, 2)]}}",
        "[" * 100_000,
        "('" * 100_000,
    ],
)
def test_what_is_no_figure_is_none(text: str) -> None:
    start = time.process_time()
    assert read(text) is None
    assert time.process_time() - start < 2


def test_the_picture() -> None:
    picture = draw(read(TRIANGLE) or Geometry())
    assert (picture.size, picture.mode) == ((600, 600), "RGB")
    on_lines = [(-3, 0), (0, 0), (3, 0), (1.5, 2.25), (0, 4.5)]
    on_circle, on_axes = [(4, -2), (-2, -2), (1, 1), (1, -5)], [(-15, 3), (15, 3), (3, 15), (3, -15)]
    assert all(dark(picture, *point) for point in on_lines + on_circle + on_axes)
    assert not any(dark(picture, *point) for point in [(0, 3), (10, 10), (-10, -10), (1, -3)])
    assert dark(picture, -2.6, 0.5)  # the A beside its point


def test_what_lies_outside_the_axes_is_cut_off() -> None:
    wild = Geometry(lines=(((-9999, -9999), (9999, 9999)),), endpoints=(("Q", (20, 20)),), circles=(((0, 0), 9999),))
    start = time.process_time()
    picture, empty = draw(wild), draw(Geometry())
    assert time.process_time() - start < 2  # Pillow takes a minute over a circle of a million pixels
    assert dark(picture, 7, 7)
    assert picture.crop((545, 0, 600, 600)).tobytes() == empty.crop((545, 0, 600, 600)).tobytes()
