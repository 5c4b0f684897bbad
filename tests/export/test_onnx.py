"""SAM's two ONNX files in onnxruntime, side by side with the model they were made of."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

from conftest import ROOT
from folioscope import SamImageProcessor, SamModel, Segmenter
from folioscope.cli import app
from folioscope.export import onnx
from folioscope.export.onnx import DECODER, ENCODER, export_sam
from folioscope.model.sam import Prediction
from folioscope.types import InputError, OutputError
from folioscope.weights import load_sam, save_sam
from random_sam import SIDE, SMALL, random_boxes, random_embeddings, random_masks, random_points, random_sam

pytest.importorskip("onnxscript")
runtime = pytest.importorskip("onnxruntime")

TINY = replace(SMALL, decoder_layers=1, vit=replace(SMALL.vit, layers=2))
"""As small as exporting it quickly takes: a window block and a global one, and one of the decoder."""

LIMIT = 1e-4
PHOTO = (300, 417)
"""Height and width."""


class Exported(NamedTuple):
    model: SamModel
    folder: Path

    def run(self, name: str, **inputs: Tensor) -> list[Tensor]:
        session = runtime.InferenceSession(self.folder / name)
        found = session.run(None, {key: value.float().numpy() for key, value in inputs.items()})
        return [torch.from_numpy(array) for array in found]

    def decode(self, embeddings: Tensor, points: Tensor, labels: Tensor, **given: Tensor) -> list[Tensor]:
        side = 4 * self.model.config.vit.grid
        inputs = {"mask_input": torch.zeros(1, 1, side, side), "has_mask_input": torch.zeros(1)} | given
        photo = inputs.pop("photo", torch.tensor(PHOTO))
        return self.run(
            DECODER,
            image_embeddings=embeddings,
            point_coords=points,
            point_labels=labels,
            orig_im_size=photo,
            **inputs,
        )


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    folder = tmp_path_factory.mktemp("onnx")
    save_sam(random_sam(TINY), folder / "sam")
    command = ["models", "export", "sam", "--onnx", str(folder / "out"), "--model", str(folder / "sam")]
    result = CliRunner().invoke(app, command)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.split() == [str(folder / "out" / name) for name in (ENCODER, DECODER)]
    return Exported(SamModel.from_pretrained(folder / "sam").requires_grad_(False), folder / "out")


def near(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=LIMIT, rtol=0)


def both_counts(prediction: tuple[Prediction, Prediction]) -> tuple[Tensor, Tensor]:
    """Of one image: all four masks of each object, (N, 4, h, w), and their scores, (N, 4)."""
    one, many = prediction
    return torch.cat([one.logits, many.logits], dim=2)[0], torch.cat([one.iou, many.iou], dim=2)[0]


def expected(exported: Exported, embeddings: Tensor, **given: Tensor) -> tuple[Tensor, Tensor]:
    model = exported.model.model
    one, many = (model.predict(embeddings, **given, multimask=multimask) for multimask in (False, True))
    return both_counts((one, many))


def closed(points: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """With the token that is not a point, which callers of Meta's export add where there is no box."""
    end = torch.full((len(points), 1), -1.0)
    return torch.cat([points, end[..., None].expand(-1, -1, 2) + 1], dim=1), torch.cat([labels, end], dim=1)


@pytest.mark.parametrize("images", [1, 3])
def test_encoder(exported: Exported, images: int) -> None:
    pixels = torch.randn(images, 3, SIDE, SIDE)
    (found,) = exported.run(ENCODER, pixel_values=pixels)
    near(found, exported.model.get_image_embeddings(pixels))


@pytest.mark.parametrize(("objects", "count"), [(1, 1), (1, 5), (4, 2)])
def test_points(exported: Exported, objects: int, count: int) -> None:
    embeddings, points = random_embeddings(), random_points(objects, count).float()
    labels = torch.arange(objects * count).view(objects, count) % 2
    masks, scores, low = exported.decode(embeddings, *closed(points, labels))
    logits, iou = expected(exported, embeddings, points=points[None], labels=labels[None])
    near(low, logits)
    near(scores, iou)
    assert masks.shape == (objects, 4, *PHOTO)


@pytest.mark.parametrize("photo", [PHOTO, (64, 64), (40, 9), (9, 700), (2, 2)])
def test_masks_lie_on_the_photo(exported: Exported, photo: tuple[int, int]) -> None:
    points = closed(random_points(2, 1).float(), torch.ones(2, 1))
    masks, _, low = exported.decode(random_embeddings(), *points, photo=torch.tensor(photo))
    processor = SamImageProcessor(size=SIDE, pad_size=SIDE)
    shape = processor(np.zeros((*photo, 3), np.uint8), return_tensors="pt").reshaped_input_sizes
    (wanted,) = processor.post_process_masks(low[None], [photo], shape, binarize=False)
    near(masks, wanted)


def test_boxes_are_corners(exported: Exported) -> None:
    embeddings, boxes = random_embeddings(), random_boxes(3).float()
    corners, kinds = boxes.view(3, 2, 2), torch.tensor([[2, 3]] * 3)
    _, scores, low = exported.decode(embeddings, corners, kinds)
    logits, iou = expected(exported, embeddings, boxes=boxes[None])
    near(low, logits)
    near(scores, iou)
    points = random_points(3, 2).float()
    given = torch.cat([points, corners], dim=1), torch.cat([torch.ones(3, 2), kinds], dim=1)
    near(
        exported.decode(embeddings, *given)[2],
        expected(exported, embeddings, points=points[None], boxes=boxes[None])[0],
    )


def test_a_mask(exported: Exported) -> None:
    embeddings, points, mask = random_embeddings(), random_points(2, 1).float(), random_masks(1, 1)
    given = closed(points, torch.ones(2, 1))
    with_mask = exported.decode(embeddings, *given, mask_input=mask, has_mask_input=torch.ones(1))[2]
    near(with_mask, expected(exported, embeddings, points=points[None], masks=mask)[0])
    unread = exported.decode(embeddings, *given, mask_input=mask)[2]
    near(unread, expected(exported, embeddings, points=points[None])[0])
    assert (with_mask - unread).abs().max() > 100 * LIMIT


def test_padding_changes_nothing(exported: Exported) -> None:
    embeddings, points = random_embeddings(), random_points(2, 4).float()
    labels = torch.tensor([[1, 0, -1, -10], [1, -1, -10, -10]])
    together = exported.decode(embeddings, points, labels)[2]
    for number, count in enumerate((3, 2)):
        alone = exported.decode(embeddings, points[[number], :count], labels[[number], :count])[2]
        near(together[[number]], alone)


def test_what_a_caller_must_know_is_noted(exported: Exported) -> None:
    for name in (ENCODER, DECODER):
        notes = runtime.InferenceSession(exported.folder / name).get_modelmeta().custom_metadata_map
        assert json.loads(notes["image_size"]) == SIDE
        assert json.loads(notes["image_mean"]) == [0.485, 0.456, 0.406]
        assert json.loads(notes["image_std"]) == [0.229, 0.224, 0.225]


def test_the_manual(exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What docs/models.md does without torch gives what the segmenter gives; its table has every input."""
    manual = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    sessions = (runtime.InferenceSession(exported.folder / name) for name in (ENCODER, DECODER))
    inputs = [given.name for session in sessions for given in session.get_inputs()]
    assert re.findall(r"^\| `(\w+)` \|", manual, re.MULTILINE) == inputs
    (tmp_path / "onnx").symlink_to(exported.folder)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(re.findall(r"^```python\n(.*?)^```", manual, re.MULTILINE | re.DOTALL)[0], names)  # noqa: S102
    segmenter = Segmenter(exported.model.model)
    scene = segmenter.embed(names["photo"])
    found = [mask for many in (False, True) for mask in segmenter.predict(scene, points=[[350, 285]], multimask=many)]
    near(torch.from_numpy(names["low"][0]), torch.from_numpy(np.stack([mask.low_logits for mask in found])))
    near(torch.from_numpy(names["masks"][0]), torch.from_numpy(np.stack([mask.logits for mask in found])))
    near(torch.from_numpy(names["scores"][0]), torch.tensor([mask.score for mask in found]))


def test_files_that_are_there_stay(exported: Exported) -> None:
    before = {path.name: path.read_bytes() for path in exported.folder.iterdir()}
    with pytest.raises(OutputError, match=r"image_encoder\.onnx: is there already; --force"):
        export_sam(exported.model.model, exported.folder)
    assert {path.name: path.read_bytes() for path in exported.folder.iterdir()} == before
    assert sorted(before) == [ENCODER, DECODER]


def test_the_decoder_alone(exported: Exported, tmp_path: Path) -> None:
    (written,) = export_sam(exported.model.model, tmp_path, decoder_only=True)
    assert [path.name for path in tmp_path.iterdir()] == [DECODER] == [written.name]
    points = closed(torch.tensor([[[9.0, 9.0]]]), torch.ones(1, 1))
    alone, both = (each.decode(random_embeddings(), *points) for each in (exported._replace(folder=tmp_path), exported))
    assert all(one.equal(other) for one, other in zip(alone, both, strict=True))


def test_without_the_exporter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(onnx, "find_spec", lambda name: None if name == "onnxscript" else find(name))
    with pytest.raises(InputError, match=r"ONNX: needs onnxscript; pip install 'folioscope\[onnx\]'"):
        export_sam(random_sam(TINY), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file: cannot be written"):
        export_sam(random_sam(TINY), tmp_path / "file")


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_mask_that_meta_chooses(exported: Exported, count: int) -> None:
    """As Meta's `select_masks` reads, on what the decoder gives."""
    scores, low = torch.randn(5, 4), torch.randn(5, 4, 2, 2)
    best, score = onnx._best(low, scores, torch.full((5,), count))
    for number in range(5):
        chosen = 0 if count > 2 else 1 + int(scores[number, 1:].argmax())
        assert best[number].equal(low[number, [chosen]])
        assert score[number].equal(scores[number, [chosen]])


@pytest.mark.slow
@pytest.mark.parametrize("single_mask", [False, True])
def test_the_toy_checkpoint(shared: Callable[..., Path], tmp_path: Path, single_mask: bool) -> None:
    toy = shared("golden", "sam_toy")
    sam = load_sam(toy / "hf_tiny256").requires_grad_(False)
    export_sam(sam, tmp_path, single_mask=single_mask)
    exported = Exported(SamModel(sam), tmp_path)
    golden: dict[str, Any] = {
        key: torch.from_numpy(value) for key, value in np.load(toy / "hf" / "encoder.npz").items()
    }
    (seen,) = exported.run(ENCODER, pixel_values=golden["pixel_values"])
    near(seen, golden["image_embeddings"])
    points = random_points(2, 2).float() * 4
    _, scores, low = exported.decode(seen, *closed(points, torch.ones(2, 2)))
    logits, iou = expected(exported, seen, points=points[None])
    near(low, logits[:, :1] if single_mask else logits)  # two clicks are not ambiguous
    near(scores, iou[:, :1] if single_mask else iou)
