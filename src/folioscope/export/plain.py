"""Markdown as the model writes it → the words that stand on the page."""

from __future__ import annotations

import re
from collections.abc import Iterator

from folioscope.export.tables import find_tables

_HEADING = re.compile(r"^ {0,3}#{1,6}[ \t]+", re.MULTILINE)
_EMPHASIS = re.compile(r"(\*\*|__|\*|(?<!\w)_)(?=\S)(.+?)(?<=\S)\1")
_LINK = re.compile(r"!?\[([^\]\n]*)\]\([^)\n]*\)")
_CODE = re.compile(r"`([^`\n]+)`")
_HTML_TAG = re.compile(r"</?(?:center|sup|sub|b|i|u|br|p|div|span|strong|em)\b[^<>]*>", re.IGNORECASE)
_MATH = re.compile(r"\\[()\[\]]")


def plain_lines(markdown: str) -> list[str]:
    """The lines of text, without marks and blank lines; a table gives a line a row, its cells two blanks apart."""
    return [line for piece in _without_tables(markdown) for line in _lines(piece)]


def plain(markdown: str) -> str:
    """The same as one text."""
    return "\n".join(plain_lines(markdown))


def _without_tables(markdown: str) -> Iterator[str]:
    end = 0
    for start, stop, table in find_tables(markdown):
        yield _without_marks(markdown[end:start])
        yield "\n".join("  ".join(filter(None, row)) for row in table.grid)
        end = stop
    yield _without_marks(markdown[end:])


def _without_marks(text: str) -> str:
    text = _LINK.sub(r"\1", _HTML_TAG.sub(" ", _HEADING.sub("", text)))
    return _MATH.sub("", _EMPHASIS.sub(r"\2", _CODE.sub(r"\1", text)))


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]
