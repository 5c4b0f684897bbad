"""Clicks in the visitor's own browser: the masks are the server's, and they follow the pointer."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import ROOT
from folioscope.export.onnx import DECODER, export_sam
from folioscope.read import Reader
from folioscope.segment import EMBEDDED, Segmenter
from folioscope.serve.browser_decoder import runtime_of
from folioscope.serve.options import ServeOptions
from folioscope.types import InputError
from live_server import served
from page_driver import click_at, disc, drag, finished, mask_pixels, opened, point_at, until
from random_sam import SMALL, random_sam

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not EMBEDDED.is_dir(), reason="a random segmenter knows no objects"),
]

PACKAGE = Path(os.environ.get("FOLIOSCOPE_ONNXRUNTIME_WEB") or ROOT / ".venv" / "onnxruntime-web")
"""Where `make test-browser` installs it."""

HERE = "document.querySelector('#cutting').textContent.includes('in this browser')"
CUT = "document.querySelector('#cutting').textContent.includes('pixels')"

LOADED = "import('/page/decoder.js').then(({ here }) => here())"

COMPARE = """async (prompts) => {
  const [{ ask, form }, { cut }, { served }] = await Promise.all(
    ["api", "decoder", "masks"].map((name) => import(`/page/${name}.js`)));
  const picture = await (await fetch("/page/sample.png")).blob();
  const answer = await ask("v1/segment/embeddings", { method: "POST", body: form({ file: picture }) });
  const scene = await answer.json();
  const found = [];
  for (const prompt of prompts) {
    const [ours, theirs] = [await cut(scene, prompt, served), await served(scene, prompt)];
    let [both, either] = [0, 0];
    ours.bits.forEach((bit, at) => { both += bit & theirs.bits[at]; either += bit | theirs.bits[at]; });
    found.push({ both, either, size: [ours.size, theirs.size], area: [ours.area, theirs.area],
      score: ours.score - theirs.score, box: [ours.box, theirs.box] });
  }
  return found;
}"""

PROMPTS = [
    {"points": [[120, 60]], "labels": [1], "multimask": True},
    {"points": [[120, 60], [300, 200]], "labels": [1, 0], "multimask": False},
    {"box": [20, 30, 200, 120], "multimask": False},
    {"box": [20, 30, 200, 120], "points": [[60, 60]], "labels": [1], "multimask": False},
]


@pytest.fixture(scope="module")
def package() -> Path:
    try:
        runtime_of(PACKAGE)
    except InputError as error:
        pytest.skip(f"onnxruntime-web is not here: {error}")
    return PACKAGE


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return Segmenter.from_pretrained()


def folder_with(package: Path, folder: Path, model: Any) -> Path:
    """What --browser-decoder is given: a decoder, and onnxruntime-web beside it."""
    export_sam(model, folder, decoder_only=True)
    (folder / "node_modules").symlink_to(package / "node_modules")
    return folder


@pytest.fixture(scope="module")
def address(package: Path, segmenter: Segmenter, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = folder_with(package, tmp_path_factory.mktemp("decoder"), segmenter.model)
    options = ServeOptions(data=tmp_path_factory.mktemp("data"), browser_decoder=folder)
    with served(Reader.from_pretrained(), options, segmenter=segmenter) as address:
        yield address


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    yield from opened(browser, address)


def test_the_masks_are_the_servers(page: Any) -> None:
    until(page, LOADED)
    for found in page.evaluate(COMPARE, PROMPTS):
        assert found["both"] > 0.999 * found["either"] > 0
        assert found["size"][0] == found["size"][1]
        assert abs(found["area"][0] - found["area"][1]) <= found["either"] - found["both"]
        assert abs(found["score"]) < 1e-3
        assert max(abs(one - other) for one, other in zip(*found["box"], strict=True)) <= 1


def test_the_mask_under_the_pointer_is_shown_and_a_click_keeps_it(page: Any, tmp_path: Path) -> None:
    page.set_input_files("#file", disc(tmp_path / "disc.png"))
    page.wait_for_selector("#stage")
    finished(page)
    until(page, LOADED)
    asked: list[str] = []
    point_at(page, 200, 150)
    until(page, "document.querySelector('#masks.preview') && document.querySelector('#masks').width > 1")
    page.on("request", lambda request: asked.append(request.url))
    assert 0.7 * 20_106 < mask_pixels(page)["all"] < 1.3 * 20_106
    click_at(page, 200, 150)
    until(page, HERE)
    drag(page, (110, 60), (290, 240))
    until(page, "document.querySelectorAll('.band').length === 1")
    until(page, HERE)
    assert asked == []
    page.press("#stage", "Escape")
    page.mouse.move(1, 1)
    until(page, "document.querySelector('#masks').width === 1")


def test_without_a_decoder_that_works_the_server_cuts_out(
    browser: Any, package: Path, segmenter: Segmenter, tmp_path: Path
) -> None:
    """Of another network; or no ONNX at all."""
    folder = folder_with(package, tmp_path / "decoder", random_sam(SMALL))
    page_of_the_servers_masks(browser, folder, segmenter, tmp_path, before=LOADED)
    (folder / DECODER).write_bytes(b"no model")
    page_of_the_servers_masks(browser, folder, segmenter, tmp_path)


def page_of_the_servers_masks(
    browser: Any, folder: Path, segmenter: Segmenter, tmp_path: Path, before: str = "true"
) -> None:
    """A click is answered by the server, and the browser's console says why."""
    options, told = ServeOptions(data=tmp_path / "data", browser_decoder=folder), []
    with served(Reader.from_pretrained(), options, segmenter=segmenter) as address:
        for page in opened(browser, address):
            page.on("console", lambda message: told.append(message.text))
            page.set_input_files("#file", disc(tmp_path / "disc.png"))
            page.wait_for_selector("#stage")
            until(page, before)
            click_at(page, 200, 150)
            until(page, CUT)
            assert "in this browser" not in page.inner_text("#cutting")
            assert mask_pixels(page)["here"] == 1
            assert any("Cutting out in this browser is off" in line for line in told)
