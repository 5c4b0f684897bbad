"""A worker: claims an item, does it, goes on until the run is done. Also the program that a worker's process runs."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from folioscope.batch.claims import Claims
from folioscope.batch.isolation import ATTEMPTS, read_isolated
from folioscope.batch.place import place_of
from folioscope.batch.plan import Item, Run
from folioscope.batch.settings import Here
from folioscope.batch.work import Found, do, load_reader, read_documents
from folioscope.types import FolioscopeError, OutputError

if TYPE_CHECKING:
    from folioscope.read import Reader

IDLE_SECONDS = (0.2, 5.0)
"""How long to wait when others hold all there is to do: doubled from the first to the last."""


class Worker:
    """Works at a run until `stop` says so or nothing is left."""

    def __init__(self, run: Run, here: Here, stop: Callable[[], bool] = lambda: False):
        self.run, self.here, self.stop = run, here, stop
        self.name = f"{socket.gethostname()}-{os.getpid()}"
        self.claims = Claims(run.place, self.name, here.lease)
        self._reader: Reader | None = None  # loaded for the first item that needs it

    def work(self) -> None:
        """Do what there is to do; where others are at it, wait, since they may die."""
        idle, (shortest, longest) = 0.0, IDLE_SECONDS
        while not self.stop():
            self.claims.refresh()
            pending = list(self.run.pending(random.randrange(self.run.groups)))
            if not pending:
                return
            if not self.run.is_current():
                raise OutputError(f"{self.here.out}: somebody has begun this run again; give the command again to join")
            done = [self._follow(item) for item in pending]
            if any(done):
                idle = 0.0
            else:
                idle = min(longest, max(shortest, 2 * idle))
                time.sleep(idle)

    def _follow(self, item: Item) -> bool:
        """Do an item and what it makes possible in its group, so that results come as soon as they can."""
        if self.attempt(item) is None:
            return False
        while any(self.attempt(following) for following in self.run.pending_of(item.group)):
            pass
        return True

    def attempt(self, item: Item, *, by_force: bool = False) -> dict[str, Any] | None:
        """Do an item if it can be claimed and still is to be done; return its times."""
        number = None if self.stop() else self.claims.take(item.claim, by_force=by_force)
        if number is None or self.run.is_done(item):
            return None
        with self.claims.held(item.claim, number):
            return do(self.run, item, self.here, self.name, read_isolated if number > ATTEMPTS else self._read)

    def _read(self, run: Run, item: Item, here: Here) -> Found:
        if self._reader is None:
            self._reader = load_reader(run, here)
        return read_documents(run, item, here, self._reader)


def main() -> int:
    """Read {"here": …, "parent": process} on stdin and work; 0 when the run is done, 1 and a line on stderr if not."""
    given = json.loads(sys.stdin.readline())
    here, parent = Here(**given["here"]), given["parent"]
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        run = Run.open(place_of(here.out))
        assert run is not None
        Worker(run, here, stop=lambda: os.getppid() != parent).work()
    except KeyboardInterrupt:
        return 130
    except FolioscopeError as error:
        print(f"folioscope: error: {error}", file=sys.stderr, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
