"""LoRA adapters: what peft trains and saves is what merging adds; what does not fit is refused whole."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from folioscope.model.ocr import DeepseekOcr
from folioscope.types import CheckpointError
from folioscope.weights import merge_adapter

RANK, ALPHA = 2, 6
Q, DOWN = "model.layers.0.self_attn.q_proj", "model.layers.2.mlp.experts.1.down_proj"


def save_adapter(folder: Path, tensors: dict[str, torch.Tensor], **settings: object) -> Path:
    folder.mkdir(exist_ok=True)
    plain = {"peft_type": "LORA", "r": RANK, "lora_alpha": ALPHA, "bias": "none"}
    (folder / "adapter_config.json").write_text(json.dumps(plain | settings))
    save_file(tensors, folder / "adapter_model.safetensors")
    return folder


def factors(model: DeepseekOcr, module: str) -> dict[str, torch.Tensor]:
    weight = weight_of(model, module)
    key = f"base_model.model.{module}.lora_"
    down, up = torch.randn(RANK, weight.shape[1]), torch.randn(weight.shape[0], RANK)
    return {f"{key}A.weight": down, f"{key}B.weight": up}


def weight_of(model: DeepseekOcr, module: str) -> torch.Tensor:
    return model.get_parameter(module.replace("model.layers.", "decoder.blocks.") + ".weight")


@pytest.fixture
def model(tiny_reader: tuple) -> DeepseekOcr:
    return copy.deepcopy(tiny_reader[0])


@pytest.mark.parametrize(
    ("settings", "scale"),
    [
        ({}, ALPHA / RANK),
        ({"use_rslora": True}, ALPHA / RANK**0.5),
        ({"alpha_pattern": {"q_proj": 1, "down_proj": 4}}, 1 / RANK),
        ({"alpha_pattern": {r"layers\.\d+\.self_attn\.q_proj": 4}}, 4 / RANK),
    ],
)
def test_the_product_is_added_at_its_scale(model: DeepseekOcr, tmp_path: Path, settings: dict, scale: float) -> None:
    tensors = factors(model, Q)
    down, up = tensors.values()
    before = weight_of(model, Q).clone()
    others = {name: tensor.clone() for name, tensor in model.state_dict().items() if "blocks.0.self_attn.q" not in name}
    assert merge_adapter(model, save_adapter(tmp_path / "adapter", tensors, **settings)) == 1
    torch.testing.assert_close(weight_of(model, Q), before + scale * up @ down)
    assert all(tensor.equal(model.state_dict()[name]) for name, tensor in others.items())


def test_merged_computes_what_peft_computes(model: DeepseekOcr, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft", reason="peft is not installed")
    tensors = factors(model, Q) | factors(model, DOWN)
    adapted = copy.deepcopy(model)
    config = peft.LoraConfig(
        r=RANK, lora_alpha=ALPHA, target_modules=r"decoder\.blocks\..*(q_proj|experts\.1\.down_proj)"
    )
    peft.inject_adapter_in_model(config, adapted)
    ours = {
        key.removeprefix("base_model.model.").replace("model.layers.", "decoder.blocks."): tensor
        for key, tensor in tensors.items()
    }
    for name, parameter in adapted.named_parameters():
        if "lora_" in name:
            parameter.data = ours.get(name.replace(".default", ""), torch.zeros_like(parameter))
    merge_adapter(model, save_adapter(tmp_path / "adapter", tensors))
    ids = torch.arange(2, 22)[None]
    nothing = torch.zeros_like(ids, dtype=torch.bool)
    torch.testing.assert_close(model(ids, nothing, [None]), adapted(ids, nothing, [None]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"peft_type": "IA3"}, "peft_type IA3 is not supported"),
        ({"use_dora": True}, "use_dora is not supported"),
        ({"bias": "all"}, "bias is not supported"),
    ],
)
def test_other_kinds_are_refused(model: DeepseekOcr, tmp_path: Path, change: dict, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        merge_adapter(model, save_adapter(tmp_path / "adapter", factors(model, Q), **change))


def test_what_does_not_fit_changes_nothing(model: DeepseekOcr, tmp_path: Path) -> None:
    tensors = factors(model, Q)
    strangers = {key.replace("layers.0", "layers.9"): tensor.clone() for key, tensor in tensors.items()}
    wide = {key: torch.nn.functional.pad(tensor, (0, 3)) for key, tensor in factors(model, DOWN).items()}
    half = {key: tensor for key, tensor in factors(model, DOWN).items() if "lora_A" in key}
    nan = {key: tensor * torch.nan for key, tensor in factors(model, DOWN).items()}
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for number, bad in enumerate((strangers, wide, half, nan)):
        with pytest.raises(CheckpointError):
            merge_adapter(model, save_adapter(tmp_path / str(number), tensors | bad))
    assert all(tensor.equal(before[name]) for name, tensor in model.state_dict().items())


def test_a_folder_without_an_adapter(model: DeepseekOcr, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"adapter_config\.json: missing"):
        merge_adapter(model, tmp_path)
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    with pytest.raises(CheckpointError, match="no adapter; give a folder with"):
        merge_adapter(model, tmp_path)
