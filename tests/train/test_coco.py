"""COCO's files are read as pycocotools reads them; what is wrong in them is said in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from folioscope.export.masks import coco_rle
from folioscope.masks import Mask, MaskPrompt, runs_of
from folioscope.train.coco import outline_mask, read_coco
from folioscope.types import InputError

SIZE = (40, 30)
SQUARE = [[5, 5, 20, 5, 20, 15, 5, 15]]


def random_mask(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random(SIZE[::-1]) > 0.6


def write(folder: Path, *outlines: Any, **changes: Any) -> Path:
    Image.new("RGB", SIZE, "white").save(folder / "a.png")
    images = [{"id": 7, "file_name": "a.png", "width": SIZE[0], "height": SIZE[1]}]
    notes = [{"image_id": 7, "segmentation": outline, "iscrowd": 0} for outline in outlines]
    path = folder / "instances.json"
    path.write_text(json.dumps({"images": images, "annotations": notes, **changes}))
    return path


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_run_length_codes_are_read_as_they_are_written(compressed: bool, seed: int) -> None:
    array = random_mask(seed)
    mask = Mask(SIZE, runs_of(array), 1.0, MaskPrompt())
    assert np.array_equal(outline_mask(coco_rle(mask, compressed=compressed), SIZE), array)


def test_run_length_codes_are_pycocotools(tmp_path: Path) -> None:
    codes = pytest.importorskip("pycocotools.mask")
    array = random_mask(9)
    code = codes.encode(np.asfortranarray(array.astype(np.uint8)))
    assert np.array_equal(outline_mask({**code, "counts": code["counts"].decode()}, SIZE), array)


def test_polygons_are_filled(tmp_path: Path) -> None:
    (labelled,) = read_coco(write(tmp_path, SQUARE, [[30, 20, 39, 20, 39, 29]]))
    masks = labelled.masks()
    assert labelled.path == tmp_path / "a.png"
    assert masks.shape == (2, 30, 40)
    assert masks[0, 10, 10]
    assert not masks[0, 20, 10]
    assert abs(int(masks[0].sum()) - 15 * 10) <= 30


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"annotations": []}, "no image has an object"),
        ({"annotations": None}, "not COCO's instances"),
        ({"images": [{"id": 7, "file_name": "b.png", "width": 40, "height": 30}]}, "no such image"),
        (
            {"annotations": [{"image_id": 7, "segmentation": {"size": [30, 40], "counts": [3, 4]}}]},
            "runs of 7 pixels",
        ),
        ({"annotations": [{"image_id": 7, "segmentation": "none"}]}, "not COCO's instances"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        read_coco(write(tmp_path, SQUARE, **changes))


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_coco(tmp_path / "none.json")
