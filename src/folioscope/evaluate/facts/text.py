"""Facts of text: it is there, it is not there, it comes before another."""

from __future__ import annotations

from dataclasses import dataclass

from folioscope.evaluate.facts.fact import Fact, alike, shown


@dataclass(frozen=True, kw_only=True)
class Presence(Fact):
    """A text is on the page (present), or is not (absent): headers and footers are not to be.

    Attributes:
        text: The text, compared by rapidfuzz's `partial_ratio`.
        first_n: Look in the first so many characters only.
        last_n: Look in the last so many; with `first_n`, in both.
    """

    text: str
    case_sensitive: bool = True
    first_n: int | None = None
    last_n: int | None = None

    def invalid(self) -> str | None:
        return super().invalid() or (None if alike(self.text).strip() else "text is empty")

    def failure(self, text: str) -> str | None:
        present = self._present(text)
        if self.type == "present":
            return None if present else f"{shown(self.text)} is not there"
        return f"{shown(self.text)} is there" if present else None

    def _present(self, text: str) -> bool:
        from rapidfuzz.fuzz import partial_ratio

        wanted, page = alike(self.text), alike(text)
        if not self.case_sensitive:
            wanted, page = wanted.lower(), page.lower()
        page = self._part(page)
        if len(page) < len(wanted) - self.max_diffs:  # partial_ratio would look for the page in the text
            return False
        return partial_ratio(wanted, page) / 100 >= self.allowed(wanted)

    def _part(self, page: str) -> str:
        head = page[: self.first_n] if self.first_n else ""
        tail = page[-self.last_n :] if self.last_n else ""
        return head + tail if self.first_n or self.last_n else page


@dataclass(frozen=True, kw_only=True)
class Order(Fact):
    """A text is found somewhere before another."""

    before: str
    after: str

    def invalid(self) -> str | None:
        texts = {"before": alike(self.before), "after": alike(self.after)}
        empty = next((name for name, text in texts.items() if not text.strip()), None)
        if empty:
            return f"{empty} is empty"
        if self.max_diffs > min(map(len, texts.values())) // 2:
            return "max_diffs is more than half of the text"
        return super().invalid()

    def failure(self, text: str) -> str | None:
        from fuzzysearch import find_near_matches

        page, places = alike(text), []
        for wanted in (self.before, self.after):
            matches = find_near_matches(alike(wanted), page, max_l_dist=self.max_diffs)
            if not matches:
                return f"{shown(wanted)} is not there"
            places.append([match.start for match in matches])
        before, after = places
        return None if min(before) < max(after) else f"{shown(self.before)} does not come before {shown(self.after)}"
