"""Masks as polygons with holes, and as GeoJSON, which geometry libraries, QuPath and map tools read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np

from folioscope.export.masks import Ring, polygons
from folioscope.masks import Mask

Shape: TypeAlias = "list[Ring]"


def shapes(mask: Mask) -> list[Shape]:
    """The mask's parts, each an outer ring followed by the rings of its holes; see `polygons` for rings."""
    rings = sorted(polygons(mask), key=_start)
    owners = _owners(rings)
    found: dict[int, Shape] = {owner: [] for owner in owners}
    for ring, owner in zip(rings, owners, strict=True):
        found[owner].append(ring)
    return list(found.values())


def _start(ring: Ring) -> tuple[int, int]:
    """Row and column of its topmost, then leftmost corner."""
    return min((y, x) for x, y in ring)


def _owners(rings: Sequence[Ring]) -> list[int]:
    """For each ring, in the order of their starts, the outer ring that it belongs to, which may be itself.

    Left of a hole's start is the object. Going on to the left, the first ring that is met is the outer one, or another
    hole of the same part, which starts earlier.
    """
    places, numbers = _upright_sides(rings)
    owners: list[int] = []
    for number, ring in enumerate(rings):
        if _is_outer(ring):
            owners.append(number)
        else:
            y, x = _start(ring)
            before = np.searchsorted(places, _place(y, x)) - 1
            owners.append(owners[numbers[before]])
    return owners


def _is_outer(ring: Ring) -> bool:
    """An outer ring's topmost side runs right: the object is below it."""
    y, x = _start(ring)
    after = ring[(ring.index((x, y)) + 1) % len(ring)]
    return after[1] == y


def _place(y: Any, x: Any) -> Any:
    return y * 2**32 + x


def _upright_sides(rings: Sequence[Ring]) -> tuple[np.ndarray, np.ndarray]:
    """Every side of a pixel on the left or right of the object, by place, and the number of its ring."""
    places, numbers = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for number, ring in enumerate(rings):
        for (x1, y1), (_, y2) in zip(ring, ring[1:] + ring[:1], strict=True):
            rows = np.arange(min(y1, y2), max(y1, y2))
            places.append(_place(rows, x1))
            numbers.append(np.full(len(rows), number))
    place, number = np.concatenate(places), np.concatenate(numbers)
    order = np.argsort(place, kind="stable")
    return place[order], number[order]


def geojson(masks: Iterable[tuple[Mask, dict[str, Any]]]) -> str:
    """Masks with their properties as a FeatureCollection of MultiPolygons, in pixels of the image, y downwards."""
    features = [
        {
            "type": "Feature",
            "properties": properties,
            "geometry": {
                "type": "MultiPolygon",
                "coordinates": [[[*ring, ring[0]] for ring in shape] for shape in shapes(mask)],
            },
        }
        for mask, properties in masks
    ]
    return json.dumps({"type": "FeatureCollection", "features": features}) + "\n"
