"""How far a run is, what came of it, and how fast it goes: from what its workers have written down."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from folioscope.batch.jsonl import values_in
from folioscope.batch.place import Place
from folioscope.batch.plan import Run


@dataclass(frozen=True)
class Summary:
    """A run in numbers.

    Attributes:
        documents: How many there are.
        document_statuses: Of those that are done, how many are ok, incomplete (with failed pages, but not more than the
            rate allows) and failed.
        page_statuses: Pages of these by `PageResult.status`.
        errors: What went wrong, by kind, and how often.
        failed: (source, error) of the failed documents.
        pages, tokens: Read so far, unfinished documents included.
        seconds: How long at least one worker was reading.
    """

    documents: int
    document_statuses: Mapping[str, int] = field(default_factory=dict)
    page_statuses: Mapping[str, int] = field(default_factory=dict)
    errors: Mapping[str, int] = field(default_factory=dict)
    failed: tuple[tuple[str, str], ...] = ()
    pages: int = 0
    tokens: int = 0
    seconds: float = 0.0

    @property
    def done(self) -> int:
        """Documents that are done."""
        return sum(self.document_statuses.values())

    @property
    def remaining_seconds(self) -> float | None:
        """How long the others will take at the pace so far; None before the first is done."""
        return self.seconds * (self.documents - self.done) / self.done if self.done else None

    def as_json(self) -> dict[str, Any]:
        return {
            "documents": self.documents,
            "done": self.done,
            "document_statuses": dict(self.document_statuses),
            "pages": self.pages,
            "page_statuses": dict(self.page_statuses),
            "tokens": self.tokens,
            "seconds": round(self.seconds, 3),
            "pages_per_second": _rate(self.pages, self.seconds),
            "tokens_per_second": _rate(self.tokens, self.seconds),
            "remaining_seconds": self.remaining_seconds,
            "errors": dict(self.errors),
            "failed": [list(pair) for pair in self.failed],
        }

    def lines(self) -> Iterator[str]:
        """The summary for a person."""
        yield f"documents  {self.done} of {self.documents}{_listed(self.document_statuses)}"
        yield f"pages      {self.pages}{_listed(self.page_statuses)}"
        pace = f"{_rate(self.pages, self.seconds)} pages/s, {_rate(self.tokens, self.seconds)} tokens/s"
        yield f"speed      {pace}, in {_duration(self.seconds)} of reading"
        if self.errors:
            yield f"errors     {', '.join(f'{count} {kind}' for kind, count in self.errors.items())}"
        if self.remaining_seconds:
            end = datetime.now() + timedelta(seconds=self.remaining_seconds)
            yield f"end        in {_duration(self.remaining_seconds)}, about {end:%Y-%m-%d %H:%M}"


def summarise(run: Run) -> Summary:
    """The run in numbers, as its folder has them now."""
    index = list(_values(run.place, "index"))
    timing = list(_values(run.place, "timing"))
    failed = [line for line in index if line["status"] == "failed"]
    return Summary(
        documents=len(run.entries),
        document_statuses=_counted(Counter({line["status"]: 1}) for line in index),
        page_statuses=_counted(Counter(line["statuses"]) for line in index),
        errors=_counted(Counter(line["errors"]) for line in index),
        failed=tuple((line["source"], line["error"]) for line in failed),
        pages=sum(times["pages"] for times in timing),
        tokens=sum(times["tokens"] for times in timing),
        seconds=_covered((times["started"], times["started"] + times["seconds"]) for times in timing),
    )


def _values(place: Place, folder: str) -> Iterator[dict[str, Any]]:
    for name in sorted(place.names(folder)):
        yield from values_in(place.read(f"{folder}/{name}"))


def _counted(counters: Iterable[Counter[str]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for counter in counters:
        total.update(counter)
    return dict(total.most_common())


def _covered(spans: Iterable[tuple[float, float]]) -> float:
    """The length of what the spans cover together: workers overlap, and between two commands nobody works."""
    total, end = 0.0, -1.0
    for start, stop in sorted(spans):
        total += max(0.0, stop - max(start, end))
        end = max(end, stop)
    return total


def _rate(count: int, seconds: float) -> float:
    return round(count / seconds, 2) if seconds else 0.0


def _listed(counts: Mapping[str, int]) -> str:
    return f": {', '.join(f'{count} {status}' for status, count in counts.items())}" if counts else ""


def _duration(seconds: float) -> str:
    return time.strftime("%H:%M:%S", time.gmtime(seconds)) if seconds < 86400 else f"{seconds / 86400:.1f} days"
