"""What a text itself says against being trusted."""

from __future__ import annotations

import pytest

from folioscope.read.doubts import breaks_off, doubts_of, is_nonsense
from folioscope.types import TrustOptions

TRUST = TrustOptions(min_confidence=0.5, min_coverage=0.5)


@pytest.mark.parametrize(
    "text",
    [
        "g\ng\np\npe s\ng 3 g\n5 g 5\nS g\ng g",
        "t h e y e a r i s o l d",
        "\ufffd\ufffd a \ufffd",
        "\x00\x01 word \x02",
    ],
)
def test_nonsense(text: str) -> None:
    assert is_nonsense(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "The garden in autumn",
        "<table><tr><td>a</td><td>b</td></tr></table> x y z",
        "1 2 3 4 5 6 7 8 9 10 11 12 13",
        "甲 乙 丙 丁 戊 己 庚 辛 壬 癸",
        "A. Smith, B. Jones and C. Brown met D. White, E. Green, F. Black, G. Grey and H. Young in the garden",
        "<|ref|>text<|/ref|><|det|>[[1, 2, 3, 4]]<|/det|>\nWe say so",
    ],
)
def test_sense(text: str) -> None:
    assert not is_nonsense(text)


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("<table><tr><td>1", True),
        ("<table></table><table>", True),
        ("a <|det|>[[1, 2", True),
        ("<|ref|>tab", True),
        ("<table><tr><td>1</td></tr></table>", False),
        ("</table>", False),
        ("<|ref|>text<|/ref|><|det|>[[1, 2, 3, 4]]<|/det|>\nwords", False),
    ],
)
def test_breaking_off(text: str, cut: bool) -> None:
    assert breaks_off(text) == cut


def test_doubts_in_order() -> None:
    assert doubts_of("words", "stop", 0.9, 0.9, TRUST) == ()
    assert doubts_of("words", "stop", None, None, TRUST) == ()
    assert doubts_of("words", "loop", 0.4, 0.1, TRUST) == ("loop", "nonsense", "coverage")
    assert doubts_of("words", "length", 0.9, 0.9, TRUST) == ("cut",)
    assert doubts_of(" \n", "stop", 0.1, 0.0, TRUST) == ("empty",)


def test_what_was_ended_on_request_is_not_doubted() -> None:
    assert doubts_of("", "cancelled", 0.1, 0.0, TRUST) == ()
    assert doubts_of("g g", "length", 0.1, 0.0, TRUST, limited=True) == ()
