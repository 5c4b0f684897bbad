"""What is to be done: the settings and the sources of a run, cut into items of work that are the same for every worker.

An item's content depends on nothing but the run, so whoever does it, and however often, the result is the same. A group
of documents is read up to `HEAD_PAGES` of each; what longer documents have beyond is found then, and is read in parts
of `PART_PAGES`. When all of a group has been read its documents are put together, which is the last item.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Container, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from folioscope.batch.jsonl import lines_of, values_in
from folioscope.batch.place import Place
from folioscope.batch.settings import Settings
from folioscope.types import ExportOptions, InputError, OutputError, TrustOptions

MANIFEST, SCHEMA = "manifest.json", "folioscope.batch/1"
FOLDERS = ("claims", "parts", "timing", "index", "results", "documents", "sources")
HEAD_PAGES, PART_PAGES = 16, 64
GROUPS_AT_LEAST, GROUPS_AT_MOST = 8, 10_000


@dataclass(frozen=True)
class Entry:
    """One document of the run: its number from 0, where it comes from, and how its files are named."""

    number: int
    source: str
    stem: str


@dataclass(frozen=True)
class Item:
    """A piece of work.

    Attributes:
        name: That of its output.
        kind: "group" and "part" are read; "finish" puts a group's documents together.
        group: The number of its group.
        documents: Numbers of its documents.
        first, last: Its pages of each document, from 1.
    """

    name: str
    kind: Literal["group", "part", "finish"]
    group: int
    documents: Sequence[int]
    first: int = 1
    last: int = HEAD_PAGES

    @property
    def claim(self) -> str:
        """Its name among the claims."""
        return f"{self.name}-{self.kind}"

    @property
    def output(self) -> str:
        """The file whose being there means that it is done."""
        return f"results/{self.name}.jsonl" if self.kind == "finish" else f"parts/{self.name}.jsonl"


class Run:
    """A run in its folder: the settings, the documents, and which items are done."""

    def __init__(self, place: Place, manifest: dict[str, Any]):
        self.place, self.id = place, manifest["run"]
        self.arguments: list[str] = manifest["arguments"]
        self.settings = _settings(manifest["settings"])
        documents = values_in(place.read(manifest["sources"]))
        self.entries = [Entry(number, **document) for number, document in enumerate(documents)]
        if len(self.entries) != manifest["documents"]:
            raise OutputError(f"{manifest['sources']} is not whole: give --recompute, or another folder")
        self.size: int = manifest["documents_per_group"]
        self.groups = -(-len(self.entries) // self.size)
        self._lengths: dict[int, list[int]] = {}

    @classmethod
    def open(cls, place: Place) -> Run | None:
        """The run of a folder, or None if there is none. Raises InputError for one of another version of Folioscope."""
        content = place.read(MANIFEST)
        if content is None:
            return None
        manifest = json.loads(content)
        if manifest.get("schema") != SCHEMA or manifest.get("version") != _version():
            raise InputError(
                f"the run in this folder was made by folioscope {manifest.get('version')}, this is {_version()}: "
                "use that version, another folder, or --recompute"
            )
        return cls(place, manifest)

    @classmethod
    def start(
        cls, place: Place, arguments: Sequence[str], documents: Sequence[tuple[str, str]], settings: Settings
    ) -> Run:
        """Write down a new run of (source, stem) documents; of several who start at once, one run is everybody's."""
        run = secrets.token_hex(8)
        sources = f"sources/{run}.jsonl"
        place.replace(sources, lines_of({"source": source, "stem": stem} for source, stem in documents))
        manifest = {
            "schema": SCHEMA,
            "version": _version(),
            "run": run,
            "arguments": list(arguments),
            "settings": asdict(settings),
            "sources": sources,
            "documents": len(documents),
            "documents_per_group": _group_size(len(documents), settings.batch_size),
        }
        if not place.create(MANIFEST, json.dumps(manifest, indent=2).encode() + b"\n"):
            place.remove(sources)
        found = cls.open(place)
        assert found is not None
        return found

    def is_current(self) -> bool:
        """Whether the folder still holds this run."""
        return json.loads(self.place.read(MANIFEST) or b"{}").get("run") == self.id

    def pending(self, start: int = 0) -> Iterator[Item]:
        """The items that can be done now and are not, groups in order from number `start` on, and round."""
        read, finished = self.place.names("parts"), self.place.names("results")
        for group in (*range(start, self.groups), *range(start)):
            yield from self._pending_of(group, read, finished)

    def pending_of(self, group: int) -> list[Item]:
        """Those of one group."""
        return list(self._pending_of(group, self.place.names("parts"), self.place.names("results")))

    def _pending_of(self, group: int, read: Container[str], finished: Container[str]) -> Sequence[Item]:
        beginnings, finish = self.group(group), self.finish(group)
        if f"{finish.name}.jsonl" in finished:
            return []
        if f"{beginnings.name}.jsonl" not in read:
            return [beginnings]
        return [part for part in self.parts(group) if f"{part.name}.jsonl" not in read] or [finish]

    def is_done(self, item: Item) -> bool:
        return self.place.read(item.output) is not None

    def group(self, number: int) -> Item:
        """The item that reads the beginnings of a group's documents."""
        return Item(f"{number:06}", "group", number, self._members(number))

    def finish(self, number: int) -> Item:
        return Item(f"{number:06}", "finish", number, self._members(number))

    def parts(self, number: int) -> list[Item]:
        """What is to be read of a group beyond the beginnings, once these have been read."""
        return [
            Item(f"{number:06}-{document:08}-{first:06}", "part", number, [document], first, first + PART_PAGES - 1)
            for document, length in zip(self._members(number), self.lengths(number), strict=True)
            for first in range(HEAD_PAGES + 1, length + 1, PART_PAGES)
        ]

    def lengths(self, group: int) -> list[int]:
        """Pages of a group's documents, once its beginnings have been read."""
        if group not in self._lengths:
            lines = values_in(self.place.read(self.group(group).output))
            self._lengths[group] = [line["pages"] for line in lines]
        return self._lengths[group]

    def _members(self, group: int) -> range:
        return range(group * self.size, min((group + 1) * self.size, len(self.entries)))


def _group_size(documents: int, batch_size: int) -> int:
    """Enough documents to fill a batch with pages, but enough groups to share out, and not too many files."""
    shared = min(batch_size, -(-documents // GROUPS_AT_LEAST))
    return max(1, shared, -(-documents // GROUPS_AT_MOST))


def _version() -> str:
    from folioscope import __version__

    return __version__


def _settings(values: dict[str, Any]) -> Settings:
    trust, export = TrustOptions(**values["trust"]), ExportOptions(**values.get("export", {}))
    return Settings(**values | {"formats": tuple(values["formats"]), "trust": trust, "export": export})
