"""What a PDF's content decides: the resolution it is drawn in, its own text, and how many pages are believed."""

from __future__ import annotations

import io
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from folioscope.pages import UnreadablePage, open_pages, page_numbers
from folioscope.pages import pdf as pdf_pages
from folioscope.types import InputError, Page
from test_pages import only
from test_pages_pdf import BLANK, drawn, many, pdf

FONT = "/Resources<</Font<</F<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>>>>>"


def words(size: float, *lines: str, box: str = "0 0 300 200", more: str = "") -> bytes:
    """A page of text in that size, its lines from (20, 150) down."""
    shown = " ".join(f"({line}) Tj 0 -{1.2 * size} Td" for line in lines)
    return pdf(*drawn(box, f"BT /F {size} Tf 20 150 Td {shown} ET", FONT + more))


def scan(dpi: int, inches: float = 2.0) -> bytes:
    stream = io.BytesIO()
    side = round(dpi * inches)
    Image.effect_noise((side, side), 40).convert("RGB").save(stream, "PDF", resolution=dpi)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "dpi"),
    [
        (words(12, "The garden in autumn"), 144),
        (words(5, "The garden in autumn 2019"), 250),
        (words(1, "The garden in autumn 2019"), 300),
        (words(12, *["The garden in autumn"] * 3, "1"), 144),
        (scan(100), 144),
        (scan(180), 180),
        (scan(400), 200),
        (pdf(BLANK), 144),
    ],
    ids=["usual", "small", "tiny", "a digit", "coarse scan", "scan", "fine scan", "blank"],
)
def test_the_resolution_suits_the_content(content: bytes, dpi: int) -> None:
    page = only(content)
    assert page.points is not None
    assert page.image.width * 72 / page.points[0] == pytest.approx(dpi, rel=0.1)
    assert only(content, dpi=72).image.width == pytest.approx(page.points[0], abs=1)


def test_huge_pages_are_bounded_unless_a_resolution_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pdf_pages, "AUTO_PIXELS", 10_000)
    huge = pdf("<</Type/Page/Parent 2 0 R/MediaBox[0 0 400 400]>>")
    assert only(huge).image.size == (99, 99)
    assert only(huge, dpi=144).image.size == (800, 800)


def test_the_text_layer_has_paragraphs_lines_and_places() -> None:
    page = only(words(10, "Paid in full", "on Monday"), dpi=72)
    assert page.text_layer is not None
    (region,) = page.text_layer()
    assert (region.label, region.text) == ("text", "Paid in full\non Monday")
    assert [line.text for line in region.lines] == ["Paid in full", "on Monday"]
    assert region.lines[0].box == pytest.approx((20, 43, 65, 51), abs=3)
    assert region.box is not None
    assert region.box[3] == pytest.approx(64, abs=3)


@pytest.mark.parametrize(
    ("more", "place"),
    [
        ("/Rotate 90", (150, 20, 158, 65)),
        ("/Rotate 180", (235, 150, 280, 158)),
        ("/CropBox[10 20 210 190]", (10, 33, 55, 41)),
    ],
)
def test_the_text_layer_follows_rotation_and_crop(more: str, place: tuple[int, ...]) -> None:
    page = only(words(10, "Paid in full", more=more), dpi=72)
    assert page.text_layer is not None
    (region,) = page.text_layer()
    assert region.box == pytest.approx(place, abs=4)


def test_far_lines_are_paragraphs_of_their_own_and_pictures_have_no_text() -> None:
    content = "BT /F 10 Tf 20 150 Td (Above) Tj 0 -60 Td (Below) Tj ET"
    page = only(pdf(*drawn("0 0 300 200", content, FONT)))
    assert page.text_layer is not None
    assert [region.text for region in page.text_layer()] == ["Above", "Below"]
    assert only(Image.new("RGB", (9, 9))).text_layer is None
    blank = only(pdf(BLANK))
    assert blank.text_layer is not None
    assert blank.text_layer() == ()


def test_a_page_is_drawn_again_from_its_source(tmp_path: Path) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes(many(3))
    stack = tmp_path / "a.tif"
    frames = [Image.new("RGB", (9, 9), colour) for colour in ("red", "blue")]
    frames[0].save(stack, save_all=True, append_images=frames[1:])
    for source in (path, path.read_bytes(), stack):
        for page in open_pages(source):
            assert isinstance(page, Page)
            assert page.again is not None
            assert page.again().tobytes() == page.image.tobytes()
            again = pickle.loads(pickle.dumps(replace(page, image=frames[0]))).again  # noqa: S301
            assert again().size == page.image.size
    assert only(frames[0]).again is None


def test_a_source_that_has_changed_is_not_passed_off_as_the_page(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (9, 9)).save(path)
    page = only(path)
    assert page.again is not None
    Image.new("RGB", (8, 9)).save(path)
    with pytest.raises(InputError, match="page 1 has changed since it was read"):
        page.again()
    path.unlink()
    with pytest.raises(InputError, match="No such file"):
        only(many(1)) and page.again()


def test_a_vast_count_costs_one_line() -> None:
    liar = pdf(BLANK, BLANK, kids="3 0 R 4 0 R", count=500_000)
    found = list(open_pages(liar, dpi=72))
    assert [type(page) for page in found] == [Page, Page, UnreadablePage]
    assert isinstance(found[2], UnreadablePage)
    claim = "bytes: this page and the 499,997 after it are not there: the PDF claims more pages than it has"
    assert (found[2].number, found[2].error) == (3, claim)
    assert list(page_numbers(liar)) == [1, 2, 3]
