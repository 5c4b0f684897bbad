"""What is read: the documents of paths, patterns and URLs, and the pages of an item of work."""

from __future__ import annotations

import re
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace
from io import BytesIO
from typing import Any

from folioscope.batch.plan import Item, Run
from folioscope.pages import SUFFIXES, Source, UnreadablePage, expand_sources, open_pages, page_numbers
from folioscope.types import InputError, Page


def documents_of(arguments: Sequence[str]) -> list[str]:
    """Every document that the arguments name, once: see `expand_sources`, and URLs of files, folders and patterns.

    Raises InputError for an argument that names none.
    """
    found: dict[str, None] = {}
    for argument in arguments:
        found.update(dict.fromkeys(_remote(argument) if "://" in argument else expand_sources([argument])))
    if "-" in found:
        raise InputError("-: many workers cannot read one standard input; give files")
    return list(found)


def _remote(url: str) -> list[str]:
    fs, path = _file_system(url)
    try:
        if any(mark in path for mark in "*?["):
            found = fs.glob(path)
        else:
            found = fs.ls(path, detail=False) if fs.isdir(path) else [path]
            found = [name for name in found if len(found) == 1 or name.lower().endswith(SUFFIXES)]
    except Exception as error:  # whatever its library raises
        raise InputError(f"{url}: cannot be listed ({_one_line(error)})") from error
    if not found:
        raise InputError(f"{url}: names no picture or PDF ({' '.join(SUFFIXES)})")
    return sorted(fs.unstrip_protocol(name) for name in found)


def _file_system(url: str) -> tuple[Any, str]:
    try:
        from fsspec.core import url_to_fs

        return url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise InputError(f"{url}: {_one_line(error)}; pip install folioscope[batch] brings fsspec") from error


def content_of(source: str) -> Source:
    """What `open_pages` takes: a path, or the content of a URL under its name."""
    if "://" not in source:
        return source
    fs, path = _file_system(source)
    try:
        stream = BytesIO(fs.cat_file(path))
    except Exception as error:
        raise InputError(f"{source}: cannot be fetched ({_one_line(error)})") from error
    stream.name = source
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
        length = self.lengths[number] = len(page_numbers(content, password=self.password))
        if isinstance(content, BytesIO):
            content.seek(0)
        wanted = f"{self.item.first}-{min(self.item.last, length)}"
        try:
            for page in open_pages(content, pages=wanted, dpi=self.run.settings.dpi, password=self.password):
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


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
