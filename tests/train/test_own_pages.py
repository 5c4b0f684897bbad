"""Pages of one's own: what a line may be, what is refused, and what is learnt from and what is kept apart."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from folioscope.train.layout import PageStyle
from folioscope.train.own_pages import OwnBatches, OwnPage, copied, load_pages, own_batch, save_pages, split_pages
from folioscope.train.samples import IGNORE
from folioscope.types import InputError

STYLE = PageStyle(side=256, lines=(1, 2), type_px=(18, 22), degrade=0)


@pytest.fixture
def drawn(tmp_path: Path) -> Path:
    return save_pages(tmp_path / "pages", STYLE, 4)


def test_what_is_drawn_loads(drawn: Path) -> None:
    pages = load_pages(drawn)
    assert [page.prompt for page in pages] == ["free", "markdown"] * 2
    assert all(page.open().size[0] <= 256 for page in pages)
    assert "<|ref|>" in pages[1].answer


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 1: not JSON"),
        ("[1]", 'line 1: needs "image" and one of text, markdown'),
        ('{"image": "a.png"}', 'line 1: needs "image" and one of'),
        ('{"image": "a.png", "text": "x", "markdown": "y"}', 'line 1: needs "image" and one of'),
        ('{"text": "x"}', 'line 1: needs "image"'),
        ('{"image": "a.png", "text": 3}', "each a string"),
        ('{"image": "a.png", "text": "x"}', r"line 1: .*a\.png is not there"),
        ("", "0 pages; at least 2"),
    ],
)
def test_what_is_no_page_is_named_by_its_line(tmp_path: Path, line: str, message: str) -> None:
    file = tmp_path / "pages.jsonl"
    file.write_text(line)
    with pytest.raises(InputError, match=message):
        load_pages(file)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not readable"):
        load_pages(tmp_path / "none.jsonl")


@pytest.mark.parametrize(("count", "measured"), [(2, 1), (9, 1), (10, 1), (50, 5)])
def test_one_page_in_ten_is_kept_apart(count: int, measured: int) -> None:
    pages = [OwnPage(Path(str(number)), "free", "x") for number in range(count)]
    trained, apart = split_pages(pages)
    assert (len(trained), len(apart)) == (count - measured, measured)
    assert not {page.image for page in trained} & {page.image for page in apart}


def test_every_page_is_drawn_once_a_turn_and_the_same_for_the_same_step(drawn: Path, tiny_reader: tuple) -> None:
    model, tokenizer = tiny_reader
    batches = OwnBatches(load_pages(drawn), 2, 0, model.config, tokenizer)
    seen = [batches._drawn(place) for place in range(4)]
    assert sorted(seen) == [0, 1, 2, 3]
    assert batches[1].rows.ids.equal(batches[1].rows.ids)
    assert batches[1].views[0].global_view.equal(batches[1].views[0].global_view)


def test_the_answer_is_asked_and_nothing_else(drawn: Path, tiny_reader: tuple) -> None:
    model, tokenizer = tiny_reader
    pages = load_pages(drawn)[:2]
    batch = own_batch(pages, [page.open() for page in pages], model.config, tokenizer)
    for row, page in enumerate(pages):
        asked = batch.rows.targets[row][batch.rows.targets[row] != IGNORE].tolist()
        assert tokenizer.decode(asked[:-1]) == page.answer
        assert asked[-1] == tokenizer.eos_token_id
    assert batch.rows.image_mask.sum() > 0


def test_a_page_with_boxes_gets_no_margins() -> None:
    image = Image.new("RGB", (60, 40), "red")
    corner = (slice(None, 6), slice(None, 6))
    image.paste("white", (6, 6, 60, 40))
    rng = np.random.default_rng(0)
    copies = {moved: [copied(image, rng, moved) for _ in range(20)] for moved in (False, True)}
    assert len({copy.size for copy in copies[False]}) > 1, "stretched or squeezed"
    reds = {moved: [np.asarray(copy)[corner].mean(axis=(0, 1)) for copy in some] for moved, some in copies.items()}
    assert all(red[0] - red[1] > 60 for red in reds[False]), "the corner is where it was"
    assert any(red[0] - red[1] < 60 for red in reds[True])


def test_lines_are_json(drawn: Path) -> None:
    lines = [json.loads(line) for line in drawn.read_text(encoding="utf-8").splitlines()]
    assert {frozenset(line) for line in lines} == {frozenset({"image", "text"}), frozenset({"image", "markdown"})}
