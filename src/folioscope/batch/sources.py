"""What is read: the documents of paths, patterns and URLs, and the pages of an item of work."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field, replace
from io import BytesIO

from folioscope.batch.plan import Item, Run
from folioscope.pages import STDIN, Source, UnreadablePage, expand_sources, open_pages, page_numbers
from folioscope.pages.remote import fetch, is_url
from folioscope.types import InputError, Page


def documents_of(arguments: Sequence[str]) -> list[str]:
    """Every document that paths, patterns and URLs name, once. Raises InputError for an argument that names none."""
    found = expand_sources(arguments)
    if STDIN in found:
        raise InputError(f"{STDIN}: many workers cannot read one standard input; give files")
    return found


def content_of(source: str) -> Callable[[], Source]:
    """What gives `open_pages` the source, as often as it is called; a URL is fetched once, now."""
    if not is_url(source):
        return lambda: source
    content = fetch(source)

    def stream() -> BytesIO:
        found = BytesIO(content)
        found.name = source  # for messages
        return found

    return stream


@dataclass
class Reading:
    """The pages of an item, and what became clear while they were opened.

    Attributes:
        lengths: Pages of each document that could be opened, by its number.
        errors: What is wrong with the others.
    """

    run: Run
    item: Item
    password: str | None = None
    lengths: dict[int, int] = field(default_factory=dict)
    errors: dict[int, str] = field(default_factory=dict)

    def pages(self) -> Generator[Page | UnreadablePage, None, None]:
        """Document by document. Each page's source is that of its entry, which no other has."""
        for number in self.item.documents:
            try:
                yield from self._pages(number)
            except InputError as error:
                self.errors[number] = str(error)

    def _pages(self, number: int) -> Generator[Page | UnreadablePage, None, None]:
        source = self.run.entries[number].source
        content = content_of(source)
        length = self.lengths[number] = len(page_numbers(content(), password=self.password))
        wanted = f"{self.item.first}-{min(self.item.last, length)}"
        try:
            for page in open_pages(content(), pages=wanted, dpi=self.run.settings.dpi, password=self.password):
                yield replace(page, source=source)
        except InputError as error:
            if length > 1:
                raise
            yield UnreadablePage(source, 1, str(error))


def kind_of(error: str, source: str) -> str:
    """What errors of a kind have in common: the message without names, numbers and advice."""
    text = re.sub(r"\([^()]*\)", "", error.removeprefix(f"{source}: ").partition(";")[0])
    text = re.sub(r"\d+", "N", re.sub(r"^page \d+ ", "page ", text))
    return " ".join(text.split())[:80] or "unknown"
