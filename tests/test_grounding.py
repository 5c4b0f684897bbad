"""Grounded text: nothing lost, boxes on the page, in linear time."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from folioscope.grounding import parse, tidy
from folioscope.types import Box, Line, Region

THOUSAND = (999, 999)
"""A page on which a box is its own numbers."""


def block(label: str, box: tuple[int, int, int, int], content: str = "") -> str:
    return f"<|ref|>{label}<|/ref|><|det|>[{list(box)}]<|/det|>\n{content}"


def found(raw: str, **options: bool | None) -> list[tuple[str, int, str]]:
    """(label, how many boxes, text) of each region."""
    regions = parse(raw, THOUSAND, **options).regions
    return [(region.label, len(region.boxes), region.text) for region in regions]


def boxes(payload: str, size: tuple[int, int] = THOUSAND) -> tuple[Box, ...]:
    return tuple(box for region in parse(f"<|det|>{payload}<|/det|>x", size).regions for box in region.boxes)


@pytest.fixture
def real(shared: Callable[..., Path]) -> str:
    return shared("data", "real_output", "tables_page.md").read_text(encoding="utf-8")


def test_a_real_page(real: str) -> None:
    grounded = parse(real, (1700, 2200), points=(612, 792))
    labels = [region.label for region in grounded.regions]
    assert labels == ["text", "sub_title", "text", "table_caption", "table", "sub_title", "text", "text"]
    unboxed, heading, *_, caption, table, _, _, _ = grounded.regions
    assert unboxed.boxes == ()
    assert unboxed.text.startswith("order to compute")
    assert heading.text == "### 5.1 Hyper Parameter Optimization"
    assert heading.box == pytest.approx((217 / 999 * 1700, 209 / 999 * 2200, 520 / 999 * 1700, 225 / 999 * 2200))
    assert heading.boxes_points[0] == pytest.approx(
        (217 / 999 * 612, 209 / 999 * 792, 520 / 999 * 612, 225 / 999 * 792)
    )
    assert caption.text.startswith("Table 1. HPO performed")
    assert caption.text.endswith("the HTML counterpart.")
    assert table.text.startswith("<table><tr><th rowspan")
    assert table.text.endswith("</table>")


def test_the_markdown_of_a_real_page_is_its_blocks(real: str) -> None:
    grounded = parse(real, (1700, 2200))
    assert grounded.markdown == "\n\n".join(region.text for region in grounded.regions)


@pytest.mark.parametrize("words_in_refs", [None, False])
def test_a_page_cut_anywhere_is_the_beginning_of_the_page(real: str, words_in_refs: bool | None) -> None:
    whole = parse(real, THOUSAND).markdown
    sentence = "We have chosen the PubTabNet data set to perform HPO"
    ends = [end for end in range(0, len(real) + 1, 7) if not real[:end].endswith("<")]
    for end in ends:
        shown = parse(real[:end], THOUSAND, words_in_refs=words_in_refs).markdown
        text, _, last = shown.rpartition("\n")
        of_a_label = any(label.startswith(last) for label in ("sub_title", "text", "table_caption"))
        assert whole.startswith(text if of_a_label else shown)
        assert (sentence in shown) == (sentence in real[:end])


def test_published_layout() -> None:
    raw = (
        block("title", (100, 50, 900, 120), "# A title\n\n")
        + block("text", (100, 150, 900, 400), "With \\coloneqq and\t \n\\eqqcolon.  \n\n\n\n")
        + block("image", (333, 333, 500, 500))
        + block("image_caption", (333, 510, 500, 540), "<center>Figure 1</center>\n\n")
        + "<|ref|>image<|/ref|><|det|>[[500, 500, 700, 700], [0, 0, 10, 10]]<|/det|>\n"
        + block("table", (0, 700, 999, 999), "<table><tr><td>1</td></tr></table>\n\n\n\nend")
    )
    grounded = parse(raw, THOUSAND)
    assert grounded.markdown.split("\n\n") == [
        "# A title",
        "With := and\n=:.",
        "![](images/0.jpg)",
        "<center>Figure 1</center>",
        "![](images/1.jpg)\n![](images/2.jpg)",
        "<table><tr><td>1</td></tr></table>",
        "end",
    ]
    assert [(region.label, region.figure) for region in grounded.regions] == [
        ("title", None),
        ("text", None),
        ("image", 0),
        ("image_caption", None),
        ("image", 1),
        ("table", None),
        ("text", None),
    ]


@pytest.mark.parametrize(
    ("content", "regions"),
    [
        ("Words\n\n<table>1</table>", [("table_caption", 1, "Words"), ("table", 1, "<table>1</table>")]),
        ("<table>1</table>\n\nWords", [("table", 1, "<table>1</table>"), ("table_caption", 1, "Words")]),
        ("Words\n\n<table><tr><td>cut", [("table_caption", 1, "Words"), ("table", 1, "<table><tr><td>cut")]),
        (
            "<table>1<table>2</table></table>",
            [("table_caption", 1, ""), ("table", 1, "<table>1<table>2</table></table>")],
        ),
        ("Words alone", [("table", 1, ""), ("table_caption", 1, "Words alone")]),
        (
            "A\n<table>1</table>\nB\n<table>2</table>",
            [
                ("table_caption", 1, "A"),
                ("table", 1, "<table>1</table>"),
                ("text", 0, "B"),
                ("table", 0, "<table>2</table>"),
            ],
        ),
    ],
)
@pytest.mark.parametrize("order", [("table", "table_caption"), ("table_caption", "table")])
def test_each_table_gets_its_caption(order: tuple[str, str], content: str, regions: list[tuple[str, int, str]]) -> None:
    refs = "".join(block(label, (1, 2, 3, 4)) for label in order)
    assert found(refs + content) == regions


def test_two_tables_in_a_row_take_theirs_in_order() -> None:
    refs = block("table", (0, 0, 9, 9)) + block("table", (0, 9, 9, 19)) + block("table_caption", (0, 19, 9, 29))
    assert found(refs + "<table>1</table>\n<table>2</table>\nBoth") == [
        ("table", 1, "<table>1</table>"),
        ("table", 1, "<table>2</table>"),
        ("table_caption", 1, "Both"),
    ]


def test_words_in_refs_stay() -> None:
    raw = "The <|ref|>black cat<|/ref|><|det|>[[1, 2, 30, 40]]<|/det|>, is here"
    for words in (None, True, False):  # no label is a phrase
        assert parse(raw, THOUSAND, words_in_refs=words).markdown == "The black cat, is here"
        assert found(raw, words_in_refs=words) == [
            ("text", 0, "The"),
            ("black cat", 1, "black cat"),
            ("text", 0, ", is here"),
        ]


def test_who_knows_the_prompt_decides_what_a_ref_holds() -> None:
    raw = "<|ref|>table<|/ref|><|det|>[[1, 2, 3, 4]]<|/det|>\n<|ref|>Seal<|/ref|><|det|>[[5, 6, 7, 8]]<|/det|> by"
    assert parse(raw, THOUSAND, words_in_refs=True).markdown == "table\nSeal by"
    assert parse(raw, THOUSAND, words_in_refs=False).markdown == "by"
    assert parse(raw.replace("Seal", "Total"), THOUSAND).markdown == "Total by"
    assert found(raw, words_in_refs=True)[:2] == [("table", 1, "table"), ("Seal", 1, "Seal")]
    image = block("image", (1, 2, 3, 4))
    line = Line("image", box=(1, 2, 3, 4))
    assert parse(image, THOUSAND, words_in_refs=True).regions == (
        Region("image", ((1, 2, 3, 4),), "image", lines=(line,)),
    )


def test_words_do_not_run_together() -> None:
    det = "<|det|>[[1, 2, 3, 4]]<|/det|>"
    raw = f"<|ref|>one<|/ref|>{det}<|ref|>two.<|/ref|>{det}three<|/det|>four"
    assert parse(raw, THOUSAND).markdown == "one two. three four"


@pytest.mark.parametrize(
    ("raw", "regions"),
    [
        ("", []),
        (" \n ", []),
        ("just text", [("text", 0, "just text")]),
        ("<|det|>[[1, 2, 3, 4]]<|/det|>\nno ref", [("text", 1, "no ref")]),
        ("<|ref|>text<|/ref|>\nno det", [("text", 0, "no det")]),
        ("<|ref|>Words<|/ref|> no det", [("text", 0, "Words no det")]),
        ("<|ref|>text<|/ref|><|det|>[[12, 3", []),
        ("<|ref|>text<|/ref|><|det|>[[1, 2, 3, 4], [12, 3", [("text", 1, "")]),
        ("<|ref|>text<|/ref|><|det|>[[12, 3 words", [("text", 0, "words")]),
        ("<|ref|>text<|/ref|><|det|>[[1, 2, 3, 4]]\n12 words", [("text", 1, "12 words")]),
        ("<|ref|>text<|/ref|><|det|>[[12, 3 words<|/det|>", [("text", 0, "words")]),
        ("<|ref|>text<|/ref|><|det|>words<|/det|>", [("text", 0, "words")]),
        ("<|ref|>text<|/ref|><|det|>[[1, oops, 3, 4]]<|/det|>words", [("text", 0, "words")]),
        ("<|ref|>text<|/ref|><|det|>[[1, 2, 3, 4]] words<|/det|>", [("text", 1, "words")]),
        ("<|ref|>text<|det|>[[1, 2, 3, 4]]<|/det|>words", [("text", 1, "words")]),
        ("<|ref|>a<|ref|>b<|/ref|><|/ref|>c<|/det|>", [("text", 0, "a b c")]),
        ("<|ref|><|/ref|><|det|>[[1, 2, 3, 4]]<|/det|>x", [("text", 1, "x")]),
        ("<|ref|>text<|/ref|><|det|>[[1, 2, 3, 4]]<|/det|><|det|>[[5, 6, 7, 8]]<|/det|>x", [("text", 2, "x")]),
        (block("image", (1, 2, 3, 4)) * 2 + "x", [("image", 1, ""), ("image", 1, "x")]),
        (block("text", (1, 2, 3, 4)) + block("image", (1, 2, 3, 4)) + "x", [("image", 1, ""), ("text", 1, "x")]),
        ("<|ref|>table", []),
        ("done <|/re", [("text", 0, "done")]),
        ("a <| b", [("text", 0, "a <| b")]),
    ],
)
def test_bad_markup_costs_a_box_at_most(raw: str, regions: list[tuple[str, int, str]]) -> None:
    assert found(raw) == regions


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        ("[[1, 2, 3, 4]]", ((1, 2, 3, 4),)),
        ("[[1,2,3,4],\n [5, 6, 7.5, 8]]", ((1, 2, 3, 4), (5, 6, 7.5, 8))),
        ("[1, 2, 3, 4]", ((1, 2, 3, 4),)),
        ("[[30, 40, 10, 20]]", ((10, 20, 30, 40),)),
        ("[[-5, -5, 2000, 500]]", ((0, 0, 999, 500),)),
        ("[[5, 5, 5, 9]]", ()),
        ("[[1000, 0, 1200, 9]]", ()),
        ("[[1, 2, 3]]", ()),
        ("[[1, 2, 3, 4, 5]]", ()),
        ("[[nan, 2, 3, inf]]", ()),
        ("[[1e2, 2, 3, 4]]", ()),
        ("[[" + "9" * 5000 + ", 2, 3, 4]]", ()),
        ("__import__('os')", ()),
    ],
)
def test_boxes(payload: str, expected: tuple[Box, ...]) -> None:
    assert boxes(payload) == tuple(pytest.approx(box) for box in expected)


def test_boxes_reach_the_edges_of_the_page() -> None:
    assert boxes("[[0, 0, 999, 999]]", (1654, 2339)) == ((0, 0, 1654, 2339),)


def test_confidence_is_asked_for_the_characters_of_each_region(real: str) -> None:
    asked: list[str] = []

    def confidence(start: int, end: int) -> float:
        asked.append(real[start:end])
        return 1 / len(asked)

    regions = parse(real, THOUSAND, confidence=confidence).regions
    of = [asked[round(1 / (region.confidence or 0)) - 1] for region in regions]
    for region, characters in zip(regions, of, strict=True):
        assert characters.endswith(region.text)
        lines = [asked[round(1 / (line.confidence or 0)) - 1] for line in region.lines]
        assert lines == [line.text for line in region.lines] == [line.strip() for line in region.text.split("\n")]
    assert of[2].startswith("<|ref|>text<|/ref|><|det|>[[217, 230, 785, 321]]<|/det|>\nWe have")
    assert of[3].startswith("<|ref|>table_caption<|/ref|>")
    assert of[4] == regions[4].text  # the caption stands between the table and its ref


def test_where_a_line_is_is_known_of_a_region_of_one() -> None:
    one, two = parse(block("title", (1, 2, 3, 4), "# A\n") + block("text", (5, 6, 7, 8), "B\n\n C"), THOUSAND).regions
    assert one.lines == (Line("# A", box=(1, 2, 3, 4)),)
    assert two.lines == (Line("B"), Line("C"))


FRAGMENTS = (
    *("<|ref|>", "<|/ref|>", "<|det|>", "<|/det|>", "<|ref|>", "<|/ref|><|det|>", "[[1, 2, 3, 4]]", "[[12, 3"),
    *("title", "table", "image", "\n", "\n\n", " ", "  \n", "<table>", "</table>", "<|", ", ", "<|ref|>text<|/ref|>"),
    *(block("image", (1, 2, 3, 4)), block("table", (5, 6, 7, 8)), block("table_caption", (5, 6, 7, 8))),
)


@pytest.mark.parametrize("words_in_refs", [None, True])
def test_no_text_loses_a_word(words_in_refs: bool | None) -> None:
    dice = random.Random(7)
    for _ in range(1500):
        parts = [dice.choice(FRAGMENTS) if dice.random() < 0.7 else f"W{n}w" for n in range(dice.randrange(1, 30))]
        raw = "".join(parts)
        grounded = parse(raw, THOUSAND, words_in_refs=words_in_refs)
        # a word would be markup within a det's brackets, but no fragment closes one alone
        words = [part for n, part in enumerate(parts) if part == f"W{n}w"]
        for word in words:
            assert word in grounded.markdown, raw
            assert any(word in region.text for region in grounded.regions), raw
        places = [grounded.markdown.index(word) for word in words]
        assert places == sorted(places), raw


HOSTILE = (
    *("<|ref|>", "<|det|>", "<|det|>[[", "<|ref|>a<|/ref|>", "<|/ref|><|det|>", "[[", " ", "\n", "<|", "<table", "1,"),
    *("<|ref|>table<|/ref|><table>", "<|ref|>a<|/ref|><|det|>[[1,2,3,4]]<|/det|>", "<|ref|>table<|/ref|><|det|>[["),
)


@pytest.mark.parametrize("unit", HOSTILE)
@pytest.mark.parametrize("before", ["", "<|ref|>table<|/ref|><|det|>[["])
def test_hostile_text_takes_linear_time(unit: str, before: str) -> None:
    raw = before + unit * (200_000 // len(unit))
    start = time.process_time()
    parse(raw, THOUSAND)
    assert time.process_time() - start < 3  # 0.4 s at most when written; quadratic time is minutes


def test_tidy() -> None:
    assert tidy("\n\n a \t\r\n\n\n \nb  \nc\\coloneqq\n\n") == "a\n\nb\nc:="
    start = time.process_time()
    tidy(" " * 200_000 + "x")
    assert time.process_time() - start < 1
