"""Meta's own `SamAutomaticMaskGenerator`, with the analytic network in place of SAM's.

The package needs four functions of torchvision, which does not import beside every build of torch; where that is so,
plain ones stand in for them. What is compared, grid, filters, crops and clean-up, is the package's and OpenCV's code.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from analytic_sam import AnalyticSam

SIDE = 256


def generated(pixels: np.ndarray, options: dict[str, Any]) -> list[dict[str, Any]]:
    """What it returns for uint8 (height, width, 3). Skips the test where the package or OpenCV is not installed."""
    pytest.importorskip("cv2")
    meta = meta_package()
    automatic_mask_generator, predictor = meta.automatic_mask_generator, meta.predictor

    class Predictor(predictor.SamPredictor):
        def __init__(self, model: Any) -> None:
            self.model, self.transform = model, predictor.ResizeLongestSide(SIDE)

        def set_torch_image(self, transformed: Tensor, size: tuple[int, int]) -> None:
            self.original_size, self.input_size, self.is_image_set = size, tuple(transformed.shape[-2:]), True

        def predict_torch(self, points: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor, Tensor]:
            found = AnalyticSam().predict(torch.empty(0), points=points[None].float())
            square = interpolate(found.logits[0], (SIDE, SIDE), mode="bilinear")
            inside = square[..., : self.input_size[0], : self.input_size[1]]
            return interpolate(inside, self.original_size, mode="bilinear"), found.iou[0], found.logits[0]

        def reset_image(self) -> None:
            self.is_image_set = False

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(automatic_mask_generator, "SamPredictor", Predictor)
        generator = automatic_mask_generator.SamAutomaticMaskGenerator(Model(), output_mode="coco_rle", **options)
        return generator.generate(pixels)


class Model:
    mask_threshold, image_format, device = 0.0, "RGB", "cpu"


def meta_package() -> Any:
    """`segment_anything`; skips what asks for it where it is not installed."""
    with pytest.MonkeyPatch.context() as patch:  # other libraries must not take the stand-ins for the real one
        for name, module in stand_ins().items():
            patch.setitem(sys.modules, name, module)
        return pytest.importorskip("segment_anything")


def stand_ins() -> dict[str, ModuleType]:
    """What `segment_anything` imports of torchvision, if that does not import itself."""
    try:
        import torchvision  # pyright: ignore[reportMissingImports]  # noqa: F401
    except (ImportError, RuntimeError):
        names = ("", ".ops", ".ops.boxes", ".transforms", ".transforms.functional")
        modules = {f"torchvision{name}": ModuleType(f"torchvision{name}") for name in names}
        functions = modules["torchvision.transforms.functional"]
        modules["torchvision.ops.boxes"].__dict__.update(batched_nms=batched_nms, box_area=box_area)
        functions.__dict__.update(to_pil_image=Image.fromarray, resize=resize)
        return modules
    return {}


def resize(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    return image.resize(size[::-1], Image.Resampling.BILINEAR)


def box_area(boxes: Tensor) -> Tensor:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def batched_nms(boxes: Tensor, scores: Tensor, _categories: Tensor, iou_threshold: float) -> Tensor:
    order, kept = scores.sort(descending=True, stable=True).indices, []
    while len(order):
        best, order = order[0], order[1:]
        kept.append(best)
        low, high = torch.maximum(boxes[best, :2], boxes[order, :2]), torch.minimum(boxes[best, 2:], boxes[order, 2:])
        shared = (high - low).clamp(min=0).prod(dim=1)
        iou = shared / (box_area(boxes[best : best + 1]) + box_area(boxes[order]) - shared)
        order = order[~(iou > iou_threshold)]
    return torch.stack(kept) if kept else torch.empty(0, dtype=torch.long)
