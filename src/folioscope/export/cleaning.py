"""Clean-up of Markdown by rules: words broken at line ends, and list items that run together. What is in doubt stays.

Code, tables and formulas are left alone. A word is mended by what the document itself says, in this order: the word
with its hyphen stands elsewhere in it (the hyphen stays, the line break goes); the word without stands elsewhere; else
both parts must look like a broken word's (letters, the second in lower case, each with a vowel) and not like two words
with a hyphen of their own.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator

_KEPT = re.compile(
    r"```.*?(?:```|\Z)|<table\b.*?(?:</table\s*>|\Z)|\\\[.*?(?:\\\]|\Z)|\$\$.*?(?:\$\$|\Z)|^[ \t]*\|[^\n]*$",
    re.DOTALL | re.IGNORECASE | re.MULTILINE,
)
_LETTERS = r"[^\W\d_]+"
_SOFT = "\u00ad\u00ac"
"""Hyphens that only ever stand at line ends: the soft hyphen, and the sign that old scans have for it."""
_BROKEN = re.compile(rf"(?<![^\W\d_])({_LETTERS})([-\u2010{_SOFT}])[ \t]*\n[ \t]*({_LETTERS})")
_LINE_END = re.compile(rf"(?<!\S)[\"'“‘«(*_]*({_LETTERS})([-\u2010{_SOFT}])[ \t]*\Z")
_LINE_START = re.compile(rf"[ \t]*({_LETTERS})([^\s\w-]*)(?:[ \t]+|\Z)")
_WORD = re.compile(rf"{_LETTERS}(?:-{_LETTERS})*")

_BEFORE = """all co cross decision eight ex fifty first five follow forty four full half hard high ill left long low mid
mother multi new nine ninety non old one open over part quasi real right second self semi seven seventy short single six
sixty small so soft state ten third thirty three time twenty two user vice well year"""
_AFTER = """and aware based bis by day dimensional et eyed free friendly in known law level like long looking made
making of off old oder or ou out party related sized specific style term the time to type und up wide year years"""
_FIRST_PARTS, _SECOND_PARTS = (frozenset(parts.split()) for parts in (_BEFORE, _AFTER))
"""Words that are joined by a hyphen of their own to what follows, and to what is before: in doubt, it stays."""

_BULLETS = "•◦▪‣●○∙"
_BULLETED = re.compile(rf"^([ \t]*)[{_BULLETS}][ \t]*(?=\S)")
_NEXT_BULLET = re.compile(rf"(?<![ \t])[ \t]*[{_BULLETS}][ \t]*(?=\S)")
_DASHED = re.compile(r"^[ \t]*[-*][ \t]+\S")
_NEXT_DASH = re.compile(r"(?<=[^\s\W])([.;:!?)]?)[-*][ \t]+(?=[^\W\d_a-z])")
_NUMBERED = re.compile(r"^([ \t]*)(\d{1,3})([.)])[ \t]+\S")


def clean(markdown: str, words: Collection[str] = ()) -> str:
    """The Markdown with list items in lines of their own, and broken words mended.

    Args:
        words: Those of the whole document, as `words_of` gives them.
    """
    parts, end = [], 0
    for kept in _KEPT.finditer(markdown):
        parts += [_clean(markdown[end : kept.start()], words), kept[0]]
        end = kept.end()
    return "".join([*parts, _clean(markdown[end:], words)])


def words_of(texts: Iterable[str]) -> frozenset[str]:
    """The words of a document in lower case, those with hyphens whole, those broken at line ends left out."""
    return frozenset(word.lower() for text in texts for word in _WORD.findall(_BROKEN.sub(" ", text)))


def _clean(text: str, words: Collection[str]) -> str:
    lines: list[str | None] = [item for line in text.split("\n") for item in _items(line)]
    for index in range(len(lines) - 1):
        lines[index : index + 2] = _mended(lines[index], lines[index + 1], words)
    return "\n".join(line for line in lines if line is not None)


# Broken words


def _mended(line: str | None, following: str | None, words: Collection[str]) -> tuple[str | None, str | None]:
    """Two lines, the word that is broken between them put together on the first; None for a line that is used up."""
    head = _LINE_END.search(line) if line else None
    tail = _LINE_START.match(following) if following else None
    hyphen = _hyphen(head[1], head[2], tail[1], words) if head and tail else None
    if not (line and following and head and tail) or hyphen is None:
        return line, following
    rest = following[tail.end() :]
    return f"{line[: head.end(1)]}{hyphen}{tail[1]}{tail[2]}", rest or None


def _hyphen(head: str, mark: str, tail: str, words: Collection[str]) -> str | None:
    """What stands between the parts of a word: nothing or a hyphen; None if there is no telling."""
    if mark in _SOFT:
        return ""
    if f"{head}-{tail}".lower() in words:
        return "-"
    if f"{head}{tail}".lower() in words:
        return ""
    two_words = head.lower() in words and tail in words
    return "" if _looks_broken(head, tail) and not two_words else None


def _looks_broken(head: str, tail: str) -> bool:
    lower = tail.islower() and head[1:].islower()
    own = head.lower() in _FIRST_PARTS or tail in _SECOND_PARTS
    return lower and len(tail) > 1 and not own and all(map(_may_be_syllables, (head, tail)))


def _may_be_syllables(part: str) -> bool:
    """Whether it has a vowel, as far as that can be told of its script."""
    letters = unicodedata.normalize("NFD", part.lower())
    return not letters.isascii() or any(vowel in letters for vowel in "aeiouy")


# List items


def _items(line: str) -> Iterator[str]:
    """The items that stand in one line, a line each; bullets that Markdown does not know become dashes."""
    if bulleted := _BULLETED.match(line):
        for item in _NEXT_BULLET.split(line[bulleted.end() :]):
            yield f"{bulleted[1]}- {item.rstrip()}"
    elif _DASHED.match(line):
        yield from _NEXT_DASH.sub(r"\1\n- ", line).split("\n")
    elif numbered := _NUMBERED.match(line):
        yield from _numbered_items(line, numbered[1], int(numbered[2]), numbered[3])
    else:
        yield line


def _numbered_items(line: str, indent: str, number: int, sign: str) -> Iterator[str]:
    """Cut before 2. and 3. if the line begins with 1.; a single one must come after the end of a sentence."""
    cuts = [0]
    while found := _next_number(line, cuts[-1] + len(indent) + 1, number + len(cuts), sign):
        cuts.append(found)
    if len(cuts) == 2 and line[: cuts[1]].rstrip()[-1] not in ".;:!?":
        cuts = [0]
    for start, end in zip(cuts, [*cuts[1:], len(line)], strict=True):
        yield f"{indent if start else ''}{line[start:end].rstrip() if end < len(line) else line[start:end]}"


def _next_number(line: str, start: int, number: int, sign: str) -> int | None:
    """Where the number stands that an item with a capital follows, or a letter that has no case."""
    found = re.compile(rf"(?<!\d)(?<!\d[.,]){number}{re.escape(sign)}[ \t]+(?=[^\W\d_])").search(line, start)
    return found.start() if found and not line[found.end()].islower() else None
