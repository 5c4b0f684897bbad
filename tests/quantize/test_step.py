"""A step of all blocks in one call is what the blocks do one by one."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch

from folioscope import native
from folioscope.model.decoder import Decoder
from folioscope.native.layout import Kind
from folioscope.quantize import load_reader
from folioscope.quantize.modules import PackedDecoder
from random_ocr import DECODER, published_config, random_ocr

pytestmark = pytest.mark.skipif(not native.available(), reason="no compiled kernels here")


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "renormalised"])
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reader")
    sizes = {**DECODER, "hidden_size": 96, "num_attention_heads": 6, "num_key_value_heads": 3, "num_hidden_layers": 3}
    sizes |= {"norm_topk_prob": request.param, "routed_scaling_factor": 1.5}
    random_ocr(published_config(decoder=sizes)).bfloat16().save_pretrained(folder)
    return folder


@torch.inference_mode()
@pytest.mark.parametrize("kind", [None, "int8", "int4"])
def test_step(checkpoint: Path, kind: Kind | None) -> None:
    torch.manual_seed(0)
    model, _ = load_reader(checkpoint, kind=kind)
    assert isinstance(model.decoder, PackedDecoder)
    cache, ids = model.new_cache(3, 12), torch.randint(DECODER["vocab_size"], (3, 6))
    model.prefill(ids, torch.tensor([6, 4, 5]), [None] * 3, torch.zeros_like(ids, dtype=torch.bool), cache)
    before = copy.deepcopy(cache)
    x = model.decoder.embed(ids[:, :1])
    wanted = Decoder.forward(model.decoder, x, before)
    found = model.decoder(x, cache)
    assert model.decoder._plan is not None
    torch.testing.assert_close(found, wanted, rtol=2e-3, atol=2e-3)
    torch.testing.assert_close(cache.keys, before.keys, rtol=1e-2, atol=1e-2)
    assert x.equal(model.decoder.embed(ids[:, :1]))
