"""The arithmetic of each stage, compared with what torch counts while the networks run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from folioscope.bench import work
from folioscope.bench.result import Work
from folioscope.config import DecoderConfig, OcrConfig
from folioscope.model.decoder import Decoder
from folioscope.model.encoder import DeepEncoder
from folioscope.weights.fitting import hollow
from random_ocr import published_config
from random_sam import SMALL, random_embeddings, random_points, random_sam

FULL = OcrConfig()


def counted(run: Callable[[], object]) -> int:
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        run()
    return counter.get_total_flops()


@pytest.mark.parametrize("side", [64, 96])
def test_image_encoder(side: int) -> None:
    sam = random_sam()
    assert counted(lambda: sam.embed(torch.randn(1, 3, side, side))) == work.vit(SMALL.vit, side).operations


@pytest.mark.parametrize("prompts", [1, 5])
def test_mask_decoder(prompts: int) -> None:
    sam, points = random_sam(), random_points(1, prompts, 1)
    assert counted(lambda: sam.predict(random_embeddings(), points=points)) == work.masks(SMALL, prompts).operations


@pytest.mark.parametrize("side", [1024, 640])
def test_deep_encoder_of_the_published_size(side: int) -> None:
    config = with_tables_for(side)
    encoder = hollow(lambda: DeepEncoder(config))
    views = torch.empty(1, 3, side, side, device="meta")
    assert counted(lambda: encoder(views)) == work.encoder(FULL, side).operations


def with_tables_for(side: int) -> OcrConfig:
    """The published network, but that no position table is resized, which one without weights cannot be."""
    tokens = FULL.tokens_per_side(side)
    clip = replace(FULL.clip, image_size=tokens * FULL.clip.patch_size)
    return replace(FULL, vit=replace(FULL.vit, image_size=side), clip=clip)


@pytest.mark.parametrize("batch", [1, 3])
def test_decoder(batch: int) -> None:
    config = OcrConfig.from_dict(published_config()).decoder
    torch.manual_seed(0)
    decoder = Decoder(config)
    x = torch.randn(batch, 7, config.hidden_size)
    found = counted(lambda: decoder.logits(decoder(x)[:, -1]))
    needed = work.decoder(config, "float32", new=7, batch=batch)
    unmasked = needed.attention * 2 * 7 / (7 + 1)  # torch counts what the causal mask hides, too
    assert found == needed.linear + unmasked


def test_the_issue_of_scale() -> None:
    """The published size's figures, as the papers' readers know them."""
    assert work.vit(FULL.vit, 1024).operations == pytest.approx(0.97e12, rel=0.01)
    assert work.encoder(FULL, 1024).operations == pytest.approx(1.14e12, rel=0.01)
    assert work.encoder(FULL, 640).operations == pytest.approx(0.388e12, rel=0.01)
    assert work.decoder(FULL.decoder, "bfloat16", new=273).operations / 273 == pytest.approx(0.82e9, rel=0.03)
    step = work.decoder(FULL.decoder, "int8", new=1, past=300)
    assert step.read == pytest.approx(0.59e9, rel=0.02)


def test_more_rows_touch_more_experts() -> None:
    config = DecoderConfig()
    assert work.experts_touched(config, 1) == pytest.approx(6)
    assert work.experts_touched(config, 4) == pytest.approx(20.8, abs=0.1)
    assert work.experts_touched(config, 1000) == pytest.approx(64)


def test_weights_are_read_once_for_all_inputs() -> None:
    one: Any = Work(2.0, 3.0, 5.0)
    assert one.times(4) == Work(8.0, 12.0, 5.0)
    assert one + one == Work(4.0, 6.0, 10.0)
