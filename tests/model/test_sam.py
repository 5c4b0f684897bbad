"""Segment Anything's invariants: objects, images and padding do not disturb one another."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from folioscope.model.sam import Prediction, Sam
from folioscope.model.sam_prompts import PADDING
from random_sam import GRID, SMALL, random_boxes, random_embeddings, random_masks, random_points, random_sam

CLOSE = {"atol": 2e-5, "rtol": 1e-5}


@pytest.fixture(scope="module")
def sam() -> Sam:
    return random_sam()


def assert_same(left: Prediction, right: Prediction) -> None:
    torch.testing.assert_close(left.logits, right.logits, **CLOSE)
    torch.testing.assert_close(left.iou, right.iou, **CLOSE)


def at(prediction: Prediction, image: int, number: int) -> Prediction:
    image_, object_ = slice(image, image + 1), slice(number, number + 1)
    return Prediction(prediction.logits[image_, object_], prediction.iou[image_, object_])


def differ(left: Prediction, right: Prediction) -> bool:
    return float((left.logits - right.logits).abs().max()) > 1e-3


@pytest.mark.parametrize(
    ("given", "objects"),
    [
        ({"points": random_points(2, 3, 2)}, 3),
        ({"boxes": random_boxes(2, 4)}, 4),
        ({"masks": random_masks(2, 1)}, 1),
        ({"masks": random_masks(2, 5)}, 5),
        ({"points": random_points(2, 3, 2), "boxes": random_boxes(2, 3), "masks": random_masks(2, 1)}, 3),
        ({}, 1),
    ],
)
def test_shapes(sam: Sam, given: dict[str, Any], objects: int) -> None:
    many, one = (sam.predict(random_embeddings(2), multimask=multimask, **given) for multimask in (True, False))
    h, w = GRID
    assert many.logits.shape == (2, objects, 3, 4 * h, 4 * w)
    assert many.iou.shape == (2, objects, 3)
    assert one.logits.shape == (2, objects, 1, 4 * h, 4 * w)
    assert one.iou.shape == (2, objects, 1)
    assert many.attention_maps == many.image_updates == ()


PROMPTS = {
    "points": {"points": random_points(2, 3, 2), "labels": torch.tensor([[[1, 0], [0, 0], [1, -1]]] * 2)},
    "boxes": {"boxes": random_boxes(2, 3)},
    "points and boxes": {"points": random_points(2, 3, 1), "boxes": random_boxes(2, 3)},
    "a mask each": {"points": random_points(2, 3, 1), "masks": random_masks(2, 3)},
}


@pytest.mark.parametrize("name", PROMPTS)
def test_together_as_alone(sam: Sam, name: str) -> None:
    embeddings, given = random_embeddings(2), PROMPTS[name]
    together = sam.predict(embeddings, **given)
    for image in range(2):
        for number in range(3):
            alone = {key: value[image : image + 1, number : number + 1] for key, value in given.items()}
            assert_same(at(together, image, number), sam.predict(embeddings[image : image + 1], **alone))
    assert differ(at(together, 0, 0), at(together, 0, 1))


def test_one_mask_serves_all_objects(sam: Sam) -> None:
    embeddings, points, mask = random_embeddings(), random_points(1, 3, 1), random_masks(1, 1)
    shared = sam.predict(embeddings, points=points, masks=mask)
    assert_same(shared, sam.predict(embeddings, points=points, masks=mask.expand(1, 3, -1, -1)))
    assert differ(shared, sam.predict(embeddings, points=points))


def test_labels_are_one_unless_given(sam: Sam) -> None:
    points = random_points(1, 2, 3)
    assert_same(
        sam.predict(random_embeddings(), points=points),
        sam.predict(random_embeddings(), points=points, labels=torch.ones(1, 2, 3)),
    )


RAGGED: list[dict[str, Tensor]] = [
    {"points": random_points(1, 1, 3), "labels": torch.tensor([[[1, 0, 1]]])},
    {"points": random_points(1, 1, 1), "labels": torch.tensor([[[0]]])},
    {"boxes": random_boxes(1, 1)},
    {"points": random_points(1, 1, 2), "labels": torch.tensor([[[1, -1]]]), "boxes": random_boxes(1, 1, seed=9)},
    {},
]
"""Objects with different numbers of points, with and without box, and one with nothing."""


def padded(objects: list[dict[str, Tensor]], length: int, boxes: bool) -> dict[str, Tensor]:
    """The objects as one batch: points (1, N, length, 2), labels and, if asked for, boxes."""
    rows, labels, corners = [], [], []
    for number in objects:
        points = number.get("points", torch.zeros(1, 1, 0, 2))[0, 0].float()
        missing = length - len(points)
        rows.append(torch.cat([points, torch.full((missing, 2), 7.0)]))
        known = number["labels"][0, 0] if "labels" in number else torch.zeros(0, dtype=torch.int64)
        labels.append(torch.cat([known, torch.full((missing,), PADDING)]))
        corners.append(number["boxes"][0, 0].float() if "boxes" in number else torch.full((4,), float(PADDING)))
    batch = {"points": torch.stack(rows)[None], "labels": torch.stack(labels)[None]}
    return batch | ({"boxes": torch.stack(corners)[None]} if boxes else {})


@pytest.mark.parametrize("length", [3, 5])
def test_padding_changes_nothing(sam: Sam, length: int) -> None:
    embeddings = random_embeddings()
    together = sam.predict(embeddings, **padded(RAGGED, length, boxes=True))
    for number, alone in enumerate(RAGGED):
        assert_same(at(together, 0, number), sam.predict(embeddings, **alone))


def test_padding_changes_nothing_without_boxes(sam: Sam) -> None:
    embeddings, objects = random_embeddings(), [given for given in RAGGED if "boxes" not in given]
    together = sam.predict(embeddings, **padded(objects, 4, boxes=False))
    for number, alone in enumerate(objects):
        assert_same(at(together, 0, number), sam.predict(embeddings, **alone))


def test_padding_leaks_in_the_published_way(sam: Sam) -> None:
    embeddings, given = random_embeddings(), padded(RAGGED[:2], 3, boxes=False)
    leaky, tight = (sam.predict(embeddings, **given, mask_padding=mask) for mask in (False, True))
    assert_same(at(leaky, 0, 0), at(tight, 0, 0))
    assert differ(at(leaky, 0, 1), at(tight, 0, 1))


def test_half_of_a_box_at_minus_ten_is_a_box(sam: Sam) -> None:
    boxes = torch.tensor([[[-10.0, -10.0, 30.0, 20.0]]])
    masked, published = (sam.predict(random_embeddings(), boxes=boxes, mask_padding=mask) for mask in (True, False))
    assert_same(masked, published)


def test_guidance_moves_masks(sam: Sam) -> None:
    embeddings, points = random_embeddings(), random_points(1, 1, 1)
    similarity, target = torch.randn(1, 1, 1, GRID[0] * GRID[1]), torch.randn(1, 1, SMALL.width)
    plain = sam.predict(embeddings, points=points)
    before, after = (
        sam.predict(embeddings, points=points, attention_similarity=similarity, similarity_after_softmax=late)
        for late in (False, True)
    )
    assert differ(plain, before)
    assert differ(plain, after)
    assert differ(before, after)
    assert differ(plain, sam.predict(embeddings, points=points, target_embedding=target))


def test_similarity_with_padding(sam: Sam) -> None:
    embeddings, similarity = random_embeddings(), torch.randn(1, 1, 1, GRID[0] * GRID[1])
    for late in (False, True):
        given = {"attention_similarity": similarity, "similarity_after_softmax": late}
        together = sam.predict(embeddings, **padded(RAGGED, 3, boxes=True), **given)
        for number, alone in enumerate(RAGGED):
            assert_same(at(together, 0, number), sam.predict(embeddings, **alone, **given))


def test_trace(sam: Sam) -> None:
    given = {"points": random_points(2, 3, 2)}
    plain, seen = (sam.predict(random_embeddings(2), **given, trace=trace) for trace in (False, True))
    assert_same(plain, seen)
    positions = GRID[0] * GRID[1]
    assert [tuple(weights.shape) for weights in seen.attention_maps] == [(2, 3, 2, 5 + 2 + 1, positions)] * 2
    assert [tuple(update.shape) for update in seen.image_updates] == [(2, 3, positions, SMALL.width)] * 2
    torch.testing.assert_close(seen.attention_maps[0].sum(dim=-1), torch.ones(2, 3, 2, 8))


def test_the_slow_attention_is_the_quick_one(sam: Sam) -> None:
    """`weights` is what is traced; `scaled_dot_product_attention` is what is used."""
    attention = sam.masks.transformer.layers[0].cross_attn_token_to_image
    q, k = torch.randn(2, 3, 4, SMALL.width), torch.randn(2, 1, 9, SMALL.width)
    bias = torch.randn(6, 2, 4, 9)
    values = attention.v_proj(k).unflatten(3, (2, -1)).transpose(2, 3)  # (2, 1, heads, 9, hd)
    mixed = (attention.weights(q, k, bias) @ values).transpose(2, 3).flatten(3)
    torch.testing.assert_close(attention.out_proj(mixed), attention(q, k, k, bias), **CLOSE)


@pytest.mark.parametrize("side", [48, 96])
def test_other_image_sizes(sam: Sam, side: int) -> None:
    embeddings = sam.embed(torch.randn(1, 3, side, side))
    prediction = sam.predict(embeddings, points=random_points(1, 2, 1) * side / 64)
    assert prediction.logits.shape == (1, 2, 3, side // 2, side // 2)


def test_half_precision_is_near(sam: Sam) -> None:
    half = random_sam().bfloat16()
    given = {"points": random_points(1, 2, 2), "masks": random_masks(1, 1)}
    prediction, exact = half.predict(random_embeddings(), **given), sam.predict(random_embeddings(), **given)
    assert half.dtype == prediction.logits.dtype == torch.bfloat16
    error = (prediction.logits.float() - exact.logits).std() / exact.logits.std()
    assert error < 0.1


def test_every_weight_learns() -> None:
    sam = random_sam().requires_grad_(True)
    points, labels, boxes = random_points(1, 2, 3), torch.tensor([[[1, 0, -1], [1, 1, 0]]]), random_boxes(1, 2)
    embeddings = sam.embed(torch.randn(1, 3, 64, 64))
    total = torch.zeros(())
    for given in ({"boxes": boxes}, {"masks": random_masks(1, 2)}):
        for multimask in (True, False):
            prediction = sam.predict(embeddings, points=points, labels=labels, multimask=multimask, **given)
            total = total + prediction.logits.square().mean() + prediction.iou.square().mean()
    total.backward()
    untouched = [name for name, weight in sam.named_parameters() if weight.grad is None or not weight.grad.any()]
    # a key's bias shifts every logit of a query alike, which softmax does not see
    assert [name for name in untouched if not name.endswith("k_proj.bias")] == []
