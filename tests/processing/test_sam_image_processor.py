"""SAM's image processor: photos in any form to normalised frames, and masks back on the photos."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import interpolate

from folioscope import SamImageProcessor, views
from folioscope.processing import BatchFeature
from folioscope.types import InputError
from folioscope.views import Placement, unmap_masks

SMALL = {"size": {"longest_edge": 64}, "pad_size": 64, "mask_size": 16, "mask_pad_size": {"height": 16, "width": 16}}


@pytest.fixture
def processor() -> SamImageProcessor:
    return SamImageProcessor(**SMALL)


def photo(width: int = 48, height: int = 30) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def equal(found: BatchFeature, wanted: BatchFeature) -> bool:
    return found.keys() == wanted.keys() and all(np.array_equal(found[name], wanted[name]) for name in wanted)


@pytest.mark.parametrize(
    ("size", "scaled"),
    [((2646, 1764), (1024, 683)), ((900, 600), (1024, 683)), ((320, 533), (615, 1024)), ((901, 123), (1024, 140))],
)
def test_the_long_side_fills_the_frame(size: tuple[int, int], scaled: tuple[int, int]) -> None:
    inputs = SamImageProcessor()(Image.new("RGB", size, "white"), return_tensors="pt")
    assert inputs.pixel_values.shape == (1, 3, 1024, 1024)
    assert inputs.pixel_values.dtype == torch.float32
    assert inputs.original_sizes.tolist() == [[size[1], size[0]]]
    assert inputs.reshaped_input_sizes.tolist() == [[scaled[1], scaled[0]]]
    assert (inputs.pixel_values[0, 0] > 0).sum() == scaled[0] * scaled[1]
    assert inputs.pixel_values.min() == 0


def test_normalised_before_padded(processor: SamImageProcessor) -> None:
    values = processor(Image.new("RGB", (32, 16), (0, 128, 255)), return_tensors="np").pixel_values[0]
    means, deviations = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    np.testing.assert_allclose(values[:, 0, 0], (np.array([0, 128, 255]) / 255 - means) / deviations, rtol=1e-5)
    assert not values[:, 32:].any()


def test_the_same_photo_in_any_form(processor: SamImageProcessor, tmp_path: Path) -> None:
    image = photo()
    image.save(tmp_path / "photo.png")
    pixels = np.asarray(image)
    first = torch.from_numpy(pixels.copy()).permute(2, 0, 1)  # (3, H, W)
    wanted = processor(image, return_tensors="np")
    forms = [tmp_path / "photo.png", str(tmp_path / "photo.png"), [image], [[image]], pixels, pixels[None]]
    forms += [pixels.transpose(2, 0, 1), first, first[None], first.long(), pixels / 255, (first / 255)[None]]
    for form in forms:
        assert equal(processor(form, return_tensors="np"), wanted)


def test_grey_and_transparent(processor: SamImageProcessor) -> None:
    grey = photo().convert("L")
    wanted = processor(grey.convert("RGB"), return_tensors="np")
    for form in (grey, np.asarray(grey), np.asarray(grey)[..., None], torch.from_numpy(np.array(grey))[None]):
        assert equal(processor(form, return_tensors="np"), wanted)
    clear = processor(Image.new("RGBA", (8, 8), (0, 0, 0, 0)), return_tensors="np")
    assert equal(clear, processor(Image.new("RGB", (8, 8), "white"), return_tensors="np"))


def test_a_pillow_image_lies_as_its_array_does(processor: SamImageProcessor, tmp_path: Path) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    photo().save(tmp_path / "turned.png", exif=turned)
    with Image.open(tmp_path / "turned.png") as image:
        as_published = processor(image, return_tensors="np")
    assert equal(as_published, processor(photo(), return_tensors="np"))
    assert processor(tmp_path / "turned.png", return_tensors="np").original_sizes.tolist() == [[48, 30]]


def test_what_is_returned(processor: SamImageProcessor) -> None:
    images = [photo(), photo(20, 40)]
    arrays, tensors, lists = (processor(images, return_tensors=kind) for kind in ("np", "pt", None))
    assert {type(value) for value in arrays.values()} == {np.ndarray}
    assert {type(value) for value in tensors.values()} == {torch.Tensor}
    assert lists.original_sizes == [(30, 48), (40, 20)]
    assert lists.reshaped_input_sizes == [(40, 64), (64, 32)]
    assert equal(tensors, arrays)
    assert equal(lists, arrays)
    assert arrays.original_sizes.dtype == arrays.reshaped_input_sizes.dtype == np.int64
    assert equal(processor.preprocess(images[0], return_tensors="np"), processor(images[:1], return_tensors="np"))


def test_settings_for_one_call(processor: SamImageProcessor) -> None:
    raw = processor(photo(), return_tensors="np", do_rescale=False, do_normalize=False, do_resize=False)
    assert np.array_equal(raw.pixel_values[0, :, :30, :48], np.asarray(photo()).transpose(2, 0, 1))
    assert raw.reshaped_input_sizes.tolist() == [[30, 48]]
    assert processor(photo(), return_tensors="pt", size=32, pad_size=40).pixel_values.shape == (1, 3, 40, 40)
    assert processor(photo(), return_tensors="pt", do_pad=False).pixel_values.shape == (1, 3, 40, 64)
    assert processor.size == {"longest_edge": 64}
    unit = processor(np.asarray(photo()) / 255, return_tensors="np", do_rescale=False)
    np.testing.assert_allclose(unit.pixel_values, processor(photo(), return_tensors="np").pixel_values, atol=1e-6)


def test_segmentation_maps(processor: SamImageProcessor) -> None:
    labels = np.zeros((30, 48), np.int64)
    labels[:, 24:] = 70_000
    for form in (labels, [labels], torch.from_numpy(labels), labels.astype(np.float32)):
        found = processor(photo(), form, return_tensors="pt").labels
        assert (found.dtype, found.shape) == (torch.int64, (1, 16, 16))
        assert found[0, :10, 8:].eq(70_000).all()
        assert found.sum() == 70_000 * 80
    image = Image.new("1", (48, 30), 1)
    assert processor(photo(), segmentation_maps=image, return_tensors="np").labels.sum() == 160
    pair = processor([photo(), photo()], [labels, labels], return_tensors="np").labels
    assert np.array_equal(pair[0], pair[1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"images": []}, "images: an empty list"),
        ({"images": "no such photo.png"}, "No such file"),
        ({"images": "https://example.org/truck.png"}, "no picture is downloaded"),
        ({"images": None}, "NoneType"),
        ({"images": np.zeros((5, 6, 7))}, r"shape \(5, 6, 7\); expected \(C, H, W\) or \(H, W, C\)"),
        ({"images": np.zeros((0, 5, 3))}, r"shape \(0, 5, 3\)"),
        ({"images": np.full((4, 4, 3), -1.5)}, "below 0 or NaN"),
        ({"images": np.full((4, 4), np.nan)}, "below 0 or NaN"),
        ({"return_tensors": "tf"}, "return_tensors='tf'"),
        ({"images": np.zeros((4, 4, 3)), "input_data_format": "first"}, "data_format='first'"),
        ({"do_crop": True}, "do_crop: no setting of SamImageProcessor"),
        ({"size": {"shortest_edge": 4}}, "size=.*: give longest_edge"),
        ({"pad_size": {"height": 32, "width": 32}}, "pad_size: 32 x 32 cannot hold 64 x 40"),
        ({"image_std": [0.2, 0, 0.2]}, "image_std"),
        ({"image_mean": [0.5]}, "three numbers"),
        ({"resample": 9}, "resample=9"),
        ({"do_resize": 1}, "do_resize=1"),
        ({"rescale_factor": float("nan")}, "rescale_factor"),
        ({"segmentation_maps": [np.zeros((4, 4)), np.zeros((4, 4))]}, "2 maps for 1 images"),
        ({"segmentation_maps": [photo()]}, r"shape \(30, 48, 3\); expected \(H, W\)"),
        ({"segmentation_maps": np.full((4, 4), 0.5)}, "not whole"),
        ({"segmentation_maps": "map.png"}, "str: give a Pillow image"),
        ({"images": [photo(), photo(9, 9)], "do_pad": False, "return_tensors": "pt"}, "different sizes"),
    ],
)
def test_what_cannot_be(processor: SamImageProcessor, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        processor(**{"images": photo(), **arguments})


def reference(logits: torch.Tensor, place: tuple[int, int], original: tuple[int, int]) -> torch.Tensor:
    square = interpolate(logits, (64, 64), mode="bilinear")[..., : place[0], : place[1]]
    return interpolate(square, original, mode="bilinear")


def test_masks_return_to_their_photos(processor: SamImageProcessor) -> None:
    sizes, reshaped = [(30, 48), (40, 20)], [(40, 64), (64, 32)]
    logits = torch.randn(2, 3, 2, 16, 16, generator=torch.Generator().manual_seed(0))
    wanted = [reference(*case) for case in zip(logits, reshaped, sizes, strict=True)]
    for form in (logits, logits.numpy(), list(logits), [one.numpy() for one in logits]):
        masks = processor.post_process_masks(form, torch.tensor(sizes), np.array(reshaped))
        assert [(mask.shape, mask.dtype) for mask in masks] == [((3, 2, *size), torch.bool) for size in sizes]
        assert all(torch.equal(mask, full > 0) for mask, full in zip(masks, wanted, strict=True))
    raw = processor.post_process_masks(logits, sizes, reshaped, binarize=False)
    assert all(torch.equal(*pair) for pair in zip(raw, wanted, strict=True))
    strict = processor.post_process_masks(
        logits, sizes, reshaped, mask_threshold=0.5, pad_size={"height": 64, "width": 64}
    )
    assert torch.equal(strict[1], wanted[1] > 0.5)


def test_masks_go_up_a_few_at_a_time(processor: SamImageProcessor, monkeypatch: pytest.MonkeyPatch) -> None:
    logits = torch.randn(1, 5, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    whole = processor.post_process_masks(logits, [(30, 48)], [(40, 64)])[0]
    monkeypatch.setattr(views, "UNMAPPED_BYTES", 2 * 3 * 8 * 64 * 64)
    place = Placement((30, 48), (40, 64), (64, 64))
    assert [len(some) for some in unmap_masks(logits[0], place)] == [2, 2, 1]
    assert torch.equal(processor.post_process_masks(logits, [(30, 48)], [(40, 64)])[0], whole)


def test_half_precision_is_widened(processor: SamImageProcessor) -> None:
    logits = torch.randn(1, 1, 1, 16, 16, generator=torch.Generator().manual_seed(2)).bfloat16()
    found = processor.post_process_masks(logits, [(30, 48)], [(40, 64)], binarize=False)[0]
    assert torch.equal(found, reference(logits[0].float(), (40, 64), (30, 48)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([torch.zeros(1, 1, 4, 4)], [(9, 9), (9, 9)], [(64, 64)]), "1 masks, 2 original_sizes and 1 reshaped"),
        (([torch.zeros(1, 1, 4, 4).bool()], [(9, 9)], [(64, 64)]), "masks: torch.bool"),
        (([torch.zeros(4, 4)], [(9, 9)], [(64, 64)]), r"expected logits \(N, M, h, w\)"),
        ((["mask"], [(9, 9)], [(64, 64)]), "masks: str"),
        (([torch.zeros(1, 1, 4, 4)], [(9,)], [(64, 64)]), "original_sizes"),
        (([torch.zeros(1, 1, 4, 4)], [(9, 9)], [(0, 64)]), "reshaped_input_sizes"),
    ],
)
def test_masks_that_cannot_be(processor: SamImageProcessor, arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        processor.post_process_masks(*arguments)


def test_pixels_of_the_goldens(shared: Callable[..., Path]) -> None:
    toy = shared("golden", "sam_toy")
    image = toy / "images" / "truck_900x600.png"
    for side in (256, 1024):
        golden = np.load(toy / "processor" / f"truck_900x600_{side}.npz")
        values = SamImageProcessor(size=side, pad_size=side)(image, return_tensors="np").pixel_values
        assert np.array_equal(values.ravel()[golden["sample_index"]], golden["sample_value"])
        if "pixel_values" in golden:
            assert np.array_equal(values, golden["pixel_values"])
        plain = {"do_rescale": False, "do_normalize": False, "do_pad": False, "size": side}
        resized = SamImageProcessor(**plain)(image, return_tensors="np").pixel_values[0].transpose(1, 2, 0)
        digest = hashlib.sha256(np.ascontiguousarray(resized).astype(np.uint8).tobytes()).digest()
        assert digest == golden["resized_u8_sha256"].tobytes()
