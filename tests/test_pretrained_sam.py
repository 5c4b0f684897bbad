"""SamModel as users of the published one know it: loading, calls, saving, fine-tuning."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from folioscope import SamModel, hub
from folioscope.config import SamConfig
from folioscope.types import CheckpointError, InputError
from folioscope.weights import save_sam
from random_sam import GRID, SIDE, SMALL, random_boxes, random_embeddings, random_masks, random_points, random_sam

Given = dict[str, Any]


@pytest.fixture(scope="module")
def model() -> SamModel:
    return SamModel(random_sam())


@pytest.fixture(scope="module")
def pixels() -> Tensor:
    return torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


def close(left: Tensor, right: Tensor) -> bool:
    return left.shape == right.shape and torch.allclose(left, right, atol=1e-5)


def test_pixels_or_what_was_made_of_them(model: SamModel, pixels: Tensor) -> None:
    points = random_points(2, 3, 2)
    whole = model(pixel_values=pixels, input_points=points)
    seen = model.get_image_embeddings(pixels)
    assert seen.shape == (2, SMALL.width, *GRID)
    again = model(image_embeddings=seen, input_points=points)
    assert whole.pred_masks.shape == (2, 3, 3, 4 * GRID[0], 4 * GRID[1])
    assert whole.iou_scores.shape == (2, 3, 3)
    assert close(whole.pred_masks, again.pred_masks)
    assert model(pixel_values=pixels, multimask_output=False).pred_masks.shape == (2, 1, 1, 32, 32)


def test_outputs_are_read_in_every_published_way(model: SamModel, pixels: Tensor) -> None:
    outputs = model(pixels, random_points(2, 1, 1))
    assert list(outputs) == ["iou_scores", "pred_masks"]
    assert outputs["pred_masks"] is outputs.pred_masks is outputs[1] is outputs.to_tuple()[1]
    assert outputs[:1] == (outputs.iou_scores,)
    assert len(outputs) == 2
    assert "vision_attentions" not in outputs
    assert outputs.vision_attentions is None
    scores, masks = model(pixels, random_points(2, 1, 1), return_dict=False)
    assert scores.equal(outputs.iou_scores)
    assert masks.equal(outputs.pred_masks)


def test_what_is_seen_on_the_way(model: SamModel, pixels: Tensor) -> None:
    points = random_points(2, 3, 2)
    outputs = model(pixels, points, output_hidden_states=True, output_attentions=True)
    h, w = GRID
    assert [tuple(state.shape) for state in outputs.vision_hidden_states] == [(2, h, w, 24)] * 4
    windows = 2 * 9 * 2  # images, windows of 3 x 3 on 8 x 8, heads
    shapes = [tuple(weights.shape) for weights in outputs.vision_attentions]
    assert shapes == [(windows, 9, 9), (2 * 2, h * w, h * w), (windows, 9, 9)]
    assert [tuple(update.shape) for update in outputs.mask_decoder_attentions] == [(6, 1, h * w, SMALL.width)] * 2
    tokens = 5 + 2 + 1
    assert [tuple(maps.shape) for maps in outputs.mask_decoder_attention_maps] == [(2, 3, 2, tokens, h * w)] * 2
    plain = model(pixels, points)
    assert close(outputs.pred_masks, plain.pred_masks)
    assert model(pixels, points, output_attentions=True).vision_hidden_states is None
    seen = model(image_embeddings=random_embeddings(2), input_points=points, output_hidden_states=True)
    assert seen.vision_hidden_states is None


def test_a_mask_for_each_object(model: SamModel) -> None:
    embeddings, points, masks = random_embeddings(), random_points(1, 3, 1), random_masks(1, 3)
    together = model(image_embeddings=embeddings, input_points=points, input_masks=masks)
    for number in range(3):
        one = {"input_points": points[:, [number]], "input_masks": masks[:, [number]]}
        assert close(together.pred_masks[:, [number]], model(image_embeddings=embeddings, **one).pred_masks)
    shared = model(image_embeddings=embeddings, input_points=points, input_masks=masks[:, 0])
    assert close(shared.pred_masks[:, 0], together.pred_masks[:, 0])
    assert not close(shared.pred_masks[:, 1], together.pred_masks[:, 1])


@pytest.mark.parametrize("side", [48, 96])
def test_other_image_sizes(model: SamModel, side: int) -> None:
    pixels, points = torch.randn(1, 3, side, side), random_points(1, 2, 1) * side / SIDE
    assert model(pixels, points).pred_masks.shape == (1, 2, 3, side // 2, side // 2)


def test_state_dict_has_the_published_names(model: SamModel) -> None:
    state = model.state_dict()
    assert "shared_image_embedding.positional_embedding" in state
    assert "vision_encoder.layers.0.layer_norm1.weight" in state
    other = SamModel(random_sam(seed=1))
    assert not close(other.state_dict()["vision_encoder.pos_embed"], state["vision_encoder.pos_embed"])
    other.load_state_dict(state)
    assert all(tensor.equal(other.state_dict()[key]) for key, tensor in state.items())
    with pytest.raises(RuntimeError, match=r"Unexpected key.*score\.weight"):
        other.load_state_dict({**model.state_dict(), "score.weight": torch.zeros(1)})


def test_both_names_of_the_position_matrix_load(model: SamModel) -> None:
    state, first = model.state_dict(), "shared_image_embedding.positional_embedding"
    state["prompt_encoder.shared_embedding.positional_embedding"] = state[first].clone()
    other = SamModel(random_sam(seed=1))
    other.load_state_dict(state)
    assert other.state_dict()[first].equal(state[first])


def test_within_a_larger_module(model: SamModel) -> None:
    whole = nn.ModuleDict({"sam": copy.deepcopy(model), "head": nn.Linear(2, 2)})
    state = whole.state_dict()
    assert {key.partition(".")[0] for key in state} == {"sam", "head"}
    assert {key.removeprefix("sam.") for key in state if key.startswith("sam.")} == set(model.state_dict())
    whole.load_state_dict(state)


def test_fine_tuning_as_published(pixels: Tensor) -> None:
    model = SamModel(random_sam().requires_grad_(True))
    for name, weight in model.named_parameters():
        if name.startswith(("vision_encoder", "prompt_encoder")):
            weight.requires_grad_(False)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    optimizer = torch.optim.SGD(model.mask_decoder.parameters(), lr=0.1)
    loss = model(pixels, input_boxes=random_boxes(2, 1), multimask_output=False).pred_masks.square().mean()
    loss.backward()
    optimizer.step()
    changed = {key.partition(".")[0] for key, tensor in model.state_dict().items() if not tensor.equal(before[key])}
    assert changed == {"mask_decoder"}
    names = {id(weight): name for name, weight in model.named_parameters()}
    assert {names[id(weight)].partition(".")[0] for weight in model.vision_encoder.parameters()} == {"vision_encoder"}
    assert model.prompt_encoder is not None
    assert [tuple(matrix.shape) for matrix in model.shared_image_embedding.buffers()] == [(2, SMALL.width // 2)]


def test_prompt_embeddings(model: SamModel) -> None:
    sparse, dense = model.get_prompt_embeddings(random_points(2, 3, 2))
    assert sparse is not None
    assert (tuple(sparse.shape), tuple(dense.shape)) == ((2, 3, 2 + 1, SMALL.width), (2, SMALL.width, *GRID))
    sparse, dense = model.get_prompt_embeddings(input_masks=random_masks(1, 3))
    assert sparse is None
    assert dense.shape == (1, 3, SMALL.width, *GRID)
    assert model.get_prompt_embeddings()[0] is None
    assert model.get_image_wide_positional_embeddings().shape == (1, SMALL.width, *GRID)


@pytest.mark.parametrize(
    ("keywords", "dtype"),
    [
        ({}, torch.float32),
        ({"dtype": "auto"}, torch.float32),
        ({"torch_dtype": torch.bfloat16}, torch.bfloat16),
        ({"dtype": "float16", "device_map": {"": "cpu"}}, torch.float16),
        ({"device": "cpu", "attn_implementation": "eager", "low_cpu_mem_usage": True}, torch.float32),
    ],
)
@pytest.mark.parametrize("file", ["", "sam.pth"])
def test_loading(model: SamModel, tmp_path: Path, keywords: Given, dtype: torch.dtype, file: str) -> None:
    save_sam(model.model, tmp_path / file, layout="meta" if file else "hf")
    loaded = SamModel.from_pretrained(tmp_path / file, **keywords)
    assert {tensor.dtype for tensor in loaded.state_dict().values()} == {loaded.dtype} == {dtype}
    assert loaded.device == torch.device("cpu")
    assert not loaded.training
    assert loaded.config.vit == SMALL.vit
    assert loaded(image_embeddings=random_embeddings(), input_points=random_points(1, 1, 1)).pred_masks.dtype == dtype


@pytest.mark.parametrize("size", [20_000, "20KB", "1GiB"])
def test_saving(model: SamModel, tmp_path: Path, size: int | str) -> None:
    model.save_pretrained(tmp_path / "new", max_shard_size=size)
    files = sorted(path.name for path in (tmp_path / "new").iterdir())
    whole = ["config.json", "model.safetensors"]
    assert files == whole if size == "1GiB" else "model.safetensors.index.json" in files
    again = SamModel.from_pretrained(tmp_path / "new").state_dict()
    assert all(tensor.equal(again[key]) for key, tensor in model.state_dict().items())


@pytest.mark.parametrize("size", ["5 TB", "-1", 0, "much"])
def test_sizes_that_are_none(model: SamModel, tmp_path: Path, size: int | str) -> None:
    with pytest.raises(InputError, match="max_shard_size="):
        model.save_pretrained(tmp_path / "new", max_shard_size=size)
    assert not (tmp_path / "new").exists()


def test_uploading(model: SamModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uploads: list[tuple[list[str], str, Given]] = []

    def upload(folder: str, repo_id: str, **options: Any) -> str:
        uploads.append((sorted(path.name for path in Path(folder).iterdir()), repo_id, options))
        return "https://hub/commit"

    monkeypatch.setattr(hub, "push_to_hub", upload)
    files = ["config.json", "model.safetensors"]
    assert model.push_to_hub("me/sam", private=True, commit_message="first") == "https://hub/commit"
    model.save_pretrained(tmp_path / "sam", push_to_hub=True, token="t")
    assert uploads == [
        (files, "me/sam", {"token": None, "private": True, "commit_message": "first"}),
        (files, "sam", {"token": "t", "private": False}),
    ]


def test_checkpoints_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such folder"):
        SamModel.from_pretrained(tmp_path / "none")
    with pytest.raises(InputError, match="device 'cuda:99'"):
        SamModel.from_pretrained(tmp_path, device=99)
    with pytest.raises(InputError, match="dtype 'half'"):
        SamModel.from_pretrained(tmp_path, dtype="half")


def test_a_whole_toy(shared: Callable[..., Path]) -> None:
    model = SamModel.from_pretrained(str(shared("golden", "sam_toy", "hf_tiny256")))
    assert isinstance(model.config, SamConfig)
    assert model(torch.zeros(1, 3, 256, 256)).pred_masks.shape == (1, 1, 3, 64, 64)
