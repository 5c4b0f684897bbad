"""How well a segmenter cuts out: held-out objects on held-out photographs and pages, prompted as a user would.

Source of the clicks: Segment Anything (arXiv 2304.02643, section 7.1 and appendix D.1): first the point deepest in the
object, then the deepest in the error region, with the last mask as a prompt beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from folioscope.masks import EverythingOptions, Mask, MaskPrompt
from folioscope.segment import Scene, Segmenter
from folioscope.train.clicks import deepest, tight_box
from folioscope.train.composites.compose import Composite, CompositeStyle, compose
from folioscope.train.composites.page_objects import compose_page

EVALUATION_SEED = 7_000_000
"""First seed of evaluation pictures. Their objects, photographs, words and type faces are held out."""

STYLE = CompositeStyle(side=384, objects=(2, 7), size=(0.12, 0.75), split="held_out")
"""What is evaluated: objects of an eighth to three quarters of the picture's longest side."""

MATERIALS: dict[str, Callable[[CompositeStyle, int], Composite]] = {"composites": compose, "pages": compose_page}

CLICKS = 3
FOUND = 0.5
"""IoU from which `segment_all` counts as having found an object."""

CROWDING = (0.0, 0.1, 0.25, 1.0)
"""Rows of `crowding_table`: up to which share of an object's box belongs to other objects."""


@dataclass(frozen=True)
class Cut:
    """What came of one object.

    Attributes:
        truth: (height, width) bool.
        click, box: The masks chosen by their scores from one prompt.
        ious: Of the masks from one click, from a box, and from three clicks.
        score_errors: Of the first two: how far their scores are from their IoU.
    """

    scene: Composite
    truth: np.ndarray
    click: Mask
    box: Mask
    ious: tuple[float, float, float]
    score_errors: tuple[float, float]


@dataclass(frozen=True)
class CutScore:
    """Means over the objects of some pictures."""

    material: str
    pictures: int
    objects: int
    click: float
    box: float
    clicks: float
    score_error: float


def evaluation_scenes(material: str, count: int, seed: int = EVALUATION_SEED) -> Iterable[Composite]:
    """`count` held-out pictures: "composites" or "pages"."""
    return (MATERIALS[material](STYLE, seed + number) for number in range(count))


def evaluate_cuts(
    segmenter: Segmenter, material: str, count: int, report: Callable[[Cut], None] = lambda _: None
) -> CutScore:
    """Cut out every object of `count` pictures; `report` is told of each."""
    cuts = []
    for scene in evaluation_scenes(material, count):
        for cut in cut_out(segmenter, scene):
            report(cut)
            cuts.append((*cut.ious, *cut.score_errors))
    click, box, clicks, *errors = np.mean(cuts, axis=0).tolist()
    return CutScore(material, count, len(cuts), click, box, clicks, sum(errors) / len(errors))


def cut_out(segmenter: Segmenter, picture: Composite) -> list[Cut]:
    """Cut each object of a picture out with a click, with a box, and with three clicks."""
    scene = segmenter.embed(picture.image)
    points = [deepest(mask)[0] for mask in picture.masks]
    by_click = _best(segmenter, scene, [MaskPrompt(points=(point,), labels=(1,)) for point in points])
    by_box = _best(segmenter, scene, [MaskPrompt(box=tight_box(mask)) for mask in picture.masks])
    cuts = []
    for truth, point, click, box in zip(picture.masks, points, by_click, by_box, strict=True):
        ious = iou(click.array, truth), iou(box.array, truth)
        corrected = iou(_corrected(segmenter, scene, truth, point, click), truth)
        errors = abs(click.score - ious[0]), abs(box.score - ious[1])
        cuts.append(Cut(picture, truth, click, box, (*ious, corrected), errors))
    return cuts


def _best(segmenter: Segmenter, scene: Scene, prompts: Sequence[MaskPrompt]) -> list[Mask]:
    return [max(masks, key=lambda mask: mask.score) for masks in segmenter.predict_many(scene, prompts)]


def _corrected(segmenter: Segmenter, scene: Scene, truth: np.ndarray, first: tuple[int, int], mask: Mask) -> np.ndarray:
    """The mask after CLICKS clicks."""
    points, labels = [first], [1]
    for _ in range(CLICKS - 1):
        missed, extra = truth & ~mask.array, mask.array & ~truth
        (point, depth), (other, other_depth) = deepest(missed), deepest(extra)
        if not depth and not other_depth:
            break
        points.append(point if depth >= other_depth else other)
        labels.append(int(depth >= other_depth))
        mask = segmenter.predict(scene, points, labels, mask=mask.low_logits, multimask=False)[0]
    return mask.array


def iou(drawn: np.ndarray, truth: np.ndarray) -> float:
    """Of two bool arrays of one shape."""
    return float((drawn & truth).sum() / max(1, (drawn | truth).sum()))


def recall_of_everything(segmenter: Segmenter, count: int, options: EverythingOptions | None = None) -> float:
    """The share of the objects of `count` composites that some mask of `segment_all` meets with an IoU of FOUND."""
    found = objects = 0
    for scene in evaluation_scenes("composites", count):
        masks = [mask.array for mask in segmenter.segment_all(scene.image, options)]
        best = [max((iou(mask, truth) for mask in masks), default=0.0) for truth in scene.masks]
        found, objects = found + sum(value >= FOUND for value in best), objects + len(best)
    return found / objects


_IOUS = f"{'1 click':>9}{'box':>8}{'3 clicks':>10}"


def _ious(click: float, box: float, clicks: float) -> str:
    return f"{click:>9.3f}{box:>8.3f}{clicks:>10.3f}"


def table(scores: Sequence[CutScore]) -> str:
    """The scores as lines of aligned columns; IoU are means over objects."""
    lines = [f"{'material':<12}{'pictures':>9}{'objects':>9}{_IOUS}{'score error':>13}"]
    for score in scores:
        counts = f"{score.material:<12}{score.pictures:>9}{score.objects:>9}"
        lines.append(f"{counts}{_ious(score.click, score.box, score.clicks)}{score.score_error:>13.3f}")
    return "\n".join(lines)


def crowding_table(cuts: Sequence[Cut]) -> str:
    """IoU by how much of the objects' boxes belongs to others, 0..1, as lines of aligned columns."""
    rows = np.searchsorted(CROWDING, [_others_in_box(cut) for cut in cuts])
    ious = np.array([cut.ious for cut in cuts])
    lines = [f"{'others in box':<21}{'objects':>9}{_IOUS}"]
    for row, share in enumerate(CROWDING):
        chosen = ious[rows == row]
        if len(chosen):
            lines.append(f"up to {share:<15.0%}{len(chosen):>9}{_ious(*chosen.mean(axis=0).tolist())}")
    return "\n".join(lines)


def _others_in_box(cut: Cut) -> float:
    left, top, right, bottom = tight_box(cut.truth)
    others = cut.scene.masks.any(axis=0) & ~cut.truth
    return float(others[top:bottom, left:right].mean())
