"""Random toy models of several shapes, side by side with transformers' SamModel."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from folioscope.model.sam import Prediction, Sam
from folioscope.weights import load_sam, save_sam
from random_sam import random_boxes, random_embeddings, random_masks, random_points, random_sam
from reference_sam import GRID, SHAPES, SIDE, random_reference, save

transformers = pytest.importorskip("transformers")

LOGITS, SCORES = 1e-4, 1e-5


class Pair(NamedTuple):
    """The same weights twice: the reference, and what was loaded from the folder that it saved."""

    reference: Any
    sam: Sam
    embeddings: Tensor


@pytest.fixture(scope="module", params=SHAPES)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    reference = random_reference(*SHAPES[request.param])
    folder: Path = tmp_path_factory.mktemp("sam")
    save(reference, folder)
    sam = load_sam(folder).requires_grad_(False)
    return Pair(reference, sam, torch.randn(2, sam.config.width, GRID, GRID))


def assert_same(found: Prediction, expected: Any) -> None:
    assert found.logits.shape == expected.pred_masks.shape
    torch.testing.assert_close(found.logits, expected.pred_masks, atol=LOGITS, rtol=1e-5)
    torch.testing.assert_close(found.iou, expected.iou_scores, atol=SCORES, rtol=1e-5)


def both(pair: Pair, prompts: dict[str, Tensor], **options: Any) -> tuple[Prediction, Any]:
    """What either computes; `options` are those that both have."""
    published = {f"input_{name}": value for name, value in prompts.items()}
    expected = pair.reference(image_embeddings=pair.embeddings, **published, **_renamed(options))
    return pair.sam.predict(pair.embeddings, **prompts, mask_padding=False, **options), expected


def _renamed(options: dict[str, Any]) -> dict[str, Any]:
    return {"multimask_output" if name == "multimask" else name: value for name, value in options.items()}


LABELS = torch.tensor([1, 0, -1, -10, 2, 3])
PROMPTS: dict[str, dict[str, Tensor]] = {
    "one point": {"points": random_points(2, 1, 1)},
    "objects and points": {"points": random_points(2, 3, 4)},
    "every label": {"points": random_points(2, 2, 6), "labels": LABELS.expand(2, 2, 6)},
    "labels of numbers": {"points": random_points(2, 1, 6).float(), "labels": LABELS.expand(2, 1, 6).float()},
    "only padding": {"points": random_points(2, 1, 2), "labels": torch.full((2, 1, 2), -10)},
    "boxes": {"boxes": random_boxes(2, 3).float()},
    "points and boxes": {"points": random_points(2, 3, 2), "boxes": random_boxes(2, 3)},
    "a mask": {"masks": random_masks(2, 1)},
    "a mask for all": {"points": random_points(2, 3, 1), "masks": random_masks(2, 1)},
    "everything": {
        "points": random_points(2, 2, 6),
        "labels": LABELS.expand(2, 2, 6),
        "boxes": random_boxes(2, 2),
        "masks": random_masks(2, 1),
    },
    "outside": {
        "points": torch.tensor([[[[-5.0, 200.0]]]] * 2),
        "boxes": torch.tensor([[[-9.0, -9.0, 99.0, 80.0]]] * 2),
    },
    "nothing": {},
}


@pytest.mark.parametrize("multimask", [True, False])
@pytest.mark.parametrize("name", PROMPTS)
def test_prompts(pair: Pair, name: str, multimask: bool) -> None:
    assert_same(*both(pair, PROMPTS[name], multimask=multimask))


def test_pixels(pair: Pair) -> None:
    pixels = torch.randn(2, 3, SIDE, SIDE)
    expected = pair.reference(
        pixel_values=pixels,
        input_points=random_points(2, 2, 2),
        output_hidden_states=True,
        output_attentions=True,
    )
    trace = pair.sam.vit.trace(pixels, attention_maps=True)
    found = pair.sam.predict(pair.sam.embed(pixels), points=random_points(2, 2, 2), trace=True)
    assert_same(found, expected)
    for ours, theirs in zip(trace.hidden_states, expected.vision_hidden_states, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-5)
    for ours, theirs in zip(trace.attention_maps, expected.vision_attentions, strict=True):
        torch.testing.assert_close(ours.flatten(0, 2), theirs, atol=1e-5, rtol=1e-5)
    for ours, theirs in zip(found.image_updates, expected.mask_decoder_attentions, strict=True):
        torch.testing.assert_close(ours.flatten(0, 1)[:, None], theirs, atol=1e-4, rtol=1e-5)


SIMILARITIES = {"(1, 1, 1, hw)": (1, 1, 1), "(B * N, heads, T, hw)": (6, None, None)}


def similarity(pair: Pair, shape: tuple[int | None, ...]) -> Tensor:
    """Similarities for 2 images of 3 objects with two points; what is None comes from the model."""
    outputs = 1 + pair.sam.config.multimask_outputs
    sizes = (6, pair.sam.config.decoder_heads, 1 + outputs + 2 + 1)
    return torch.randn(*(given or size for given, size in zip(shape, sizes, strict=True)), GRID * GRID)


@pytest.mark.parametrize("shape", SIMILARITIES.values(), ids=SIMILARITIES)
def test_attention_similarity(pair: Pair, shape: tuple[int | None, ...]) -> None:
    given = {"points": random_points(2, 3, 2)}
    assert_same(*both(pair, given, attention_similarity=similarity(pair, shape)))


@pytest.mark.parametrize("shape", SIMILARITIES.values(), ids=SIMILARITIES)
def test_attention_similarity_of_old(pair: Pair, earlier_attention: None, shape: tuple[int | None, ...]) -> None:
    given, similar = {"points": random_points(2, 3, 2)}, similarity(pair, shape)
    _, expected = both(pair, given, attention_similarity=similar)
    found = pair.sam.predict(pair.embeddings, **given, attention_similarity=similar, similarity_after_softmax=True)
    assert_same(found, expected)
    with pytest.raises(AssertionError):
        assert_same(pair.sam.predict(pair.embeddings, **given, attention_similarity=similar), expected)


@pytest.fixture
def earlier_attention(pair: Pair) -> Iterator[None]:
    """The reference with the attention of transformers 4.53.3: similarity after the softmax, and softmax once more."""

    def attend(
        module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, scaling: float, **_: Any
    ) -> tuple[Tensor, Tensor]:
        weights = torch.softmax(query @ key.permute(0, 1, 3, 2) * scaling, dim=-1)
        if attention_mask is not None:
            weights = torch.softmax(weights + attention_mask, dim=-1)
        return (weights @ value).transpose(1, 2), weights

    transformers.AttentionInterface.register("earlier", attend)
    config = pair.reference.mask_decoder.config
    config._attn_implementation = "earlier"
    yield
    config._attn_implementation = "eager"


@pytest.mark.parametrize("shape", [(1, 1, None), (2, 3, 8, None), (2, 1, 1, None)])
def test_target_embedding(pair: Pair, shape: tuple[int | None, ...]) -> None:
    width, tokens = pair.sam.config.width, 1 + 1 + pair.sam.config.multimask_outputs + 2 + 1
    target = torch.randn(*(tokens if size == 8 else size or width for size in shape))
    given = {"points": random_points(2, 3, 2)}
    assert_same(*both(pair, given, target_embedding=target))
    assert_same(*both(pair, given, target_embedding=target, attention_similarity=similarity(pair, (1, 1, 1))))


@pytest.mark.parametrize("layout", ["hf", "meta"])
def test_transformers_loads_what_is_saved(layout: str, tmp_path: Path) -> None:
    """A model made here, whose JSON is composed, in both its forms: with transformers' eps and with Meta's."""
    sam = random_sam()
    if layout == "meta":
        save_sam(sam, tmp_path / "sam.pth", layout="meta")
        sam = load_sam(tmp_path / "sam.pth")
    save_sam(sam, tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reference, report = transformers.SamModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert reference.config.mask_decoder_config.layer_norm_eps == {"hf": 1e-6, "meta": 1e-5}[layout]
    assert_same(*both(Pair(reference, sam, random_embeddings(2)), PROMPTS["everything"]))
