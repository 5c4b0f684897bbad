"""Polygons with holes, and GeoJSON of them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image, ImageDraw
from test_masks import ARRAYS, mask_of, noise, signed_area

from folioscope.export.masks import Ring, polygons
from folioscope.export.outlines import geojson, shapes

NESTED = np.pad(np.pad(np.pad(np.ones((3, 3), bool), 2), 1, constant_values=True), 1)
NESTED[3:5, 3] = True  # an island beside the inner square, in the same hole

every_array = pytest.mark.parametrize(
    "array", [*ARRAYS.values(), NESTED, noise(40, 41, 0.7)], ids=[*ARRAYS, "nested", "dense"]
)


def filled(ring: Ring, shape: tuple[int, ...]) -> np.ndarray:
    picture = Image.new("1", (2 * shape[1], 2 * shape[0]))
    ImageDraw.Draw(picture).polygon([(2 * x, 2 * y) for x, y in ring], fill=1)  # corners between pixels' centres
    return np.array(picture)[1::2, 1::2]


@every_array
def test_every_part_has_its_own_holes(array: np.ndarray) -> None:
    whole = np.zeros(array.shape, int)
    for outer, *holes in shapes(mask_of(array)):
        assert signed_area(outer) > 0
        part = filled(outer, array.shape).astype(int)
        for hole in holes:
            assert signed_area(hole) < 0
            part -= filled(hole, array.shape)
        assert part.min(initial=0) >= 0  # holes are inside the part, and apart
        whole += part
    assert (whole == array).all()  # parts do not overlap


@every_array
def test_no_ring_is_lost(array: np.ndarray) -> None:
    rings = [ring for shape in shapes(mask_of(array)) for ring in shape]
    assert sorted(map(sorted, rings)) == sorted(map(sorted, polygons(mask_of(array))))


def test_an_island_in_a_hole_is_a_part() -> None:
    assert [len(shape) for shape in shapes(mask_of(NESTED))] == [2, 1]


def test_geojson() -> None:
    mask = mask_of(NESTED)
    content = json.loads(geojson([(mask, {"object": 7}), (mask_of(np.zeros((3, 4), bool)), {})]))
    assert content["type"] == "FeatureCollection"
    feature, empty = content["features"]
    assert (feature["type"], feature["properties"]) == ("Feature", {"object": 7})
    assert empty["geometry"] == {"type": "MultiPolygon", "coordinates": []}
    rings = [ring for part in feature["geometry"]["coordinates"] for ring in part]
    assert all(ring[0] == ring[-1] for ring in rings)
    assert sum(signed_area([(x, y) for x, y in ring]) for ring in rings) == mask.area
