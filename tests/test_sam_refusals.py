"""SAM files and configs that cannot be: each refused in one line, and nothing half-written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from folioscope.config import SamConfig, VitConfig
from folioscope.types import CheckpointError, OutputError
from folioscope.weights import load_sam, save_sam
from random_sam import random_sam

Change = Callable[[dict[str, Tensor]], Any]


class Attack:
    """A pickle that makes a folder when it is opened."""

    def __init__(self, folder: Path):
        self.folder = str(folder)

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.mkdir, (Path(self.folder),)


@pytest.fixture
def changed(tmp_path: Path) -> Callable[[Change], Path]:
    """A small model's .pth after a change to its tensors, with what is noted beside them."""

    def copy(change: Change) -> Path:
        save_sam(random_sam(), tmp_path / "sam.pth", layout="meta")
        tensors = torch.load(tmp_path / "sam.pth", weights_only=True)
        change(tensors)
        torch.save(tensors, tmp_path / "sam.pth")
        return tmp_path / "sam.pth"

    return copy


def refused(path: Path, complaint: str) -> None:
    with pytest.raises(CheckpointError, match=complaint) as caught:
        load_sam(path)
    assert str(caught.value).startswith(str(path))
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda t: t.pop("mask_decoder.mask_tokens.weight"), r"no tensor mask_decoder\.mask_tokens\.weight with 1 ax"),
        (lambda t: t.pop("image_encoder.pos_embed"), r"no tensor image_encoder\.pos_embed with 2 axes"),
        (lambda t: t.update({"image_encoder.pos_embed": torch.zeros(9)}), r"no tensor image_encoder\.pos_embed with 2"),
        (lambda t: t.update({"image_encoder.pos_embed": torch.zeros(1, 0, 0, 24)}), r"no tensor image_encoder\.pos_em"),
        (lambda t: t.update({"image_encoder.pos_embed": torch.zeros(1, 8, 8, 25)}), r"width, 25, must be a multiple"),
        (lambda t: t.pop("mask_decoder.iou_token.weight"), r"not a SAM: tensors 1 missing \(mask_decoder\.iou_token"),
        (lambda t: t.pop("image_encoder.blocks.1.norm1.bias"), r"1 missing \(image_encoder\.blocks\.1\.norm1\.bias\)"),
        (
            lambda t: t.update({"image_encoder.blocks.99.norm1.bias": torch.zeros(24)}),
            r"no tensor image_encoder\.blocks\.3",
        ),
        (lambda t: t.update(score=torch.zeros(2)), r"1 unexpected \(score\)"),
        (lambda t: t.update({"mask_decoder.transformer.layers.0.mlp.layers.0.bias": torch.zeros(20)}), "1 unexpected"),
        (lambda t: t["mask_decoder.iou_token.weight"].fill_(torch.inf), r"1 with NaN or infinity \(mask_decoder"),
        (lambda t: [t.pop(key) for key in list(t)], r"not a SAM: no tensor has a name of either layout"),
        (lambda t: t.update(model={}), r"damaged \(it holds more than named tensors\)"),
        (lambda t: t.update({3: torch.zeros(1)}), r"damaged \(it holds more than named tensors\)"),
    ],
)
def test_files_that_do_not_fit(changed: Callable[[Change], Path], change: Change, complaint: str) -> None:
    refused(changed(change), complaint)


def test_constants_of_early_files_are_dropped(changed: Callable[[Change], Path]) -> None:
    constants = {"pixel_mean": torch.zeros(3, 1, 1), "pixel_std": torch.ones(3, 1, 1)}
    file = changed(lambda tensors: tensors.update(constants))
    assert load_sam(file).state_dict().keys() == random_sam().state_dict().keys()


def test_files_without_our_note_need_a_config(changed: Callable[[Change], Path], tmp_path: Path) -> None:
    file = changed(lambda tensors: None)
    torch.save(dict(torch.load(file, weights_only=True)), file)
    refused(file, r"a mask decoder 16 wide does not tell how many heads it has; give a config")
    assert load_sam(file, config=random_sam().config).config.decoder_heads == 2


def test_files_of_other_models(tmp_path: Path) -> None:
    torch.save({"fc.weight": torch.zeros(2), "fc.bias": torch.zeros(2)}, tmp_path / "other.pth")
    refused(tmp_path / "other.pth", r"not a SAM: none of its 2 tensors \(fc\.bias, fc\.weight, …\) has a name of eit")
    refused(tmp_path / "none.pth", "no such file or folder; give a SAM's folder or .pth file")
    (tmp_path / "text.pth").write_text("not a checkpoint")
    refused(tmp_path / "text.pth", "damaged|refused")


def test_files_that_would_run_code(tmp_path: Path) -> None:
    torch.save({"image_encoder.pos_embed": Attack(tmp_path / "owned")}, tmp_path / "sam.pth")
    refused(tmp_path / "sam.pth", "refused: opening it could run code")
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("name", ["sam", "sam.safetensors", "sam.bin"])
def test_metas_layout_is_a_pth(tmp_path: Path, name: str) -> None:
    with pytest.raises(OutputError, match=r"give it a name that ends in \.pth"):
        save_sam(random_sam(), tmp_path / name, layout="meta")
    assert list(tmp_path.iterdir()) == []


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "sam.pth").mkdir()
    (tmp_path / "file").touch()
    for path, layout in (
        (tmp_path / "sam.pth", "meta"),
        (tmp_path / "file/sam.pth", "meta"),
        (tmp_path / "file", "hf"),
    ):
        with pytest.raises(OutputError, match="no checkpoint can be written there"):
            save_sam(random_sam(), path, layout=layout)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "sam.pth"]


def test_a_config_is_read_from_what_it_writes() -> None:
    config = random_sam().config
    assert SamConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert SamConfig.from_dict({}) == SamConfig.from_dict(SamConfig().to_dict()) == SamConfig()


def test_what_a_config_leaves_out_is_as_published() -> None:
    vision = {"hidden_size": 384, "mlp_dim": None, "mlp_ratio": 2.0, "unknown": 1}
    config = SamConfig.from_dict({"model_type": "sam", "vision_config": vision, "prompt_encoder_config": None})
    assert config == SamConfig(VitConfig(width=384, mlp_width=768))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"model_type": "sam2"}, r"model_type='sam2' is not Segment Anything"),
        ({"vision_config": {"use_rel_pos": False}}, r"vision_config\.use_rel_pos=False is no SAM's, which is True"),
        ({"vision_config": {"hidden_act": "relu"}}, r"vision_config\.hidden_act='relu' is no SAM's, which is 'gelu'"),
        ({"mask_decoder_config": {"iou_head_depth": 4}}, r"mask_decoder_config\.iou_head_depth=4 is no SAM's"),
        ({"mask_decoder_config": {"hidden_size": 128}}, r"hidden_size=128 is no SAM's, which is 256"),
        ({"prompt_encoder_config": {"image_size": 512}}, r"prompt_encoder_config\.image_size=512 is no SAM's"),
        ({"mask_decoder_config": {"num_attention_heads": 7}}, r"mask decoder's width, 256, must be a multiple of 14"),
        ({"vision_config": {"num_attention_heads": 7}}, r"image encoder's width, 768, must be a multiple of 7"),
        ({"vision_config": {"patch_size": 0}}, r"image_size, 1024, must be a multiple of 0"),
    ],
)
def test_configs_that_cannot_be(change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(CheckpointError, match=complaint):
        SamConfig.from_dict(change)
