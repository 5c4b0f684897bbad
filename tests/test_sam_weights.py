"""SAM checkpoints of both layouts go in and come out as they were; what does not fit is refused by name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from folioscope.config import SamConfig, VitConfig
from folioscope.model.sam import Sam
from folioscope.types import CheckpointError
from folioscope.weights import HF_NAMES, META_NAMES, load_sam, save_sam
from folioscope.weights.fitting import hollow
from folioscope.weights.sam_shapes import config_from_shapes
from random_sam import SMALL, random_embeddings, random_points, random_sam

SIZES = {
    "vit_b": (SamConfig(), 93.7, 314),
    "vit_l": (
        SamConfig(VitConfig(width=1024, layers=24, heads=16, mlp_width=4096, global_attn_indexes=(5, 11, 17, 23))),
        312.3,
        482,
    ),
    "vit_h": (
        SamConfig(VitConfig(width=1280, layers=32, heads=16, mlp_width=5120, global_attn_indexes=(7, 15, 23, 31))),
        641.1,
        594,
    ),
    "slimsam-50": (SamConfig(VitConfig(width=384, mlp_width=1536)), 28.0, 314),
    "slimsam-77": (SamConfig(VitConfig(width=168, mlp_width=696)), 9.7, 314),
}
MATRIX = "shared_image_embedding.positional_embedding"
SECOND = "prompt_encoder.shared_embedding.positional_embedding"
Change = Callable[[dict[str, Tensor]], Any]


@pytest.fixture(scope="module")
def toy(shared: Callable[..., Path]) -> Path:
    return shared("golden", "sam_toy")


@pytest.fixture
def changed_hf(toy: Path, tmp_path: Path) -> Callable[[Change], Path]:
    """A copy of the toy's folder after a change to its tensors."""

    def copy(change: Change) -> Path:
        tensors = load_file(toy / "hf_tiny256" / "model.safetensors")
        change(tensors)
        save_file(tensors, tmp_path / "model.safetensors")
        shutil.copy(toy / "hf_tiny256" / "config.json", tmp_path)
        return tmp_path

    return copy


def pickled(file: Path) -> dict[str, Tensor]:
    return torch.load(file, weights_only=True)


def assert_same(left: Mapping[str, Tensor], right: Mapping[str, Tensor]) -> None:
    assert left.keys() == right.keys()
    for key, tensor in left.items():
        assert tensor.dtype == right[key].dtype
        assert tensor.equal(right[key]), key


@pytest.mark.parametrize("name", SIZES)
def test_published_sizes(name: str) -> None:
    config, millions, count = SIZES[name]
    tensors = hollow(lambda: Sam(config)).state_dict()
    assert round(sum(tensor.numel() for tensor in tensors.values()) / 1e6, 1) == millions
    for names, eps in ((HF_NAMES, 1e-6), (META_NAMES, 1e-5)):
        shapes = {names.published(key): tuple(tensor.shape) for key, tensor in tensors.items()}
        assert len(shapes) == count
        assert {names.ours(key) for key in shapes} == set(tensors)
        assert config_from_shapes(names, shapes, None, eps) == replace(config, norm_eps=eps)


@pytest.mark.parametrize("name", SIZES)
def test_published_keys(name: str) -> None:
    transformers = pytest.importorskip("transformers")
    config = SIZES[name][0]
    sections = {key: value for key, value in config.to_dict().items() if key.endswith("_config")}
    with torch.device("meta"):
        reference = transformers.SamModel(transformers.SamConfig(**sections)).state_dict()
    ours = {HF_NAMES.published(k): t.shape for k, t in hollow(lambda: Sam(config)).state_dict().items()}
    assert ours == {key: tensor.shape for key, tensor in reference.items() if key != SECOND}
    assert HF_NAMES.ours(SECOND) == HF_NAMES.ours(MATRIX)


def test_published_shapes_of_vit_b() -> None:
    tensors = hollow(lambda: Sam(SamConfig())).state_dict()
    shapes = {META_NAMES.published(key): tuple(tensor.shape) for key, tensor in tensors.items()}
    expected = {
        "image_encoder.pos_embed": (1, 64, 64, 768),
        "image_encoder.blocks.0.attn.rel_pos_h": (27, 64),
        "image_encoder.blocks.11.attn.rel_pos_w": (127, 64),
        "image_encoder.neck.2.weight": (256, 256, 3, 3),
        "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix": (2, 128),
        "prompt_encoder.mask_downscaling.6.weight": (256, 16, 1, 1),
        "mask_decoder.transformer.layers.1.mlp.lin1.weight": (2048, 256),
        "mask_decoder.transformer.final_attn_token_to_image.out_proj.weight": (256, 128),
        "mask_decoder.output_upscaling.3.weight": (64, 32, 2, 2),
        "mask_decoder.output_hypernetworks_mlps.3.layers.2.weight": (32, 256),
        "mask_decoder.iou_prediction_head.layers.2.bias": (4,),
    }
    assert {key: shapes.get(key) for key in expected} == expected


def test_meta_keys_of_the_toy(toy: Path) -> None:
    published = json.loads((toy / "orig_tiny256" / "keys.json").read_text())
    shapes = {META_NAMES.published(k): list(t.shape) for k, t in load_sam(toy / "hf_tiny256").state_dict().items()}
    assert shapes == published


def test_both_layouts_hold_the_same_model(toy: Path) -> None:
    hf = load_sam(toy / "hf_tiny256")
    meta = load_sam(toy / "orig_tiny256" / "sam_tiny256.pth", config=hf.config)
    assert_same(meta.state_dict(), hf.state_dict())
    assert not hf.training
    assert all(parameter.requires_grad for parameter in hf.parameters())
    assert hf.vit.neck[2].weight.equal(
        load_file(toy / "hf_tiny256/model.safetensors")["vision_encoder.neck.conv2.weight"]
    )


@pytest.mark.parametrize("max_shard_size", [10_000_000, 200_000])
def test_a_folder_is_saved_as_it_was(toy: Path, tmp_path: Path, max_shard_size: int) -> None:
    save_sam(load_sam(toy / "hf_tiny256"), tmp_path, max_shard_size=max_shard_size)
    stored = {key: tensor for file in tmp_path.glob("*.safetensors") for key, tensor in load_file(file).items()}
    assert_same(stored, load_file(toy / "hf_tiny256" / "model.safetensors"))
    assert json.loads((tmp_path / "config.json").read_text()) == json.loads(
        (toy / "hf_tiny256" / "config.json").read_text()
    )
    assert_same(load_sam(tmp_path).state_dict(), load_sam(toy / "hf_tiny256").state_dict())


def test_metas_file_is_saved_as_it_was(toy: Path, tmp_path: Path) -> None:
    hf = load_sam(toy / "hf_tiny256")
    save_sam(hf, tmp_path / "new" / "sam.pth", layout="meta")
    assert_same(pickled(tmp_path / "new" / "sam.pth"), pickled(toy / "orig_tiny256" / "sam_tiny256.pth"))
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["sam.pth"]
    meta = load_sam(tmp_path / "new" / "sam.pth")
    assert meta.config == replace(hf.config, norm_eps=1e-5)


def test_metas_file_becomes_a_folder_that_computes_the_same(tmp_path: Path) -> None:
    save_sam(random_sam(), tmp_path / "sam.pth", layout="meta")
    meta = load_sam(tmp_path / "sam.pth")
    save_sam(meta, tmp_path / "folder")
    hf = load_sam(tmp_path / "folder")
    assert hf.config == meta.config == replace(SMALL, norm_eps=1e-5)
    given = {"points": random_points(1, 2, 2)}
    assert hf.predict(random_embeddings(), **given).logits.equal(meta.predict(random_embeddings(), **given).logits)


def test_strict_loaders_accept_what_is_noted_beside_the_tensors(tmp_path: Path) -> None:
    sam = random_sam()
    save_sam(sam, tmp_path / "sam.pth", layout="meta")
    renamed = torch.nn.Module()
    for key, tensor in pickled(tmp_path / "sam.pth").items():
        renamed.register_buffer(key.replace(".", "_"), torch.zeros_like(tensor))
    tensors = pickled(tmp_path / "sam.pth")
    for key in list(tensors):
        tensors[key.replace(".", "_")] = tensors.pop(key)
    renamed.load_state_dict(tensors, strict=True)
    assert renamed.mask_decoder_iou_token_weight.equal(sam.masks.iou_token.weight)


def test_a_lone_file_of_the_other_layout(toy: Path) -> None:
    config = load_sam(toy / "hf_tiny256").config
    lone = load_sam(toy / "hf_tiny256" / "model.safetensors", config=config)
    assert_same(lone.state_dict(), load_sam(toy / "hf_tiny256").state_dict())
    with pytest.raises(CheckpointError, match="a mask decoder 32 wide does not tell how many heads it has"):
        load_sam(toy / "hf_tiny256" / "model.safetensors")


def test_pytorch_files_are_read(toy: Path, tmp_path: Path) -> None:
    shutil.copy(toy / "hf_tiny256" / "config.json", tmp_path)
    torch.save(load_file(toy / "hf_tiny256" / "model.safetensors"), tmp_path / "pytorch_model.bin")
    assert_same(load_sam(tmp_path).state_dict(), load_sam(toy / "hf_tiny256").state_dict())


def test_saving_over_the_file_that_is_mapped(tmp_path: Path) -> None:
    save_sam(random_sam(), tmp_path / "sam.pth", layout="meta")
    save_sam(load_sam(tmp_path / "sam.pth"), tmp_path / "sam.pth", layout="meta")
    assert_same(load_sam(tmp_path / "sam.pth").state_dict(), random_sam().state_dict())


def test_no_more_is_pickled_than_the_tensors(tmp_path: Path) -> None:
    """torch writes all the memory that a tensor is a view of."""
    sam = random_sam()
    sam.prompts.positions.matrix = torch.randn(1_000_000)[: 2 * 8].view(2, 8)
    save_sam(sam, tmp_path / "sam.pth", layout="meta")
    assert (tmp_path / "sam.pth").stat().st_size < 500_000


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_dtype_is_that_of_every_weight(toy: Path, dtype: torch.dtype) -> None:
    model = load_sam(toy / "hf_tiny256", dtype=dtype)
    assert {tensor.dtype for tensor in model.state_dict().values()} == {dtype}


def test_either_name_of_the_position_matrix_will_do(changed_hf: Callable[[Change], Path], toy: Path) -> None:
    expected = load_sam(toy / "hf_tiny256").state_dict()
    assert_same(load_sam(changed_hf(lambda t: t.update({SECOND: t[MATRIX].clone()}))).state_dict(), expected)
    assert_same(load_sam(changed_hf(lambda t: t.update({SECOND: t.pop(MATRIX)}))).state_dict(), expected)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda t: t.pop(MATRIX), rf"config\.json's SAM: tensors 1 missing \({MATRIX}\)"),
        (lambda t: t.update({SECOND: t[MATRIX] + 1}), rf"1 unfit \({MATRIX} other than its copy\)|{SECOND} other"),
        (lambda t: t.update({"vision_encoder.blocks.0.norm1.weight": torch.zeros(32)}), r"1 unexpected \(vision_enc"),
        (lambda t: t.update({"mask_decoder.iou_prediction_head.layers.1.bias": torch.zeros(32)}), r"1 unexpected"),
        (lambda t: t.update({"vision_encoder.pos_embed": torch.zeros(1, 8, 8, 32)}), r"\(1, 8, 8, 32\) instead of"),
        (lambda t: t["mask_decoder.iou_token.weight"].fill_(torch.nan), r"NaN or infinity \(mask_decoder\.iou_token"),
        (lambda t: [t.pop(key) for key in list(t)] and t.update(a=torch.zeros(1)), r"not a SAM: none of its 1 tensors"),
    ],
)
def test_folders_that_do_not_fit(changed_hf: Callable[[Change], Path], change: Change, complaint: str) -> None:
    with pytest.raises(CheckpointError, match=complaint) as caught:
        load_sam(changed_hf(change))
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.slow
def test_a_whole_vit_b_travels_between_the_layouts(tmp_path: Path) -> None:
    sam = random_sam(SamConfig())
    save_sam(sam, tmp_path / "sam_vit_b.pth", layout="meta")
    meta = load_sam(tmp_path / "sam_vit_b.pth")
    assert meta.config == SamConfig(norm_eps=1e-5)
    save_sam(meta, tmp_path / "folder", max_shard_size=100_000_000)
    hf = load_sam(tmp_path / "folder")
    assert_same(hf.state_dict(), sam.state_dict())
    embeddings = torch.randn(1, 256, 64, 64)
    prediction = hf.predict(embeddings, boxes=torch.tensor([[[100.0, 200.0, 700.0, 900.0]]]))
    assert prediction.logits.shape == (1, 1, 3, 256, 256)
    assert prediction.logits.isfinite().all()
