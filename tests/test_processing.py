"""The processor: what a published model is called with, for one page and for several."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from folioscope import AutoTokenizer, DeepseekOCRProcessor
from folioscope.hub import EMBEDDED
from folioscope.processing import BatchFeature
from folioscope.tokens import slot_count
from folioscope.types import CheckpointError, InputError, OutputError

PROMPT = "<image>\nFree OCR. "
SMALL = {"base_size": 512, "image_size": 512, "crop_mode": False}


@pytest.fixture(scope="module")
def toy(shared: Callable[..., Path]) -> Path:
    return shared("golden", "deepseek_toy")


@pytest.fixture(scope="module")
def processor(toy: Path) -> DeepseekOCRProcessor:
    return DeepseekOCRProcessor.from_pretrained(toy)


def picture(width: int, height: int) -> Image.Image:
    return Image.linear_gradient("L").resize((width, height)).convert("RGB")


def layout(inputs: BatchFeature) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
    return {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in inputs.items()}


def test_a_page_without_tiles(processor: DeepseekOCRProcessor) -> None:
    inputs = processor(text=PROMPT, images=picture(300, 200), **SMALL)
    length = inputs.input_ids.shape[1]
    assert layout(inputs) == {
        "input_ids": ((1, length), torch.int64),
        "images_seq_mask": ((1, length), torch.bool),
        "images_spatial_crop": ((1, 2), torch.int64),
        "pixel_values": ((1, 3, 512, 512), torch.float32),
    }
    assert inputs.images_spatial_crop.tolist() == [[1, 1]]
    assert inputs.images_seq_mask.sum() == 73
    assert inputs.input_ids[inputs.images_seq_mask].unique().tolist() == [processor.tokenizer.image_id]
    assert processor.tokenizer.decode(inputs.input_ids[0, 74:]) == "\nFree OCR."


@pytest.mark.parametrize(("size", "grid"), [((1300, 650), [2, 1]), ((400, 1300), [1, 3]), ((700, 700), [2, 2])])
def test_a_page_with_tiles(processor: DeepseekOCRProcessor, size: tuple[int, int], grid: list[int]) -> None:
    inputs = processor(text=PROMPT, images=picture(*size))
    columns, rows = grid
    assert inputs.images_spatial_crop.tolist() == [grid]
    assert inputs.pixel_values.shape == (1, 3, 1024, 1024)
    assert inputs.pixel_values_local.shape == (columns * rows, 3, 640, 640)
    assert inputs.images_seq_mask.sum() == 273 + 10 * rows * (10 * columns + 1)


def test_the_same_picture_in_any_form(processor: DeepseekOCRProcessor, tmp_path: Path) -> None:
    image = picture(300, 200)
    image.save(tmp_path / "page.png")
    forms: list[Any] = [tmp_path / "page.png", str(tmp_path / "page.png"), np.asarray(image), [image]]
    wanted = processor(PROMPT, image, **SMALL)
    for form in forms:
        inputs = processor(PROMPT, form, **SMALL)
        assert inputs.keys() == wanted.keys()
        assert all(torch.equal(inputs[name], wanted[name]) for name in wanted)


def test_transparency_is_dropped_as_published(processor: DeepseekOCRProcessor) -> None:
    clear = processor(PROMPT, Image.new("RGBA", (64, 64), (0, 0, 0, 0)), **SMALL)
    assert clear.pixel_values.eq(-1).all()


def test_a_batch_is_its_pages_side_by_side(processor: DeepseekOCRProcessor) -> None:
    prompts = [PROMPT, "<image>\nParse the figure.", "<image>"]
    pages = [picture(300, 200), picture(1300, 650), picture(640, 650)]
    batch = processor(text=prompts, images=pages, base_size=512)
    singles = [processor(text=prompt, images=page, base_size=512) for prompt, page in zip(prompts, pages, strict=True)]
    for row, single in enumerate(singles):
        length = single.input_ids.shape[1]
        assert torch.equal(batch.input_ids[row, :length], single.input_ids[0])
        assert batch.input_ids[row, length:].eq(processor.tokenizer.pad_id).all()
        assert torch.equal(batch.images_seq_mask[row, :length], single.images_seq_mask[0])
        assert not batch.images_seq_mask[row, length:].any()
        assert batch.attention_mask[row].tolist() == [1] * length + [0] * (batch.input_ids.shape[1] - length)
    for name in ("images_spatial_crop", "pixel_values"):
        assert torch.equal(batch[name], torch.cat([single[name] for single in singles])), name
    assert batch.attention_mask.dtype == torch.int64
    tiles = [single.pixel_values_local for single in singles[1:]]
    assert torch.equal(batch.pixel_values_local, torch.cat(tiles))
    assert "pixel_values_local" not in singles[0]


def test_one_prompt_for_all_pages(processor: DeepseekOCRProcessor) -> None:
    pages = [picture(30, 20), picture(20, 30)]
    batch, spelled = processor(PROMPT, pages, **SMALL), processor([PROMPT, PROMPT], pages, **SMALL)
    assert torch.equal(batch.input_ids, spelled.input_ids)


def test_a_preset_is_its_text(processor: DeepseekOCRProcessor) -> None:
    preset, spelled = processor("free", picture(9, 9), **SMALL), processor(PROMPT, picture(9, 9), **SMALL)
    assert torch.equal(preset.input_ids, spelled.input_ids)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"text": "Free OCR."}, "has no <image>"),
        ({"text": "<image> and <image>"}, "2 <image> marks"),
        ({"text": [PROMPT, PROMPT]}, "2 prompts and 1 images"),
        ({"text": [], "images": []}, "0 images"),
        ({"images": "no such file.png"}, "no such file.png: No such file"),
        ({"images": b"not a picture"}, "bytes: not a PDF"),
        ({"image_size": 512}, "image_size=512: with crop_mode it must be 640"),
        ({"base_size": 1000}, "view size 1000"),
        ({"base_size": 0}, "base_size=0"),
        ({"return_tensors": "np"}, "return_tensors='np'"),
    ],
)
def test_what_cannot_be(processor: DeepseekOCRProcessor, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        processor(**{"text": PROMPT, "images": picture(8, 8), **arguments})


def test_the_feature_moves_pixels_and_keeps_ids(processor: DeepseekOCRProcessor) -> None:
    inputs = processor(PROMPT, picture(30, 20), **SMALL)
    ids = inputs["input_ids"].clone()
    assert inputs.to("cpu", torch.bfloat16) is inputs
    assert inputs.pixel_values.dtype == torch.bfloat16
    assert inputs.input_ids.equal(ids)
    assert inputs.images_seq_mask.dtype == torch.bool
    assert {tensor.device.type for tensor in inputs.to("meta").values()} == {"meta"}
    assert inputs.to(torch.float32).input_ids.device.type == "meta"
    with pytest.raises(AttributeError, match="pixel_values_local"):
        _ = inputs.pixel_values_local
    assert not hasattr(inputs, "labels")
    assert dict(**inputs).keys() == inputs.keys()


def test_decoding_leaves_out_the_padding(processor: DeepseekOCRProcessor) -> None:
    tokenizer = processor.tokenizer
    ids, pad = tokenizer.encode("<td>1</td> text"), tokenizer.pad_id
    assert processor.decode(torch.tensor([*ids, pad, pad])) == "<td>1</td> text"
    assert processor.decode(ids, skip_special_tokens=True) == "1 text"
    assert processor.batch_decode(torch.tensor([ids, [*ids[:-1], pad]])) == [
        "<td>1</td> text",
        tokenizer.decode(ids[:-1]),
    ]


def test_what_is_saved_is_as_published_and_loads_alone(processor: DeepseekOCRProcessor, tmp_path: Path) -> None:
    processor.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "processor_config.json").read_text("utf-8")) == {
        "add_special_token": False,
        "candidate_resolutions": [[1024, 1024]],
        "downsample_ratio": 4,
        "ignore_id": -100,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "image_token": "<image>",
        "mask_prompt": False,
        "normalize": True,
        "pad_token": "<｜▁pad▁｜>",
        "patch_size": 16,
        "processor_class": "DeepseekVLV2Processor",
        "sft_format": "deepseek",
    }
    again = DeepseekOCRProcessor.from_pretrained(tmp_path)
    assert again(PROMPT, picture(9, 9)).input_ids.equal(processor(PROMPT, picture(9, 9)).input_ids)
    assert AutoTokenizer.from_pretrained(tmp_path).encode("abc") == processor.tokenizer.encode("abc")


def test_settings_of_its_own_are_kept(toy: Path, tmp_path: Path) -> None:
    shutil.copy(toy / "tokenizer.json", tmp_path)
    (tmp_path / "processor_config.json").write_text('{"patch_size": 32, "sft_format": "mine"}')
    processor = DeepseekOCRProcessor.from_pretrained(tmp_path)
    assert processor(PROMPT, picture(9, 9), **SMALL | {"image_size": 640}).images_seq_mask.sum() == 5 * 6 + 1
    processor.save_pretrained(tmp_path / "copy")
    saved = json.loads((tmp_path / "copy" / "processor_config.json").read_text("utf-8"))
    assert (saved["patch_size"], saved["sft_format"], saved["ignore_id"]) == (32, "mine", -100)


def test_without_settings_the_patch_is_the_models(toy: Path, tmp_path: Path) -> None:
    shutil.copy(toy / "tokenizer.json", tmp_path)
    config = json.loads((toy / "config.json").read_text("utf-8"))
    config["vision_config"]["width"]["sam_vit_b"]["patch_size"] = 32
    (tmp_path / "config.json").write_text(json.dumps(config))
    inputs = DeepseekOCRProcessor.from_pretrained(tmp_path)(PROMPT, picture(9, 9))
    assert inputs.images_seq_mask.sum() == 8 * 9 + 1


@pytest.mark.parametrize(
    "settings", ['{"patch_size": "16"}', '{"patch_size": 0}', '{"downsample_ratio": 2}', "[]", "{"]
)
def test_settings_that_cannot_be(toy: Path, tmp_path: Path, settings: str) -> None:
    shutil.copy(toy / "tokenizer.json", tmp_path)
    (tmp_path / "processor_config.json").write_text(settings)
    with pytest.raises(CheckpointError, match="processor_config"):
        DeepseekOCRProcessor.from_pretrained(tmp_path, trust_remote_code=True)


def test_a_place_that_cannot_be_written(processor: DeepseekOCRProcessor, tmp_path: Path) -> None:
    (tmp_path / "processor_config.json").mkdir()
    with pytest.raises(OutputError, match="processor_config"):
        processor.save_pretrained(tmp_path)


def test_nothing_to_load(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="tokenizer"):
        DeepseekOCRProcessor.from_pretrained(tmp_path)


def test_none_is_the_embedded_checkpoint() -> None:
    if not EMBEDDED.is_dir():
        pytest.skip("the embedded reader is not here")
    slots = DeepseekOCRProcessor.from_pretrained()(PROMPT, picture(9, 9)).images_seq_mask.sum()
    assert slots == slot_count(1024 // 32, 0, (1, 1))  # its tokens are 32 px wide
