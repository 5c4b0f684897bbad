"""Training pages: repeatable, in the published grammar, nothing clipped, and every place where its ink is."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from folioscope.train import fonts
from folioscope.train.preview import save_preview
from folioscope.train.recipe import ReaderRecipe, Stage
from folioscope.train.render import PageStyle, TrainingPage, render_page
from folioscope.types import InputError

HEADER = r"<\|ref\|>(\w+)<\|/ref\|><\|det\|>\[\[(\d+), (\d+), (\d+), (\d+)\]\]<\|/det\|>\n"
HEADING = re.compile(HEADER.removesuffix(r"\n"))
BLOCK = re.compile(HEADER + r"((?:[^\n]+\n)*)\n")

PLAIN = PageStyle(degrade=0)
DENSE = PageStyle(side=400, lines=(6, 14), type_px=(9, 13), layout=1, degrade=0)
ROUGH = PageStyle(side=320, lines=(2, 8), type_px=(12, 20), layout=0.8, degrade=1, strength=2)
MIXED = PageStyle(side=480, lines=(8, 16), type_px=(9, 13), layout=1, columns=0.7, tables=0.5, degrade=0, endings=0.2)
STYLES = [pytest.param(PLAIN, id="plain"), pytest.param(DENSE, id="dense"), pytest.param(ROUGH, id="rough")]


def blocks(page: TrainingPage) -> list[tuple[str, np.ndarray, str]]:
    """(label, box in pixels, content) of every block; the whole answer must be blocks."""
    answer = page.grounded + "\n\n"
    found = list(BLOCK.finditer(answer))
    assert "".join(match[0] for match in found) == answer
    scale = np.array([*page.image.size] * 2) / 999
    return [(m[1], np.array([m[2], m[3], m[4], m[5]], dtype=float) * scale, m[6].rstrip("\n")) for m in found]


def inked(page: TrainingPage) -> np.ndarray:
    """(h, w) bool: pixels of a white page that carry ink."""
    return np.asarray(page.image.convert("L")) < 225


@pytest.mark.parametrize("style", STYLES)
def test_pages_repeat(style: PageStyle) -> None:
    first, second, other = (render_page(style, seed) for seed in (11, 11, 12))
    assert first.image.tobytes() == second.image.tobytes()
    assert (first.grounded, first.plain) == (second.grounded, second.plain)
    np.testing.assert_array_equal(first.grounded_xy, second.grounded_xy)
    np.testing.assert_array_equal(first.glyphs, second.glyphs)
    assert first.grounded != other.grounded


@pytest.mark.parametrize("style", STYLES)
def test_answers_follow_the_published_grammar(style: PageStyle) -> None:
    labels: set[str] = set()
    for seed in range(25):
        page = render_page(style, seed)
        texts = []
        for label, box, content in blocks(page):
            labels.add(label)
            assert (box[:2] < box[2:]).all()
            assert (label == "image") == (content == "")
            assert label != "title" or content.startswith("# ")
            assert label != "sub_title" or content.startswith("## ")
            assert label != "list" or content.startswith("- ")
            texts.append(content.removeprefix("## ").removeprefix("# ") if "title" in label else content)
        assert "\n\n".join(filter(None, texts)) == page.plain
    assert labels >= {"title", "text", "list", "image"}


@pytest.mark.parametrize("style", STYLES)
def test_answers_are_clean_text(style: PageStyle) -> None:
    for seed in range(25):
        page = render_page(style, seed)
        assert page.plain
        assert page.plain == page.plain.strip()
        assert "  " not in page.plain
        assert " \n" not in page.plain
        assert page.plain.replace("\n", "").isprintable()


@pytest.mark.parametrize("style", STYLES)
def test_every_glyph_is_on_the_page_and_has_its_place(style: PageStyle) -> None:
    for seed in range(25):
        page = render_page(style, seed)
        codes, corners = page.glyphs[:, 0], page.glyphs[:, 1:]
        assert corners.min() >= 0
        assert (corners[:, 2:] <= page.image.size).all()
        for text, places in ((page.plain, page.plain_xy), (page.grounded, page.grounded_xy)):
            assert places.shape == (len(text), 2)
            assert np.isnan(places[[character == "\n" for character in text]]).all()
        visible = [place for character, place in zip(page.plain, page.plain_xy, strict=True) if not character.isspace()]
        np.testing.assert_allclose(visible, (corners[:, :2] + corners[:, 2:]) / 2, atol=1e-3)
        shown = "".join(map(chr, codes.astype(int)))
        same = [a == b or b in "•–" for a, b in zip("".join(page.plain.split()), shown, strict=True)]
        assert all(same)


@pytest.mark.parametrize("style", [DENSE, MIXED])
def test_grounded_places_are_the_plain_places_behind_headers_where_the_blocks_start(style: PageStyle) -> None:
    for seed in range(25):
        page = render_page(style, seed)
        grounded, plain = page.grounded_xy.copy(), page.plain_xy
        for match, (label, box, _) in zip(HEADING.finditer(page.grounded), blocks(page), strict=True):
            start = grounded[match.start()]
            numbers = [range(*match.span(group)) for group in range(2, 6)]
            others = sorted(set(range(match.start(), match.end())).difference(*numbers))
            assert (grounded[others] == start).all()
            for side, number in enumerate(numbers):
                seen = grounded[number]
                assert (seen == seen[0]).all()
                assert abs(seen[0][side % 2] - box[side]) < 2.6
                assert (box[:2] - 0.6 <= seen[0]).all()
                assert (seen[0] <= box[2:] + 0.6).all()
            if label == "image":
                assert (box[:2] < start).all()
                assert (start < box[:2] + 11).all()
            else:
                assert tuple(start) in {tuple(place) for place in plain.tolist()}
            grounded[match.start() : match.end()] = np.nan
        glyphs = grounded[~np.isnan(grounded[:, 0])]
        spoken = plain[[not character.isspace() for character in page.plain]]
        assert {tuple(place) for place in spoken.tolist()} <= {tuple(place) for place in glyphs.tolist()}


def test_pictures_stand_below_all_else_where_that_is_asked_for() -> None:
    last = {}
    for endings in (0.0, 1.0):
        style = PageStyle(side=392, lines=(12, 20), type_px=(16, 24), degrade=0, endings=endings)
        pages = [render_page(style, seed) for seed in range(20)]
        last[endings] = [page.grounded.rsplit("<|ref|>", 1)[1].startswith("image") for page in pages]
        for page in pages:
            below = page.blocks[-1]
            assert (below[:2] >= 0).all()
            assert (below[2:] <= page.image.size).all()
            assert (page.blocks[:-1, 3] <= below[1] + 1).all()
    assert sum(last[0.0]) <= 2
    assert sum(last[1.0]) >= 15


def test_a_page_without_room_for_a_line_of_its_face_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    ordinary = fonts.typeface

    def towering(face: fonts.Face, size: int) -> fonts.Typeface:
        typeface = fonts.Typeface(ordinary(face, size).font)
        typeface.ascent = 1000
        return typeface

    monkeypatch.setattr(fonts, "typeface", towering)
    pages = [render_page(replace(MIXED, endings=0), seed) for seed in range(20)]
    empty = [page for page in pages if "image" not in page.grounded]
    assert len(empty) > 10
    for page in empty:
        assert (page.grounded, page.plain, len(page.blocks), len(page.glyphs)) == ("", "", 0, 0)
        assert not inked(page).any()


def test_boxes_are_those_of_the_answer() -> None:
    for seed in range(10):
        page = render_page(MIXED, seed)
        np.testing.assert_allclose(page.blocks, [box for _, box, _ in blocks(page)], atol=0.5)


def test_tables_are_rows_of_cells_and_stand_beside_other_columns() -> None:
    tables = pages_in_columns = 0
    for seed in range(40):
        page = render_page(MIXED, seed)
        found = blocks(page)
        for label, _, content in found:
            assert (label == "table") == content.startswith("<table>")
            if label != "table":
                continue
            tables += 1
            rows = re.fullmatch(r"<table>(.+)</table>", content)
            assert rows
            cells = [row.split("</td><td>") for row in re.findall(r"<tr><td>(.+?)</td></tr>", rows[1])]
            assert len({len(row) for row in cells}) == 1
            assert len(cells) >= 2
            assert "\n".join(map(" ".join, cells)) in page.plain
        boxes = np.array([box for _, box, _ in found])
        pages_in_columns += bool((boxes[:-1, 2] < boxes[1:, 0]).any())
        overlaps = [(np.minimum(a[2:], b[2:]) > np.maximum(a[:2], b[:2]) + 1.5).all() for a in boxes for b in boxes]
        assert sum(overlaps) == len(boxes)
    assert tables > 10
    assert pages_in_columns > 10


@pytest.mark.parametrize("style", [PLAIN, DENSE, MIXED])
def test_boxes_hold_all_the_ink_and_are_tight(style: PageStyle) -> None:
    for seed in range(25):
        page = render_page(style, seed)
        left_over = inked(page)
        for label, box, _ in blocks(page):
            x1, y1, x2, y2 = box + np.array([-1.5, -1.5, 1.5, 1.5])  # rounding to 999ths, and of boxes to pixels
            region = np.s_[max(0, int(y1)) : int(np.ceil(y2)), max(0, int(x1)) : int(np.ceil(x2))]
            rows, columns = np.nonzero(left_over[region])
            if label != "image":
                assert rows.min() <= 5
                assert columns.min() <= 5
                assert rows.max() >= left_over[region].shape[0] - 6
                assert columns.max() >= left_over[region].shape[1] - 6
            left_over[region] = False
        assert not left_over.any()


def test_every_glyph_box_holds_ink() -> None:
    for seed in range(25):
        page = render_page(replace(PLAIN, type_px=(24, 34)), seed)
        dark = inked(page)
        for code, x1, y1, x2, y2 in page.glyphs:
            box = dark[int(y1) : int(np.ceil(y2)), int(x1) : int(np.ceil(x2))]
            assert box.any(), (seed, chr(int(code)))


def test_skewed_places_follow_the_ink() -> None:
    """On a page that was only skewed, glyph boxes cover the ink and little else."""
    style, covered = PageStyle(degrade=1, strength=1.9, layout=0, lines=(3, 3)), []
    for seed in range(30):
        page = render_page(style, seed)
        grey = np.asarray(page.image.convert("L"), dtype=float)
        mask = np.zeros(grey.shape, dtype=bool)
        for _, x1, y1, x2, y2 in page.glyphs:
            mask[int(y1) : int(np.ceil(y2)), int(x1) : int(np.ceil(x2))] = True
        paper = np.median(grey[~mask])
        covered.append(np.abs(grey[mask] - paper).mean() / (np.abs(grey[~mask] - paper).mean() + 1))
    assert np.median(covered) > 4


def test_shapes_and_line_counts_vary_within_the_style() -> None:
    style = PageStyle(side=300, lines=(2, 5), type_px=(12, 20))
    pages = [render_page(style, seed) for seed in range(80)]
    sizes = np.array([page.image.size for page in pages])
    lines = [len(page.plain.replace("\n\n", "\n").split("\n")) for page in pages]
    assert sizes.max() == 300
    assert sizes.min() >= 0.4 * 300 - 1
    assert (sizes.max(axis=1) >= 299).mean() > 0.5
    assert (sizes.max(axis=1) < 280).any()
    assert set(lines) - {1} == {2, 3, 4, 5}
    assert lines.count(1) <= 2  # fewer than asked only when a wide face leaves no room


@pytest.mark.parametrize(
    ("field", "value"), [("lines", (0, 2)), ("lines", (3, 2)), ("type_px", (2, 9)), ("type_px", (18, 90))]
)
def test_impossible_styles_are_refused(field: str, value: tuple[int, int]) -> None:
    with pytest.raises(InputError, match=field):
        PageStyle(**{field: value})


def test_preview_is_a_picture(tmp_path: Path) -> None:
    small, large = (PageStyle(side=side, type_px=(10, 20)) for side in (200, 300))
    recipe = ReaderRecipe(stages=(Stage(1, 192, 1, small), Stage(1, 192, 1, large)), vary=True)
    path = save_preview(tmp_path, recipe, count=4, seed=1)
    with Image.open(path) as sheet:
        assert sheet.width > 3 * 400
        assert len(np.unique(np.asarray(sheet))) > 20
