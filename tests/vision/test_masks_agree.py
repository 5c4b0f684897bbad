"""What is cut out of a photograph hardly depends on the precision of the image encoder."""

from __future__ import annotations

import numpy as np
import pytest

from conftest import ROOT
from folioscope.masks import Mask
from folioscope.segment import EMBEDDED, Scene, Segmenter
from folioscope.vision.linear import multiplies_integers, packs

PHOTOS = sorted((ROOT / "examples" / "photos").glob("*.jpg"))
MEAN, LEAST = {"bfloat16": 0.995, "int8": 0.99}, 0.98
"""Of all masks; of the one that each click gives unless asked for more."""

CLICKS = [(x, y) for x in (0.3, 0.5, 0.7) for y in (0.3, 0.5, 0.7)]

pytestmark = [
    pytest.mark.skipif(not EMBEDDED.is_dir() or not PHOTOS, reason="no embedded segmenter or no photographs"),
    pytest.mark.skipif(not packs(), reason="torch here has no oneDNN"),
]


def cut_out(segmenter: Segmenter, scene: Scene) -> list[list[Mask]]:
    """Of each click, the masks it may mean."""
    width, height = scene.frame.size
    return [segmenter.predict(scene, points=[[x * width, y * height]], multimask=True) for x, y in CLICKS]


def overlaps(wanted: list[Mask], found: list[Mask]) -> list[float]:
    """IoU of each of a click's masks, the best of those wanted first."""
    order = np.argsort([-mask.score for mask in wanted])
    pairs = [(wanted[i].array, found[i].array) for i in order]
    return [(a & b).sum() / max(1, (a | b).sum()) for a, b in pairs]


@pytest.mark.parametrize("dtype", MEAN)
def test_masks_are_those_of_float32(dtype: str) -> None:
    if dtype == "int8" and not multiplies_integers():
        pytest.skip("no instructions for int8 here")
    exact = Segmenter.from_pretrained(device="cpu", dtype="float32")
    other = Segmenter.from_pretrained(device="cpu", dtype=dtype)
    ious = []
    for photo in PHOTOS[:2]:
        scene = exact.embed(photo)
        # the mask decoder in float32 for both: only what the encoder changes is compared
        rounded = Scene(other.embed(photo).embedding.float(), scene.frame)
        ious += map(overlaps, cut_out(exact, scene), cut_out(exact, rounded))
    best = np.array(ious)[:, 0]
    print(dtype, "IoU with float32: mean", np.mean(ious), "least", np.min(ious), "least of the best", best.min())
    assert np.mean(ious) >= MEAN[dtype]
    assert best.min() >= LEAST
