"""What every fact has, and how texts are made alike before they are compared."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

_PLAIN = str.maketrans(
    {**dict.fromkeys("‘’‚", "'"), **dict.fromkeys("“”„", '"'), **dict.fromkeys("–—‑‒−", "-"), "＿": "_", "µ": "μ"}
)


@dataclass(frozen=True, kw_only=True)
class Fact:
    """Something that is true of a page.

    Attributes:
        pdf: The document, by its path below the folder of documents.
        page: 1-based.
        id: Its own in a set of facts.
        type: Its kind, as in `KINDS`.
        max_diffs: Characters that may differ.
        checked: verified or rejected by a person; not looked at.
        url: Where the document comes from.
    """

    pdf: str
    page: int
    id: str
    type: str
    max_diffs: int = 0
    checked: str | None = None
    url: str | None = None

    def invalid(self) -> str | None:
        """What is wrong with the fact itself, or None."""
        named = {"pdf": self.pdf, "id": self.id}
        empty = next((name for name, value in named.items() if not value), None)
        if empty:
            return f"{empty} is empty"
        return "max_diffs must be 0 or more" if self.max_diffs < 0 else None

    def failure(self, text: str) -> str | None:
        """Why the fact does not hold for a page with this Markdown; None if it does."""
        raise NotImplementedError

    def allowed(self, text: str) -> float:
        """Similarity, at most 1, that `max_diffs` leaves to a text of this length."""
        return 1 - self.max_diffs / max(1, len(text))


def alike(text: str) -> str:
    """The text without marks of bold and italics, blanks one each, Unicode composed, quotes and hyphens plain.

    `normalize_text` of olmOCR-bench, in the same order.
    """
    text = re.sub(r"<br/?>", " ", text)
    for marks in (r"\*\*(.*?)\*\*", r"__(.*?)__"):
        text = re.sub(marks, r"\1", text)
    text = re.sub(r"</?[bi]>", "", text)
    for marks in (r"(\*\*|__)(.*?)\1", r"(\*|_)(.*?)\1"):
        text = re.sub(marks, r"\2", text)
    return unicodedata.normalize("NFC", re.sub(r"\s+", " ", text)).translate(_PLAIN)


def shown(text: str) -> str:
    """The beginning of a text, in quotes, for messages."""
    return f'"{text[:40]}{"…" if len(text) > 40 else ""}"'
