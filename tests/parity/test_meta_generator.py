"""Everything is cut out as Meta's generator does it, to the pixel; see `make parity`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from meta_generator import generated

from analytic_sam import AnalyticSam
from folioscope.export.masks import record
from folioscope.masks import EverythingOptions
from folioscope.segment import Segmenter

PIXELS = np.zeros((300, 450, 3), np.uint8)
MEASURED = {"predicted_iou", "stability_score"}


@pytest.mark.parametrize(
    "options",
    [
        {"points_per_side": 5, "min_mask_region_area": 40},
        {"points_per_side": 4, "min_mask_region_area": 100_000},
        {"points_per_side": 4, "crop_n_layers": 1, "min_mask_region_area": 100},
        {"points_per_side": 4, "crop_n_layers": 2, "crop_n_points_downscale_factor": 2, "box_nms_thresh": 0.5},
    ],
    ids=["clean", "all-small", "crops", "layers"],
)
def test_everything(options: dict[str, Any]) -> None:
    options |= {"pred_iou_thresh": 0.7, "stability_score_thresh": 0.55}
    theirs = generated(PIXELS, options)
    found = Segmenter(AnalyticSam()).segment_all(PIXELS, EverythingOptions(**options))
    ours = [record(mask, "coco_rle") for mask in found]
    assert len(ours) > 5
    for one, other in zip(ours, theirs, strict=True):
        assert without(one, MEASURED) == without(other, MEASURED)
        assert [one[key] for key in MEASURED] == pytest.approx([other[key] for key in MEASURED], abs=1e-6)


def without(fields: dict[str, Any], names: set[str]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name not in names}
