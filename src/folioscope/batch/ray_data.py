"""The engine for those who have a Ray cluster: the same items of work as rows of a Ray Data set.

A row is the name of an item, and what comes back is how long it took: pages and results go through the run's folder,
which every node must see, so nothing large passes through Ray, and a job that is started again goes on where its
predecessor was. Ray decides who does a row and gives it to another when a node dies; an actor holds one item and has
the next one waiting, and the driver asks for results one by one, so what is under way never grows with the run.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from folioscope.batch.place import place_of
from folioscope.batch.plan import Item, Run
from folioscope.batch.settings import Here
from folioscope.batch.worker import Worker
from folioscope.types import FolioscopeError, InputError, OutputError

IN_FLIGHT = 2
"""Items that an actor has: the one it does, and the next."""


class ReaderActor:
    """A worker that is told what to do."""

    def __init__(self, here: dict[str, Any]):
        self.here = Here(**here)
        run = Run.open(place_of(self.here.out))
        assert run is not None
        self.worker = Worker(run, self.here)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        """Do the items of a batch. A document's troubles are in the results; "error" says why the job must end."""
        return {"error": [self._do(Item(**json.loads(text))) for text in batch["item"]]}

    def _do(self, item: Item) -> str:
        try:
            self.worker.attempt(item, by_force=True)
            for following in self.worker.run.pending_of(item.group):
                if following.kind == "finish":
                    self.worker.attempt(following)
        except FolioscopeError as error:
            return str(error)
        return ""


def run_on_ray(
    run: Run, here: Here, workers: int, gpus: float = 0.0, progress: Callable[[], None] = lambda: None
) -> None:
    """Work at the run with up to so many actors until it is done.

    Ray is what `ray.init` finds: the cluster of RAY_ADDRESS or of this machine, or else one of its own.

    Args:
        gpus: Each actor's share of a GPU; with less than 1, several share one.
        progress: Called when an item is done.

    Raises:
        InputError: Ray is not installed.
        OutputError: An actor cannot go on, for want of a checkpoint or of room, say.
    """
    try:
        import ray
        from ray.data import ActorPoolStrategy, DataContext
    except ImportError as error:
        raise InputError("--engine ray: needs Ray: pip install folioscope[batch]") from error
    if not ray.is_initialized():
        ray.init(log_to_driver=False, logging_level=logging.WARNING)
    DataContext.get_current().enable_progress_bars = False
    while items := list(run.pending()):  # the beginnings, then the other parts, then what is left to put together
        most, rows = min(workers, len(items)), [{"item": json.dumps(_plain(item))} for item in items]
        done = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
            ReaderActor,  # type: ignore[arg-type]
            fn_constructor_kwargs={"here": asdict(here)},
            batch_size=1,
            # all at once, but those that the cluster has no room for, any more, are not waited for
            compute=ActorPoolStrategy(
                min_size=1, initial_size=most, max_size=most, max_tasks_in_flight_per_actor=IN_FLIGHT
            ),
            num_cpus=here.threads or 1,
            num_gpus=gpus or None,
        )
        for row in done.iter_rows():
            if row["error"]:
                raise OutputError(f"{here.out}: a worker stopped: {row['error']}")
            progress()


def _plain(item: Item) -> dict[str, Any]:
    return asdict(item) | {"documents": list(item.documents)}
