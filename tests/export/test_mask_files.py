"""Files of masks: names, records, and nothing by halves."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_masks import BLOB

from folioscope.export.mask_files import IMAGE_FORMATS, RUN_FILES, RUN_FORMATS, ImageMasks, best_of, save_masks
from folioscope.export.masks import BOX_COLOUR, DOT_COLOURS, overlay
from folioscope.masks import Mask, MaskPrompt, runs_of
from folioscope.types import InputError, OutputError

SIZE = BLOB.shape[::-1]
CLICK = MaskPrompt(points=((1.0, 1.0),), labels=(1,))
EVERY = [*IMAGE_FORMATS, *RUN_FORMATS]


def mask_of(array: np.ndarray, score: float, prompt: MaskPrompt = CLICK, **more: object) -> Mask:
    return Mask(SIZE, runs_of(array), score, prompt, low_logits=np.zeros((4, 4), np.float32), **more)  # type: ignore[arg-type]


FOUND = ImageMasks(
    0,
    "a/b.png",
    SIZE,
    [
        [mask_of(~BLOB, 0.25), mask_of(BLOB, 1.5), mask_of(np.zeros_like(BLOB), -0.5)],
        [mask_of(BLOB, 0.5, MaskPrompt(box=(0.0, 1.0, 3.0, 3.0), mask=np.zeros((4, 4))))],
        [mask_of(np.zeros_like(BLOB), 0.75, stability=1.0, crop=(0, 0, 5, 3))],
    ],
    Image.new("RGB", SIZE, (9, 8, 7)),
)
OTHER = ImageMasks(1, "c.png", SIZE, [], Image.new("RGB", SIZE))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_masks([FOUND, OTHER], tmp_path / "out", EVERY)
    return tmp_path / "out"


def test_names(folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} == {
        *(f"image_0_object_0_result_{number}.png" for number in range(3)),
        "image_0_object_1_result_0.png",
        "image_0_object_2_result_0.png",
        *(f"image_0_object_{number}_cutout.png" for number in range(3)),
        *("image_0_overlay.jpg", "image_0_polygons.geojson", "image_1_overlay.jpg", "image_1_polygons.geojson"),
        *("masks.json", "coco.json"),
    }


def test_pictures(folder: Path) -> None:
    assert (np.array(Image.open(folder / "image_0_object_0_result_0.png")) == 255 * ~BLOB).all()
    cut = np.array(Image.open(folder / "image_0_object_0_cutout.png"))  # of the best of three
    assert (cut[..., 3] == 255 * BLOB[:, :4]).all()
    with Image.open(folder / "image_0_overlay.jpg") as picture:
        assert picture.size == SIZE


def test_masks_json(folder: Path) -> None:
    content = json.loads((folder / "masks.json").read_text())
    assert content["schema"] == "folioscope.masks/1"
    first, second = content["images"]
    assert (first["number"], first["source"], first["size"]) == (0, "a/b.png", list(SIZE))
    assert second["objects"] == []
    assert [entry["best"] for entry in first["objects"]] == [1, 0, 0]
    assert [entry["prompt"] for entry in first["objects"]] == [
        {"points": [[1.0, 1.0]], "labels": [1], "box": None, "mask": False},
        {"points": [], "labels": [], "box": [0.0, 1.0, 3.0, 3.0], "mask": True},
        {"points": [[1.0, 1.0]], "labels": [1], "box": None, "mask": False},
    ]
    best = first["objects"][0]["results"][1]
    assert best["rle"]["size"] == list(BLOB.shape)
    assert {key: best[key] for key in ("number", "score", "area", "box", "stability", "crop")} == {
        "number": 1,
        "score": 1.5,
        "area": 8,
        "box": [0, 0, 4, 3],
        "stability": None,
        "crop": None,
    }
    assert first["objects"][2]["results"][0]["crop"] == [0, 0, 5, 3]


def test_coco_json(folder: Path) -> None:
    content = json.loads((folder / "coco.json").read_text())
    assert [image["id"] for image in content["images"]] == [0, 1]
    assert [annotation["id"] for annotation in content["annotations"]] == [1, 2]  # no empty one
    annotation = content["annotations"][0]
    assert (annotation["bbox"], annotation["area"], annotation["predicted_iou"]) == ([0, 0, 4, 3], 8, 1.5)
    assert (annotation["category_id"], content["categories"]) == (1, [{"id": 1, "name": "object"}])


@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")
def test_coco_reads_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    coco = pytest.importorskip("pycocotools.coco").COCO(folder / "coco.json")
    decode = pytest.importorskip("pycocotools.mask")
    annotations = coco.loadAnns(coco.getAnnIds(imgIds=0))
    assert (coco.annToMask(annotations[0]) == BLOB).all()
    rle = coco.annToRLE(annotations[0])
    assert decode.toBbox(rle).tolist() == annotations[0]["bbox"]
    assert decode.area(rle) == annotations[0]["area"]
    assert "index created" in capsys.readouterr().out


def test_all_or_nothing(tmp_path: Path) -> None:
    (tmp_path / "masks.json").write_text("mine")
    with pytest.raises(OutputError, match=r"masks\.json: is there already"):
        save_masks([FOUND], tmp_path, EVERY)
    assert [path.name for path in tmp_path.iterdir()] == ["masks.json"]
    save_masks([FOUND], tmp_path, EVERY, force=True)
    assert json.loads((tmp_path / "masks.json").read_text())["images"]


def test_records_need_no_pixels(tmp_path: Path) -> None:
    slim = FOUND.for_records()
    assert slim.image is None
    assert all(mask.low_logits is None for masks in slim.objects for mask in masks)
    save_masks([slim], tmp_path / "slim", ["json", "coco", "png", "polygons"])
    save_masks([FOUND], tmp_path / "full", ["json"])
    assert (tmp_path / "slim" / "masks.json").read_bytes() == (tmp_path / "full" / "masks.json").read_bytes()
    with pytest.raises(InputError, match=r"a/b\.png: given without its pixels"):
        save_masks([slim], tmp_path / "none", ["overlay"])
    assert not (tmp_path / "none").exists()


def test_formats() -> None:
    assert RUN_FILES.keys() == RUN_FORMATS.keys()
    with pytest.raises(InputError, match="format 'svg': there is no such format; choose from png, cutout"):
        save_masks([FOUND], "nowhere", ["svg"])


def test_of_equal_scores_the_first_is_best() -> None:
    assert best_of([mask_of(BLOB, score) for score in (0.1, 0.5, 0.5)]) == 1


def test_overlay_shows_what_was_pointed_at() -> None:
    size = (300, 200)
    prompt = MaskPrompt(points=((50, 50), (150, 50)), labels=(1, 0), box=(20, 100, 280, 180))
    mask = Mask(size, runs_of(np.zeros(size[::-1], bool)), 1.0, prompt)
    picture = overlay(Image.new("RGB", size), [mask])
    assert [picture.getpixel(place) for place in ((50, 50), (150, 50), (150, 100))] == [
        *(DOT_COLOURS[1], DOT_COLOURS[0], BOX_COLOUR)
    ]
    found = overlay(Image.new("RGB", size), [Mask(size, mask.runs, 1.0, prompt, stability=1.0)])
    assert found.getbbox() is None  # all of it is black
