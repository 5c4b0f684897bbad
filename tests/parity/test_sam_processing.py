"""SAM's processors side by side with transformers' Pillow ones, and their files in both directions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from folioscope import AutoProcessor, SamImageProcessor, SamProcessor

transformers = pytest.importorskip("transformers", minversion="5.0")
Reference = pytest.importorskip("transformers.models.sam.image_processing_pil_sam").SamImageProcessorPil

SETTINGS: dict[str, Any] = {
    "size": {"longest_edge": 96},
    "pad_size": {"height": 96, "width": 96},
    "mask_size": {"longest_edge": 24},
    "mask_pad_size": {"height": 24, "width": 24},
}
SIZES = [(131, 77), (40, 90), (96, 96), (300, 7)]


@pytest.fixture(scope="module")
def ours() -> SamProcessor:
    return SamProcessor(SamImageProcessor(**SETTINGS))


@pytest.fixture(scope="module")
def theirs() -> Any:
    return transformers.SamProcessor(Reference(**SETTINGS))


def photos() -> list[Image.Image]:
    generator = np.random.default_rng(0)
    return [Image.fromarray(generator.integers(0, 256, (*size[::-1], 3), dtype=np.uint8)) for size in SIZES]


def assert_equal(found: Any, wanted: Any) -> None:
    assert found.keys() == wanted.keys()
    for name in wanted:
        assert np.asarray(found[name]).dtype == np.asarray(wanted[name]).dtype, name
        assert np.array_equal(found[name], wanted[name]), name


@pytest.mark.parametrize("kind", ["pt", "np", None])
def test_images_and_maps(ours: SamProcessor, theirs: Any, kind: str | None) -> None:
    images = photos()
    maps = [np.asarray(image)[..., 0] % 5 for image in images]
    for given in (
        images,
        [np.asarray(image) for image in images],
        [np.asarray(image).transpose(2, 0, 1) for image in images],
    ):
        found = ours(given, segmentation_maps=maps, return_tensors=kind)
        assert_equal(found, theirs(given, segmentation_maps=maps, return_tensors=kind))


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "LA", "1", "CMYK"])
def test_modes(ours: SamProcessor, theirs: Any, mode: str) -> None:
    image = photos()[0].convert(mode)
    assert_equal(ours(image, return_tensors="np"), theirs(image, return_tensors="np"))


@pytest.mark.parametrize(
    "settings",
    [
        {"do_normalize": False},
        {"do_rescale": False},
        {"resample": 3},
        {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.1, 0.2, 0.3]},
        {"rescale_factor": 1 / 127.5},
        {"size": {"longest_edge": 50}},
        {"do_resize": False, "pad_size": {"height": 300, "width": 300}},
    ],
)
def test_settings(ours: SamProcessor, theirs: Any, settings: dict[str, Any]) -> None:
    found = ours.image_processor(photos(), return_tensors="np", **settings)
    assert_equal(found, theirs.image_processor(photos(), return_tensors="np", **settings))


@pytest.mark.parametrize("shape", [(4, 3, 5, 2), (4, 5, 2), (4, 1, 2)])
def test_prompts(ours: SamProcessor, theirs: Any, shape: tuple[int, ...]) -> None:
    generator = np.random.default_rng(1)
    points = generator.uniform(0, 7, shape).tolist()
    objects = shape[1] if len(shape) == 4 else 1
    boxes = np.sort(generator.uniform(0, 7, (4, objects, 2, 2)), axis=2).reshape(4, objects, 4).tolist()
    labels = generator.integers(-1, 2, shape[:-1]).tolist()
    prompts = {"input_points": points, "input_labels": labels, "input_boxes": boxes, "return_tensors": "pt"}
    assert_equal(ours(photos(), **prompts), theirs(photos(), **prompts))


def test_the_ragged_that_they_pad_too(ours: SamProcessor, theirs: Any) -> None:
    points: list[Any] = [[[1, 2], [3, 4]], [[5, 6]]]
    labels = [[1, 0], [1]]
    prompts = {"input_points": points, "input_labels": labels, "return_tensors": "pt"}
    found, wanted = ours(photos()[:2], **prompts), theirs(photos()[:2], **prompts)
    assert_equal(found, wanted)


def test_masks(ours: SamProcessor, theirs: Any) -> None:
    inputs = ours(photos(), return_tensors="pt")
    logits = torch.randn(4, 2, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    for options in ({}, {"mask_threshold": 0.7}, {"binarize": False}):
        sizes = inputs.original_sizes, inputs.reshaped_input_sizes
        found = ours.post_process_masks(logits, *sizes, **options)
        wanted = theirs.post_process_masks(logits, *sizes, **options)
        assert all(torch.equal(*pair) for pair in zip(found, wanted, strict=True))


def test_single_steps(ours: SamProcessor) -> None:
    from transformers import image_transforms as reference

    image = np.random.default_rng(2).integers(0, 256, (7, 10, 3), dtype=np.uint8)
    step = ours.image_processor
    assert np.array_equal(step.rescale(image, 1 / 255), reference.rescale(image, 1 / 255))
    for given in (image, image.transpose(2, 0, 1), image / 255):
        normal = reference.normalize(given, [0.1, 0.2, 0.3], [0.5, 0.6, 0.7])
        assert np.array_equal(step.normalize(given, [0.1, 0.2, 0.3], [0.5, 0.6, 0.7]), normal)
    for height, width in ((3, 4), (7, 10), (4, 5), (9, 13), (12, 4), (2, 15), (8, 11)):
        cropped = step.center_crop(image, {"height": height, "width": width}, "channels_first")
        assert np.array_equal(cropped, reference.center_crop(image, (height, width), "channels_first")), (height, width)


@pytest.mark.parametrize("nested", [False, True])
def test_they_load_what_we_save(ours: SamProcessor, tmp_path: Path, nested: bool) -> None:
    ours.save_pretrained(tmp_path, nested=nested)
    loaded = transformers.SamProcessor(Reference.from_pretrained(tmp_path))
    assert_equal(ours(photos(), return_tensors="np"), loaded(photos(), return_tensors="np"))
    assert json.loads(loaded.image_processor.to_json_string()) == ours.image_processor.to_dict()
    by_name = transformers.AutoProcessor.from_pretrained(tmp_path)
    assert type(by_name).__name__ == "SamProcessor"
    assert by_name.target_size == 96


def test_we_load_what_they_save(theirs: Any, tmp_path: Path) -> None:
    theirs.save_pretrained(tmp_path / "5")
    theirs.image_processor.save_pretrained(tmp_path / "4")
    file = tmp_path / "4" / "preprocessor_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "processor_class": "SamProcessor"}))  # as 4.57 does
    wanted = theirs(photos(), return_tensors="np")
    assert [path.name for path in (tmp_path / "5").iterdir()] == ["processor_config.json"]
    for folder in (tmp_path / "4", tmp_path / "5"):
        loaded = AutoProcessor.from_pretrained(folder)
        assert isinstance(loaded, SamProcessor)
        assert_equal(loaded(photos(), return_tensors="np"), wanted)
        assert SamImageProcessor.from_pretrained(folder).to_dict() == loaded.image_processor.to_dict()
