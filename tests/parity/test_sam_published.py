"""SamProcessor and SamModel from photos to masks, as transformers' pair of these names; files in both directions."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from folioscope import AutoProcessor, SamImageProcessor, SamModel, SamProcessor
from random_sam import random_masks, random_sam
from reference_sam import SHAPES, SIDE, random_reference, save

transformers = pytest.importorskip("transformers", minversion="5.0")
Pillow = pytest.importorskip("transformers.models.sam.image_processing_pil_sam").SamImageProcessorPil

LOGITS, SCORES = 1e-4, 1e-5
SETTINGS: dict[str, Any] = {"size": {"longest_edge": SIDE}, "pad_size": {"height": SIDE, "width": SIDE}}
SIZES = [(131, 77), (40, 90)]
SECOND = "prompt_encoder.shared_embedding.positional_embedding"


class Both(NamedTuple):
    """One checkpoint in both hands; the folder is what transformers wrote."""

    folder: Path
    model: SamModel
    processor: SamProcessor
    their_model: Any
    their_processor: Any


@pytest.fixture(scope="module", params=SHAPES)
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Both:
    folder: Path = tmp_path_factory.mktemp("published")
    reference, processor = random_reference(*SHAPES[request.param]), transformers.SamProcessor(Pillow(**SETTINGS))
    save(reference, folder)
    processor.save_pretrained(folder)
    ours = SamModel.from_pretrained(folder).requires_grad_(False), AutoProcessor.from_pretrained(folder)
    assert isinstance(ours[1], SamProcessor)
    return Both(folder, *ours, reference, processor)


def photos() -> list[Image.Image]:
    generator = np.random.default_rng(0)
    return [Image.fromarray(generator.integers(0, 256, (*size[::-1], 3), dtype=np.uint8)) for size in SIZES]


def coordinates(*shape: int) -> list[Any]:
    """(*shape, 2), inside either photo."""
    return np.random.default_rng(1).uniform(0, 40, (*shape, 2)).tolist()


def boxes(*shape: int) -> list[Any]:
    return np.sort(np.array(coordinates(*shape, 2)), axis=-2).reshape(*shape, 4).tolist()


PROMPTS: dict[str, dict[str, Any]] = {
    "a point": {"input_points": coordinates(2, 1, 1)},
    "points of one object": {"input_points": coordinates(2, 4), "input_labels": [[1, 0, 1, -1]] * 2},
    "objects and points": {"input_points": coordinates(2, 3, 2), "input_labels": [[[1, 0], [0, 0], [1, 1]]] * 2},
    "boxes": {"input_boxes": boxes(2, 3)},
    "points and boxes": {"input_points": coordinates(2, 2, 3), "input_boxes": boxes(2, 2)},
    "nothing": {},
}


def assert_same(found: Any, expected: Any) -> None:
    assert list(found) == [name for name in expected if expected[name] is not None]
    torch.testing.assert_close(found.pred_masks, expected.pred_masks, atol=LOGITS, rtol=1e-5)
    torch.testing.assert_close(found.iou_scores, expected.iou_scores, atol=SCORES, rtol=1e-5)


@pytest.mark.parametrize("multimask", [True, False])
@pytest.mark.parametrize("name", PROMPTS)
def test_photos_to_masks(both: Both, name: str, multimask: bool) -> None:
    inputs, theirs = (
        processor(images=photos(), **PROMPTS[name], return_tensors="pt")
        for processor in (both.processor, both.their_processor)
    )
    outputs = both.model(**inputs, multimask_output=multimask)
    expected = both.their_model(**theirs, multimask_output=multimask)
    assert_same(outputs, expected)
    sizes = inputs["original_sizes"], inputs["reshaped_input_sizes"]
    logits = both.processor.post_process_masks(outputs.pred_masks, *sizes, binarize=False)
    masks = both.processor.post_process_masks(outputs.pred_masks, *sizes)
    for ours, near, wanted in zip(
        masks, logits, both.their_processor.post_process_masks(expected.pred_masks, *sizes), strict=True
    ):
        certain = near.abs() > LOGITS
        assert certain.float().mean() > 0.9
        assert ours[certain].equal(wanted[certain])


def test_embeddings_first(both: Both) -> None:
    inputs = both.processor(photos(), input_points=coordinates(2, 2, 1), return_tensors="pt")
    pixels = inputs.pop("pixel_values")
    seen = both.model.get_image_embeddings(pixels)
    torch.testing.assert_close(seen, both.their_model.get_image_embeddings(pixels), atol=LOGITS, rtol=1e-5)
    masks = random_masks(2, 1)
    expected = both.their_model(**inputs, image_embeddings=seen, input_masks=masks)
    assert_same(both.model(**inputs, image_embeddings=seen, input_masks=masks), expected)


def test_what_is_seen_on_the_way(both: Both) -> None:
    inputs = both.processor(photos(), input_points=coordinates(2, 2, 1), return_tensors="pt")
    wanted = {"output_hidden_states": True, "output_attentions": True}
    outputs, expected = both.model(**inputs, **wanted), both.their_model(**inputs, **wanted)
    for name in ("vision_hidden_states", "vision_attentions", "mask_decoder_attentions"):
        for ours, theirs in zip(outputs[name], expected[name], strict=True):
            torch.testing.assert_close(ours, theirs, atol=LOGITS, rtol=1e-5)


def test_prompt_embeddings(both: Both) -> None:
    inputs = both.processor(photos(), input_points=coordinates(2, 2, 1), input_boxes=boxes(2, 2), return_tensors="pt")
    points, corners, masks = inputs.input_points, inputs.input_boxes, random_masks(2, 1)
    labels = torch.ones(points.shape[:3], dtype=torch.int64)
    for given in (
        {"input_points": points, "input_labels": labels},
        {"input_boxes": corners},
        {"input_points": points, "input_labels": labels, "input_boxes": corners, "input_masks": masks},
        {"input_masks": masks},
    ):
        found, expected = both.model.get_prompt_embeddings(**given), both.their_model.get_prompt_embeddings(**given)
        for ours, theirs in zip(found, expected, strict=True):
            assert (ours is None) == (theirs is None)
            if ours is not None:
                torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    places = both.their_model.get_image_wide_positional_embeddings()
    torch.testing.assert_close(both.model.get_image_wide_positional_embeddings(), places, atol=1e-5, rtol=1e-5)


def test_ragged_prompts_give_what_each_gives_alone_there(both: Both) -> None:
    """What transformers refuses, or pads with tokens that are attended to."""
    points = [[coordinates(1), coordinates(4), []], [coordinates(2)]]
    corners: list[Any] = [[boxes(1)[0], [], boxes(2)[1]], [[]]]
    inputs = both.processor(photos(), input_points=points, input_boxes=corners, return_tensors="pt")
    together = both.model(**inputs)
    for image, number in ((0, 0), (0, 1), (0, 2), (1, 0)):
        alone: dict[str, Any] = {}
        if points[image][number]:
            alone["input_points"] = [[points[image][number]]]
        if corners[image][number]:
            alone["input_boxes"] = [[corners[image][number]]]
        expected = both.their_model(**both.their_processor(images=photos()[image], **alone, return_tensors="pt"))
        found = together.pred_masks[image, number]
        torch.testing.assert_close(found, expected.pred_masks[0, 0], atol=LOGITS, rtol=1e-5)


def test_padding_leaks_on_request(both: Both) -> None:
    prompts: dict[str, Any] = {"input_points": [coordinates(2), coordinates(1)], "input_labels": [[1, 0], [1]]}
    inputs = both.their_processor(images=photos(), **prompts, return_tensors="pt")
    expected = both.their_model(**inputs)
    assert_same(both.model(**inputs, mask_padding=False), expected)
    assert (both.model(**inputs).pred_masks - expected.pred_masks)[1].abs().max() > LOGITS


def earlier(folder: Path, target: Path, shards: int) -> Path:
    """The checkpoint as transformers 4.57 writes it without safetensors: pickles, the position matrix twice."""
    target.mkdir()
    tensors = load_file(folder / "model.safetensors")
    tensors[SECOND] = tensors["shared_image_embedding.positional_embedding"].clone()
    keys, files = sorted(tensors), {}
    for number in range(shards):
        name = "pytorch_model.bin" if shards == 1 else f"pytorch_model-{number + 1:05d}-of-{shards:05d}.bin"
        torch.save({key: tensors[key] for key in keys[number::shards]}, target / name)
        files |= dict.fromkeys(keys[number::shards], name)
    if shards > 1:
        index = {"metadata": {"total_size": 0}, "weight_map": files}
        (target / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    config = json.loads((folder / "config.json").read_text())
    for section in ("prompt_encoder_config", "mask_decoder_config"):
        config[section]["model_type"] = ""
    del config["vision_config"]["scale"]
    (target / "config.json").write_text(json.dumps({**config, "torch_dtype": "float32"}))
    settings = json.loads((folder / "processor_config.json").read_text())["image_processor"]
    (target / "preprocessor_config.json").write_text(json.dumps({**settings, "processor_class": "SamProcessor"}))
    return target


@pytest.mark.parametrize("way", ["sharded", "bin", "sharded bin"])
def test_we_load_what_they_save(both: Both, tmp_path: Path, way: str) -> None:
    if way == "sharded":
        save(both.their_model, tmp_path / "a", max_shard_size="40KB")
        assert (tmp_path / "a" / "model.safetensors.index.json").is_file()
        shutil.copy(both.folder / "processor_config.json", tmp_path / "a")
    else:
        earlier(both.folder, tmp_path / "a", shards=3 if way.startswith("sharded") else 1)
    model, processor = SamModel.from_pretrained(tmp_path / "a"), AutoProcessor.from_pretrained(tmp_path / "a")
    assert isinstance(processor, SamProcessor)
    inputs = processor(photos(), input_points=coordinates(2, 2, 1), return_tensors="pt")
    with torch.no_grad():
        assert_same(model(**inputs), both.their_model(**inputs))


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("nested", [True, False])
def test_they_load_what_we_save(both: Both, tmp_path: Path, whole: bool, nested: bool) -> None:
    both.model.save_pretrained(tmp_path, max_shard_size="5GB" if whole else "40KB")
    both.processor.save_pretrained(tmp_path, nested=nested)
    model, report = transformers.SamModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    processor = transformers.SamProcessor(Pillow.from_pretrained(tmp_path))
    prompts: dict[str, Any] = {"input_points": coordinates(2, 2, 1), "return_tensors": "pt"}
    theirs = processor(images=photos(), **prompts)
    with torch.no_grad():
        assert_same(both.model(**both.processor(photos(), **prompts)), model(**theirs))


def test_their_automatic_classes_know_what_we_save(tmp_path: Path) -> None:
    SamModel(random_sam()).save_pretrained(tmp_path)
    SamProcessor(SamImageProcessor(**SETTINGS)).save_pretrained(tmp_path)
    for name in ("AutoModel", "AutoModelForMaskGeneration"):
        assert type(getattr(transformers, name).from_pretrained(tmp_path)).__name__ == "SamModel"


def test_their_state_dict_is_ours(both: Both) -> None:
    theirs: dict[str, Tensor] = both.their_model.state_dict()
    ours = both.model.state_dict()
    assert ours.keys() == theirs.keys() - {SECOND}
    both.model.load_state_dict(theirs)
    names = {name for name, _ in both.their_model.named_parameters()}
    assert {name for name, _ in both.model.named_parameters()} == names - {
        SECOND,
        "shared_image_embedding.positional_embedding",  # a buffer here, as in Meta's code
    }


@pytest.mark.parametrize("case", ["single_point", "points_labels", "two_objects_three_points", "box_one"])
def test_goldens(shared: Callable[..., Path], case: str) -> None:
    toy = shared("golden", "sam_toy")
    model, processor = SamModel.from_pretrained(toy / "hf_tiny256"), SamProcessor.from_pretrained(toy / "hf_tiny256")
    golden = {name: torch.from_numpy(value) for name, value in np.load(toy / "hf" / f"{case}.npz").items()}
    inputs = processor(toy / "images" / "truck_900x600.png", return_tensors="pt")
    inputs |= {name.removeprefix("in_"): value for name, value in golden.items() if name.startswith("in_")}
    with torch.no_grad():
        outputs = model(**inputs)
    torch.testing.assert_close(outputs.pred_masks, golden["pred_masks"], atol=1e-3, rtol=0)
    torch.testing.assert_close(outputs.iou_scores, golden["iou_scores"], atol=LOGITS, rtol=0)
