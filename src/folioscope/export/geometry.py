"""The picture of a figure that the model parsed, drawn as the published script has matplotlib draw it.

The model answers with a Python dictionary: `Line.line` items "(x, y) -- (x, y)", `Line.line_endpoint` "A: (x, y)", and
`Circle.circle_center` "O: (x, y)" with `Circle.radius`. The published script evaluates it; here it is read as data.
Circles are drawn as DeepSeek's vLLM script does; the Hugging Face code leaves them out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageChops, ImageDraw, ImageFont

Point = tuple[float, float]

SIDE, DPI = 600, 200
LIMIT = 15
LEFT, TOP, RIGHT, BOTTOM = 0.125 * SIDE, 0.12 * SIDE, 0.9 * SIDE, 0.89 * SIDE
LINE_WIDTH, DOT, TICK, TICK_LABEL, LABEL = (points / 72 * DPI for points in (0.8, 3.2, 3.5, 10, 5))
"""matplotlib's sizes, in pixels; a scatter of s=5 is a dot of sqrt(5) points with an edge around."""
X_TICKS, Y_TICKS = (-10, 0, 10), (-15, -10, -5, 0, 5, 10, 15)
SMOOTH = 4
"""Drawn this much larger and scaled down, since Pillow's lines have steps."""

# Four digits are plenty for axes of ±15; Pillow takes a minute over a circle a million pixels wide.
_NUMBER = r"\s*(-?\d{1,4}(?:\.\d{1,9})?)\s*"
_POINT = re.compile(rf"\s*\({_NUMBER},{_NUMBER}\)\s*")
_STRING = re.compile(r"""'([^'\n]*)'|"([^"\n]*)"|[()]""")


@dataclass(frozen=True)
class Geometry:
    """A plane figure; coordinates are the model's, y upwards."""

    lines: tuple[tuple[Point, Point], ...] = ()
    endpoints: tuple[tuple[str, Point], ...] = ()
    circles: tuple[tuple[Point, float], ...] = ()


def read(text: str) -> Geometry | None:
    """What the model's dictionary says, without the items that cannot be read; None if it is no such dictionary."""
    figure = _literal(text)
    if not isinstance(figure, Mapping) or not isinstance(figure.get("Line"), Mapping):
        return None
    lines = (item.split(" -- ") for item in _items(figure, "Line", "line"))
    ends = (item.partition(": ") for item in _items(figure, "Line", "line_endpoint"))
    centres = (_point(item.partition(": ")[2]) for item in _items(figure, "Circle", "circle_center"))
    return Geometry(
        tuple((a, b) for line in lines if (a := _point(line[0])) and (b := _point(line[-1]))),
        tuple((label, point) for label, _, rest in ends if (point := _point(rest))),
        tuple((centre, r) for centre, r in zip(centres, _radii(figure), strict=False) if centre and r > 0),
    )


def draw(geometry: Geometry) -> Image.Image:
    """A 600 × 600 RGB picture with axes from -15 to 15; what lies outside them is cut off."""
    side = SIDE * SMOOTH
    inside, outside = Image.new("L", (side, side), 255), Image.new("L", (side, side), 255)
    _draw_figure(ImageDraw.Draw(inside), geometry)
    window = Image.new("L", (side, side), 255)
    ImageDraw.Draw(window).rectangle([round(SMOOTH * edge) for edge in (LEFT, TOP, RIGHT, BOTTOM)], fill=0)
    _draw_axes(ImageDraw.Draw(outside))
    _draw_labels(ImageDraw.Draw(outside), geometry)
    return ImageChops.darker(ImageChops.lighter(inside, window), outside).reduce(SMOOTH).convert("RGB")


def _literal(text: str) -> Any:
    """A Python literal of dictionaries, lists, tuples, strings and numbers, by way of JSON; None if it is not one."""

    def as_json(found: re.Match[str]) -> str:
        if found[0] in "()":
            return "[" if found[0] == "(" else "]"
        return json.dumps(found[1] if found[1] is not None else found[2])

    try:
        return json.loads(_STRING.sub(as_json, text))
    except (ValueError, RecursionError):
        return None


def _items(figure: Mapping[str, Any], group: str, key: str) -> Iterator[str]:
    for item in _list(figure, group, key):
        yield item if isinstance(item, str) else ""


def _radii(figure: Mapping[str, Any]) -> Iterator[float]:
    for radius in _list(figure, "Circle", "radius"):
        usable = isinstance(radius, int | float) and 0 < radius < 1e4
        yield float(radius) if usable else 0.0


def _list(figure: Mapping[str, Any], group: str, key: str) -> list[Any]:
    values = figure.get(group)
    values = values.get(key) if isinstance(values, Mapping) else None
    return values if isinstance(values, list) else []


def _point(text: str) -> Point | None:
    found = _POINT.fullmatch(text)
    return (float(found[1]), float(found[2])) if found else None


def _pixel(point: Point) -> Point:
    """Axes coordinates → pixels of the large drawing."""
    across, down = (point[0] + LIMIT) / (2 * LIMIT), (LIMIT - point[1]) / (2 * LIMIT)
    return SMOOTH * (LEFT + across * (RIGHT - LEFT)), SMOOTH * (TOP + down * (BOTTOM - TOP))


def _draw_figure(pen: ImageDraw.ImageDraw, geometry: Geometry) -> None:
    width, dot = round(SMOOTH * LINE_WIDTH), SMOOTH * DOT / 2
    for ends in geometry.lines:
        pen.line([_pixel(point) for point in ends], fill=0, width=width)
        for point in ends:
            x, y = _pixel(point)
            pen.ellipse((x - dot, y - dot, x + dot, y + dot), fill=0)
    for (x, y), radius in geometry.circles:
        left, top = _pixel((x - radius, y + radius))
        right, bottom = _pixel((x + radius, y - radius))
        box = (left - width / 2, top - width / 2, right + width / 2, bottom + width / 2)
        pen.ellipse(box, outline=0, width=width)


def _draw_axes(pen: ImageDraw.ImageDraw) -> None:
    width, tick, font = round(SMOOTH * LINE_WIDTH), SMOOTH * TICK, ImageFont.load_default(SMOOTH * TICK_LABEL)
    left, top = _pixel((-LIMIT, LIMIT))
    right, bottom = _pixel((LIMIT, -LIMIT))
    pen.rectangle((left - width / 2, top - width / 2, right + width / 2, bottom + width / 2), outline=0, width=width)
    for value in X_TICKS:
        x, _ = _pixel((value, 0))
        pen.line((x, bottom, x, bottom + tick), fill=0, width=width)
        pen.text((x, bottom + 2 * tick), str(value), font=font, fill=0, anchor="mt")
    for value in Y_TICKS:
        _, y = _pixel((0, value))
        pen.line((left - tick, y, left, y), fill=0, width=width)
        pen.text((left - 2 * tick, y), str(value), font=font, fill=0, anchor="rm")


def _draw_labels(pen: ImageDraw.ImageDraw, geometry: Geometry) -> None:
    """One point right of and above each named point that lies within the axes."""
    font, offset = ImageFont.load_default(SMOOTH * LABEL), SMOOTH * DPI / 72
    for label, point in geometry.endpoints:
        if max(map(abs, point)) <= LIMIT:
            x, y = _pixel(point)
            pen.text((x + offset, y - offset), label, font=font, fill=0, anchor="ls")
