"""Quantised readers: chosen at load or written to a file, near their full-precision selves, at one with themselves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from folioscope import DeepseekOCRForCausalLM, native
from folioscope.native.library import kernels
from folioscope.native.memory import Arena
from folioscope.quantize import QUANTISED, choose_precision, load_reader, quantise, stored_kind
from folioscope.quantize.linear import PackedLinear
from folioscope.types import CheckpointError, InputError
from random_ocr import DECODER, published_config, random_ocr

KINDS = (None, *QUANTISED)
CLOSE = {None: 0.02, "int8": 0.02, "int4": 0.12}
"""Allowed error of logits, as a part of their norm."""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random reader in bfloat16, with odd sizes where the architecture lets them be."""
    folder = tmp_path_factory.mktemp("reader")
    odd = {"hidden_size": 96, "intermediate_size": 77, "moe_intermediate_size": 41, "num_attention_heads": 6}
    sizes = {**DECODER, **odd, "num_key_value_heads": 3, "num_hidden_layers": 3}
    random_ocr(published_config(decoder=sizes)).bfloat16().save_pretrained(folder)
    return folder


@pytest.fixture(params=[True, False], ids=["native", "torch"])
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[bool]:
    """Both paths; without it, whatever is here."""
    if request.param and not native.available():
        pytest.skip("no compiled kernels: no C compiler, or FOLIOSCOPE_NATIVE=0")
    kernels.cache_clear()
    monkeypatch.setenv("FOLIOSCOPE_NATIVE", "1" if request.param else "0")
    yield request.param
    monkeypatch.undo()
    kernels.cache_clear()


def ids(rows: int = 3, length: int = 9, seed: int = 5) -> Tensor:
    return torch.randint(0, DECODER["vocab_size"], (rows, length), generator=torch.Generator().manual_seed(seed))


@torch.inference_mode()
def logits(folder: Path, prompt: Tensor, **how: object) -> Tensor:
    model, _ = load_reader(folder, **how)  # pyright: ignore[reportArgumentType]
    return model(prompt, torch.zeros_like(prompt, dtype=torch.bool), [None] * len(prompt))


def distance(one: Tensor, other: Tensor) -> float:
    return float((one - other).norm() / other.norm())


@pytest.mark.parametrize("kind", KINDS)
def test_logits_are_near_full_precision(checkpoint: Path, kind: native.Kind | None, path: bool) -> None:
    exact = logits(checkpoint, ids(), dtype=torch.float32)
    assert distance(logits(checkpoint, ids(), kind=kind), exact) < CLOSE[kind]


@pytest.mark.parametrize("kind", KINDS)
@torch.inference_mode()
def test_decoding_with_a_cache_equals_without_and_rows_equal_themselves_alone(
    checkpoint: Path, kind: native.Kind | None, path: bool
) -> None:
    model, _ = load_reader(checkpoint, kind=kind)
    prompt, mask = ids(), torch.zeros(3, 9, dtype=torch.bool)
    whole = model(prompt, mask, [None] * 3)
    for rows in (slice(0, 3), slice(1, 2)):
        some = prompt[rows]
        cache = model.new_cache(len(some), 9)
        seen = [model.prefill(some[:, :5], torch.full((len(some),), 5), [None] * len(some), mask[rows, :5], cache)]
        seen += [model.step(some[:, position], cache) for position in range(5, 9)]
        # keys and values are kept in bfloat16
        assert distance(torch.stack(seen, dim=1), whole[rows, 4:]) < 0.02


@pytest.mark.parametrize("kind", QUANTISED)
def test_both_paths_agree(checkpoint: Path, kind: native.Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[list[Tensor]] = []
    for switch in ("1", "0"):
        monkeypatch.setenv("FOLIOSCOPE_NATIVE", switch)
        kernels.cache_clear()
        found.append([logits(checkpoint, ids(seed=seed), kind=kind, dtype=torch.float32) for seed in (5, 6, 7)])
    monkeypatch.undo()
    kernels.cache_clear()
    distances = [distance(one, other) for one, other in zip(*found, strict=True)]
    assert max(distances) < 0.02
    # of a prompt an input may lie halfway between two integers, and be rounded to either
    assert np.median(distances) < (1e-3 if kind == "int8" else 0.02)


@pytest.mark.parametrize("kind", QUANTISED)
def test_a_written_checkpoint_is_recognised_and_computes_the_same(
    checkpoint: Path, kind: native.Kind, tmp_path: Path, path: bool
) -> None:
    quantise(checkpoint, tmp_path, kind)
    assert stored_kind(tmp_path) == kind
    assert stored_kind(checkpoint) is None
    assert (tmp_path / "model.safetensors").stat().st_size < (checkpoint / "model.safetensors").stat().st_size
    assert logits(tmp_path, ids()).equal(logits(checkpoint, ids(), kind=kind))
    loaded = DeepseekOCRForCausalLM.from_pretrained(tmp_path)
    assert isinstance(loaded.model.decoder.head, PackedLinear)


@pytest.mark.parametrize("kind", QUANTISED)
@torch.inference_mode()
def test_what_every_token_reads_is_copied_from_the_file(
    checkpoint: Path, kind: native.Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not native.available():
        pytest.skip("without the kernels the integers are laid out for other operators")
    quantise(checkpoint, tmp_path, kind)
    moved: dict[int, Tensor] = {}
    once = Arena.moved
    with monkeypatch.context() as patch:
        patch.setattr(Arena, "moved", lambda self, tensor: moved.setdefault(tensor.data_ptr(), once(self, tensor)))
        model, _ = load_reader(tmp_path)
    packed = {name: module for name, module in model.named_modules() if isinstance(module, PackedLinear)}
    assert {name for name, layer in packed.items() if any(layer.weight is copy for copy in moved.values())} == {
        name for name in packed if ".experts." not in name
    }
    found = model(ids(), torch.zeros_like(ids(), dtype=torch.bool), [None] * 3)
    monkeypatch.setattr(Arena, "moved", lambda self, tensor: tensor)
    assert found.equal(logits(tmp_path, ids()))


def test_a_quantised_checkpoint_can_be_saved_again(checkpoint: Path, tmp_path: Path) -> None:
    if not native.available():
        pytest.skip("without the kernels the integers are laid out for other operators")
    DeepseekOCRForCausalLM.from_pretrained(checkpoint, dtype="int4").save_pretrained(tmp_path)
    assert logits(tmp_path, ids()).equal(logits(checkpoint, ids(), kind="int4"))


def test_floats_of_a_quantised_model_have_the_dtype_asked_for(checkpoint: Path) -> None:
    model, _ = load_reader(checkpoint, kind="int8", dtype=torch.float32)
    assert model.dtype == torch.float32
    assert model.encoder.newline.dtype == torch.float32
    assert not any(parameter.numel() > model.decoder.embed.weight.numel() for parameter in model.decoder.parameters())


def test_what_is_quantised(checkpoint: Path) -> None:
    model, _ = load_reader(checkpoint, kind="int8")
    packed = {name for name, module in model.named_modules() if isinstance(module, PackedLinear)}
    linear = {name for name, module in model.decoder.named_modules() if isinstance(module, torch.nn.Linear)}
    assert "decoder.head" in packed
    assert "decoder.blocks.1.mlp.experts.3.down_proj" in packed
    assert linear == set()
    assert model.decoder.blocks[1].mlp.gate.weight.dtype == torch.bfloat16


def test_refusals(checkpoint: Path, tmp_path: Path) -> None:
    quantise(checkpoint, tmp_path, "int8")
    with pytest.raises(CheckpointError, match="its weights are int8; load it as that"):
        load_reader(tmp_path, kind="int4")
    with pytest.raises(CheckpointError, match="its weights are int8 already"):
        quantise(tmp_path, tmp_path / "again", "int4")
    with pytest.raises(InputError, match="quantised weights are for the CPU"):
        load_reader(checkpoint, kind="int8", device="meta")
    with pytest.raises(InputError, match=r"dtype 'int9'.*int8, int4"):
        choose_precision("int9")
    config = tmp_path / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "quantization_config": {"quant_method": "awq"}}))
    with pytest.raises(CheckpointError, match="not Folioscope's"):
        load_reader(tmp_path)


def test_a_float_model_is_left_alone(checkpoint: Path) -> None:
    model, _ = load_reader(checkpoint, dtype=torch.float32)
    assert {type(module).__module__.split(".")[1] for module in model.decoder.modules()} <= {"model", "nn"}


def test_a_prepared_model_still_moves_and_trains(checkpoint: Path) -> None:
    model = DeepseekOCRForCausalLM.from_pretrained(checkpoint)
    before = model(ids()).logits
    model.float()
    after = model(ids()).logits
    assert distance(after, before) < 0.02
    model.requires_grad_(True)
    model(ids()).logits.sum().backward()
    assert model.model.decoder.blocks[0].self_attn.q_proj.weight.grad is not None


@torch.inference_mode()
def test_without_kernels_few_rows_and_many_are_the_same(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOLIOSCOPE_NATIVE", "0")
    kernels.cache_clear()
    found = []
    for few in (0, 100):
        monkeypatch.setattr("folioscope.quantize.modules.FEW", few)
        found.append(logits(checkpoint, ids(), kind="int8", dtype=torch.float32))
    monkeypatch.undo()
    kernels.cache_clear()
    assert distance(*found) < 1e-3
