"""Evaluation measures masks as users get them; its pictures show them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from folioscope.masks import EverythingOptions
from folioscope.segment import Segmenter
from folioscope.train.composites.compose import Composite
from folioscope.train.segmenter_evaluate import (
    CLICKS,
    MATERIALS,
    STYLE,
    CutScore,
    crowding_table,
    cut_out,
    evaluate_cuts,
    evaluation_scenes,
    iou,
    recall_of_everything,
    table,
)
from folioscope.train.segmenter_preview import save_cuts, save_preview
from random_sam import random_sam


@pytest.fixture
def segmenter() -> Segmenter:
    return Segmenter(random_sam())


def test_iou() -> None:
    one, other = np.zeros((4, 4), bool), np.zeros((4, 4), bool)
    one[:2], other[1:3] = True, True
    assert iou(one, one) == 1
    assert iou(one, other) == pytest.approx(1 / 3)
    assert iou(one, ~one) == 0


def test_what_is_evaluated_was_never_trained_on() -> None:
    assert STYLE.split == "held_out"
    assert CLICKS == 3


@pytest.mark.parametrize("material", MATERIALS)
def test_scores_are_means_of_the_masks_that_users_get(segmenter: Segmenter, material: str) -> None:
    score = evaluate_cuts(segmenter, material, 2)
    cuts = [cut for scene in evaluation_scenes(material, 2) for cut in cut_out(segmenter, scene)]
    assert score.objects == len(cuts)
    assert score.click == pytest.approx(np.mean([iou(cut.click.array, cut.truth) for cut in cuts]))
    assert score.box == pytest.approx(np.mean([iou(cut.box.array, cut.truth) for cut in cuts]))
    errors = [abs(mask.score - iou(mask.array, cut.truth)) for cut in cuts for mask in (cut.click, cut.box)]
    assert score.score_error == pytest.approx(np.mean(errors))


def test_a_user_who_gets_the_truth_corrects_nothing(segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = next(iter(evaluation_scenes("composites", 1)))
    monkeypatch.setattr("folioscope.train.segmenter_evaluate._best", lambda *_: [Perfect(mask) for mask in scene.masks])
    monkeypatch.setattr(Segmenter, "predict", lambda *_, **__: pytest.fail("nothing was wrong"))
    assert [cut.ious for cut in cut_out(segmenter, scene)] == [(1.0, 1.0, 1.0)] * len(scene.masks)


class Perfect:
    """A mask that is the truth."""

    score = 1.0

    def __init__(self, array: np.ndarray) -> None:
        self.array = array


def test_recall_is_of_all_objects(segmenter: Segmenter) -> None:
    options = EverythingOptions(points_per_side=2, pred_iou_thresh=0, stability_score_thresh=0)
    assert 0 <= recall_of_everything(segmenter, 1, options) <= 1


def test_the_table_is_aligned() -> None:
    lines = table([CutScore("composites", 300, 1301, 0.71, 0.812, 0.8, 0.05)]).splitlines()
    assert len(lines[0]) == len(lines[1])
    assert lines[1].split() == ["composites", "300", "1301", "0.710", "0.812", "0.800", "0.050"]


def test_objects_are_told_apart_by_what_else_is_in_their_boxes(segmenter: Segmenter) -> None:
    masks = np.zeros((3, 40, 40), bool)
    masks[0, 30:38, 30:38] = True
    masks[1, 2:22, 2:22] = True
    masks[2, 14:22, 14:22] = True  # 64 of the 400 pixels of the box around what it covers
    masks[1] &= ~masks[2]
    cuts = cut_out(segmenter, Composite(Image.new("RGB", (40, 40)), masks))
    lines = crowding_table(cuts).splitlines()
    assert [line.split()[:4] for line in lines[1:]] == [
        ["up", "to", "0%", "2"],
        ["up", "to", "25%", "1"],
    ]
    assert lines[2].split()[4:] == [f"{iou:.3f}" for iou in cuts[1].ious]
    assert len({len(line) for line in lines}) == 1


def test_pictures_are_written(segmenter: Segmenter, tmp_path: Path) -> None:
    scene = next(iter(evaluation_scenes("pages", 1)))
    shown = save_cuts(tmp_path / "cuts.png", cut_out(segmenter, scene)[:2])
    with Image.open(shown) as sheet:
        assert sheet.width > 2 * max(scene.image.size)
    assert save_preview(tmp_path, STYLE, 2).is_file()
