"""Reader: pages → a document, on a checkpoint with a script and on the golden one."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from folioscope.config import MODES, Mode
from folioscope.pages import open_pages
from folioscope.read import Reader
from folioscope.tokens import PROMPTS, Tokenizer
from folioscope.types import CheckpointError, Document, GenerateOptions, InputError, PageResult, Region, Usage
from scripted import raw, scripted_checkpoint, sheet, sheets

PAGE = sheet()
SHORT = GenerateOptions(max_new_tokens=24, no_repeat_ngram_size=35, stop_ids=())
TWO_PAGES = sheets(2)
LYING_PDF = sheets(1, lost=1)
"""Two pages, of which the second is not there."""


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    return Reader.from_pretrained(scripted_checkpoint(tmp_path_factory.mktemp("reader")))


@pytest.fixture(scope="module")
def toy(shared: Callable[..., Path]) -> Path:
    return shared("golden", "deepseek_toy")


@pytest.fixture(scope="module")
def toy_reader(toy: Path) -> Reader:
    return Reader.from_pretrained(toy)


def timeless(document: Document) -> list[PageResult]:
    return [replace(page, usage=replace(page.usage, seconds=0)) for page in document]


def test_a_page_becomes_regions_and_markdown(reader: Reader) -> None:
    document = reader.read(PAGE)
    (page,) = document
    assert page.raw == raw("markdown")
    assert page.markdown == document.markdown == "# Hello\n\n![](images/0.jpg)"
    boxes = (100 / 999 * 100, 50 / 999 * 200, 900 / 999 * 100, 150 / 999 * 200), (0, 500 / 999 * 200, 100, 200)
    assert [region.label for region in page.regions] == ["title", "image"]
    assert [region.box for region in page.regions] == [pytest.approx(box) for box in boxes]
    assert [region.confidence for region in page.regions] == pytest.approx([1, 1], abs=1e-4)
    assert (page.status, page.number, page.size, page.error, page.points) == ("ok", 1, (100, 200), None, None)
    assert page.confidence == pytest.approx(1, abs=1e-4)
    assert page.image is not None
    assert page.image.size == (100, 200)
    assert document.ok


def test_usage_counts_tokens_and_seconds(reader: Reader) -> None:
    (page,) = reader.read(PAGE)
    slots = 2 * 3 + 1  # a view of 64 pixels at 32 a token: two rows of two and a newline, and the separator
    bos_newline_grounding_question = 4
    assert replace(page.usage, seconds=0) == Usage(slots, slots + bos_newline_grounding_question, 6)
    assert 0 < page.usage.seconds < 60


@pytest.mark.parametrize("prompt", ["ocr", PROMPTS["ocr"], PROMPTS["ocr"] + " \n"])
def test_words_in_refs_are_words_where_the_prompt_asks_for_words(reader: Reader, prompt: str) -> None:
    (page,) = reader.read(PAGE, prompt=prompt)
    assert page.markdown == "Total"
    assert page.regions[0].text == "Total"


def test_text_without_grounding_is_tidied(reader: Reader) -> None:
    (page,) = reader.read(PAGE, prompt="free")
    assert page.raw == raw("free")
    assert page.markdown == "Hello\n\nworld"
    assert [region.boxes for region in page.regions] == [()]


def test_the_token_limit_truncates(reader: Reader) -> None:
    (page,) = reader.read(PAGE, options=replace(reader.options, max_new_tokens=1))
    assert page.status == "truncated"
    assert raw().startswith(page.raw)
    assert not reader.read(PAGE, options=replace(reader.options, max_new_tokens=2)).ok


def test_points_of_a_pdf(reader: Reader) -> None:
    (page,) = reader.read(sheets(1), dpi=72)
    assert (page.size, page.points, page.source) == ((100, 50), (100, 50), "bytes")
    assert page.regions[1].boxes_points == page.regions[1].boxes


def test_opened_pages_are_read_as_their_source_is(reader: Reader) -> None:
    assert timeless(reader.read(open_pages(TWO_PAGES, pages="2"))) == timeless(reader.read(TWO_PAGES, pages="2"))


def test_a_page_that_is_not_there_costs_only_itself(reader: Reader) -> None:
    good, lost = reader.read(LYING_PDF, batch_size=2)
    assert (good.status, lost.status) == ("ok", "failed")
    assert (lost.number, lost.size, lost.raw, lost.image) == (2, (0, 0), "", None)
    assert str(lost.error).startswith("bytes: page 2 cannot be drawn")


@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_page_whose_prompt_does_not_fit_costs_only_itself(tmp_path: Path, batch_size: int) -> None:
    reader = Reader.from_pretrained(scripted_checkpoint(tmp_path, views=(64, 1024)))
    sheet((40, 40)).save(
        tmp_path / "a.tif", save_all=True, append_images=[sheet(size) for size in ((90, 90), (42, 42))]
    )
    document = reader.read(tmp_path / "a.tif", batch_size=batch_size)
    assert [page.status for page in document] == ["ok", "failed", "ok"]
    assert "1061 tokens: the model has 512 positions" in str(document.pages[1].error)
    assert document.pages[1].size == (90, 90)
    assert document.source == str(tmp_path / "a.tif")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"prompt": "markdwon"}, "markdwon.*use one of markdown, ocr"),
        ({"mode": "huge"}, "'huge'.*choose from tiny, small, base, large, gundam"),
        ({"mode": Mode(100, 100, False)}, "view size 100: must be a positive multiple of 32"),
        ({"mode": Mode(64, 320, True)}, "image_size=320"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"pages": "2"}, "page 1"),
    ],
)
def test_wrong_arguments_are_refused(reader: Reader, wrong: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        reader.read(PAGE if "pages" not in wrong else sheets(1), **wrong)


def test_by_default_tables_may_repeat(reader: Reader, toy_reader: Reader) -> None:
    for one in (reader, toy_reader):
        cells = tuple(one.tokenizer.convert_tokens_to_ids(token) for token in ("<td>", "</td>"))
        recipe = {"no_repeat_ngram_size": 30, "ngram_window": 90, "ngram_exempt": cells}
        assert one.options == GenerateOptions(**recipe, stop_ids=(one.tokenizer.eos_id,), stop_loops=True)  # type: ignore[arg-type]
        assert None not in cells


def test_small_checkpoints_are_read_in_float32(reader: Reader, toy: Path) -> None:
    assert reader.model.dtype == torch.float32
    assert Reader.from_pretrained(toy, device="cpu", dtype="bfloat16").model.dtype == torch.bfloat16


def test_a_tokenizer_of_another_model_is_refused(reader: Reader, toy: Path) -> None:
    with pytest.raises(CheckpointError, match="model: its tokenizer has 512 tokens but its model 320"):
        Reader(reader.model, Tokenizer.from_directory(toy))


@pytest.mark.parametrize(
    ("case", "image", "mode"), [("tiny_small", "small.png", "tiny"), ("gundam_2x1_wide", "wide.png", MODES["gundam"])]
)
def test_golden(toy: Path, toy_reader: Reader, case: str, image: str, mode: str | Mode) -> None:
    golden, counts = np.load(toy / f"{case}.npz"), json.loads((toy / "cases.json").read_text())["cases"][case]
    (page,) = toy_reader.read(toy / "images" / image, mode=mode, options=SHORT)
    assert page.raw == toy_reader.tokenizer.decode(golden["greedy24"])
    assert (page.status, page.source) == ("truncated", str(toy / "images" / image))
    usage = page.usage
    assert (usage.image_tokens, usage.prompt_tokens, usage.output_tokens) == (
        counts["n_image_tokens"],
        counts["n_ids"],
        24,
    )


def test_confidence_is_the_geometric_mean_probability(toy: Path, toy_reader: Reader) -> None:
    golden = np.load(toy / "tiny_small.npz")
    (page,) = toy_reader.read(toy / "images" / "small.png", mode="tiny", options=replace(SHORT, max_new_tokens=1))
    logits = torch.from_numpy(golden["logits_last"])
    assert page.confidence == pytest.approx(float(logits.softmax(-1).max()), rel=1e-3)


def test_a_batch_reads_what_its_pages_read_alone(toy: Path, toy_reader: Reader, tmp_path: Path) -> None:
    with Image.open(toy / "images" / "small.png") as small:
        pages = [small.convert("RGB"), small.convert("RGB").rotate(90), sheet((40, 60))]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    single, batched = (
        toy_reader.read(tmp_path / "a.tif", mode="tiny", options=SHORT, batch_size=size) for size in (1, 2)
    )
    assert [page.raw for page in single] == [page.raw for page in batched]
    assert len({page.raw for page in single}) == 3
    for one, other in zip(single, batched, strict=True):
        assert one.confidence == pytest.approx(other.confidence, rel=1e-4)
        assert one.markdown == other.markdown


def test_a_batch_of_a_script_is_the_same_to_the_bit(reader: Reader) -> None:
    document = sheets(3)
    assert timeless(reader.read(document, batch_size=2)) == timeless(reader.read(document))


def test_cancelled_keeps_what_there_is(reader: Reader) -> None:
    asked = iter([False] * 12)
    document = reader.read(sheets(3), cancelled=lambda: next(asked, True))
    assert [page.status for page in document] == ["ok", "truncated"]
    assert raw().startswith(document.pages[1].raw)
    assert document.pages[1].raw


def test_regions_without_a_known_prompt_are_told_by_their_labels(reader: Reader) -> None:
    question = PROMPTS["ocr"].removeprefix("<image>\n")
    (page,) = reader.read(PAGE, prompt=f"<image>{question}")
    assert isinstance(page.regions[0], Region)
    assert page.markdown == "Total"
