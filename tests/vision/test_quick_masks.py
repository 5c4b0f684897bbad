"""The quick mask decoder draws what the plain one does, however many objects and whatever their prompts."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from folioscope.model.sam import Sam
from folioscope.native import masks as native
from folioscope.native import vision
from folioscope.vision import quicken
from random_sam import SIDE, SMALL, VIT, random_sam

pytestmark = pytest.mark.skipif(vision.kernels() is None, reason="no kernels of the mask decoder here")

BFLOAT16 = 0.02
"""Relative error allowed, of all logits, against the plain path in float32; the plain path in bfloat16 has as much."""

CHANGED = "masks.transformer.layers.1.cross_attn_image_to_token.q_proj.weight"

WIDE = replace(SMALL, vit=replace(VIT, neck_channels=32), decoder_heads=4)
LARGE = replace(SMALL, vit=replace(VIT, image_size=128))


def error(found: Tensor, wanted: Tensor) -> float:
    return float((found.float() - wanted.float()).norm() / wanted.float().norm())


def both(config: Any = SMALL) -> tuple[Sam, Sam]:
    """The plain model in float32, and the quick one with the same weights in bfloat16."""
    rounded = random_sam(config).bfloat16().requires_grad_(False)
    return copy.deepcopy(rounded).float(), quicken(rounded)


def prompts(objects: int, images: int = 1) -> dict[str, Any]:
    return {"points": SIDE * torch.rand(images, objects, 2, 2), "labels": torch.randint(2, (images, objects, 2))}


@pytest.mark.parametrize("config", [SMALL, WIDE, LARGE])
@pytest.mark.parametrize("objects", [1, 3, 9])
def test_masks(config: Any, objects: int) -> None:
    torch.manual_seed(objects)
    plain, quick = both(config)
    image = torch.randn(2, config.width, config.vit.grid, config.vit.grid).bfloat16()
    given = prompts(objects, images=2)
    found, wanted = quick.predict(image, **given), plain.predict(image.float(), **given)
    assert "_packed" in vars(quick.masks)
    assert found.logits.dtype == torch.bfloat16
    assert error(found.logits, wanted.logits) < BFLOAT16
    assert error(found.iou, wanted.iou) < BFLOAT16


def test_boxes_padding_and_masks_of_one_s_own() -> None:
    torch.manual_seed(1)
    plain, quick = both()
    image, given = torch.randn(1, 16, 8, 8).bfloat16(), prompts(5)
    given["labels"][0, 1:3, 1] = -10
    given |= {"boxes": torch.tensor([4.0, 8.0, 40.0, 50.0]).expand(1, 5, 4).clone(), "masks": torch.randn(1, 5, 32, 32)}
    given["boxes"][0, 3] = -10
    found, wanted = quick.predict(image, **given), plain.predict(image.float(), **given)
    assert error(found.logits, wanted.logits) < BFLOAT16
    alone = quick.predict(image, **{name: value[:, 3:4] for name, value in given.items()})
    assert error(found.logits[:, 3:4], alone.logits) < BFLOAT16


def test_an_object_is_drawn_alike_in_any_company() -> None:
    torch.manual_seed(2)
    _, quick = both()
    image, given = torch.randn(1, 16, 8, 8).bfloat16(), prompts(9)
    together = quick.predict(image, **given)
    for number in (0, 7, 8):
        alone = quick.predict(image, **{name: value[:, [number]] for name, value in given.items()})
        assert error(together.logits[:, [number]], alone.logits) < BFLOAT16


@pytest.mark.parametrize("asked", [{"trace": True}, {"target_embedding": torch.ones(1, 1, 1, 16)}, {}])
def test_what_the_kernels_cannot_do_takes_the_plain_path(
    asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    if not asked:
        monkeypatch.setattr(native, "available", lambda *sizes: False)
    rounded = random_sam().bfloat16().requires_grad_(False)
    image, given = torch.randn(1, 16, 8, 8).bfloat16(), prompts(2)
    wanted = rounded.predict(image, **given, **asked)
    assert quicken(copy.deepcopy(rounded)).predict(image, **given, **asked).logits.equal(wanted.logits)


def test_changed_weights_are_taken_up() -> None:
    plain, quick = both()
    image, given = torch.randn(1, 16, 8, 8).bfloat16(), prompts(2)
    before = quick.predict(image, **given).logits
    with torch.no_grad():
        for model in (plain, quick):
            model.get_parameter(CHANGED).mul_(3)
    wanted = plain.predict(image.float(), **given).logits
    assert error(quick.predict(image, **given).logits, wanted) < BFLOAT16
    assert error(before, wanted) > BFLOAT16


def test_logits_far_apart() -> None:
    """Exponentials stay within range, wherever in the image the largest logit is."""
    torch.manual_seed(3)
    plain, quick = both(LARGE)
    image, given = 30 * torch.randn(1, 16, 16, 16).bfloat16(), prompts(6)
    found, wanted = quick.predict(image, **given), plain.predict(image.float(), **given)
    assert found.logits.isfinite().all()
    assert error(found.logits, wanted.logits) < 3 * BFLOAT16
