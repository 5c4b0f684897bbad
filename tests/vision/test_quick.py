"""The quick image encoders compute what the plain ones do, in every dtype and on every path."""

from __future__ import annotations

import copy
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from folioscope.config import ClipConfig
from folioscope.model.clip import ClipTrunk
from folioscope.model.sam_vit import SamViT
from folioscope.native import vision as native
from folioscope.vision import attention, linear, quicken
from folioscope.vision.linear import multiplies_integers, packs
from random_sam import SMALL

pytestmark = pytest.mark.skipif(not packs(), reason="torch here has no oneDNN")

VIT = replace(SMALL.vit, width=64, heads=2, mlp_width=96, layers=4, global_attn_indexes=(1, 3))
CLIP = ClipConfig(image_size=56, patch_size=14, width=32, layers=2, heads=2, mlp_width=64)
FLOAT32, BFLOAT16, INT8 = 2e-6, 0.02, 0.03
"""Relative error allowed, of the whole map: float32 against the plain path in it, others against float32."""


@pytest.fixture(params=["kernels", "torch"])
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways to compute; kernels need a compiler and a processor that has their instructions."""
    if request.param == "kernels" and native.kernels() is None:
        pytest.skip("no kernels of the image encoders here")
    if request.param == "torch":
        monkeypatch.setattr(native, "kernels", lambda: None)
    return request.param


@torch.no_grad()
def random(module: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    for name, weight in module.named_parameters():
        if weight.ndim == 1:
            weight.copy_(torch.randn_like(weight) * 0.2 + float("norm" in name and name.endswith("weight")))
        else:
            weight.copy_(torch.randn_like(weight) * (0.5 if "pos" in name else weight[0].numel() ** -0.5))
    return module.eval().requires_grad_(False)


def error(found: Tensor, wanted: Tensor) -> float:
    return float((found.float() - wanted.float()).norm() / wanted.float().norm())


def vit(window: int = 3) -> SamViT:
    module = random(SamViT(replace(VIT, window_size=window)))
    assert isinstance(module, SamViT)
    return module


@pytest.mark.parametrize(("height", "width", "window"), [(64, 64, 3), (64, 64, 4), (40, 72, 5), (16, 200, 14)])
@pytest.mark.parametrize(("dtype", "most"), [("float32", FLOAT32), ("bfloat16", BFLOAT16), ("int8", INT8)])
def test_image_encoder(path: str, dtype: str, most: float, height: int, width: int, window: int) -> None:
    if dtype == "int8" and not multiplies_integers():
        pytest.skip("no instructions for int8 here")
    plain = vit(window)
    pixels = torch.randn(2, 3, height, width)
    quick = copy.deepcopy(plain).to(torch.float32 if dtype == "float32" else torch.bfloat16)
    quicken(quick, "int8" if dtype == "int8" else None)
    with torch.no_grad():
        found = quick(pixels.to(next(quick.parameters()).dtype))
        assert error(found, plain(pixels)) < most
        assert found.shape == plain(pixels).shape
        assert found.is_contiguous()


@pytest.mark.parametrize(("integers", "most"), [(False, 0.003), (True, 0.008)])
@pytest.mark.parametrize(("height", "width", "window"), [(20, 33, 0), (20, 33, 14), (6, 3, 4)])
def test_attention_kernel(integers: bool, most: float, height: int, width: int, window: int) -> None:
    """Keys and values far from zero, which integers must not spend their levels on."""
    if native.kernels() is None:
        pytest.skip("no kernels of the image encoders here")
    torch.manual_seed(0)
    qkv = torch.randn(2, height, width, 3, 4, 32) + torch.tensor([0.0, 3.0, 3.0])[:, None, None]
    qkv, beyond = qkv.flatten(3).bfloat16(), torch.randn(384).bfloat16()
    sides = (window or height, window or width)
    tables = [torch.randn(2 * side - 1, 32).bfloat16() / 4 for side in sides]
    wanted = attention.attend(qkv.float(), beyond.float(), (tables[0].float(), tables[1].float()), 4, window)
    found = native.attend(qkv, beyond, (tables[0], tables[1]), 4, sides, integers)
    assert error(found, wanted) < most


@pytest.mark.parametrize(("dtype", "most"), [("float32", FLOAT32), ("bfloat16", BFLOAT16), ("int8", INT8)])
@pytest.mark.parametrize("side", [4, 6])
def test_clip(path: str, dtype: str, most: float, side: int) -> None:
    plain = random(ClipTrunk(CLIP))
    features = torch.randn(3, CLIP.width, side, side)
    quick = copy.deepcopy(plain).to(torch.float32 if dtype == "float32" else torch.bfloat16)
    quicken(quick, "int8" if dtype == "int8" else None)
    with torch.no_grad():
        assert error(quick(features.to(next(quick.parameters()).dtype)), plain(features)) < most


@pytest.mark.parametrize("logits", [1, 5000, 1 << 21])
def test_blocks_of_queries(monkeypatch: pytest.MonkeyPatch, logits: int) -> None:
    monkeypatch.setattr(attention, "BLOCK", logits)
    plain = vit()
    pixels = torch.randn(3, 3, 64, 48)
    with torch.no_grad():
        assert error(quicken(copy.deepcopy(plain))(pixels), plain(pixels)) < FLOAT32


def test_a_processor_without_bfloat16_computes_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("folioscope.vision.prepared.widens", lambda dtype: dtype != torch.float32)
    plain = vit().bfloat16()
    pixels = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        found = quicken(copy.deepcopy(plain))(pixels.bfloat16())
        wanted = copy.deepcopy(plain).float()(pixels.bfloat16().float())
    assert found.dtype == torch.bfloat16
    assert error(found, wanted) < 0.004


def test_changed_weights_are_laid_out_again() -> None:
    plain, quick = vit(), quicken(vit())
    pixels = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        before = quick(pixels)
        for module in (plain, quick):
            module.blocks[1].mlp.lin1.weight.mul_(1.5)
        assert error(quick(pixels), plain(pixels)) < FLOAT32
        assert error(before, plain(pixels)) > 100 * FLOAT32


def test_gradients_take_the_plain_path() -> None:
    plain, quick = vit(), quicken(vit())
    pixels = torch.randn(1, 3, 64, 64, requires_grad=True)
    (wanted,) = torch.autograd.grad(plain(pixels).square().sum(), pixels)
    (found,) = torch.autograd.grad(quick(pixels).square().sum(), pixels)
    assert found.equal(wanted)


def test_copies_and_names_are_as_before() -> None:
    plain, quick = vit(), quicken(vit())
    with torch.no_grad():
        pixels = torch.randn(1, 3, 64, 64)
        first = quick(pixels)
        again = copy.deepcopy(quick)
        assert again(pixels).equal(first)
    assert quick.state_dict().keys() == plain.state_dict().keys()
    assert isinstance(quick, SamViT)
    assert type(again).__name__ == "QuickVit"


def test_a_traced_graph_is_the_plain_one() -> None:
    plain, quick = vit(), quicken(vit())
    pixels = torch.randn(1, 3, 64, 64)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that tracing will end one day
        traced = torch.jit.trace(quick, pixels)
    kinds = {node.kind() for node in traced.inlined_graph.nodes()}
    assert not any("mkldnn" in kind or "onednn" in kind for kind in kinds)
    with torch.no_grad():
        assert error(traced(pixels), plain(pixels)) < FLOAT32


def test_integers_are_the_same_on_both_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    if native.kernels() is None:
        pytest.skip("no kernels of the image encoders here")
    x, norm = torch.randn(70, 48).bfloat16(), nn.LayerNorm(48, eps=1e-6).bfloat16()
    x[3] = 0
    for given in (None, norm):
        with_kernels = linear._quantised(x, given)
        with monkeypatch.context() as other:
            other.setattr(native, "kernels", lambda: None)
            integers, scales = linear._quantised(x, given)
        torch.testing.assert_close(with_kernels[1], scales, rtol=1e-5, atol=0)
        apart = (with_kernels[0].int() - integers.int()).abs()
        assert apart.max() <= 1  # a sum in another order can turn a tie
        assert apart.float().mean() < 1e-3
    for act in native.ACTIVATIONS:
        y, bias, add = torch.randn(70, 48).bfloat16(), torch.randn(48).bfloat16(), torch.randn(70, 48).bfloat16()
        found = linear._rescaled(y.clone(), scales, bias, act, add)
        with monkeypatch.context() as other:
            other.setattr(native, "kernels", lambda: None)
            torch.testing.assert_close(found, linear._rescaled(y, scales, bias, act, add), rtol=0.01, atol=0.01)


@pytest.mark.parametrize("kind", [None, "int8"])
def test_what_was_laid_out_is_still_in_its_file(tmp_path: Path, kind: linear.Kind | None) -> None:
    plain = vit().bfloat16()
    save_file(plain.state_dict(), tmp_path / "vit.safetensors")
    mapped = copy.deepcopy(plain)
    mapped.load_state_dict(load_file(tmp_path / "vit.safetensors"), assign=True)
    quicken(mapped.requires_grad_(False), kind)
    with torch.no_grad():
        mapped(torch.randn(1, 3, 64, 64).bfloat16())
        pixels = torch.randn(1, 3, 64, 64).bfloat16()
        assert SamViT.forward(mapped, pixels).equal(plain(pixels))
    assert all(stored.equal(plain.state_dict()[name]) for name, stored in mapped.state_dict().items())
