"""Everything is cut out: grid, crops, filters and clean-up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from analytic_sam import AnalyticSam
from folioscope.export.masks import record
from folioscope.masks import Mask, runs_of
from folioscope.segment import EverythingOptions, Segmenter
from folioscope.segment.everything import crop_boxes, is_cut_off, point_grids, stability_score
from folioscope.segment.regions import connected
from random_sam import random_sam

OPTIONS = EverythingOptions(points_per_side=4, pred_iou_thresh=0.7, stability_score_thresh=0.55)
IMAGE = Image.new("RGB", (300, 200))


@pytest.fixture(scope="module")
def analytic() -> Segmenter:
    return Segmenter(AnalyticSam())


@pytest.fixture(scope="module")
def masks(analytic: Segmenter) -> list[Mask]:
    return analytic.segment_all(IMAGE, OPTIONS)


def test_masks_pass_the_filters_and_come_best_first(masks: list[Mask]) -> None:
    assert len(masks) > 5
    scores = [mask.score for mask in masks]
    assert scores == sorted(scores, reverse=True)
    assert min(scores) > 0.7
    for mask in masks:
        assert mask.stability is not None
        assert mask.stability >= 0.55
        assert mask.crop == (0, 0, 300, 200)
        ((x, y),) = mask.prompt.points
        assert (x / 300 * 4) % 1 == (y / 200 * 4) % 1 == 0.5


def test_batches_make_no_difference(analytic: Segmenter, masks: list[Mask]) -> None:
    steps: list[tuple[int, int]] = []
    found = analytic.segment_all(
        IMAGE, replace(OPTIONS, points_per_batch=5), progress=lambda done, total: steps.append((done, total))
    )
    assert found == masks
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_a_scene_and_kept_embeddings_are_as_the_image(analytic: Segmenter, masks: list[Mask], tmp_path: Path) -> None:
    assert analytic.segment_all(analytic.embed(IMAGE), OPTIONS) == masks
    options = replace(OPTIONS, crop_n_layers=1)
    expected = analytic.segment_all(IMAGE, options)
    assert [analytic.segment_all(IMAGE, options, keep_in=tmp_path) for _ in range(2)] == [expected] * 2
    assert len(list(tmp_path.iterdir())) == 2  # this image's crops are of one size and colour


@pytest.mark.parametrize("layers", [0, 1, 2])
def test_nothing_survives(analytic: Segmenter, layers: int) -> None:
    options = replace(OPTIONS, pred_iou_thresh=9, crop_n_layers=layers, min_mask_region_area=10)
    assert analytic.segment_all(IMAGE, options) == []


@pytest.mark.parametrize("size", [(1, 1), (2, 1), (1, 300)])
def test_the_smallest_images(analytic: Segmenter, size: tuple[int, int]) -> None:
    options = replace(OPTIONS, pred_iou_thresh=0, stability_score_thresh=0, crop_n_layers=2)
    for mask in analytic.segment_all(Image.new("RGB", size), options):
        assert mask.size == size
        assert record(mask)["crop_box"][2] > 0


def test_thresholds_of_zero_are_off() -> None:
    """A random network's masks are bad, and all are returned but those that overlap."""
    options = EverythingOptions(2, pred_iou_thresh=0, stability_score_thresh=0, box_nms_thresh=1)
    assert len(Segmenter(random_sam()).segment_all(IMAGE, options)) == 2 * 2 * 3
    assert Segmenter(random_sam()).segment_all(IMAGE, EverythingOptions(2, pred_iou_thresh=1e9)) == []


def test_small_regions(analytic: Segmenter, masks: list[Mask]) -> None:
    def regions(mask: Mask) -> int:
        return len(connected(mask.array).sizes) + len(connected(~np.pad(mask.array, 1)).sizes)

    assert all(regions(mask) > 2 for mask in masks)  # each has a hole and a satellite
    tidied = analytic.segment_all(IMAGE, replace(OPTIONS, min_mask_region_area=200))
    assert tidied
    assert all(regions(mask) == 2 for mask in tidied)
    assert {mask.prompt for mask in tidied} <= {mask.prompt for mask in masks}


def test_own_grids(analytic: Segmenter, masks: list[Mask]) -> None:
    (grid,) = point_grids(OPTIONS)
    own = replace(OPTIONS, points_per_side=None, point_grids=[grid])
    assert analytic.segment_all(IMAGE, own) == masks


def test_grids() -> None:
    grids = point_grids(EverythingOptions(points_per_side=4, crop_n_layers=3, crop_n_points_downscale_factor=2))
    assert [len(grid) for grid in grids] == [16, 4, 1, 1]
    assert grids[1].tolist() == [[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]]


def test_crops() -> None:
    assert crop_boxes((900, 600), 0, 0.3) == [((0, 0, 900, 600), 0)]
    first = [(0, 0, 552, 402), (0, 198, 552, 600), (348, 0, 900, 402), (348, 198, 900, 600)]
    assert crop_boxes((900, 600), 1, 512 / 1500)[1:] == [(box, 1) for box in first]
    layers = [layer for _, layer in crop_boxes((900, 600), 2, 512 / 1500)]
    assert [layers.count(layer) for layer in range(3)] == [1, 4, 16]


def test_stability() -> None:
    logits = torch.tensor([[[-2.0, -0.5, 0.5, 2.0]], [[-3.0, -3.0, -3.0, -3.0]]])
    score = stability_score(logits, 1.0)
    assert score[0] == pytest.approx(1 / 3)
    assert score[1].isnan()


@pytest.mark.parametrize(
    ("box", "cut_off"),
    [
        ((50, 50, 90, 90), False),
        ((19, 50, 90, 90), False),  # near the image's own edge
        ((50, 50, 181, 90), True),  # its last pixel is 180, 20 from the crop's edge
        ((50, 50, 180, 90), False),
        ((50, 50, 90, 199), False),
    ],
)
def test_masks_cut_off_by_their_crop(box: tuple[int, int, int, int], cut_off: bool) -> None:
    array = np.zeros((200, 300), bool)
    array[box[1] : box[3], box[0] : box[2]] = True
    assert is_cut_off(Mask((300, 200), runs_of(array), 1.0, crop=(0, 0, 200, 200))) == cut_off
