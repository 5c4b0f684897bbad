"""Whether a reading of a page is to be trusted: what can be told from the answer, and from the page's ink."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from folioscope.types import Doubt, TrustOptions

GARBAGE = 0.1
"""Text with a larger share of characters that no page has (U+FFFD, controls, unassigned ones) is nonsense."""

LETTERS, LONE = 8, 0.5
"""Text with so many letters that stand alone is nonsense if they are a larger share of its words than this."""

_MARKUP = re.compile(r"<\|[^|]*\|>|<[^<>]*>|\[\[[\d\s,.\[\]]*\]\]")
_WORD = re.compile(r"[^\W\d_]+")
_TABLE = re.compile(r"<(/?)table\b", re.IGNORECASE)
_OPEN_MARK = re.compile(r"<\|(?:ref|det)\|>(?:(?!<\|/).)*\Z", re.DOTALL)
_CASED = ("Lu", "Ll")


def doubts_of(
    raw: str,
    finish: str,
    confidence: float | None,
    coverage: float | None,
    trust: TrustOptions,
    *,
    limited: bool = False,
) -> tuple[Doubt, ...]:
    """Why this answer is not trusted, the gravest first; empty if it is, or if the reading was ended on request.

    Args:
        raw: The model's text.
        finish: As `Generated.finish`.
        coverage: Share of the page's ink inside regions; None if that says nothing.
        limited: Whether a limit the caller asked for ended it.
    """
    if finish == "cancelled" or limited:
        return ()
    return tuple(_doubts(raw, finish, confidence, coverage, trust))


def _doubts(
    raw: str, finish: str, confidence: float | None, coverage: float | None, trust: TrustOptions
) -> Iterator[Doubt]:
    if finish == "loop":
        yield "loop"
    elif not raw.strip():
        yield "empty"
        return
    elif finish == "length" or breaks_off(raw):
        yield "cut"
    if (confidence is not None and confidence < trust.min_confidence) or is_nonsense(raw):
        yield "nonsense"
    if coverage is not None and coverage < trust.min_coverage:
        yield "coverage"


def breaks_off(raw: str) -> bool:
    """Whether the text ends inside a table or inside a mark."""
    depth = 0
    for found in _TABLE.finditer(raw):
        depth = max(0, depth + (-1 if found[1] else 1))
    return depth > 0 or _OPEN_MARK.search(raw) is not None


def is_nonsense(raw: str) -> bool:
    """Whether it is no text: characters that no page has, or letters that are mostly alone, in scripts with cases."""
    text = _MARKUP.sub(" ", raw)
    characters = [character for character in text if not character.isspace()]
    if sum(map(_is_garbage, characters)) > GARBAGE * len(characters):
        return True
    words = [word for word in _WORD.findall(text) if unicodedata.category(word[0]) in _CASED]
    alone = sum(len(word) == 1 for word in words)
    return alone >= LETTERS and alone > LONE * len(words)


def _is_garbage(character: str) -> bool:
    return character == "\ufffd" or unicodedata.category(character) in ("Cc", "Cn", "Co", "Cs")
