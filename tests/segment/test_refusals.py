"""Prompts that cannot be: each refused in one line that names the argument."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from folioscope.masks import Mask, runs_of
from folioscope.segment import EverythingOptions, MaskPrompt, Scene, Segmenter
from folioscope.types import InputError
from folioscope.views import SamFrame
from random_sam import random_sam

NAN = float("nan")


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return Segmenter(random_sam())


@pytest.fixture(scope="module")
def scene(segmenter: Segmenter) -> Scene:
    return segmenter.embed(Image.new("RGB", (90, 70)))


@pytest.mark.parametrize(
    ("prompt", "complaint"),
    [
        ({"points": [3, 4]}, r"points: expected shape \(P, 2\).*given \(2,\)"),
        ({"points": 3}, r"points: expected shape \(P, 2\).*given \(\)"),
        ({"points": [[[3, 4]]]}, r"points: expected shape \(P, 2\).*given \(1, 1, 2\)"),
        ({"points": [[3, 4], [5]]}, r"points: not an array of numbers on the CPU; expected shape \(P, 2\)"),
        ({"points": [["a", "b"]]}, r"points: not an array of numbers"),
        ({"points": [[3, NAN]]}, r"points: holds NaN"),
        ({"points": [[3, 4], [90, 4]]}, r"points: \(90, 4\) is outside the image of 90 x 70 pixels"),
        ({"points": [[-1, 4]]}, r"points: \(-1, 4\) is outside"),
        ({"points": []}, r"points: is empty"),
        ({"labels": [1]}, r"labels: given 1 without points"),
        ({"labels": [1], "box": [1, 2, 3, 4]}, r"labels: given 1 without points"),
        ({"points": [[3, 4]], "labels": [1, 0]}, r"labels: expected shape \(1,\).*given \(2,\)"),
        ({"points": [[3, 4]], "labels": [[1]]}, r"labels: expected shape \(1,\).*given \(1, 1\)"),
        ({"points": [[3, 4]], "labels": 1}, r"labels: expected shape \(1,\).*given \(\)"),
        ({"points": [[3, 4]], "labels": [2]}, r"labels: 2 is none; expected 1 on the object, 0 beside it"),
        ({"points": [[3, 4]], "labels": [0.5]}, r"labels: 0.5 is none"),
        ({"box": [1, 2, 3]}, r"box: expected shape \(4,\).*given \(3,\)"),
        ({"box": [[1, 2, 3, 4], [1, 2, 3, 4]]}, r"box: expected shape \(4,\).*of one object, given \(2, 4\)"),
        ({"box": [30, 2, 20, 4]}, r"box: \(30, 2, 20, 4\): expected x1 < x2"),
        ({"box": [1, 2, 3, 2]}, r"box: .*expected x1 < x2 and y1 < y2"),
        ({"box": [1, 2, 91, 4]}, r"box: .*reaches beyond the image of 90 x 70 pixels"),
        ({"box": [1, 2, NAN, 4]}, r"box: holds NaN"),
        ({"mask": np.zeros((32, 32), np.uint8)}, r"mask: uint8 numbers; expected floating-point logits"),
        ({"mask": np.zeros((32, 32), bool)}, r"mask: bool numbers"),
        ({"mask": np.zeros((70, 90))}, r"mask: expected shape \(32, 32\).*given \(70, 90\)"),
        ({"mask": np.full((32, 32), NAN)}, r"mask: holds NaN"),
        ({"mask": torch.zeros(32, 32, device="meta")}, r"mask: not an array of numbers on the CPU"),
    ],
)
def test_prompts(segmenter: Segmenter, scene: Scene, prompt: dict[str, Any], complaint: str) -> None:
    with pytest.raises(InputError, match=complaint) as caught:
        segmenter.predict(scene, **prompt)
    assert len(str(caught.value).splitlines()) == 1


def test_an_empty_list_of_prompts(segmenter: Segmenter, scene: Scene) -> None:
    with pytest.raises(InputError, match="prompts: an empty list"):
        segmenter.predict_many(scene, [])
    with pytest.raises(InputError, match="batch_size=0"):
        segmenter.predict_many(scene, [MaskPrompt()], batch_size=0)


@pytest.mark.parametrize(
    "changed", [{"embedding": torch.zeros(8, 8, 8)}, {"frame": SamFrame((90, 70), 128)}], ids=["shape", "side"]
)
def test_a_scene_of_another_model(segmenter: Segmenter, scene: Scene, changed: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"scene: expected an embedding of shape \(16, 8, 8\)"):
        segmenter.predict(replace(scene, **changed), points=[[3, 4]])


def test_plain_masks(scene: Scene) -> None:
    with pytest.raises(InputError, match=r"mask: array: expected the image's size, 90 x 70 pixels, given 70 x 90"):
        scene.mask_prompt(np.zeros((90, 70), bool))
    with pytest.raises(InputError, match=r"mask: image: a picture in colour; expected greys"):
        scene.mask_prompt(Image.new("RGB", (90, 70), "red"))


def test_a_scene_has_no_crops(segmenter: Segmenter, scene: Scene) -> None:
    with pytest.raises(InputError, match="crop_n_layers=1: a scene has no crops"):
        segmenter.segment_all(scene, EverythingOptions(crop_n_layers=1))


def test_images(segmenter: Segmenter) -> None:
    with pytest.raises(InputError, match="is no picture"):
        segmenter.embed(np.zeros((5, 5, 2)))
    with pytest.raises(InputError, match="is no picture"):
        segmenter.segment_all(np.zeros((5, 5, 2)))


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"points_per_side": None}, "points_per_side, point_grids: give exactly one"),
        ({"point_grids": [np.zeros((1, 2))]}, "points_per_side, point_grids: give exactly one"),
        ({"points_per_side": None, "point_grids": [], "crop_n_layers": 1}, "point_grids: expected 2.*given 0"),
        ({"points_per_side": 0}, "points_per_side=0: expected at least 1"),
        ({"points_per_batch": 0}, "points_per_batch=0: expected at least 1"),
        ({"box_nms_thresh": 1.5}, "box_nms_thresh=1.5: expected 0 to 1"),
        ({"box_nms_thresh": NAN}, "box_nms_thresh=nan: expected 0 to 1"),
        ({"min_mask_region_area": -1}, "min_mask_region_area=-1: expected at least 0"),
    ],
)
def test_options(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        EverythingOptions(**options)


def test_logits_that_were_not_kept() -> None:
    with pytest.raises(InputError, match="keeps none"):
        _ = Mask((1, 1), runs_of(np.ones((1, 1), bool)), 1.0).logits
