"""Broken words are mended where that is safe, and list items stand in lines of their own."""

from __future__ import annotations

import time

import pytest

from folioscope.export.cleaning import clean, words_of


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("an exam-\nple of it", "an example\nof it"),
        ("an exam-\nple", "an example"),
        ("an exam- \n  ple, and more", "an example,\nand more"),
        ('the "Gar-\nden" in', 'the "Garden"\nin'),
        ("Über-\nraschung und", "Überraschung\nund"),
        ("пере-\nнос слова", "перенос\nслова"),
        ("a soft\u00ad\nware, a hard¬\nware", "a software,\na hardware"),
        ("exam\u2010\nple", "example"),
    ],
)
def test_broken_words_are_mended(text: str, cleaned: str) -> None:
    assert clean(text) == cleaned


@pytest.mark.parametrize(
    "text",
    [
        "a well-\nknown fact",
        "self-\nevident",
        "the Anglo-\nSaxon",  # a capital follows
        "pages 3-\nfour",
        "from A-\nto",
        "mother-\nin-law",
        "state-of-the-\nart",
        "http://a.b/exam-\nple",
        "the term-\nbased one",
        "Haus-\nund Garten",
        "xyz-\nqrst",  # no word has such parts
        "a dash -\nand more",
        "an exam-\n\nple",  # another paragraph
        "exam-\n- ple",
        "exam-\n# ple",
        "two lines\nof text",
        "ends with-",
    ],
)
def test_what_is_in_doubt_stays(text: str) -> None:
    assert clean(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "```\nexam-\nple\n```",
        "<table><tr><td>exam-\nple</td></tr></table>",
        "| exam-\n| ple |",
        "\\[exam-\nple\\]",
        "$$exam-\nple$$",
        "```\n• a • b",
    ],
)
def test_code_tables_and_formulas_stay(text: str) -> None:
    assert clean(text) == text


def test_the_document_says_how_a_word_is_written() -> None:
    def after(text: str, elsewhere: str) -> str:
        return clean(text, words_of([text, elsewhere]))

    assert after("a data-\nbase here", "the data-base") == "a data-base\nhere"
    assert after("a data-\nbase here", "the database") == "a database\nhere"
    assert after("well-\nknown to", "It is well-known.") == "well-known\nto"
    assert after("data-\nbase", "data on a base") == "data-\nbase"
    assert after("data-\nbase", "data on top") == "database"


def test_a_words_own_parts_are_no_witness() -> None:
    assert words_of(["an exam-\nple of well-known words"]) == {"an", "of", "well-known", "words"}


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("- A user gets spam- Then, a call- The end", "- A user gets spam\n- Then, a call\n- The end"),
        ("- done.- Next", "- done.\n- Next"),
        ("• flour • sugar•salt", "- flour\n- sugar\n- salt"),
        ("  • flour\n  • sugar", "  - flour\n  - sugar"),
        ("1. Wash 2. Dry 3. Fold", "1. Wash\n2. Dry\n3. Fold"),
        ("1) Wash.2) Dry", "1) Wash.\n2) Dry"),
        ("  9. Wash; 10. Dry", "  9. Wash;\n  10. Dry"),
        ("1. 洗う 2. 干す 3. たたむ", "1. 洗う\n2. 干す\n3. たたむ"),
    ],
)  # fmt: skip
def test_items_get_lines_of_their_own(text: str, cleaned: str) -> None:
    assert clean(text) == cleaned
    assert clean(cleaned) == cleaned


@pytest.mark.parametrize(
    "text",
    [
        "- pre- and post-war",
        "- Paris - Capital of France",
        "- well-known - A. B.",
        "Ingredients: • flour • sugar",  # no list begins here
        "1. See 2. and 3. for more",
        "1. Go to step 2. Then come back",
        "1. In 2. Samuel",
        "3.14 4. Pi",
        "1. One 3. Three",
        "**bold** text",
    ],
)
def test_what_only_looks_like_items_stays(text: str) -> None:
    assert clean(text) == text


@pytest.mark.parametrize(
    "piece", ["字", "a-", "• ", "•" + " " * 50, "- A", "1. A ", "a-\nb\n", "| a\n", "\\[", "<table>", "```"]
)
def test_time_grows_with_the_length_alone(piece: str) -> None:
    text = piece * (40_000 // len(piece))
    start = time.process_time()
    clean(text, words_of([text]))
    assert time.process_time() - start < 2


def test_clean_text_stays_as_it_is() -> None:
    text = "# Title\n\n- a\n- b\n\n1. x\n2. y\n\n![](images/0.jpg)\n\nplain text\nin two lines"
    assert clean(text, words_of([text])) == text
