"""Side by side with Meta's own package, which `make parity` installs: predictor, keys, the module it exports."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from meta_generator import meta_package
from torch import Tensor, nn

from folioscope import Mask, MaskPrompt, Scene, Segmenter
from folioscope.config import SamConfig, VitConfig
from folioscope.export.onnx import PromptedDecoder
from folioscope.model.sam import Sam
from folioscope.weights import META_NAMES, load_sam, save_sam
from folioscope.weights.fitting import hollow
from random_sam import GRID, SIDE, SMALL, random_boxes, random_masks, random_points, random_sam

meta = meta_package()

LOGITS, SCORES = 1e-4, 1e-5
CONFIG = replace(SMALL, vit=replace(SMALL.vit, mlp_width=48))
"""Meta's code takes a ratio of widths for the encoder's MLP."""

SIZE = (90, 61)
"""Width and height of the photo."""


def built(config: SamConfig) -> Any:
    """As Meta's `build_sam`, of other sizes."""
    modeling, vit, width = meta.modeling, config.vit, config.width
    encoder = modeling.ImageEncoderViT(
        depth=vit.layers,
        embed_dim=vit.width,
        img_size=vit.image_size,
        mlp_ratio=vit.mlp_width // vit.width,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        num_heads=vit.heads,
        patch_size=vit.patch_size,
        qkv_bias=True,
        use_rel_pos=True,
        global_attn_indexes=vit.global_attn_indexes,
        window_size=vit.window_size,
        out_chans=width,
    )
    prompts = modeling.PromptEncoder(
        embed_dim=width,
        image_embedding_size=(vit.grid, vit.grid),
        input_image_size=(vit.image_size, vit.image_size),
        mask_in_chans=config.mask_channels,
    )
    transformer = modeling.TwoWayTransformer(
        depth=config.decoder_layers,
        embedding_dim=width,
        mlp_dim=config.decoder_mlp_width,
        num_heads=config.decoder_heads,
    )
    decoder = modeling.MaskDecoder(
        num_multimask_outputs=config.multimask_outputs,
        transformer=transformer,
        transformer_dim=width,
        iou_head_depth=3,
        iou_head_hidden_dim=config.iou_head_width,
    )
    return modeling.Sam(encoder, prompts, decoder).eval()


class Pair(NamedTuple):
    """The same weights, and the same photo set or embedded."""

    predictor: Any
    segmenter: Segmenter
    scene: Scene
    photo: np.ndarray


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """Meta's model loads, strictly, what is saved here."""
    file: Path = tmp_path_factory.mktemp("meta") / "sam.pth"
    save_sam(random_sam(CONFIG), file, layout="meta")
    theirs = built(CONFIG)
    theirs.load_state_dict(torch.load(file, weights_only=True))
    predictor, segmenter = meta.SamPredictor(theirs), Segmenter(load_sam(file))
    photo = np.random.default_rng(0).integers(0, 256, (*SIZE[::-1], 3), dtype=np.uint8)
    predictor.set_image(photo)
    return Pair(predictor, segmenter, segmenter.embed(photo), photo)


def test_embedding(pair: Pair) -> None:
    assert pair.scene.frame.scaled[::-1] == tuple(pair.predictor.input_size)
    torch.testing.assert_close(pair.scene.embedding, pair.predictor.features[0], atol=LOGITS, rtol=1e-5)


POINTS, LABELS, BOX = (
    np.array([[40.0, 30.5], [70.25, 9.0], [3.0, 60.0]]),
    np.array([1, 0, 1]),
    np.array([9.0, 4, 77, 50]),
)
PROMPTS: dict[str, dict[str, Any]] = {
    "a point": {"points": POINTS[:1], "labels": LABELS[:1]},
    "points": {"points": POINTS, "labels": LABELS},
    "not a point": {"points": POINTS, "labels": np.array([1, -1, 0])},
    "a box": {"box": BOX},
    "all": {"points": POINTS, "labels": LABELS, "box": BOX, "mask": random_masks(1)[0].numpy()},
    "a mask": {"mask": random_masks(1)[0].numpy()},
    "nothing": {},
}


@pytest.mark.parametrize("multimask", [True, False])
@pytest.mark.parametrize("name", PROMPTS)
def test_predict(pair: Pair, name: str, multimask: bool) -> None:
    prompt = PROMPTS[name]
    found = pair.segmenter.predict(pair.scene, **prompt, multimask=multimask)
    mask = prompt.get("mask")
    expected = pair.predictor.predict(
        prompt.get("points"),
        prompt.get("labels"),
        prompt.get("box"),
        None if mask is None else mask[None],
        multimask_output=multimask,
        return_logits=True,
    )
    assert_same(found, *(torch.from_numpy(array) for array in expected))


def assert_same(found: list[Mask], logits: Tensor, scores: Tensor, low: Tensor) -> None:
    assert len(found) == len(scores)
    for mask, full, score, small in zip(found, logits.numpy(), scores.tolist(), low.numpy(), strict=True):
        assert np.abs(mask.low_logits - small).max() < LOGITS
        assert np.abs(mask.logits - full).max() < LOGITS
        certain = np.abs(full) > LOGITS
        assert (mask.array == (full > 0))[certain].all()
        assert mask.score == pytest.approx(score, abs=SCORES)


def test_a_mask_a_box_and_points_for_each_of_several_objects(pair: Pair) -> None:
    scale = torch.tensor(pair.scene.frame.ratios)
    points, boxes, masks = random_points(3, 2), random_boxes(3), random_masks(3)
    inside = torch.tensor([scaled / SIDE for scaled in pair.scene.frame.scaled])
    points, boxes = (points * inside).float(), (boxes * inside.repeat(2)).float()
    expected = pair.predictor.predict_torch(points, torch.ones(3, 2), boxes, masks[:, None], return_logits=True)
    prompts = [
        MaskPrompt((a / scale).tolist(), box=tuple((b / scale.repeat(2)).tolist()), mask=mask.numpy())
        for a, b, mask in zip(points, boxes, masks, strict=True)
    ]
    for masks_of_one, *theirs in zip(pair.segmenter.predict_many(pair.scene, prompts), *expected, strict=True):
        assert_same(masks_of_one, *theirs)


@pytest.mark.parametrize("single_mask", [True, False])
def test_the_decoder_that_is_exported(pair: Pair, single_mask: bool) -> None:
    """Before ONNX: Meta's module for export and ours are called alike."""
    from segment_anything.utils.onnx import SamOnnxModel

    theirs = SamOnnxModel(pair.predictor.model, return_single_mask=single_mask)
    ours = PromptedDecoder(pair.segmenter.model, single_mask)
    points, ends = random_points(1, 3).float(), torch.zeros(1, 1, 2)
    sides = (torch.randn(1, SMALL.width, *GRID), random_masks(1, 1))
    for given, labels in (
        (torch.cat([points, ends], 1), torch.tensor([[1, 0, 1, -1.0]])),
        (torch.cat([points[:, :1], ends], 1), torch.tensor([[1, -1.0]])),
        (random_boxes(1).float().view(1, 2, 2), torch.tensor([[2.0, 3]])),
    ):
        for has_mask in (torch.zeros(1), torch.ones(1)):
            arguments = (sides[0], given, labels, sides[1], has_mask, torch.tensor([61.0, 90.0]))
            with torch.no_grad():
                for found, expected in zip(ours(*arguments), theirs(*arguments), strict=True):
                    torch.testing.assert_close(found, expected, atol=LOGITS, rtol=1e-5)


@pytest.mark.parametrize("name", ["vit_b", "vit_l", "vit_h"])
def test_published_keys(name: str) -> None:
    with torch.device("meta"):
        theirs = {key: tensor.shape for key, tensor in meta.sam_model_registry[name]().state_dict().items()}
    layers, width, heads, every = {"vit_b": (12, 768, 12, 3), "vit_l": (24, 1024, 16, 6), "vit_h": (32, 1280, 16, 8)}[
        name
    ]
    vit = VitConfig(
        layers=layers,
        width=width,
        heads=heads,
        mlp_width=4 * width,
        global_attn_indexes=tuple(range(every - 1, layers, every)),
    )
    ours = hollow(lambda: Sam(SamConfig(vit))).state_dict()
    assert {META_NAMES.published(key): tensor.shape for key, tensor in ours.items()} == theirs
