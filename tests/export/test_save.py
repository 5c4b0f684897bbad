"""Saving: every file whole or none, links that lead somewhere, several documents in one folder."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from PIL import Image

from folioscope.export import FORMATS, save, stem_of
from folioscope.grounding import parse
from folioscope.types import Document, InputError, OutputError, PageResult

RAW = (
    "<|ref|>title<|/ref|><|det|>[[100, 50, 900, 120]]<|/det|>\n# Größe\n\n"
    "<|ref|>image<|/ref|><|det|>[[333, 333, 500, 500], [0, 0, 10, 10]]<|/det|>\n"
    "<|ref|>text<|/ref|><|det|>[[100, 600, 900, 700]]<|/det|>\nsee ![](images/7.jpg)"
)


def page(number: int = 1, image: bool = True) -> PageResult:
    size = (300, 200)
    grounded = parse(RAW, size)
    pixels = (lambda: Image.new("RGB", size, (10 * number, 100, 100))) if image else None
    return PageResult(
        number, "in/letter.pdf", size, raw=RAW, markdown=grounded.markdown, regions=grounded.regions, pixels=pixels
    )


def document(pages: int = 1, source: str = "in/letter.pdf", image: bool = True) -> Document:
    return Document(source, tuple(page(number, image) for number in range(1, pages + 1)))


def opened(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.copy()


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_one_page(tmp_path: Path) -> None:
    written = document().save(tmp_path / "a" / "b", ["md", "json", "overlay"])
    assert [path.relative_to(tmp_path / "a" / "b").as_posix() for path in written] == [
        "letter.md",
        "letter_images/1_0.jpg",
        "letter_images/1_1.jpg",
        "letter.json",
        "letter_overlay.jpg",
    ]
    assert (written[0]).read_text(encoding="utf-8") == (
        "# Größe\n\n![](letter_images/1_0.jpg)\n![](letter_images/1_1.jpg)\n\nsee ![](images/7.jpg)\n"
    )
    assert sorted(path for path in (tmp_path / "a" / "b").rglob("*") if path.is_file()) == sorted(written)


def test_links_of_several_pages_lead_to_their_own_figures(tmp_path: Path) -> None:
    save(document(3), tmp_path)
    links = re.findall(r"\((letter_images/.*?)\)", (tmp_path / "letter.md").read_text(encoding="utf-8"))
    assert len(links) == len(set(links)) == 6
    reds = [opened(tmp_path / link).getpixel((0, 0))[0] for link in links]
    assert reds == pytest.approx([10, 10, 20, 20, 30, 30], abs=3)
    assert json.loads((tmp_path / "letter.json").read_text(encoding="utf-8"))["markdown"].count("letter_images/") == 6


def test_figures_have_the_size_of_their_boxes(tmp_path: Path) -> None:
    save(document(), tmp_path)
    sizes = [opened(tmp_path / f"letter_images/1_{number}.jpg").size for number in (0, 1)]
    assert sizes == [(int(500 / 999 * 300) - 100, int(500 / 999 * 200) - 66), (3, 2)]


def test_documents_share_a_folder(tmp_path: Path) -> None:
    first, second = save(document(2), tmp_path), save(document(2, "memo.png"), tmp_path)
    assert names(tmp_path) == sorted(path.relative_to(tmp_path).as_posix() for path in first + second)


def test_without_the_image_there_are_no_figures_and_no_links(tmp_path: Path) -> None:
    save(document(image=False), tmp_path, ["md", "json", "overlay"])
    assert names(tmp_path) == ["letter.json", "letter.md"]
    assert (tmp_path / "letter.md").read_text(encoding="utf-8") == "# Größe\n\nsee ![](images/7.jpg)\n"


def test_nothing_is_overwritten_without_force(tmp_path: Path) -> None:
    save(document(), tmp_path, ["json"])
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
    with pytest.raises(OutputError, match=r"letter_images/1_0\.jpg.*--force"):
        save(document(2), tmp_path, ["md", "json"])
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.*")} == before
    save(document(2), tmp_path, ["md", "json"], force=True)
    assert len(names(tmp_path)) == 6


def test_unknown_format() -> None:
    with pytest.raises(InputError, match=r"'docx'.*md, json, .*overlay"):
        save(document(), "nowhere", ["md", "docx"])


def test_one_format_as_a_string(tmp_path: Path) -> None:
    assert [path.name for path in save(Document("x.png"), tmp_path, "json")] == ["x.json"]


@pytest.mark.parametrize(
    ("source", "stem"),
    [
        ("-", "stdin"),
        ("in/letter.pdf", "letter"),
        ("a.b.png", "a.b"),
        ("my (old) letter.pdf", "my_old_letter"),
        ("https://host/x/y.pdf?page=1", "y"),
        ("文档.pdf", "文档"),
        ("..", "document"),
        (".hidden", "hidden"),
        ("", "document"),
        ("bad\udcff.png", "bad_"),
        ("字" * 200 + ".pdf", "字" * 60),
    ],
)
def test_stem(source: str, stem: str, tmp_path: Path) -> None:
    assert stem_of(source) == stem
    written = save(document(1, source), tmp_path, list(FORMATS))
    assert [path.parent for path in written if path.suffix in (".md", ".json")] == [tmp_path] * 2


@pytest.mark.skipif(os.name == "nt" or not hasattr(os, "geteuid"), reason="POSIX permissions")
def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    with pytest.raises(OutputError, match=re.escape(str(blocked))):
        save(document(), blocked)
    assert blocked.read_text() == "in the way"
