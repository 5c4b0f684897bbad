"""Facts of marks: a text is a heading, bold or italic; a footnote's mark stands in its place."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from folioscope.evaluate.facts.fact import Fact, alike, shown

_TAGS = re.IGNORECASE | re.DOTALL
FORMATS: Mapping[str, Sequence[re.Pattern[str]]] = {
    "heading": (re.compile(r"^#{1,6}\s+(.+?)$", re.MULTILINE), re.compile(r"<h[1-6][^>]*>(.*?)</h[1-6]>", _TAGS)),
    "bold": (
        re.compile(r"\*\*(.*?)\*\*", re.DOTALL),
        re.compile(r"__(.*?)__", re.DOTALL),
        re.compile(r"<b[^>]*>(.*?)</b>", _TAGS),
        re.compile(r"<strong[^>]*>(.*?)</strong>", _TAGS),
    ),
    "italic": (
        re.compile(r"(?<!\*)\*(?!\*)(.*?)(?<!\*)\*(?!\*)", re.DOTALL),
        re.compile(r"(?<!_)_(?!_)(.*?)(?<!_)_(?!_)", re.DOTALL),
        re.compile(r"<i[^>]*>(.*?)</i>", _TAGS),
        re.compile(r"<em[^>]*>(.*?)</em>", _TAGS),
    ),
}
"""What finds the texts of each format."""

NEAR = 200
"""Characters on each side of a footnote's mark in which its neighbours are looked for."""

_RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True, kw_only=True)
class Format(Fact):
    """A text is in a heading, or in bold or italics.

    Attributes:
        text: The text, compared by rapidfuzz's `partial_ratio` with each that has the format.
        format: heading, bold or italic.
    """

    text: str
    format: str
    case_sensitive: bool = True

    def invalid(self) -> str | None:
        if not alike(self.text).strip():
            return "text is empty"
        return super().invalid() if self.format in FORMATS else f"format must be of {', '.join(FORMATS)}"

    def failure(self, text: str) -> str | None:
        found = [alike(match[1]) for pattern in FORMATS[self.format] for match in pattern.finditer(text)]
        wanted = alike(self.text)
        if not self.case_sensitive:
            wanted, found = wanted.lower(), [piece.lower() for piece in found]
        if any(_ratio(wanted, piece) >= self.allowed(wanted) for piece in found):
            return None
        return f"{shown(self.text)} is not {self.format}"


@dataclass(frozen=True, kw_only=True)
class Footnote(Fact):
    """A footnote's mark is on the page, as [^1], in <sup>, or in raised digits.

    Attributes:
        marker: The mark itself.
        appears_before_marker, appears_after_marker: What stands just before one of them, and just after one; letters
            and digits alone are compared.
    """

    marker: str
    appears_before_marker: str | None = None
    appears_after_marker: str | None = None

    def invalid(self) -> str | None:
        if not self.marker or " " in self.marker:
            return "marker must be one word"
        for name in ("appears_before_marker", "appears_after_marker"):
            given = getattr(self, name)
            if given and not alike(given).strip():
                return f"{name} is empty"
        return super().invalid()

    def failure(self, text: str) -> str | None:
        places = list(self._places(text))
        if not places:
            return f"no mark {shown(self.marker)}"
        before, after = self.appears_before_marker, self.appears_after_marker
        if before and not any(self._ends(before, text[max(0, start - NEAR) : start]) for start, _ in places):
            return f"{shown(before)} is not before a mark {shown(self.marker)}"
        if after and not any(self._begins(after, text[end : end + NEAR]) for _, end in places):
            return f"{shown(after)} is not after a mark {shown(self.marker)}"
        return None

    def _places(self, text: str) -> Iterator[tuple[int, int]]:
        mark = re.escape(self.marker)
        patterns = [rf"\[\^{mark}\](?!:)", rf"(?i:<sup[^>]*>{mark}</sup>)"]
        patterns += [self.marker.translate(_RAISED)] if re.fullmatch("[0-9]+", self.marker) else []
        for pattern in patterns:
            yield from (match.span() for match in re.finditer(pattern, text))

    def _ends(self, wanted: str, text: str) -> bool:
        return self._in(wanted, _letters(text)[-2 * len(_letters(wanted)) :])

    def _begins(self, wanted: str, text: str) -> bool:
        return self._in(wanted, _letters(text)[: 2 * len(_letters(wanted))])

    def _in(self, wanted: str, letters: str) -> bool:
        return bool(letters) and _ratio(_letters(wanted), letters) >= self.allowed(alike(wanted))


def _ratio(wanted: str, text: str) -> float:
    from rapidfuzz.fuzz import partial_ratio

    return partial_ratio(wanted, text) / 100


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, alike(text))).lower()
