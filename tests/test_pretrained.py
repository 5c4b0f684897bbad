"""The model as users of the published one know it: loading, calls, generation, saving."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from folioscope import DeepseekOCRForCausalLM, DeepseekOCRProcessor, hub
from folioscope.processing import BatchFeature
from folioscope.types import CheckpointError, InputError
from random_ocr import random_ocr

PROMPT = "<image>\nFree OCR. "
SMALL = {"base_size": 512, "image_size": 512, "crop_mode": False}


@pytest.fixture(scope="module")
def toy(shared: Callable[..., Path]) -> Path:
    return shared("golden", "deepseek_toy")


@pytest.fixture(scope="module")
def processor(toy: Path) -> DeepseekOCRProcessor:
    return DeepseekOCRProcessor.from_pretrained(toy)


@pytest.fixture(scope="module")
def model(toy: Path) -> DeepseekOCRForCausalLM:
    return DeepseekOCRForCausalLM.from_pretrained(toy)


@pytest.fixture(scope="module")
def quick() -> DeepseekOCRForCausalLM:
    """A random network that sees tiles in milliseconds, for the toy's tokenizer."""
    return random_ocr()


@pytest.fixture(scope="module")
def inputs(processor: DeepseekOCRProcessor) -> BatchFeature:
    return processor(PROMPT, picture(300, 200), **SMALL)


def picture(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def close(left: Tensor, right: Tensor) -> bool:
    return left.shape == right.shape and torch.allclose(left, right, atol=1e-5)


def test_the_published_way_to_load_and_move(toy: Path, inputs: BatchFeature) -> None:
    model = DeepseekOCRForCausalLM.from_pretrained(
        str(toy),
        _attn_implementation="flash_attention_2",
        trust_remote_code=True,
        use_safetensors=True,
    )
    assert model.eval() is model
    assert model.to(torch.bfloat16) is model
    assert (model.dtype, model.device) == (torch.bfloat16, torch.device("cpu"))
    assert {tensor.dtype for tensor in model.state_dict().values()} == {torch.bfloat16}
    assert model(**inputs).logits.dtype == torch.float32
    assert model.generate(**inputs, max_new_tokens=3).shape == (1, 3)


@pytest.mark.parametrize(
    ("keywords", "dtype"),
    [
        ({}, torch.float32),
        ({"dtype": "auto"}, torch.float32),
        ({"torch_dtype": torch.bfloat16}, torch.bfloat16),
        ({"torch_dtype": "bfloat16", "device_map": "cpu"}, torch.bfloat16),
        ({"dtype": "torch.float16", "torch_dtype": "float32", "device_map": {"": "cpu"}}, torch.float16),
        ({"dtype": torch.bfloat16, "device": torch.device("cpu"), "low_cpu_mem_usage": True}, torch.bfloat16),
    ],
)
def test_dtypes_and_places(toy: Path, keywords: dict[str, Any], dtype: torch.dtype) -> None:
    model = DeepseekOCRForCausalLM.from_pretrained(toy, **keywords)
    assert (model.dtype, model.device.type, model.training) == (dtype, "cpu", False)
    assert model.config.decoder.hidden_size == 64


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"dtype": "int3"}, "dtype 'int3'.*bfloat16"),
        ({"torch_dtype": torch.int16}, "dtype 'int16'"),
        ({"device": "nowhere"}, "device 'nowhere'"),
        ({"device_map": {"a": "cpu", "b": "disk"}}, "must be in one place"),
    ],
)
def test_what_cannot_be_loaded_so(toy: Path, keywords: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        DeepseekOCRForCausalLM.from_pretrained(toy, **keywords)


def test_no_graphics_card(toy: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has one")
    for place in ({"device": "cuda"}, {"device_map": 0}):
        with pytest.raises(InputError, match=r"device .cuda.* not on this machine"):
            DeepseekOCRForCausalLM.from_pretrained(toy, **place)


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="config"):
        DeepseekOCRForCausalLM.from_pretrained(tmp_path)


def test_loading_leaves_torch_as_it_was(toy: Path) -> None:
    DeepseekOCRForCausalLM.from_pretrained(toy)
    assert torch.nn.Linear(64, 64).weight.std() > 0.01  # the published `disable_torch_init` would leave it as found
    assert torch.is_grad_enabled()
    assert torch.get_default_dtype() == torch.float32


def test_a_call_keeps_no_graph_until_asked(toy: Path, inputs: BatchFeature) -> None:
    model = DeepseekOCRForCausalLM.from_pretrained(toy)
    assert not model(**inputs).logits.requires_grad
    model.requires_grad_(True)
    model(**inputs).logits.sum().backward()
    assert all(weight.grad is not None for weight in model.model.encoder.parameters())


def test_images_as_published(
    quick: DeepseekOCRForCausalLM, processor: DeepseekOCRProcessor, inputs: BatchFeature
) -> None:
    tiled = processor(PROMPT, picture(700, 300), base_size=512)
    crops = {"none": torch.zeros(1, 3, 1024, 1024), "tiles": tiled.pixel_values_local}
    for given, name in ((inputs, "none"), (tiled, "tiles")):
        published = {
            "images": [(crops[name], given.pixel_values)],
            "images_seq_mask": given.images_seq_mask,
            "images_spatial_crop": given.images_spatial_crop,
        }
        assert close(quick(given.input_ids, **published).logits, quick(**given).logits)
        assert close(quick.get_image_features(**published), quick.get_image_features(**given))
        assert quick.generate(given.input_ids, **published, max_new_tokens=5, use_cache=True, temperature=0.0).equal(
            quick.generate(**given, max_new_tokens=5)
        )


def test_a_batch_is_its_pages(quick: DeepseekOCRForCausalLM, processor: DeepseekOCRProcessor) -> None:
    pages = [picture(300, 200), picture(700, 300), picture(200, 650)]
    prompts = [PROMPT, "<image>\nDescribe this image in detail.", "<image>"]
    batch = processor(prompts, pages, base_size=512)
    singles = [processor(prompt, page, base_size=512) for prompt, page in zip(prompts, pages, strict=True)]
    assert batch.images_spatial_crop.tolist() == [[1, 1], [2, 1], [1, 3]]
    assert close(quick.get_image_features(**batch), torch.cat([quick.get_image_features(**one) for one in singles]))
    logits, ids = quick(**batch).logits, quick.generate(**batch, max_new_tokens=8, no_repeat_ngram_size=3)
    for row, single in enumerate(singles):
        assert close(logits[row : row + 1, : single.input_ids.shape[1]], quick(**single).logits)
        assert ids[row].equal(quick.generate(**single, max_new_tokens=8, no_repeat_ngram_size=3)[0])


def test_rows_that_end_early_are_padded(model: DeepseekOCRForCausalLM) -> None:
    torch.manual_seed(0)
    batch = {"input_ids": torch.randint(3, 500, (4, 6))}
    free = model.generate(**batch, max_new_tokens=8, eos_token_id=[])
    assert free.shape == (4, 8)
    end = int(free[0, 2])
    padded = model.generate(**batch, max_new_tokens=8, eos_token_id=end, pad_token_id=7)
    for row, whole in zip(padded.tolist(), free.tolist(), strict=True):
        length = whole.index(end) + 1 if end in whole else 8
        assert row == whole[:length] + [7] * (padded.shape[1] - length)
    assert padded[0].tolist().count(end) == 1
    assert model.generate(**batch, max_new_tokens=8, eos_token_id=[end]).eq(2).any()


def test_text_alone(model: DeepseekOCRForCausalLM) -> None:
    ids = torch.tensor([[0, 5, 6, 7], [0, 8, 2, 2]])
    kept = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    logits, new = model(ids, attention_mask=kept).logits, model.generate(ids, attention_mask=kept, max_new_tokens=4)
    assert close(logits[1:, :2], model(ids[1:, :2]).logits)
    assert new[1].equal(model.generate(ids[1:, :2], max_new_tokens=4)[0])


def test_sampling(model: DeepseekOCRForCausalLM, inputs: BatchFeature) -> None:
    def draw(**keywords: Any) -> list[int]:
        return model.generate(**inputs, max_new_tokens=12, **keywords)[0].tolist()

    greedy, hot = draw(), {"temperature": 5.0, "seed": 1}
    assert draw(temperature=0.0) == draw(do_sample=False, temperature=5.0) == draw(**hot, top_k=1) == greedy
    assert draw(**hot) == draw(do_sample=True, **hot) != greedy
    assert draw(temperature=5.0, seed=2) != draw(**hot)
    assert draw(do_sample=True, seed=1) == draw(temperature=1.0, seed=1)
    assert draw(**hot, top_p=1e-6) == greedy


def test_a_streamer_is_told_as_by_transformers(model: DeepseekOCRForCausalLM, inputs: BatchFeature) -> None:
    class Streamer:
        told: list[Any] = []  # noqa: RUF012

        def put(self, value: Tensor) -> None:
            self.told.append(value)

        def end(self) -> None:
            self.told.append("end")

    ids = model.generate(**inputs, max_new_tokens=4, streamer=Streamer())
    assert Streamer.told[0].equal(inputs.input_ids)
    assert [int(token) for token in Streamer.told[1:-1]] == ids[0].tolist()
    assert Streamer.told[-1] == "end"
    with pytest.raises(InputError, match="2 rows"):
        model.generate(torch.ones(2, 3, dtype=torch.int64), streamer=Streamer())


def test_inputs_that_do_not_belong_together(model: DeepseekOCRForCausalLM, inputs: BatchFeature) -> None:
    tiles = torch.zeros(2, 3, 640, 640)
    changes: list[tuple[dict[str, Any], str]] = [
        ({"pixel_values": None}, "0 global views"),
        ({"pixel_values": inputs.pixel_values[0]}, "must be .n, 3, S, S"),
        ({"pixel_values_local": tiles}, "2 tiles"),
        ({"images_spatial_crop": torch.tensor([[2, 2]]), "pixel_values_local": tiles}, "columns x rows"),
        ({"images_spatial_crop": torch.tensor([[2, 1]]), "pixel_values_local": tiles}, "73 image slots"),
        ({"images_seq_mask": None}, "0 image slots"),
        ({"images_seq_mask": inputs.images_seq_mask[:, 1:]}, "images_seq_mask .1, "),
        ({"input_ids": inputs.input_ids[0]}, "input_ids of shape"),
        ({"attention_mask": torch.tensor([[0, *[1] * (inputs.input_ids.shape[1] - 1)]])}, "padding on the right"),
        (
            {"input_ids": inputs.input_ids.repeat(2, 1), "images_seq_mask": inputs.images_seq_mask.repeat(2, 1)},
            "2 rows",
        ),
    ]
    for change, message in changes:
        for call in (model, model.generate):
            with pytest.raises(InputError, match=message):
                call(**{**inputs, **change})
    with pytest.raises(InputError, match="no pixel_values"):
        model.get_image_features(input_ids=inputs.input_ids)
    with pytest.raises(TypeError, match="num_beams"):
        model.generate(**inputs, num_beams=4)


def test_what_is_saved_is_what_was_loaded(model: DeepseekOCRForCausalLM, toy: Path, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path, max_shard_size=1_000_000)
    assert len(list(tmp_path.glob("model-*-of-*.safetensors"))) > 1
    saved = {key: tensor for file in tmp_path.glob("*.safetensors") for key, tensor in load_file(file).items()}
    stored = load_file(toy / "model.safetensors")
    assert saved.keys() == stored.keys()
    assert all(tensor.equal(stored[key]) for key, tensor in saved.items())
    assert json.loads((tmp_path / "config.json").read_text()) == json.loads((toy / "config.json").read_text())


def test_what_is_pushed_is_what_is_saved(model: DeepseekOCRForCausalLM, monkeypatch: pytest.MonkeyPatch) -> None:
    pushed = {}

    def record(folder: str, repo_id: str, **keywords: Any) -> str:
        pushed.update({path.name: path.stat().st_size for path in Path(folder).iterdir()}, keywords=keywords)
        return f"address of {repo_id}"

    monkeypatch.setattr(hub, "push_to_hub", record)  # what it does is tested with the hub
    assert model.push_to_hub("me/reader", private=True, commit_message="First") == "address of me/reader"
    assert pushed.pop("keywords") == {"token": None, "private": True, "commit_message": "First"}
    assert pushed.keys() == {"config.json", "model.safetensors"}
