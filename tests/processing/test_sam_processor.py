"""SAM's processor: points, labels and boxes of any count, in the frame's pixels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from folioscope import SamImageProcessor, SamProcessor
from folioscope.model.sam import Sam
from folioscope.processing import BatchFeature
from folioscope.types import InputError
from random_sam import random_embeddings, random_sam

PHOTO, TALL = Image.new("RGB", (128, 64)), Image.new("RGB", (32, 64))
"""In a frame of 64 pixels the first is halved, the second stays as it is."""

KINDS = ["pt", "np", None]


@pytest.fixture(scope="module")
def processor() -> SamProcessor:
    return SamProcessor(SamImageProcessor(size=64, pad_size=64))


def rows(value: Any) -> Any:
    return np.asarray(value).tolist()


def test_points_labels_and_boxes_go_to_the_frame(processor: SamProcessor) -> None:
    points, labels, boxes = [[[[128, 64], [3, 5]]]], [[[1, 0]]], [[[0, 2, 128, 64]]]
    inputs = processor(PHOTO, input_points=points, input_labels=labels, input_boxes=boxes, return_tensors="pt")
    assert inputs.input_points.tolist() == [[[[64, 32], [1.5, 2.5]]]]
    assert inputs.input_labels.tolist() == labels
    assert inputs.input_boxes.tolist() == [[[0, 1, 64, 32]]]
    assert [inputs[name].dtype for name in ("input_points", "input_labels", "input_boxes")] == [
        torch.float64,
        torch.int64,
        torch.float64,
    ]
    unscaled = processor(PHOTO, input_points=points, do_resize=False, pad_size=128, return_tensors="np")
    assert unscaled.input_points.tolist() == points


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("shape", "expected"), [((2, 3, 4, 2), (2, 3, 4, 2)), ((2, 4, 2), (2, 1, 4, 2)), ((2, 1, 2), (2, 1, 1, 2))]
)
def test_shapes(processor: SamProcessor, kind: str | None, shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    points = np.ones(shape)
    for form in (points, points.tolist(), torch.from_numpy(points), list(points), tuple(map(torch.from_numpy, points))):
        for labels in (None, np.ones(shape[:-1], int)):
            inputs = processor([PHOTO, TALL], input_points=form, input_labels=labels, return_tensors=kind)
            assert np.shape(inputs["input_points"]) == expected
            assert (labels is not None) == ("input_labels" in inputs)
            assert labels is None or np.shape(inputs["input_labels"]) == expected[:-1]


@pytest.mark.parametrize("kind", KINDS)
def test_ragged_points_are_filled_up(processor: SamProcessor, kind: str | None) -> None:
    points = [[[[2, 4]], [[6, 8], [10, 12], [14, 16]]], [[[1, 2], [3, 4]]]]
    inputs = processor([PHOTO, TALL], input_points=points, return_tensors=kind)
    pad = [-10, -10]
    assert rows(inputs.input_points) == [
        [[[1, 2], pad, pad], [[3, 4], [5, 6], [7, 8]]],
        [[[1, 2], [3, 4], pad], [pad, pad, pad]],
    ]
    assert rows(inputs.input_labels) == [[[1, -10, -10], [1, 1, 1]], [[1, 1, -10], [-10, -10, -10]]]
    labels = [[[0], [1, 0, -1]], [[-1, 1]]]
    labelled = processor([PHOTO, TALL], input_points=points, input_labels=labels, return_tensors=kind)
    assert rows(labelled.input_labels) == [[[0, -10, -10], [1, 0, -1]], [[-1, 1, -10], [-10, -10, -10]]]
    assert rows(labelled.input_points) == rows(inputs.input_points)


def test_ragged_with_one_object_an_image(processor: SamProcessor) -> None:
    inputs = processor([PHOTO, TALL], input_points=[[[2, 4], [6, 8]], []], return_tensors="np")
    assert inputs.input_points.shape == (2, 1, 2, 2)
    assert inputs.input_labels.tolist() == [[[1, 1]], [[-10, -10]]]


def test_ragged_boxes(processor: SamProcessor) -> None:
    boxes = [[[0, 0, 8, 8]], [[1, 1, 2, 2], [3, 3, 4, 4]]]
    inputs = processor([PHOTO, TALL], input_boxes=boxes, return_tensors="np")
    assert inputs.input_boxes.tolist() == [[[0, 0, 4, 4], [-10] * 4], [[1, 1, 2, 2], [3, 3, 4, 4]]]
    absent = processor(PHOTO, input_boxes=[[[], [0, 0, 8, 8]]], input_points=[[[[2, 2]], []]], return_tensors="np")
    assert absent.input_boxes.tolist() == [[[-10] * 4, [0, 0, 4, 4]]]
    assert absent.input_labels.tolist() == [[[1], [-10]]]


def test_padding_of_the_users_own_stays(processor: SamProcessor) -> None:
    points, labels, boxes = [[[[2, 4], [-10, -10]]]], [[[1, -10]]], [[[-10] * 4]]
    inputs = processor(PHOTO, input_points=points, input_labels=labels, input_boxes=boxes, return_tensors="np")
    assert inputs.input_points.tolist() == [[[[1, 2], [-10, -10]]]]
    assert inputs.input_labels.tolist() == labels
    assert inputs.input_boxes.tolist() == boxes


@torch.inference_mode()
def test_each_object_has_the_result_that_it_has_alone(processor: SamProcessor) -> None:
    model = random_sam()
    embeddings = random_embeddings(2)
    points: list[Any] = [[[[20, 30]], [[60, 8], [10, 12], [14, 16]]], [[[1, 2], [3, 4]]]]
    boxes: list[Any] = [[[4, 4, 90, 50], []], [[1, 1, 20, 30]]]
    images = [PHOTO, TALL]
    together = predicted(
        model, embeddings, processor(images, input_points=points, input_boxes=boxes, return_tensors="pt")
    )
    for image, number in ((0, 0), (0, 1), (1, 0)):
        box = {"input_boxes": [[boxes[image][number]]]} if boxes[image][number] else {}
        inputs = processor(images[image], input_points=[[points[image][number]]], return_tensors="pt", **box)
        alone = predicted(model, embeddings[image : image + 1], inputs)
        torch.testing.assert_close(together[image, number], alone[0, 0], atol=1e-5, rtol=0)


def predicted(model: Sam, embeddings: torch.Tensor, inputs: BatchFeature) -> torch.Tensor:
    labels, boxes = inputs.get("input_labels"), inputs.get("input_boxes")
    return model.predict(embeddings, points=inputs.input_points, labels=labels, boxes=boxes).logits


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"input_points": [[1, 2]]}, r"input_points: shape \[1, 2\]; expected \[B, N, P, 2\]"),
        ({"input_points": np.ones((1, 2))}, r"input_points: shape \[1, 2\]"),
        ({"input_points": [1, 2]}, r"input_points: shape \[2\]"),
        ({"input_points": 3}, r"input_points: shape \[\]"),
        ({"input_points": np.ones((1, 1, 2, 3))}, r"shape \[1, 1, 2, 3\]; expected"),
        ({"input_points": [[[[1, 2], [3]]]]}, r"shape \[1, 1, 2, 1-2\]; expected"),
        ({"input_points": [[[1, 2], [[3, 4]]]]}, "expected"),
        ({"input_points": np.ones((2, 1, 1, 2))}, "is for 2 images, but there are 1"),
        ({"input_points": []}, "input_points: an empty list"),
        ({"input_points": [[[]]]}, "input_points: an empty list"),
        ({"input_points": "1,2"}, "input_points: holds a str"),
        ({"input_points": [[[1, None]]]}, "input_points: holds a NoneType"),
        ({"input_points": [[[1, float("nan")]]]}, r"input_points\[0\]\[0\]\[0\]: \(1, nan\) is not a point"),
        ({"input_points": [[[1, 2], [129, 3]]]}, r"\[0\]\[0\]\[1\]: \(129, 3\) is outside its image, 128 x 64"),
        ({"input_points": [[[-1, 2]]]}, "outside its image"),
        ({"input_labels": [[[1]]]}, "input_labels: labels without points"),
        (
            {"input_points": [[[1, 2]]], "input_labels": [[1, 1]]},
            r"input_labels: shape \[1, 2\]; expected .*\[1, 1, 1, 2\]",
        ),
        ({"input_points": np.ones((1, 2, 1, 2)), "input_labels": [[1, 1]]}, r"input_labels: shape \[1, 2\]"),
        ({"input_points": [[[1, 2]]], "input_labels": [1]}, r"input_labels: shape \[1\]"),
        ({"input_points": [[[1, 2]]], "input_labels": [[2]]}, r"2 is no label; give 1 \(object\)"),
        ({"input_points": [[[1, 2]]], "input_labels": [[0.5]]}, "0.5 is no label"),
        ({"input_boxes": [[1, 2, 3, 4]]}, r"input_boxes: shape \[1, 4\]; expected \[B, N, 4\]"),
        ({"input_boxes": [[[1, 2, 3]]]}, r"input_boxes: shape \[1, 1, 3\]"),
        ({"input_boxes": [[[1, 2, 3], [1, 2, 3, 4]]]}, r"input_boxes\[0\]\[0\]: .* is not a box"),
        ({"input_boxes": []}, "input_boxes: an empty list"),
        ({"input_boxes": [[[5, 2, 3, 4]]]}, "x1 > x2"),
        ({"input_boxes": [[[1, 5, 3, 4]]]}, "y1 > y2"),
        ({"input_boxes": [[[1, 2, 3, float("inf")]]]}, "is not a box"),
        ({"input_boxes": [[[200, 2, 300, 4]]]}, "outside its image"),
        (
            {"input_points": np.ones((1, 2, 1, 2)), "input_boxes": [[[1, 2, 3, 4]]]},
            "input_points for 2 objects and input_boxes for 1 in image 0",
        ),
    ],
)
def test_what_cannot_be(processor: SamProcessor, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        processor(PHOTO, **arguments)


def test_options_of_the_image_processor(processor: SamProcessor) -> None:
    inputs = processor(PHOTO, segmentation_maps=np.ones((64, 128), int), mask_size=8, return_tensors="pt")
    assert inputs.labels.sum() == 32
    masks = processor.post_process_masks(torch.ones(1, 1, 3, 4, 4), inputs.original_sizes, inputs.reshaped_input_sizes)
    assert [mask.shape for mask in masks] == [(1, 3, 64, 128)]
    assert (processor.target_size, processor.model_input_names) == (
        64,
        ["pixel_values", "original_sizes", "reshaped_input_sizes"],
    )


def test_arrays_stay_when_the_feature_moves(processor: SamProcessor) -> None:
    inputs = processor(PHOTO, input_points=[[[1, 2]]], return_tensors="np").to("cpu", torch.bfloat16)
    assert isinstance(inputs.input_points, np.ndarray)


@pytest.mark.parametrize("side", [256, 1024])
def test_goldens(shared: Callable[..., Path], side: int) -> None:
    toy = shared("golden", "sam_toy")
    golden = np.load(toy / "processor" / f"truck_900x600_{side}.npz")
    processor, image = SamProcessor(SamImageProcessor(size=side, pad_size=side)), toy / "images" / "truck_900x600.png"
    inputs = processor(image, input_points=golden["raw_points"], input_labels=[[1, 0, 1]], return_tensors="np")
    inputs.update(processor(image, input_boxes=golden["raw_boxes"], return_tensors="np"))
    for name in ("original_sizes", "reshaped_input_sizes", "input_points", "input_labels", "input_boxes"):
        assert inputs[name].dtype == golden[name].dtype, name
        assert np.array_equal(inputs[name], golden[name]), name


def test_golden_masks(shared: Callable[..., Path]) -> None:
    toy = shared("golden", "sam_toy")
    golden, low = (np.load(toy / "hf" / f"{name}.npz") for name in ("post_process_single_point", "single_point"))
    processor = SamProcessor.from_pretrained(toy / "hf_tiny256")
    sizes = [(600, 900)], [(171, 256)]
    (masks,), (logits,) = (
        processor.post_process_masks(low["pred_masks"], *sizes, binarize=kind) for kind in (True, False)
    )
    wanted = np.unpackbits(golden["packed_0"], count=masks.numel()).astype(bool).reshape(golden["shape_0"])
    assert masks.numpy()[logits.abs() > 1e-3].tolist() == wanted[logits.abs() > 1e-3].tolist()
    np.testing.assert_allclose(logits.flatten()[golden["logit_index_0"]], golden["logit_0"], atol=1e-3)
