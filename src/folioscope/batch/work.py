"""One item of work: read its pages, or put its documents together, and publish what came of it once."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, Any

from folioscope.batch.finish import finish
from folioscope.batch.jsonl import lines_of
from folioscope.batch.plan import Item, Run
from folioscope.batch.records import page_record
from folioscope.batch.settings import Here
from folioscope.batch.sources import Reading
from folioscope.pages import UnreadablePage
from folioscope.types import CheckpointError, OutputError, Page, PageResult

if TYPE_CHECKING:
    from folioscope.read import Reader


@dataclass(frozen=True)
class Found:
    """What came of documents: a line for each, and (source, page, tokens, seconds) for each page."""

    lines: Sequence[dict[str, Any]]
    times: Sequence[tuple[str, int, int, float]]


def load_reader(run: Run, here: Here) -> Reader:
    """The run's checkpoint on this machine, with the run's options as its own."""
    import torch

    from folioscope.read import Reader

    if here.threads is not None:
        torch.set_num_threads(here.threads)
    how, device, gpus = run.settings, here.device, torch.cuda.device_count()
    if device == "auto" and gpus > 1:
        device = f"cuda:{here.index % gpus}"
    reader = Reader.from_pretrained(how.model, revision=how.revision, device=device, dtype=how.dtype)
    chosen: dict[str, Any] = {"max_new_tokens": how.max_new_tokens, "temperature": how.temperature, "seed": how.seed}
    reader.options = replace(reader.options, **chosen)
    return reader


def do(run: Run, item: Item, here: Here, worker: str, read: Callable[[Run, Item, Here], Found]) -> dict[str, Any]:
    """Do an item and publish it, unless somebody else has by then; return how long it took.

    Args:
        worker: Its name.
        read: What reads the item's documents.
    """
    started, clock = time.time(), time.perf_counter()
    if item.kind == "finish":
        finish(run, item, here.password)
        return {"item": item.name, "pages": 0, "tokens": 0}
    found = read(run, item, here)
    times = {
        "item": item.name,
        "worker": worker,
        "started": started,
        "seconds": time.perf_counter() - clock,
        "pages": len(found.times),
        "tokens": sum(tokens for _, _, tokens, _ in found.times),
        "rows": found.times,
    }
    run.place.replace(f"timing/{item.name}.json", lines_of([times]))
    run.place.create(item.output, lines_of(found.lines))
    return times


def read_documents(run: Run, item: Item, here: Here, reader: Reader) -> Found:
    """Read the documents of an item, in one batch.

    Whatever goes wrong with a document is its own affair. An error that nobody has thought of makes the documents be
    read one by one, and is the error of the one that it comes with again.
    """
    reading = Reading(run, item, here.password)
    try:
        pages = _read(reader, reading)
    except (CheckpointError, OutputError):
        raise
    except Exception as error:
        if len(item.documents) > 1:
            alone = [replace(item, documents=[number]) for number in item.documents]
            return joined([read_documents(run, one, here, reader) for one in alone])
        return given_up(run, item, f"{type(error).__name__}: {' '.join(str(error).split())}")
    lines = [_line(reading, number, pages) for number in item.documents]
    return Found(lines, [(page.source, page.number, page.usage.output_tokens, page.usage.seconds) for page in pages])


def joined(parts: Sequence[Found]) -> Found:
    return Found([line for part in parts for line in part.lines], [row for part in parts for row in part.times])


def given_up(run: Run, item: Item, error: str) -> Found:
    """Nothing came of an item of one document, for a reason."""
    reading = Reading(run, item, errors={item.documents[0]: error})
    return Found([_line(reading, item.documents[0], [])], [])


def _read(reader: Reader, reading: Reading) -> Sequence[PageResult]:
    pages = reading.pages()
    first = next(pages, None)
    if first is None:
        return []

    def opened() -> Generator[Page | UnreadablePage, None, None]:
        yield from chain([first], pages)

    how = reading.run.settings
    return reader.read(opened(), prompt=how.prompt, mode=how.mode, trust=how.trust, batch_size=how.batch_size).pages


def _line(reading: Reading, number: int, pages: Sequence[PageResult]) -> dict[str, Any]:
    source = reading.run.entries[number].source
    return {
        "document": number,
        "pages": reading.lengths.get(number, 0),
        "error": reading.errors.get(number),
        "results": [page_record(page) for page in pages if page.source == source],
    }
