"""The decoder's pass in training: what it is without going through image tokens once for all questions."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from folioscope.config import OcrConfig
from folioscope.model.decoder import Block, rotary_table
from folioscope.model.ocr import DeepseekOcr
from folioscope.tokens import Tokenizer
from folioscope.train.answers import IGNORE, Row
from folioscope.train.guided_decoder import decode_guided
from folioscope.train.optimize import initialise
from folioscope.train.recipe import EMBEDDED_CONFIG, Stage
from folioscope.train.render import PageStyle, render_page
from folioscope.train.samples import make_batch
from folioscope.train.vocabulary import save_tokenizer

CONFIG = OcrConfig.from_dict(EMBEDDED_CONFIG)
PAGES = 2


@pytest.fixture(scope="module")
def model() -> DeepseekOcr:
    torch.manual_seed(0)
    model = DeepseekOcr(CONFIG)
    initialise(model)
    return model


@pytest.fixture(scope="module", params=[0, 4], ids=["whole", "of as many tiles as each needs"])
def rows(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Row:
    folder: Path = tmp_path_factory.mktemp("tokenizer")
    save_tokenizer(folder)
    pages = [render_page(PageStyle(side=side, lines=(3, 5), type_px=(20, 40), degrade=0), 1) for side in (500, 900)]
    stage = Stage(1, 256, PAGES, PageStyle(), max_tiles=request.param)
    return make_batch(pages, stage, CONFIG, Tokenizer.from_directory(folder)).rows


@pytest.fixture(scope="module")
def embedded(model: DeepseekOcr, rows: Row) -> Tensor:
    features = [torch.randn(int(mask.sum()), 256) for mask in rows.image_mask[::2]]
    return model.embed(rows.ids, rows.image_mask, [page for page in features for _ in range(2)]).detach()


def test_it_is_the_pass_of_inference(model: DeepseekOcr, rows: Row, embedded: Tensor) -> None:
    hidden, left, _ = decode_guided(model, embedded, rows, PAGES)
    shared = rows.ids.shape[1] - left.ids.shape[1]
    assert torch.equal(left.ids, rows.ids[:, shared:])
    assert (rows.targets[:, :shared] == IGNORE).all()
    torch.testing.assert_close(hidden, model.decoder(embedded)[:, shared:], atol=1e-4, rtol=1e-4)


def test_most_of_what_rows_share_is_gone_through_once(model: DeepseekOcr, rows: Row, embedded: Tensor) -> None:
    fewest = int(rows.image_mask.sum(1).min())
    assert fewest > 64  # 8 by 8 tokens in the smallest view
    _, left, _ = decode_guided(model, embedded, rows, PAGES)
    assert rows.ids.shape[1] - left.ids.shape[1] == fewest + 1
    if rows.image_mask.sum(1).unique().numel() == 1:
        assert not left.image_mask.any()


def test_gradients_are_those_of_going_through_every_row(model: DeepseekOcr, rows: Row, embedded: Tensor) -> None:
    x = embedded.clone().requires_grad_()
    hidden, left, _ = decode_guided(model, x, rows, PAGES)
    (once,) = torch.autograd.grad(hidden.square().sum(), x)
    shared = x.shape[1] - hidden.shape[1]
    (every,) = torch.autograd.grad(model.decoder(x)[:, shared:].square().sum(), x)
    pairs = (grads.unflatten(0, (PAGES, 2))[:, :, :shared].sum(1) for grads in (once, every))
    torch.testing.assert_close(*pairs, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(once[:, shared:], every[:, shared:], atol=1e-3, rtol=1e-3)


def test_heads_are_asked_where_it_is_known_where_to_look(model: DeepseekOcr, rows: Row, embedded: Tensor) -> None:
    _, _, attention = decode_guided(model, embedded, rows, PAGES)
    wanted = [_looks(model, embedded, rows, layer, head) for layer in (1, 2) for head in (0, 1)]
    torch.testing.assert_close(attention, torch.cat(wanted), atol=1e-5, rtol=1e-3)
    assert len(attention) == 2 * int((rows.slots != IGNORE).sum())


def _looks(model: DeepseekOcr, x: Tensor, rows: Row, layer: int, head: int) -> Tensor:
    """Of a layer's head the attention to the tokens that are wanted, from its whole map."""
    positions = torch.arange(x.shape[1])[None]
    rotation = rotary_table(positions, CONFIG.decoder, x.dtype)
    blocks = [block for block in model.decoder.blocks if isinstance(block, Block)]
    for block in blocks[:layer]:
        x = block(x, rotation, positions, None)
    q, k = blocks[layer].self_attn.queries_keys(blocks[layer].input_layernorm(x), rotation)
    scores = q[:, head] @ k[:, head].transpose(1, 2) / CONFIG.decoder.head_dim**0.5
    shares = scores.masked_fill(positions > positions[0][:, None], float("-inf")).softmax(-1)  # (B, T, T)
    asked = (rows.slots != IGNORE) & ((rows.numbers != IGNORE) == bool(head))
    return shares[asked].gather(1, rows.slots[asked][:, None])[:, 0]
