"""Facts of text and of pages: each rule of the benchmark, by hand."""

from __future__ import annotations

from typing import Any

import pytest

from folioscope.evaluate.facts import fact_of
from folioscope.evaluate.facts.fact import alike
from folioscope.types import InputError


def fact(kind: str, **more: Any) -> Any:
    return fact_of({"pdf": "a/x.pdf", "page": 1, "id": "1", "type": kind, **more}, "f.jsonl, line 7")


def holds(page: str, kind: str, **more: Any) -> bool:
    return fact(kind, **more).failure(page) is None


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("**bold** and __bold__, *it* and _it_, <b>b</b><i>i</i>", "bold and bold, it and it, bi"),
        ("two\n\nlines<br>and<br/>breaks", "two lines and breaks"),
        ("“quoted” ‘so’ „so‚", "\"quoted\" 'so' \"so'"),
        ("1–2 — 3‑4‒5−6", "1-2 - 3-4-5-6"),
        ("cafe\u0301 \u00b5", "café \u03bc"),
        ("*star\nnext* line", "*star next* line"),
    ],
)
def test_texts_are_made_alike(text: str, made: str) -> None:
    assert alike(text) == made


def test_present() -> None:
    page = "# Notes\n\nThe **first** frost came early\nthis year."
    assert holds(page, "present", text="The first frost came early this year")
    assert not holds(page, "present", text="the first frost")
    assert holds(page, "present", text="the first frost", case_sensitive=False)
    assert not holds(page, "present", text="The frst frost")
    assert holds(page, "present", text="The frst frost", max_diffs=1)
    assert holds(page, "present", text="Notes", first_n=8)
    assert not holds(page, "present", text="year", first_n=8)
    assert holds(page, "present", text="year", last_n=6)
    assert holds(page, "present", text="Notes", first_n=8, last_n=6)
    assert not holds(page, "present", text="frost", first_n=8, last_n=6)


def test_a_short_page_does_not_hold_a_long_text() -> None:
    assert not holds(" ", "present", text="a long phrase")
    assert not holds("", "present", text="a long phrase")
    assert holds(" ", "absent", text="a long phrase")


def test_absent() -> None:
    page = "Page 12\nThe text"
    assert not holds(page, "absent", text="Page 12")
    assert holds(page, "absent", text="Page 13")
    assert not holds(page, "absent", text="Page 13", max_diffs=2)
    assert holds(page, "absent", text="Page 12", last_n=8)


def test_order() -> None:
    page = "one two three one"
    assert holds(page, "order", before="one", after="two")
    assert holds(page, "order", before="two", after="one")  # one of them comes after
    assert not holds(page, "order", before="three", after="two")
    assert not holds(page, "order", before="four", after="two")
    assert holds(page, "order", before="twa", after="three", max_diffs=1)
    assert fact("order", before="four", after="two").failure(page) == '"four" is not there'


def test_baseline() -> None:
    assert holds("Some text", "baseline")
    assert not holds(" \n--- !", "baseline")
    assert holds("x" + "ab" * 30, "baseline")
    assert not holds("x" + "ab" * 31, "baseline")
    assert holds("x" + "ab" * 31, "baseline", max_repeats=31)
    assert holds("x" + "abcdef" * 99, "baseline")  # pieces of up to five letters are looked for
    assert not holds("text 漢", "baseline")
    assert holds("text 漢", "baseline", check_disallowed_characters=False)
    assert not holds("text 😀", "baseline")


def test_a_blank_page() -> None:
    assert holds("--- ab", "baseline", max_length=2)
    assert not holds("--- abc", "baseline", max_length=2)
    assert not holds("![a picture](x.png)", "baseline", max_length=2)
    assert holds("![a picture](x.png)", "baseline", max_length=2, max_length_skips_image_alt_tags=True)


def test_math() -> None:
    page = r"We have \(3x^2 + 1\), $$\int_a^b 3x^{2} dx$$ and $y$."
    assert holds(page, "math", math="3x^2 + 1")
    assert holds(page, "math", math=r"3 x^{2}\,dx")  # within a formula
    assert holds(page, "math", math="y")
    assert not holds(page, "math", math="z")
    assert not holds(page, "math", math="3x^3")
    assert holds(page, "math", math="3x^2", ignore_dollar_delimited=True)
    assert not holds(page, "math", math="y", ignore_dollar_delimited=True)
    assert not holds("x = 1", "math", math="x = 1")  # not between marks of formulas


def test_format() -> None:
    page = "# A *fine* title\n\nSome **bold\nwords**, *slanted* ones, <em>these</em> and __those__.\n<H2>Second</H2>"
    for text, kind in (
        ("A fine title", "heading"),
        ("Second", "heading"),
        ("bold words", "bold"),
        ("those", "bold"),
        ("slanted", "italic"),
        ("these", "italic"),
    ):
        assert holds(page, "format", text=text, format=kind)
    for text, kind in (("bold words", "heading"), ("bold words", "italic"), ("slanted", "bold"), ("Some", "bold")):
        assert not holds(page, "format", text=text, format=kind)
    assert not holds(page, "format", text="second", format="heading")
    assert holds(page, "format", text="second", format="heading", case_sensitive=False)
    assert not holds(page, "format", text="A fine tittle", format="heading")
    assert holds(page, "format", text="A fine tittle", format="heading", max_diffs=2)


def test_footnote() -> None:
    page = "The first claim.[^1] Another claim.<sup>2</sup> And a third.³⁴ The rest.\n\n[^1]: Source of the first."
    for marker in ("1", "2", "34"):
        assert holds(page, "footnote", marker=marker)
    assert not holds(page, "footnote", marker="5")
    assert not holds("[^4]: Its text alone.", "footnote", marker="4")
    assert holds(page, "footnote", marker="2", appears_before_marker="Another claim.")
    assert holds(page, "footnote", marker="1", appears_before_marker="first claim", appears_after_marker="Another")
    assert not holds(page, "footnote", marker="34", appears_after_marker="And a third")
    assert not holds(page, "footnote", marker="2", appears_before_marker="third")
    assert not holds(page, "footnote", marker="2", appears_before_marker="Another clam!")
    assert holds(page, "footnote", marker="2", appears_before_marker="Another clam!", max_diffs=2)


WRONG = [
    ({"type": "exists"}, "type 'exists'; known are present, absent"),
    ({"type": "footnote", "marker": "1 a"}, "marker must be one word"),
    ({"type": "footnote", "marker": "1", "appears_after_marker": " "}, "appears_after_marker is empty"),
    ({"type": "format", "text": "a", "format": "red"}, "format must be of heading, bold, italic"),
    ({"type": "format", "text": "", "format": "bold"}, "text is empty"),
    ({"type": "present"}, "has no text"),
    ({"type": ["present"]}, "type ['present']; known are"),
    ({"type": "present", "text": " ** "}, "text is empty"),
    ({"type": "present", "text": 3}, "text is 3"),
    ({"type": "present", "text": "a", "max_diffs": -1}, "max_diffs must be 0 or more"),
    ({"type": "present", "text": "a", "max_diff": 1}, "max_diff is no field of present; fields are pdf, page, id"),
    ({"type": "present", "text": "a", "page": "1"}, "page is '1'"),
    ({"type": "present", "text": "a", "pdf": ""}, "pdf is empty"),
    ({"type": "order", "before": "ab", "after": "cdef", "max_diffs": 2}, "max_diffs is more than half of the text"),
    ({"type": "math", "math": " "}, "math is empty"),
    ({"type": "table"}, "has no cell"),
]


@pytest.mark.parametrize(("values", "message"), WRONG)
def test_what_is_no_fact_is_said_with_its_line(values: dict[str, Any], message: str) -> None:
    values = {"pdf": "a.pdf", "page": 1, "id": "1", **values}
    with pytest.raises(InputError) as raised:
        fact_of(values, "f.jsonl, line 7")
    assert str(raised.value).startswith(f"f.jsonl, line 7: {message}")


def test_what_is_null_is_the_default() -> None:
    assert fact("present", text="a", first_n=None, max_diffs=None, url=None, checked="verified").max_diffs == 0
