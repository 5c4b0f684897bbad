"""What the published code computed on the toy checkpoint, through the names its users know."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from folioscope import AutoTokenizer, DeepseekOCRForCausalLM, DeepseekOCRProcessor
from folioscope.processing import BatchFeature
from folioscope.tokens import BOS, EOS, PAD

CASES = ("tiny_small", "gundam_2x1_wide")
FEATURES, LOGITS = 1e-4, 5e-4


class Run(NamedTuple):
    """One case: what was published, what went in, and what came out here, whole and from the inner modules."""

    golden: Mapping[str, np.ndarray]
    record: dict[str, Any]
    inputs: BatchFeature
    features: Tensor
    logits: Tensor
    inner: dict[str, list[Any]]


@pytest.fixture(scope="module")
def toy(shared: Callable[..., Path]) -> Path:
    return shared("golden", "deepseek_toy")


@pytest.fixture(scope="module")
def model(toy: Path) -> DeepseekOCRForCausalLM:
    return DeepseekOCRForCausalLM.from_pretrained(toy, torch_dtype=torch.float32)


@pytest.fixture(scope="module", params=CASES)
def run(request: pytest.FixtureRequest, toy: Path, model: DeepseekOCRForCausalLM) -> Run:
    name = request.param
    record = json.loads((toy / "cases.json").read_text(encoding="utf-8"))["cases"][name]
    mode = {key: record[key] for key in ("base_size", "image_size", "crop_mode")}
    image = toy / "images" / f"{record['image']}.png"
    inputs = DeepseekOCRProcessor.from_pretrained(toy)(text=record["prompt"], images=image, **mode)
    with recorded(model) as inner:
        logits = model(**inputs).logits
    return Run(np.load(toy / f"{name}.npz"), record, inputs, model.get_image_features(**inputs), logits, inner)


@contextmanager
def recorded(model: DeepseekOCRForCausalLM) -> Iterator[dict[str, list[Any]]]:
    """The outputs of the modules that the golden record names, in the order of their calls."""
    encoder, decoder = model.model.encoder, model.model.decoder
    watched: dict[str, nn.Module] = {"sam": encoder.compressor, "clip": encoder.clip, "proj": encoder.projector}
    watched |= {f"hidden_{layer}": block for layer, block in enumerate(decoder.blocks[:-1], 1)}
    watched |= {f"hidden_{len(decoder.blocks)}": decoder.norm}
    watched |= {f"router{layer}": block.mlp.gate for layer, block in enumerate(decoder.blocks) if layer}
    outputs: dict[str, list[Any]] = {name: [] for name in watched}

    def keep(name: str) -> Callable[..., None]:
        return lambda module, arguments, output: outputs[name].append(output)

    hooks = [module.register_forward_hook(keep(name)) for name, module in watched.items()]
    try:
        yield outputs
    finally:
        for hook in hooks:
            hook.remove()


def assert_near(ours: Tensor, theirs: np.ndarray, tolerance: float) -> None:
    torch.testing.assert_close(ours, torch.from_numpy(theirs), atol=tolerance, rtol=0)


def assert_same_experts(ours: Tensor, theirs: np.ndarray) -> None:
    """Near ties may fall either way: the record's smallest gap is 7.5e-6."""
    alike = (ours.sort(dim=-1).values.numpy() == np.sort(theirs, axis=-1)).all(axis=-1)
    assert alike.mean() > 0.99


def test_the_inputs(run: Run) -> None:
    assert run.inputs.input_ids[0].tolist() == run.golden["input_ids"].tolist()
    assert run.inputs.images_seq_mask[0].tolist() == run.golden["images_seq_mask"].tolist()
    assert run.inputs.images_spatial_crop.tolist() == run.golden["images_spatial_crop"].tolist() == run.record["crop"]
    assert run.inputs.pixel_values.shape == tuple(run.golden["image_ori_shape"])
    if "pixel_values_local" in run.inputs:
        assert run.inputs.pixel_values_local.shape == tuple(run.golden["images_crop_shape"])
    assert run.inputs.input_ids.shape[1] == run.record["n_ids"]


def test_the_image_tokens(run: Run) -> None:
    assert len(run.features) == run.record["n_image_tokens"]
    assert_near(run.features, run.golden["image_tokens"], FEATURES)


@pytest.mark.parametrize("view", ["global", "local"])
def test_the_boxes_of_the_encoder(run: Run, view: str) -> None:
    if f"sam_{view}" not in run.golden:
        assert (view, run.record["crop"]) == ("local", [[1, 1]])
        return
    call = ("global", "local").index(view)
    assert_near(run.inner["sam"][call], run.golden[f"sam_{view}"], FEATURES)
    assert_near(run.inner["clip"][call], run.golden[f"clip_{view}"][:, 1:], FEATURES)  # the record has its class token
    assert_near(run.inner["proj"][call], run.golden[f"proj_{view}"], FEATURES)


def test_the_logits(run: Run) -> None:
    logits = run.logits[0]
    assert_near(logits[-1], run.golden["logits_last"], LOGITS)
    assert_near(logits[-8:], run.golden["logits_tail"], LOGITS)
    if "logits_all" in run.golden:
        assert_near(logits, run.golden["logits_all"], LOGITS)


def test_the_layers_of_the_decoder(run: Run) -> None:
    for layer in (1, 2, 3):
        if f"hidden_{layer}" in run.golden:
            assert_near(run.inner[f"hidden_{layer}"][0][0], run.golden[f"hidden_{layer}"], LOGITS)
    for layer in (1, 2):
        assert_same_experts(run.inner[f"router{layer}"][0][1], run.golden[f"router{layer}_idx_sorted"])


@pytest.mark.parametrize(("name", "size"), [("greedy24", 35), ("greedy24_ngram3", 3)])
def test_the_ids(run: Run, model: DeepseekOCRForCausalLM, name: str, size: int) -> None:
    ids = model.generate(**run.inputs, max_new_tokens=24, no_repeat_ngram_size=size)
    assert ids.tolist() == [run.golden[name].tolist()]


def test_the_decoder_alone(toy: Path, model: DeepseekOCRForCausalLM) -> None:
    golden = np.load(toy / "lm_only.npz")
    ids = torch.from_numpy(golden["input_ids"]).long()[None]
    with recorded(model) as inner:
        assert_near(model(ids).logits[0], golden["logits"], LOGITS)
    assert_near(model.model.decoder.embed(ids)[0], golden["hidden_0"], 0)
    for layer in (1, 2, 3):
        assert_near(inner[f"hidden_{layer}"][0][0], golden[f"hidden_{layer}"], LOGITS)
    for layer in (1, 2):
        weights, experts = inner[f"router{layer}"][0]
        assert_same_experts(experts, golden[f"router{layer}_idx"])
        assert_near(weights.sort(dim=-1).values, np.sort(golden[f"router{layer}_w"], axis=-1), LOGITS)
    for name, size in (("greedy24", 0), ("greedy24_ngram2", 2)):
        assert model.generate(ids, max_new_tokens=24, no_repeat_ngram_size=size).tolist() == [golden[name].tolist()]


def test_the_tokenizer(toy: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(toy)
    assert [tokenizer.convert_tokens_to_ids(token) for token in ("<image>", "<|ref|>", "<|det|>")] == [500, 501, 503]
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (0, 1, 2)
    assert tokenizer.decode([0, 1, 2]) == BOS + EOS + PAD
