"""Embedding once, prompting many times."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from folioscope import segment, views
from folioscope.masks import Mask, MaskPrompt
from folioscope.segment import Scene, Segmenter
from folioscope.types import CheckpointError, InputError, OutputError
from folioscope.views import SamFrame, unmap_masks
from folioscope.vision import quicken
from folioscope.vision.linear import multiplies_integers
from folioscope.weights import save_sam
from random_sam import GRID, SMALL, random_sam

SIZE = (90, 70)
LOW = np.random.default_rng(5).normal(0, 3, (4 * GRID[0], 4 * GRID[1])).astype(np.float32)

PROMPTS = [
    MaskPrompt(points=[[10, 20]]),
    MaskPrompt(points=[[10, 20], [40, 30.5], [80, 60]], labels=[1, 0, 1]),
    MaskPrompt(box=(5, 6, 50, 60)),
    MaskPrompt(points=[[30, 30]], labels=[0], box=(5, 6, 50, 60)),
    MaskPrompt(points=[[10, 20]], mask=LOW),
    MaskPrompt(mask=LOW),
    MaskPrompt(),
]


def picture(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return Segmenter(random_sam())


@pytest.fixture(scope="module")
def scene(segmenter: Segmenter) -> Scene:
    return segmenter.embed(picture(*SIZE))


def assert_alike(found: Sequence[Mask], expected: Sequence[Mask]) -> None:
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.score == pytest.approx(theirs.score, abs=1e-4)
        np.testing.assert_allclose(ours.low_logits, theirs.low_logits, atol=1e-4)
        assert (ours.array != theirs.array).mean() < 0.001


def test_a_mask_is_where_its_logits_are_above_zero(segmenter: Segmenter, scene: Scene) -> None:
    masks = segmenter.predict(scene, points=[[45, 35]])
    assert len(masks) == 3
    for mask in masks:
        assert mask.size == SIZE
        assert mask.logits.shape == (SIZE[1], SIZE[0])
        assert mask.logits.dtype == np.float32
        assert (mask.array == (mask.logits > 0)).all()
        assert mask.low_logits.shape == (32, 32)
        assert mask.prompt == MaskPrompt(points=((45.0, 35.0),), labels=(1,))
    assert len(segmenter.predict(scene, points=[[45, 35]], multimask=False)) == 1


@pytest.mark.parametrize("batch_size", [1, 3, 16])
def test_many_at_once_are_as_each_alone(segmenter: Segmenter, scene: Scene, batch_size: int) -> None:
    together = segmenter.predict_many(scene, PROMPTS, batch_size=batch_size)
    assert len(together) == len(PROMPTS)
    for masks, prompt in zip(together, PROMPTS, strict=True):
        given = {"points": prompt.points or None, "labels": prompt.labels or None}
        assert_alike(masks, segmenter.predict(scene, **given, box=prompt.box, mask=prompt.mask))


def test_prompts_make_a_difference(segmenter: Segmenter, scene: Scene) -> None:
    scores = {masks[0].score for masks in segmenter.predict_many(scene, PROMPTS)}
    assert len(scores) == len(PROMPTS)


def test_arrays_and_tensors_are_as_lists(segmenter: Segmenter, scene: Scene) -> None:
    expected = segmenter.predict(scene, [[10, 20], [40, 30]], [1, 0], [5, 6, 50, 60], LOW)
    for form in (np.array, torch.tensor):
        prompt = form([[10, 20], [40, 30]]), form([1, 0]), form([5.0, 6, 50, 60]), form(LOW)
        assert_alike(segmenter.predict(scene, *prompt), expected)
    assert_alike(segmenter.predict(scene, *prompt[:3], LOW[None]), expected)


def test_a_padded_point_is_none(segmenter: Segmenter, scene: Scene) -> None:
    padded = segmenter.predict(scene, points=[[10, 20], [0, 0]], labels=[1, -10])
    assert_alike(padded, segmenter.predict(scene, points=[[10, 20]]))


def test_several_images(segmenter: Segmenter) -> None:
    pictures = [picture(90, 70), picture(20, 130), picture(64, 64)]
    scenes = segmenter.embed_many(pictures, batch_size=2)
    for scene, image in zip(scenes, pictures, strict=True):
        assert scene.frame.size == image.size
        torch.testing.assert_close(scene.embedding, segmenter.embed(image).embedding, atol=1e-5, rtol=0)


def test_an_array_and_a_file_are_images(segmenter: Segmenter, scene: Scene, tmp_path: Path) -> None:
    picture(*SIZE).save(tmp_path / "a.png")
    for source in (np.array(picture(*SIZE)), tmp_path / "a.png"):
        assert torch.equal(segmenter.embed(source).embedding, scene.embedding)


def test_masks_are_upscaled_a_few_at_a_time(
    segmenter: Segmenter, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = segmenter.predict_many(scene, PROMPTS)
    frame, logits = SamFrame((400, 300), 64), torch.randn(10, 1, 32, 32)
    assert [len(masks) for masks in unmap_masks(logits, frame.placement)] == [10]
    monkeypatch.setattr(views, "UNMAPPED_BYTES", 4 * 8 * 400 * 300)
    shapes = [masks.shape for masks in unmap_masks(logits, frame.placement)]
    assert shapes == [(4, 1, 300, 400), (4, 1, 300, 400), (2, 1, 300, 400)]
    monkeypatch.setattr(views, "UNMAPPED_BYTES", 1)
    for found, masks in zip(segmenter.predict_many(scene, PROMPTS), expected, strict=True):
        assert_alike(found, masks)


def test_masks_hold_nothing_of_the_images_size(segmenter: Segmenter) -> None:
    large = Scene(torch.zeros(SMALL.width, *GRID), SamFrame((4000, 3000), SMALL.vit.image_size))
    mask = segmenter.predict(large, box=[100, 100, 3000, 2000], multimask=False)[0]
    assert mask.low_logits.base is None
    assert len(mask.runs) + mask.low_logits.nbytes < 4000 * 3000 / 20


def test_a_scene_from_a_file(segmenter: Segmenter, scene: Scene, tmp_path: Path) -> None:
    path = scene.save(tmp_path / "new" / "a.safetensors")
    loaded = Scene.load(path)
    assert torch.equal(loaded.embedding, scene.embedding)
    assert loaded.frame == scene.frame
    assert_alike(segmenter.predict(loaded, box=[5, 6, 50, 60]), segmenter.predict(scene, box=[5, 6, 50, 60]))
    with pytest.raises(OutputError, match="is there already"):
        scene.save(path)
    assert scene.save(path, force=True) == path


def test_what_is_no_scene_is_refused(segmenter: Segmenter, tmp_path: Path) -> None:
    save_sam(segmenter.model, tmp_path)
    with pytest.raises(InputError, match="not a saved scene"):
        Scene.load(tmp_path / "model.safetensors")
    with pytest.raises(InputError, match="no such file"):
        Scene.load(tmp_path / "none.safetensors")
    with pytest.raises(InputError, match=r"ends in \.safetensors"):
        Scene.load(tmp_path / "model.pth")
    (tmp_path / "b.safetensors").write_bytes(b"no")
    with pytest.raises(CheckpointError, match="damaged"):
        Scene.load(tmp_path / "b.safetensors")


def test_embeddings_are_kept(segmenter: Segmenter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture(*SIZE).save(tmp_path / "a.png")
    fresh = segmenter.embed(tmp_path / "a.png", keep_in=tmp_path / "kept")
    other = segmenter.embed(picture(20, 130), keep_in=tmp_path / "kept")
    Segmenter(random_sam(seed=1)).embed(tmp_path / "a.png", keep_in=tmp_path / "kept")
    files = sorted((tmp_path / "kept").iterdir())
    assert sorted(file.name[: file.name.index("-")] for file in files) == ["a", "a", "image"]
    monkeypatch.setattr(segmenter, "embed_many", None)  # what is kept is not computed again
    assert torch.equal(segmenter.embed(tmp_path / "a.png", keep_in=tmp_path / "kept").embedding, fresh.embedding)
    again = segmenter.embed(picture(20, 130), keep_in=tmp_path / "kept")
    assert torch.equal(again.embedding, other.embedding)
    assert again.frame == other.frame


def test_a_damaged_file_is_made_anew(segmenter: Segmenter, scene: Scene, tmp_path: Path) -> None:
    segmenter.embed(picture(*SIZE), keep_in=tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_bytes(b"no")
    assert torch.equal(segmenter.embed(picture(*SIZE), keep_in=tmp_path).embedding, scene.embedding)
    assert torch.equal(Scene.load(file).embedding, scene.embedding)


def test_bfloat16_embeddings_are_kept(tmp_path: Path) -> None:
    segmenter = Segmenter(random_sam().to(torch.bfloat16))
    first, second = (segmenter.embed(picture(*SIZE), keep_in=tmp_path).embedding for _ in range(2))
    assert first.dtype == torch.bfloat16
    assert torch.equal(first, second)
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.skipif(not multiplies_integers(), reason="no instructions for int8 here")
def test_embeddings_of_integers_are_kept_apart(tmp_path: Path) -> None:
    model = random_sam().to(torch.bfloat16)
    Segmenter(model).embed(picture(*SIZE), keep_in=tmp_path)
    quicken(model, "int8")
    Segmenter(model).embed(picture(*SIZE), keep_in=tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_plain_mask_becomes_logits(scene: Scene) -> None:
    array = np.zeros(SIZE[::-1], bool)
    array[:, 45:] = True
    logits = scene.mask_prompt(array)
    low = SamFrame(SIZE, 32).scaled
    assert low == (32, 25)
    assert (logits.dtype, logits.shape) == (np.float32, (32, 32))
    assert (logits[:25, :15] < -6.9).all()
    assert (logits[:25, 17:] > 6.9).all()
    assert (logits[25:] == 0).all()
    assert (scene.mask_prompt(array * np.uint8(255)) == logits).all()
    assert np.abs(scene.mask_prompt(np.full(SIZE[::-1], 128, np.uint8))).max() < 0.01


@pytest.mark.parametrize(("layout", "name"), [("hf", ""), ("meta", "sam.pth")])
def test_from_pretrained(segmenter: Segmenter, tmp_path: Path, layout: str, name: str) -> None:
    save_sam(segmenter.model, tmp_path / name, layout=layout)  # type: ignore[arg-type]
    loaded = Segmenter.from_pretrained(tmp_path / name)
    same = segmenter.embed(picture(*SIZE)).embedding  # by the plain modules, whose sums have another order
    torch.testing.assert_close(loaded.embed(picture(*SIZE)).embedding, same, rtol=1e-4, atol=1e-5)
    assert loaded.source == str(tmp_path / name)


def test_the_embedded_has_thresholds_of_its_own(
    segmenter: Segmenter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_sam(segmenter.model, tmp_path)
    monkeypatch.setattr(segment, "EMBEDDED", tmp_path)
    assert Segmenter.from_pretrained().options == segment.EMBEDDED_OPTIONS
    assert Segmenter.from_pretrained(tmp_path).options == segment.EverythingOptions()


def test_checkpoints_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segment, "EMBEDDED", tmp_path / "none")
    with pytest.raises(CheckpointError, match="no embedded segmenter"):
        Segmenter.from_pretrained()
    with pytest.raises(CheckpointError, match="no such folder"):
        Segmenter.from_pretrained(tmp_path / "none.pth")


def test_bfloat16(scene: Scene) -> None:
    mask = Segmenter(random_sam().to(torch.bfloat16)).predict(scene, points=[[45, 35]])[0]
    assert mask.low_logits.dtype == np.float32
    assert mask.logits.dtype == np.float32
