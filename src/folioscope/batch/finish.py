"""A group's documents put together from what was read of them: results, files, and what became of each."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from PIL import Image

from folioscope.batch.jsonl import lines_of, values_in
from folioscope.batch.plan import Entry, Item, Run
from folioscope.batch.sources import content_of, kind_of
from folioscope.export import save
from folioscope.export.json_document import document_json
from folioscope.export.written import written
from folioscope.pages import Source, UnreadablePage, open_pages
from folioscope.records import page_of
from folioscope.types import Document, InputError, OutputError, PageResult

SCHEMA = "folioscope.batch_result/1"
"""Of a line of results; `result.schema.json` beside this file puts it down."""


def finish(run: Run, item: Item, password: str | None) -> None:
    """Write the files of a group's documents, their index, and, as the sign that it is done, their results."""
    parts: dict[int, list[Mapping[str, Any]]] = {number: [] for number in item.documents}
    for part in (run.group(item.group), *run.parts(item.group)):
        for line in values_in(run.place.read(part.output)):
            parts[line["document"]].append(line)
    index, results = [], []
    for number in item.documents:
        entry = run.entries[number]
        document, error = _document(entry, parts[number], run, password)
        status = _status(document, error, run.settings.max_page_error_rate)
        if any(page.status != "failed" for page in document):
            error = _save(run, document, entry.stem) or error
        index.append(_summary(entry, document, status, error))
        as_written = written(document, replace(run.settings.export, figures="link"))
        content = json.loads(document_json(as_written)) if document.pages else None
        results.append(
            {"schema": SCHEMA, "source": entry.source, "status": status, "error": error, "document": content}
        )
    run.place.replace(f"index/{item.name}.jsonl", lines_of(index))
    run.place.create(item.output, lines_of(results))


def _document(
    entry: Entry, parts: Sequence[Mapping[str, Any]], run: Run, password: str | None
) -> tuple[Document, str | None]:
    """All its pages, those that nothing came of as failed, and the first thing that is wrong with it as a whole."""
    length = max((part["pages"] for part in parts), default=0)
    error = next((part["error"] for part in parts if part["error"]), None)
    pages = {number: PageResult(number, entry.source, (0, 0), "failed", error=error) for number in range(1, length + 1)}
    content = cache(partial(content_of, entry.source))
    for record in (record for part in parts for record in part["results"]):
        number = record["number"]
        pages[number] = page_of(record, partial(_picture, content, number, run.settings.dpi, password))
    return Document(entry.source, tuple(pages.values())), error


def _picture(
    content: Callable[[], Callable[[], Source]], number: int, dpi: float | None, password: str | None
) -> Image.Image:
    page = next(open_pages(content()(), pages=str(number), dpi=dpi, password=password))
    if isinstance(page, UnreadablePage):
        raise InputError(page.error)
    return page.image


def _status(document: Document, error: str | None, rate: float) -> str:
    failed = sum(page.status == "failed" for page in document)
    if not document.pages or error or failed == len(document.pages) or failed > rate * len(document.pages):
        return "failed"
    return "incomplete" if failed else "ok"


def _save(run: Run, document: Document, stem: str) -> str | None:
    """Write the document's files; what is wrong if it cannot be, such as a source that is gone."""
    if not run.settings.formats:
        return None
    with tempfile.TemporaryDirectory() as folder:
        try:
            files = save(document, folder, run.settings.formats, stem=stem, options=run.settings.export)
        except OutputError:
            raise
        except Exception as error:
            return f"files were not written: {type(error).__name__}: {' '.join(str(error).split())}"
        for path in files:
            run.place.replace(f"documents/{path.relative_to(Path(folder)).as_posix()}", path.read_bytes())
    return None


def _summary(entry: Entry, document: Document, status: str, error: str | None) -> dict[str, Any]:
    return {
        "document": entry.number,
        "source": entry.source,
        "status": status,
        "pages": len(document.pages),
        "statuses": dict(sorted(Counter(page.status for page in document).items())),
        "tokens": sum(page.usage.output_tokens for page in document),
        "errors": dict(sorted(Counter(kind_of(text, entry.source) for text in _errors(document, error)).items())),
        "error": error or next((page.error for page in document if page.status == "failed"), None),
    }


def _errors(document: Document, error: str | None) -> Iterator[str]:
    """What is wrong with the document, or else with its pages."""
    if error:
        yield error
    else:
        yield from (page.error or "" for page in document if page.status == "failed")
