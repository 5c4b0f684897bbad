"""What the published `infer` wrote for four cases, and what it could not."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from folioscope.export.published import SAVE_BANNER, compression_statistics, published_markdown, save_published
from folioscope.types import OutputError

SIZE = (1200, 800)


@pytest.fixture(scope="module")
def cases(shared: Callable[..., Path]) -> dict[str, Any]:
    return json.loads(shared("golden", "deepseek_toy", "infer_outputs.json").read_text(encoding="utf-8"))


def written(folder: Path) -> dict[str, Any]:
    """The files as the golden record has them: text, or size and format of a picture."""
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_text("utf-8") if path.suffix == ".mmd" else picture(path) for name, path in files.items()}


def picture(path: Path) -> dict[str, Any]:
    with Image.open(path) as image:
        return {"size": list(image.size), "format": image.format}


def saved(text: str, folder: Path, size: tuple[int, int] = SIZE) -> dict[str, Any]:
    save_published(text, Image.effect_noise(size, 50).convert("RGB"), folder)
    return written(folder)


@pytest.mark.parametrize("name", ["layout|save", "geometry|save"])
def test_the_same_files(cases: dict[str, Any], name: str, tmp_path: Path) -> None:
    case = cases[name]
    assert saved(case["text"], tmp_path) == case["files"]
    assert saved(case["text"], tmp_path) == case["files"], "infer writes over what is there"
    assert published_markdown(case["text"]) == case["files"]["result.mmd"]
    assert case["stdout"].splitlines()[-1] == SAVE_BANNER


def test_what_evaluation_returns_has_the_same_markdown(cases: dict[str, Any]) -> None:
    returned = cases["layout|eval"]["returned"]
    assert published_markdown(returned) == cases["layout|save"]["files"]["result.mmd"]


def test_the_same_statistics(cases: dict[str, Any]) -> None:
    printed = cases["layout|compress"]["stdout"].splitlines()[-6:]
    assert compression_statistics(168, SIZE, 6, 1024, 640, True).split("\n") == printed


@pytest.mark.parametrize(
    ("size", "tiles", "base_size", "image_size", "crop_mode", "tokens"),
    [
        ((640, 640), 0, 1024, 640, True, 256),
        ((1654, 2339), 6, 1024, 640, True, 181 + 600),
        ((1654, 2339), 6, 1280, 640, True, 282 + 600),
        ((1654, 2339), 6, 1024, 512, True, 181),
        ((1000, 750), 0, 1024, 1024, False, 192),
        ((1000, 750), 0, 1280, 1280, False, 300),
        ((1000, 750), 0, 640, 640, False, 100),
        ((1000, 750), 0, 512, 512, False, 64),
        ((1000, 300), 0, 1024, 1024, False, int(256 * (1 - 0.7))),
    ],
)
def test_valid_image_tokens(
    size: tuple[int, int], tiles: int, base_size: int, image_size: int, crop_mode: bool, tokens: int
) -> None:
    lines = compression_statistics(500, size, tiles, base_size, image_size, crop_mode).split("\n")
    assert lines[2] == f"valid image tokens:  {tokens}"
    assert lines[4] == f"compression ratio:  {round(500 / tokens, 2)}"


@pytest.mark.parametrize(("base_size", "crop_mode"), [(640, True), (512, True), (768, False)])
def test_no_valid_tokens_is_no_error(base_size: int, crop_mode: bool) -> None:
    lines = compression_statistics(5, (600, 600), 0, base_size, 640, crop_mode).split("\n")
    assert lines[2:5] == ["valid image tokens:  0", "output texts tokens (valid):  5", "compression ratio:  inf"]


def test_words_in_refs_are_lost_as_published() -> None:
    assert published_markdown("The <|ref|>cat<|/ref|><|det|>[[1, 2, 3, 4]]<|/det|> is here") == "The  is here"


def test_a_match_reaches_from_the_first_ref_to_the_first_det() -> None:
    text = "a <|ref|>b <|ref|>image<|/ref|><|det|>[[1, 2, 3, 4]]<|/det|> \\coloneqq"
    assert published_markdown(text) == "a ![](images/0.jpg)\n \\coloneqq"
    assert published_markdown("<|ref|>a<|/ref|> <|det|>[[1, 2, 3, 4]]<|/det|>").startswith("<|ref|>a")
    assert published_markdown("<|ref|>a<|/ref|><|det|>[[1, 2") == "<|ref|>a<|/ref|><|det|>[[1, 2"


def test_files_count_boxes_and_links_count_refs(tmp_path: Path) -> None:
    ref = "<|ref|>image<|/ref|><|det|>{}<|/det|>"
    boxes = ("[[0, 0, 99, 99], [9, 9, 9, 50], [0, 0, 500, 500]]", "[[1, 2, oops]]", "[[0, 0, 999, 999]]")
    files = saved("\n".join(ref.format(box) for box in boxes), tmp_path)
    assert [name for name in sorted(files) if name.startswith("images/")] == [f"images/{k}.jpg" for k in (0, 2, 3)]
    assert files["images/3.jpg"]["size"] == list(SIZE)
    assert [f"images/{k}.jpg" in files["result.mmd"] for k in range(4)] == [True, True, True, False]


@pytest.mark.parametrize(
    "payload",
    [
        "__import__('os').abort()",
        "[" * 50_000,
        "[[1, 2, 3, NaN]]",
        "[[1, 2, 3, 1e999]]",
        "[[99, 0, 1, 1]]",
        "7",
        "[7]",
        "",
    ],
)
def test_no_box_can_lose_the_page(payload: str, tmp_path: Path) -> None:
    files = saved(f"<|ref|>image<|/ref|><|det|>{payload}<|/det|>\nline_type", tmp_path)
    assert files == {
        "result.mmd": "![](images/0.jpg)\n\nline_type",
        "result_with_boxes.jpg": {"size": list(SIZE), "format": "JPEG"},
    }


def test_boxes_are_drawn_where_they_are(tmp_path: Path) -> None:
    text = "<|ref|>title<|/ref|><|det|>[[100, 500, 900, 900]]<|/det|>"
    save_published(text, Image.new("RGB", (1000, 500), "white"), tmp_path)
    with Image.open(tmp_path / "result_with_boxes.jpg") as image:
        edge, inside, outside = image.getpixel((500, 252)), image.getpixel((500, 350)), image.getpixel((50, 50))
    assert max(edge[:2]) < 205 < min(inside) < 255
    assert outside == (255, 255, 255)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file"):
        saved("text", tmp_path / "file")


def test_hostile_text_takes_linear_time() -> None:
    for unit in ("<|ref|>", "<|ref|>a<|/ref|><|det|>", "<|/ref|><|det|>", "<|ref|><|/ref|>"):
        start = time.process_time()
        published_markdown(unit * (200_000 // len(unit)))
        assert time.process_time() - start < 1
