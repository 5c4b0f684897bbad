"""Type faces: which are found, how they are split, and that measured pens are where glyphs are drawn."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from folioscope.train import fonts

BUILT_IN = fonts.Face("", "Pillow", "Pillow")


@pytest.fixture
def no_system_fonts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(fonts, "font_folders", list)
    fonts.all_faces.cache_clear()
    fonts.designs.cache_clear()
    yield
    fonts.all_faces.cache_clear()
    fonts.designs.cache_clear()


def sample_faces() -> list[fonts.Face]:
    """One face a design, and the one that is always there."""
    found = [group[0] for split in ("train", "held_out") for group in fonts.designs(split)]
    return list(dict.fromkeys([BUILT_IN, *found]))


def test_designs_of_the_splits_are_disjoint_and_complete() -> None:
    train, held_out = fonts.designs("train"), fonts.designs("held_out")
    if len({face.design for face in fonts.all_faces()}) < 8:
        pytest.skip("too few fonts on this machine for a split")
    designs = [{face.design for group in groups for face in group} for groups in (train, held_out)]
    assert all(designs)
    assert not designs[0] & designs[1]
    assert sorted(f.name for g in train + held_out for f in g) == [f.name for f in fonts.all_faces()]


def test_what_else_is_installed_changes_no_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    faces = [fonts.Face("", design, f"{design} Regular") for design in ("eb", "lato", "roboto")]
    more = [fonts.Face("", design, f"{design} Regular") for design in ("aardvark", "noteworthy", "zilla")]
    measured = []
    for found in (faces, faces + more):
        monkeypatch.setattr(fonts, "all_faces", lambda found=found: tuple(found))
        fonts.designs.cache_clear()
        measured.append([fonts.designs(split) for split in ("held_out", "listed")])
        trained = {face.design for group in fonts.designs("train") for face in group}
        assert trained == {face.design for face in found} - {"eb"}
    fonts.designs.cache_clear()
    assert measured[0] == measured[1] == [((faces[0],),), ((faces[1],), (faces[2],))]


@pytest.mark.usefixtures("no_system_fonts")
def test_a_machine_without_fonts_uses_the_built_in_face() -> None:
    assert fonts.designs("train") == fonts.designs("held_out") == ((BUILT_IN,),)


def test_clones_share_a_design() -> None:
    designs = {name: fonts._design(name) for name in ("Arimo", "Liberation Sans", "Hack", "DejaVu Sans Mono", "Lato")}
    assert designs["Arimo"] == designs["Liberation Sans"] != designs["Lato"]
    assert designs["Hack"] == designs["DejaVu Sans Mono"]


@pytest.mark.parametrize(
    ("stem", "promising"),
    [
        ("NotoSans-Regular", True),
        ("NotoSerifDisplay-Bold", True),
        ("NotoSansThai-Regular", False),
        ("NotoColorEmoji", False),
        ("DejaVuMathTeXGyre", False),
        ("Lato-Hairline", False),
        ("Cantarell-Regular", True),
    ],
)
def test_files_are_filtered_by_name(stem: str, promising: bool) -> None:
    assert fonts._promises_text(stem) is promising


def test_alphabets_hold_what_can_be_drawn() -> None:
    alphabet = fonts.alphabet(BUILT_IN)
    assert alphabet.issuperset(fonts.ASCII + " ")
    font = fonts.typeface(BUILT_IN, 20).font
    assert fonts._drawable(font, "A\u4e00 z") == "Az"


def test_small_capitals_are_no_small_letters() -> None:
    font = fonts.typeface(BUILT_IN, 40).font
    assert fonts._has_small_letters(font)

    class SmallCapitals:
        def __getattr__(self, name: str) -> object:
            return getattr(font, name)

        def getmask2(self, text: str, *args: Any, **options: Any) -> object:
            return font.getmask2(text.upper(), *args, **options)

    assert not fonts._has_small_letters(cast(ImageFont.FreeTypeFont, SmallCapitals()))


def descent(face: fonts.Face, character: str) -> float:
    return fonts.typeface(face, 40).glyph(character)[4]


def with_and_without_old_figures() -> list[fonts.Face]:
    faces = sample_faces()
    return list(dict.fromkeys([*faces, *map(fonts.with_old_figures, faces)]))


def test_old_figures_go_down_where_a_face_has_them() -> None:
    lining = [face for group in fonts.designs("train") for face in group if descent(face, "9") < 3]
    changed = [face for face in lining if descent(fonts.with_old_figures(face), "9") > descent(face, "g") / 2]
    if not changed:
        pytest.skip("no type face on this machine has both kinds of figures, or Pillow no text shaping")
    assert all(descent(fonts.with_old_figures(face), "x") == descent(face, "x") for face in changed)
    assert fonts.with_old_figures(BUILT_IN) == BUILT_IN


@pytest.mark.parametrize("face", with_and_without_old_figures(), ids=lambda face: " ".join((face.name, *face.features)))
def test_pens_are_where_glyphs_are_drawn(face: fonts.Face) -> None:
    typeface, text = fonts.typeface(face, 19), "AVA To. Wyk, P.j 1179 LT f'q"
    pens = typeface.pens(text)
    canvas = Image.new("L", (600, 60), 255)
    drawing = ImageDraw.Draw(canvas)
    drawing.text((20, 40), text, fill=0, font=typeface.font, features=typeface.features, anchor="ls")
    drawn = np.flatnonzero((np.asarray(canvas) < 240).any(axis=0))
    measured = [(pen + typeface.glyph(c)[1], pen + typeface.glyph(c)[3]) for pen, c in zip(pens, text, strict=True)]
    assert abs(drawn[0] - (20 + measured[0][0])) <= 2
    assert abs(drawn[-1] - (20 + measured[-1][1])) <= 3
    length = partial(typeface.font.getlength, features=typeface.features)
    assert typeface.width(text) == pytest.approx(length(text), abs=0.1)
    exact = [length(text[: i + 1]) - typeface.glyph(c)[0] for i, c in enumerate(text)]
    np.testing.assert_allclose(pens, exact, atol=0.1)
