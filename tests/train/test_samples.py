"""Training pages as tensors: the targets say what the page says, and where."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from folioscope.config import Mode, OcrConfig
from folioscope.model.ocr import DeepseekOcr
from folioscope.tokens import Tokenizer, slot_count
from folioscope.train.answers import IGNORE, answer_row, asked
from folioscope.train.grid import CHARSET
from folioscope.train.guides import Guides, Losses
from folioscope.train.optimize import initialise
from folioscope.train.recipe import EMBEDDED, EMBEDDED_CONFIG, Stage
from folioscope.train.render import PageStyle, TrainingPage, render_page
from folioscope.train.samples import Batch, PageBatches, make_batch, questions
from folioscope.train.vocabulary import save_tokenizer
from folioscope.views import TILE, ocr_views

CONFIG = OcrConfig.from_dict(EMBEDDED_CONFIG)
STAGE = Stage(1, 256, 4, PageStyle(side=256, degrade=0))


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    folder: Path = tmp_path_factory.mktemp("tokenizer")
    save_tokenizer(folder)
    return Tokenizer.from_directory(folder)


@pytest.fixture(scope="module")
def pages() -> list:
    return [render_page(STAGE.style, seed) for seed in range(4)]


def batch_of(pages: list, stage: Stage, config: OcrConfig, tokenizer: Tokenizer) -> Batch:
    return make_batch(pages, stage, config, tokenizer)


def test_targets_are_the_answers(tokenizer: Tokenizer, pages: list) -> None:
    batch = batch_of(pages, STAGE, CONFIG, tokenizer)
    answers = [answer for page in pages for _, answer, _ in questions(page)]
    for targets, right in zip(batch.rows.targets, answers, strict=True):
        answer = targets[targets != IGNORE].tolist()
        assert answer[-1] == tokenizer.eos_token_id
        assert tokenizer.decode(answer[:-1]) == right


def test_every_target_follows_from_the_position_before_it(tokenizer: Tokenizer, pages: list) -> None:
    batch = batch_of(pages, STAGE, CONFIG, tokenizer)
    rows, places = (batch.rows.targets != IGNORE).nonzero(as_tuple=True)
    assert torch.equal(batch.rows.targets[rows, places], batch.rows.ids[rows, places + 1])
    assert not batch.rows.image_mask[rows, places + 1].any()


def test_slots_point_at_the_image_token_over_the_next_glyph(tokenizer: Tokenizer, pages: list) -> None:
    batch = batch_of(pages, STAGE, CONFIG, tokenizer)
    side = CONFIG.tokens_per_side(STAGE.view)
    asked = batch.rows.slots != IGNORE
    assert asked.any(dim=1).all()
    rows, places = asked.nonzero(as_tuple=True)
    chosen = batch.rows.slots[rows, places]
    assert batch.rows.image_mask[rows, chosen].all()
    # The cell that a slot names holds the class of the glyph to be written, unless it is a blank or a list's bullet,
    # or, in grounded answers, the second of each page's, a number of a box.
    cells = torch.cat([batch.cells, torch.zeros_like(batch.cells[:, :, :1])], dim=2).flatten(1, 2)  # (B, slots, K)
    found = total = 0
    for row, place, slot in zip(rows.tolist(), places.tolist(), chosen.tolist(), strict=True):
        glyph = CHARSET.find(tokenizer.decode([int(batch.rows.targets[row, place])])) + 1
        if glyph and row % 2 == 0:
            found += int(glyph in cells[row // 2, slot - 1])
            total += 1
    assert side == 8
    assert found >= 0.97 * total


def test_patches_hold_the_glyphs_of_the_page(tokenizer: Tokenizer, pages: list) -> None:
    batch = batch_of(pages, STAGE, CONFIG, tokenizer)
    assert batch.patches.shape == (4, 32, 32)
    for row, page in enumerate(pages):
        on_page = {CHARSET.find(chr(int(code))) + 1 or len(CHARSET) + 1 for code in page.glyphs[:, 0]}
        seen = set(np.unique(batch.patches[row])) - {0}
        assert seen <= on_page
        assert len(seen) >= 0.8 * len(on_page)


def test_batches_depend_on_recipe_and_step_alone(tokenizer: Tokenizer) -> None:
    batches = PageBatches(EMBEDDED, CONFIG, tokenizer)
    once, again, other = batches[7], batches[7], batches[8]
    assert torch.equal(once.rows.ids, again.rows.ids)
    assert torch.equal(once.views, again.views)
    assert once.rows.ids.shape != other.rows.ids.shape or not torch.equal(once.rows.ids, other.rows.ids)


def test_the_published_prompts_are_one_token_each(tokenizer: Tokenizer) -> None:
    assert len(tokenizer.encode("<image>\n<|grounding|>Convert the document to markdown.")) == 4
    assert tokenizer.decode(tokenizer.encode("Free OCR. é — 12")) == "Free OCR. é — 12"


def test_of_a_tiled_page_the_slots_are_in_the_mosaic_of_its_tiles(tokenizer: Tokenizer) -> None:
    style = PageStyle(side=1000, lines=(12, 20), type_px=(20, 40), degrade=0, columns=0.5)
    pages = [render_page(style, seed) for seed in (2, 3)]
    batch = batch_of(pages, Stage(1, 256, 2, style, max_tiles=4), CONFIG, tokenizer)
    assert batch.is_tiled
    for index, (page, tiles, grid) in enumerate(zip(pages, batch.tiles, batch.grids, strict=True)):
        assert tiles is not None
        assert len(tiles) == grid[0] * grid[1]
        along = CONFIG.tokens_per_side(TILE)
        for row, (_, _, places) in enumerate(questions(page), 2 * index):
            parts = places[~np.isnan(places[:, 0])] / np.array(page.image.size)
            cells = np.unique(parts * np.array(grid) * along // 1, axis=0)
            slots = np.unique(batch.rows.slots[row][batch.rows.slots[row] != IGNORE])
            rows, columns = np.divmod(slots - 1, along * grid[0] + 1)
            np.testing.assert_array_equal(np.unique(np.stack([columns, rows], axis=1), axis=0), cells)
            assert batch.rows.image_mask[row].sum() == slot_count(8, along, grid)


def test_tiled_pages_teach_the_decoder_alone(tokenizer: Tokenizer, tiny_config: dict[str, Any]) -> None:
    config = OcrConfig.from_dict(tiny_config)
    model, guides = DeepseekOcr(config), Guides(config)
    initialise(model)
    style = PageStyle(side=800, lines=(2, 3), type_px=(30, 40), degrade=0)
    batch = batch_of([render_page(style, 1)], Stage(1, 256, 1, style, max_tiles=2), config, tokenizer)
    losses = guides(model, batch)
    (losses.text + losses.patch + losses.cell + losses.guide).backward()
    assert all(weight.grad is None for weight in model.encoder.parameters())
    assert any(weight.grad is not None for weight in model.decoder.blocks.parameters())


def test_of_a_blank_page_every_loss_is_a_number(tokenizer: Tokenizer, tiny_config: dict[str, Any]) -> None:
    config = OcrConfig.from_dict(tiny_config)
    model, guides = DeepseekOcr(config), Guides(config)
    initialise(model)
    nowhere = np.empty((0, 2), np.float32)
    blank = TrainingPage(
        Image.new("RGB", (256, 200), "white"), "", "", nowhere, nowhere, np.empty((0, 5)), np.empty((0, 4))
    )
    losses = guides(model, batch_of([blank], STAGE, config, tokenizer))
    assert all(getattr(losses, field.name).isfinite() for field in fields(Losses))
    (losses.text + losses.side + losses.number + losses.look + losses.guide).backward()
    assert all(weight.grad is None or weight.grad.isfinite().all() for weight in model.parameters())


def test_each_digit_of_a_box_knows_its_number(tokenizer: Tokenizer, pages: list) -> None:
    batch = batch_of(pages, STAGE, CONFIG, tokenizer)
    answers = [answer for page in pages for _, answer, _ in questions(page)]
    for targets, numbers, answer in zip(batch.rows.targets, batch.rows.numbers, answers, strict=True):
        known = numbers != IGNORE
        boxes = re.findall(r"<\|det\|>\[\[(\d+), (\d+), (\d+), (\d+)\]\]", answer)
        written = [number for box in boxes for number in box]
        assert tokenizer.decode(targets[known].tolist()) == "".join(written)
        assert numbers[known].tolist() == [int(number) for number in written for _ in number]
    assert any("<|det|>" in answer for answer in answers)


def test_image_tokens_know_the_box_of_their_block(tokenizer: Tokenizer, pages: list) -> None:
    batch = batch_of(pages, STAGE, CONFIG, tokenizer)
    for seen, page in zip(batch.blocks.numpy(), pages, strict=True):
        boxes = page.blocks / np.tile(page.image.size, 2)
        known = np.unique(seen[~np.isnan(seen[..., 0])][:, :4], axis=0)
        assert 1 <= len(known) <= len(boxes)
        assert all(np.isclose(boxes, box, atol=1e-6).all(axis=1).any() for box in known)
    assert batch.blocks[..., 0].isnan().any()  # margins


def test_image_tokens_know_how_much_of_their_block_they_show(tokenizer: Tokenizer, pages: list) -> None:
    seen = batch_of(pages, STAGE, CONFIG, tokenizer).blocks
    seen = seen[~seen[..., 6].isnan()]  # (n, 10)
    boxes, middles, parts = seen[:, :4], seen[:, 4:6], seen[:, 6:]
    assert (parts[:, :2] >= boxes[:, :2]).all()
    assert (parts[:, 2:] <= boxes[:, 2:]).all()
    assert (parts[:, :2] <= parts[:, 2:]).all()
    inner = (parts[:, :2] > boxes[:, :2]) & (parts[:, 2:] < boxes[:, 2:])  # the square's own sides
    assert inner.any()
    torch.testing.assert_close(((parts[:, :2] + parts[:, 2:]) / 2)[inner], middles[inner], atol=1e-5, rtol=0)


def test_image_tokens_know_their_place_on_the_page(tokenizer: Tokenizer) -> None:
    page = render_page(PageStyle(side=256, degrade=0), 3)
    assert page.image.width != page.image.height
    middles = batch_of([page], STAGE, CONFIG, tokenizer).blocks[0, :, :, 4:6]  # (8, 8, 2)
    inside = ~middles.isnan().any(-1)
    longer = max(page.image.size)
    assert int(inside.any(0).sum() if page.image.width == longer else inside.any(1).sum()) == 8
    x = middles[inside.any(1).nonzero()[0, 0], inside.any(0), 0]
    assert (x.diff() > 0).all()
    assert torch.isclose(x[0] + x[-1], torch.tensor(1.0), atol=1e-4)  # as far from the left as from the right


def test_labels_numbers_of_a_box_and_turns_to_a_new_line_matter_most(tokenizer: Tokenizer) -> None:
    text = "<|ref|>list<|/ref|><|det|>[[5, 42, 907, 61]]<|/det|>\nin 1907"
    views = ocr_views(Image.new("RGB", (64, 64)), Mode(256, TILE, True, 0))
    row = answer_row(asked("markdown", views, CONFIG, tokenizer), text, tokenizer, 0.0, np.random.default_rng(0))
    heavy = [(tokenizer.decode([int(t)]), float(w)) for t, w in zip(row.targets, row.weights, strict=True) if w > 1]
    comma = (",", 2.0)
    digits = [comma, comma, ("9", 2.0), comma, ("]", 2.0)]
    turn, end = [("\n", 2.0), ("i", 2.0)], (tokenizer.decode([tokenizer.eos_token_id]), 2.0)
    assert heavy == [*((c, 3.0) for c in "list"), *digits, *turn, end]
    assert (row.weights[row.targets == IGNORE] == 0).all()


def test_steps_drawn_together_share_pages_out_by_length(tokenizer: Tokenizer) -> None:
    stage = Stage(6, 256, 4, replace(STAGE.style, lines=(1, 9), type_px=(12, 30)))
    batches = PageBatches(replace(EMBEDDED, stages=(stage, stage)), CONFIG, tokenizer)
    lengths = [(batches[step].rows.targets != IGNORE).sum(1)[1::2] for step in range(4)]  # of the longer answers
    first, *_, last = sorted(lengths, key=lambda one: int(one.max()))
    assert first.max() <= last.min()
    backwards = [batches[step].rows.ids for step in (9, 5, 3)]
    for step, ids in zip((9, 5, 3), backwards, strict=True):
        assert torch.equal(PageBatches(batches.recipe, CONFIG, tokenizer)[step].rows.ids, ids)
