"""Documents that may have killed their readers, each read in a process of its own: a crash costs one document."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from multiprocessing import get_context

from folioscope.batch.place import place_of
from folioscope.batch.plan import Item, Run
from folioscope.batch.settings import Here
from folioscope.batch.work import Found, given_up, joined, load_reader, read_documents

ATTEMPTS = 3
"""So many workers may die at an item before its documents are suspected."""


def read_alone(item: Item, here: Here) -> Found:
    """Read an item with a reader of its own."""
    run = Run.open(place_of(here.out))
    assert run is not None
    return read_documents(run, item, here, load_reader(run, here))


def read_isolated(run: Run, item: Item, here: Here, read: Callable[[Item, Here], Found] = read_alone) -> Found:
    """Read each of an item's documents in a new process; of one that kills it nothing comes but the error."""
    parts: list[Found] = []
    for number in item.documents:
        one = replace(item, documents=[number])
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
            try:
                parts.append(process.submit(read, one, here).result())
            except BrokenProcessPool:
                parts.append(given_up(run, one, "the process that read it died, as others have before"))
    return joined(parts)
