"""What SamModel is called with and cannot be: refused by name, with the shape given and the one expected."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from folioscope import SamModel
from folioscope.types import InputError
from random_sam import SIDE, SMALL, random_embeddings, random_masks, random_points, random_sam

SEEN = random_embeddings(2)
POINTS = torch.full((2, 3, 1, 2), 9.0)
NAN = torch.full((2, 3, 1, 2), float("nan"))


@pytest.fixture(scope="module")
def model() -> SamModel:
    return SamModel(random_sam())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "pixel_values and image_embeddings: given neither; expected exactly one"),
        ({"pixel_values": torch.zeros(1, 3, 64, 64), "image_embeddings": SEEN}, "given both; expected exactly one"),
        ({"pixel_values": torch.zeros(3, 64, 64)}, r"pixel_values: shape \(3, 64, 64\); expected \(B, 3, H, W\)"),
        ({"pixel_values": torch.zeros(1, 1, 64, 64)}, r"pixel_values: shape \(1, 1, 64, 64\); expected"),
        ({"pixel_values": torch.zeros(1, 3, 60, 64)}, r"shape \(1, 3, 60, 64\); .* H and W multiples of 8"),
        ({"pixel_values": np.zeros((1, 3, 64, 64))}, r'a ndarray; give a tensor .*return_tensors="pt"'),
        ({"image_embeddings": SEEN[0]}, r"image_embeddings: shape \(16, 8, 8\); expected \(B, 16, h, w\)"),
        ({"image_embeddings": torch.zeros(1, 256, 64, 64)}, r"image_embeddings: shape \(1, 256, 64, 64\); expected"),
    ],
)
def test_images(model: SamModel, given: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        model(**given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"input_points": POINTS[0]}, r"input_points: shape \(3, 1, 2\); expected \(B, N, P, 2\)"),
        ({"input_points": POINTS[..., :1]}, r"input_points: shape \(2, 3, 1, 1\); expected"),
        ({"input_points": POINTS.tolist()}, "input_points: a list; give a tensor"),
        ({"input_points": POINTS[:1]}, r"input_points: shape \(1, 3, 1, 2\) is for 1 images, but there are 2"),
        ({"input_points": POINTS[:, :0]}, r"input_points: shape \(2, 0, 1, 2\) is empty; leave it out"),
        ({"input_points": NAN}, "input_points: holds NaN or infinity"),
        ({"input_points": POINTS + 60}, r"input_points: \(69, 69\) is outside the image, 64 x 64 pixels as it is enc"),
        ({"input_points": POINTS - 10}, r"input_points: \(-1, -1\) is outside the image"),
        ({"input_labels": torch.ones(2, 3, 1)}, r"input_labels: shape \(2, 3, 1\) without input_points"),
        (
            {"input_points": POINTS, "input_labels": torch.ones(2, 3, 2)},
            r"input_labels: shape \(2, 3, 2\); expected \(B, N, P\), one for each of input_points of shape \(2, 3, 1",
        ),
        ({"input_points": POINTS, "input_labels": torch.ones(2, 3)}, r"input_labels: shape \(2, 3\); expected"),
        ({"input_boxes": torch.zeros(2, 4)}, r"input_boxes: shape \(2, 4\); expected \(B, N, 4\)"),
        ({"input_boxes": torch.zeros(2, 1, 5)}, r"input_boxes: shape \(2, 1, 5\); expected"),
        ({"input_boxes": torch.tensor([[[1.0, 2, 3, 4]], [[5, 2, 3, 4]]])}, r"\(5, 2, 3, 4\) has x1 > x2 or y1 > y2"),
        ({"input_boxes": torch.tensor([[[1.0, 2, 3, 4]], [[1, 5, 3, 4]]])}, "has x1 > x2 or y1 > y2"),
        (
            {"input_points": POINTS, "input_boxes": torch.zeros(2, 2, 4)},
            "input_points for 3 and input_boxes for 2 objects; give all of them for the same objects",
        ),
        (
            {"input_points": POINTS, "input_masks": random_masks(2, 2)},
            "input_points for 3 and input_masks for 2 objects",
        ),
        (
            {"input_masks": (random_masks(2, 1) > 0).to(torch.uint8)},
            "input_masks: uint8 numbers; expected floating-point",
        ),
        ({"input_masks": random_masks(2, 1)[..., :9]}, r"input_masks: shape \(2, 1, 32, 9\); .*4h = 32 and 4w = 32"),
        ({"input_masks": torch.full((2, 1, 32, 32), torch.inf)}, "input_masks: holds NaN or infinity"),
        ({"attention_similarity": torch.zeros(3, 64)}, r"attention_similarity: shape \(3, 64\); .* = \(2, 2, 5, 64\)"),
        ({"input_points": POINTS, "attention_similarity": torch.zeros(9)}, r"= \(6, 2, 7, 64\)"),
        (
            {"target_embedding": torch.zeros(1, 1, 1, 1, 16)},
            r"target_embedding: shape .* \(B, N, T, C\) = \(2, 1, 5, 16\)",
        ),
    ],
)
def test_prompts(model: SamModel, given: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        model(image_embeddings=SEEN, **given)
    assert len(str(caught.value).splitlines()) == 1
    if not {"attention_similarity", "target_embedding"} & given.keys() and "images" not in message:
        with pytest.raises(InputError, match=message):
            model.get_prompt_embeddings(**given)


def test_options_that_there_are_not(model: SamModel) -> None:
    with pytest.raises(TypeError, match="input_point"):
        model(image_embeddings=SEEN, input_point=POINTS)


def test_what_is_unusual_and_good(model: SamModel) -> None:
    """Padding may lie anywhere, a box at the edge may be a line, and a point on the edge is inside."""
    anywhere = torch.tensor([[[[900.0, -10.0], [SIDE, 0.0]]]])
    model(
        image_embeddings=SEEN[:1],
        input_points=anywhere,
        input_labels=torch.tensor([[[-10, 1]]]),
        input_boxes=torch.tensor([[[5.0, 5.0, 5.0, 9.0]]]),
        attention_similarity=torch.zeros(1, 1, 1, 64),
        target_embedding=torch.zeros(1, 1, SMALL.width),
    )
    model(image_embeddings=SEEN, input_boxes=torch.full((2, 3, 4), -10))
    model(image_embeddings=SEEN, input_points=random_points(2, 3, 1), input_masks=random_masks(2, 3).half())
