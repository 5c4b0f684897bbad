"""Masks as PNG, run lengths, records, polygons and pictures."""

from __future__ import annotations

import json
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageDraw

from folioscope.export.masks import coco_rle, cutout_png, mask_png, overlay, polygons, record
from folioscope.masks import Mask, MaskPrompt, runs_of
from folioscope.types import InputError

BLOB = np.array([[0, 1, 1, 0, 0], [1, 1, 0, 1, 0], [0, 1, 1, 1, 0]], bool)


def mask_of(array: np.ndarray) -> Mask:
    return Mask(array.shape[::-1], runs_of(array), 0.5)


def noise(height: int, width: int, share: float = 0.5) -> np.ndarray:
    return np.random.default_rng(height).random((height, width)) < share


def opened(content: bytes) -> Image.Image:
    return Image.open(BytesIO(content))


ARRAYS = {
    "blob": BLOB,
    "noise": noise(17, 23),
    "sparse": noise(31, 6, 0.05),
    "empty": np.zeros((3, 4), bool),
    "full": np.ones((3, 4), bool),
    "pixel": np.ones((1, 1), bool),
}
every_array = pytest.mark.parametrize("array", ARRAYS.values(), ids=ARRAYS.keys())


@every_array
def test_runs_give_the_mask_back(array: np.ndarray) -> None:
    mask = mask_of(array)
    assert (mask.array == array).all()
    assert mask.array.dtype == bool
    assert mask.area == array.sum()
    rows, columns = np.nonzero(array)
    box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) if array.any() else None
    assert mask.box == box


def test_runs_are_those_of_coco() -> None:
    assert coco_rle(mask_of(BLOB), compressed=False) == {"size": [3, 5], "counts": [1, 1, 1, 4, 1, 1, 1, 2, 3]}
    assert coco_rle(mask_of(np.ones((2, 3), bool)), compressed=False)["counts"] == [0, 6]


def spelled_out(counts: list[int]) -> str:
    """`rleToString` of pycocotools, letter by letter."""
    text = ""
    for index, count in enumerate(counts):
        rest = count - (counts[index - 2] if index > 2 else 0)
        more = True
        while more:
            bits, rest = rest & 31, rest >> 5
            more = rest != -1 if bits & 16 else rest != 0
            text += chr((bits | 32 if more else bits) + 48)
    return text


@every_array
def test_compressed_counts(array: np.ndarray) -> None:
    mask = mask_of(array)
    assert coco_rle(mask)["counts"] == spelled_out(coco_rle(mask, compressed=False)["counts"])


def test_compressed_counts_of_long_runs() -> None:
    mask = mask_of(np.kron(noise(40, 3), np.ones((50, 700))).astype(bool))
    assert coco_rle(mask)["counts"] == spelled_out(coco_rle(mask, compressed=False)["counts"])


def test_record() -> None:
    mask = Mask((5, 3), runs_of(BLOB), 0.5, MaskPrompt(points=((1.0, 1.0),), labels=(1,)), 0.75, (0, 1, 5, 3))
    fields = record(mask, "coco_rle")
    assert (
        json.loads(json.dumps(fields))
        == fields
        == {
            "segmentation": coco_rle(mask),
            "area": 8,
            "bbox": [0, 0, 3, 2],
            "predicted_iou": 0.5,
            "point_coords": [[1.0, 1.0]],
            "stability_score": 0.75,
            "crop_box": [0, 1, 5, 2],
        }
    )
    assert (record(mask)["segmentation"] == BLOB).all()
    assert record(mask, "uncompressed_rle")["segmentation"] == coco_rle(mask, compressed=False)


@every_array
def test_polygons_give_the_mask_back(array: np.ndarray) -> None:
    found = np.zeros(array.shape, bool)
    for ring in polygons(mask_of(array)):
        filled = Image.new("1", tuple(2 * side for side in array.shape[::-1]))
        ImageDraw.Draw(filled).polygon([(2 * x, 2 * y) for x, y in ring], fill=1)  # corners between pixels' centres
        found ^= np.array(filled)[1::2, 1::2]
    assert (found == array).all()


def test_outer_rings_run_clockwise_and_holes_against() -> None:
    array = np.ones((3, 4), bool)
    array[1, 1] = False
    outer, hole = sorted(polygons(mask_of(array)), key=signed_area, reverse=True)
    assert sorted(outer) == [(0, 0), (0, 3), (4, 0), (4, 3)]
    assert sorted(hole) == [(1, 1), (1, 2), (2, 1), (2, 2)]
    assert (signed_area(outer), signed_area(hole)) == (12, -1)


def signed_area(ring: list[tuple[int, int]]) -> float:
    """Above 0 where the ring runs clockwise on a screen."""
    after = ring[1:] + ring[:1]
    return sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in zip(ring, after, strict=True)) / 2


@every_array
def test_rings_have_the_area(array: np.ndarray) -> None:
    rings = polygons(mask_of(array))
    assert sum(map(signed_area, rings)) == array.sum()
    assert all(len(ring) >= 4 for ring in rings)


def test_png() -> None:
    picture = opened(mask_png(mask_of(BLOB)))
    assert picture.mode == "L"
    assert (np.array(picture) == BLOB * 255).all()


def test_cutout() -> None:
    image = Image.fromarray(np.arange(45, dtype=np.uint8).reshape(3, 5, 3))
    array = BLOB & (np.arange(5) > 0)
    cut = np.array(opened(cutout_png(image, mask_of(array))))
    assert (cut[..., :3] == np.array(image)[:, 1:4]).all()
    assert (cut[..., 3] == array[:, 1:4] * 255).all()
    assert opened(cutout_png(image, mask_of(np.zeros((3, 5), bool)))).getpixel((0, 0))[3] == 0  # type: ignore[index]


def test_overlay_puts_small_objects_on_top() -> None:
    image = Image.new("RGB", (20, 10), (100, 100, 100))
    large, small = np.zeros((10, 20), bool), np.zeros((10, 20), bool)
    large[:, :12], small[2:8, 4:10] = True, True
    masks = [mask_of(small), mask_of(large), mask_of(np.zeros((10, 20), bool))]
    picture = overlay(image, masks)
    inner, outer, edge, beside = (picture.getpixel(place) for place in ((6, 5), (2, 5), (4, 5), (15, 5)))
    assert beside == (100, 100, 100)
    assert len({inner, outer, edge, beside}) == 4
    alone = overlay(image, [mask_of(small)])
    assert alone.getpixel((6, 5)) == inner
    assert alone.getpixel((4, 5)) == edge
    assert image.getpixel((6, 5)) == (100, 100, 100)


def test_another_images_mask_is_refused() -> None:
    image = Image.new("RGB", (3, 5))
    for call in (lambda: overlay(image, [mask_of(BLOB)]), lambda: cutout_png(image, mask_of(BLOB))):
        with pytest.raises(InputError, match=r"\(5, 3\).*given one of \(3, 5\)"):
            call()
