"""The page at /, as a person uses it: Debian's Chromium, driven by Playwright, against the real server."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from conftest import ROOT
from folioscope.read import Reader
from folioscope.segment import EMBEDDED, Segmenter
from folioscope.serve.options import ServeOptions
from live_server import served
from page_driver import click_at, disc, drag, drop, finished, mask_pixels, opened, picture, until
from scripted import sheets

pytestmark = pytest.mark.browser

SAMPLE = "Garden notes"


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    from random_sam import random_sam

    return Segmenter.from_pretrained() if EMBEDDED.is_dir() else Segmenter(random_sam())


@pytest.fixture(scope="module")
def reader() -> Reader:
    return Reader.from_pretrained()


@pytest.fixture(scope="module")
def address(reader: Reader, segmenter: Segmenter, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    options = ServeOptions(data=tmp_path_factory.mktemp("data"))
    with served(reader, options, segmenter=segmenter) as address:
        yield address


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    yield from opened(browser, address)


def read_sample(page: Any) -> None:
    page.click("#sample")
    finished(page)


def test_a_dropped_page_shows_its_text_and_regions(page: Any, reader: Reader) -> None:
    letter = ROOT / "examples" / "letter.png"
    drop(page, letter, "image/png")
    finished(page)
    assert SAMPLE in page.inner_text("#text")
    assert page.locator("#text h2").first.inner_text() == SAMPLE
    (read,) = reader.read(letter).pages
    found = read.regions
    owners = [place for place, region in enumerate(found) for _ in region.boxes]  # a region may have no usable box
    regions, blocks = page.locator("#regions .region"), page.locator("#text .block")
    assert blocks.count() == len(found)
    assert regions.count() == len(owners) >= 2
    page.hover(f"#text .block >> nth={owners[-1]}")
    assert regions.last.get_attribute("class") == "region lit"
    box = regions.first.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    assert "lit" in blocks.nth(owners[0]).get_attribute("class")
    picture(page, "page_read.png")


def test_found_words_are_marked(page: Any) -> None:
    read_sample(page)
    page.fill("#find", "first frost")
    assert page.inner_text("#found") == "1 on this page"
    page.press("#find", "Enter")
    assert page.inner_text("mark.now") == "first frost"
    page.fill("#find", "zebra")
    assert page.inner_text("#found") == "0 on this page"


def test_a_click_shows_a_mask_and_undo_takes_it_back(page: Any, tmp_path: Path) -> None:
    page.set_input_files("#file", disc(tmp_path / "disc.png"))
    page.wait_for_selector("#stage")
    finished(page)
    click_at(page, 200, 150)
    until(page, "document.querySelector('#cutting').textContent.includes('pixels')")
    covered = mask_pixels(page)
    assert covered["all"] > 0
    if EMBEDDED.is_dir():  # a random network cuts out anything
        assert covered["here"] == 1
        assert 0.7 * 20_106 < covered["all"] < 1.3 * 20_106
    with page.expect_download() as saved:
        page.click("#cutout")
    cut = Image.open(io.BytesIO(Path(saved.value.path()).read_bytes()))
    assert cut.mode == "RGBA"
    page.click("#undo")
    until(page, "document.querySelector('#masks').width === 1")
    drag(page, (110, 60), (290, 240))
    until(page, "document.querySelector('#cutting').textContent.includes('pixels')")
    click_at(page, 20, 20, button="right")
    until(page, "document.querySelectorAll('.point.beside').length === 1")
    page.press("#stage", "Escape")
    assert page.locator(".point").count() == 0


@pytest.mark.skipif(not EMBEDDED.is_dir(), reason="a random segmenter knows no objects")
def test_a_cup_is_cut_out_of_a_photograph(page: Any) -> None:
    page.set_input_files("#file", ROOT / "examples" / "photos" / "coffee.jpg")
    page.wait_for_selector("#stage")
    page.click("#cancel")
    box = page.locator("#stage").bounding_box()
    width, height = page.evaluate("(({naturalWidth, naturalHeight}) => [naturalWidth, naturalHeight])(image)")
    page.mouse.click(box["x"] + 300 * box["width"] / width, box["y"] + 30 * box["height"] / height)
    until(page, "document.querySelector('#cutting').textContent.includes('pixels')")
    assert 0.01 < mask_pixels(page)["all"] / (width * height) < 0.9
    picture(page.locator("#picture"), "page_cut.png")


def test_a_finger_takes_away_and_draws_boxes_too(browser: Any, address: str, tmp_path: Path) -> None:
    for page in opened(browser, address, viewport={"width": 400, "height": 800}, has_touch=True, is_mobile=True):
        page.set_input_files("#file", disc(tmp_path / "disc.png"))
        page.wait_for_selector("#stage")
        box = page.locator("#stage").bounding_box()
        page.touchscreen.tap(box["x"] + 180, box["y"] + 130)
        page.select_option("#tool", "remove")
        page.touchscreen.tap(box["x"] + 20, box["y"] + 20)
        until(page, "document.querySelectorAll('.point').length === 2")
        assert page.locator(".point.beside").count() == 1
        page.select_option("#tool", "box")
        page.focus("#stage")
        for key in ("ArrowLeft", "Enter", "Shift+ArrowRight", "Shift+ArrowDown", "Enter"):
            page.press("#stage", key)
        until(page, "document.querySelectorAll('.band').length === 1")


def test_the_keyboard_can_do_it_too(page: Any, tmp_path: Path) -> None:
    page.set_input_files("#file", disc(tmp_path / "disc.png"))
    finished(page)
    page.focus("#stage")
    page.press("#stage", "ArrowRight")
    page.press("#stage", "Enter")
    until(page, "document.querySelector('#cutting').textContent.includes('pixels')")
    page.press("#stage", "Control+z")
    until(page, "document.querySelector('#masks').width === 1")


def test_a_long_document_is_cancelled_and_what_was_read_stays(page: Any, tmp_path: Path) -> None:
    (tmp_path / "long.pdf").write_bytes(sheets(60))
    page.set_input_files("#file", tmp_path / "long.pdf")
    until(page, "document.querySelectorAll('#thumbnails button').length > 2")
    page.click("#cancel")
    until(page, "document.querySelector('#status').textContent.startsWith('Cancelled')")
    assert 2 < page.locator("#thumbnails button").count() < 60
    page.click("#thumbnails button >> nth=1")
    assert page.get_attribute("#image", "alt") == "Page 2"


def test_a_read_document_begins_at_its_first_page(page: Any, tmp_path: Path) -> None:
    (tmp_path / "two.pdf").write_bytes(sheets(2))
    page.set_input_files("#file", tmp_path / "two.pdf")
    until(page, "document.querySelector('#status').textContent.includes(' of 2: ')")
    finished(page)
    assert page.get_attribute("#image", "alt") == "Page 1"
    page.keyboard.press("PageDown")
    assert page.get_attribute("#image", "alt") == "Page 2"


def test_a_phrase_is_looked_for_and_the_search_can_be_left(page: Any) -> None:
    assert page.is_disabled("#look")
    read_sample(page)
    for end in ("document.querySelector('#located').textContent.startsWith('The model points')",
                "document.querySelector('#located').textContent === ''"):  # fmt: skip
        page.fill("#words", "frost")
        page.press("#words", "Enter")
        assert page.inner_text("#located") == "Looking…"
        if "===" in end:
            page.click("#cancel")
        until(page, end)
        until(page, "document.querySelector('#work').hidden")


def test_downloads(page: Any) -> None:
    read_sample(page)
    for name in ("md", "json"):
        with page.expect_download() as saved:
            page.select_option("#download", name)
        assert SAMPLE in Path(saved.value.path()).read_text(encoding="utf-8")
        assert saved.value.suggested_filename == f"sample.{name}" or name == "json"


def test_errors_are_told(page: Any, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no picture")
    page.set_input_files("#file", tmp_path / "broken.png")
    page.wait_for_selector("#notice", state="visible")
    assert re.search("broken.png: not a PDF, and has no picture header", page.inner_text("#notice"))
    page.wait_for_selector("#hint", state="visible")
    assert page.inner_text("#cutting") == ""


def test_what_a_page_says_is_never_markup(page: Any) -> None:
    shown = page.evaluate(
        """async () => {
          const { render } = await import("/page/markdown.js");
          const box = document.createElement("div");
          box.append(render("<img src=x onerror=alert(1)> **b**\\n\\n<table><tr><td colspan=2 onclick=alert(1)>"
            + "<script>alert(1)</script>x</td></tr></table>\\n\\n[a](javascript:alert(1)) | # no\\n\\n- one\\n- two"));
          return box.innerHTML;
        }"""
    )
    assert "<img" not in shown.replace("&lt;img", "")
    assert "onclick" not in shown
    assert "<script" not in shown
    assert "<a" not in shown
    assert '<td colspan="2">' in shown
    assert "<ul><li>one</li><li>two</li></ul>" in shown
    assert "<strong>b</strong>" in shown


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_nothing_overflows(browser: Any, address: str, scheme: str) -> None:
    for page in opened(browser, address, viewport={"width": 380, "height": 800}, color_scheme=scheme):
        read_sample(page)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        labelled = "[...document.querySelectorAll('button, input, select')].filter(each => !each.labels?.length"
        assert page.evaluate(f"{labelled} && !each.textContent.trim() && !each.ariaLabel).map(each => each.id)") == []


def test_the_key_is_asked_for(browser: Any, tmp_path: Path) -> None:
    with served(Reader.from_pretrained(), ServeOptions(data=tmp_path, api_key="let-me-in")) as address:
        for page in opened(browser, address):
            page.click("#sample")
            page.fill("#secret", "let-me-in")
            page.click("#key button")
            finished(page)
            assert SAMPLE in page.inner_text("#text")
