"""One thread owns the segmenter's model: clicks are answered in order, also while everything is being cut out."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from folioscope.serve.errors import Refused
from folioscope.serve.metrics import Metrics

T = TypeVar("T")

Between = Callable[[int, int], None]
"""What long work calls now and then, with how much is done and how much there is: others get their turn, and it raises
if nobody wants the work any more."""

WAIT = "2"
"""Seconds a client is told to wait: a click takes a fraction of one."""


@dataclass(eq=False)
class _Task:
    stage: str
    work: Callable[[Between], Any]
    deadline: float
    future: concurrent.futures.Future[Any] = field(default_factory=concurrent.futures.Future)
    left: threading.Event = field(default_factory=threading.Event)


class Cutter:
    """The thread, and what waits for it: quick work goes before long work."""

    def __init__(self, metrics: Metrics, *, queue: int, seconds: float) -> None:
        """At most `queue` tasks wait, none is worked on longer than `seconds`."""
        self.metrics, self.queue, self.seconds = metrics, queue, seconds
        self._quick: deque[_Task] = deque()
        self._long: deque[_Task] = deque()
        self._changed = threading.Condition()
        self._open = True
        self._thread = threading.Thread(target=self._work, name="folioscope-segmenter", daemon=True)
        metrics.gauge("folioscope_segmenter_waiting", "Requests that wait for the segmenter.", lambda: self.waiting)
        self._thread.start()

    @property
    def waiting(self) -> int:
        return len(self._quick) + len(self._long)

    @property
    def alive(self) -> bool:
        return self._thread.is_alive() and self._open

    def admit(self) -> None:
        """Raises Refused, 429 or 503, if a request had better come later."""
        if not self._open:
            raise Refused(503, "the server is stopping", "stopping", headers={"Retry-After": "10"})
        if self.waiting >= self.queue:
            raise Refused(
                429, f"{self.waiting} requests are waiting already", "queue_full", headers={"Retry-After": WAIT}
            )

    async def do(self, stage: str, work: Callable[[Between], T], *, long: bool = False) -> T:
        """What the work returns or raises. Cancelled, it is not begun, or ends at its next `Between`.

        Raises Refused if too many wait.
        """
        self.admit()
        task = _Task(stage, work, time.monotonic() + self.seconds)
        with self._changed:
            (self._long if long else self._quick).append(task)
            self._changed.notify()
        try:
            return await asyncio.wrap_future(task.future)
        finally:
            task.left.set()

    def close(self) -> None:
        """End what runs, and the thread."""
        with self._changed:
            self._open = False
            self._changed.notify()
        self._thread.join()
        for task in (*self._quick, *self._long):
            task.future.cancel()

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._quick and not self._long and self._open:
                    self._changed.wait()
                if not self._open:
                    return
                task = (self._quick or self._long).popleft()
            self._do(task)

    def _do(self, task: _Task) -> None:
        if not task.future.set_running_or_notify_cancel():
            return
        started = time.perf_counter()

        def between(_done: int, _all: int) -> None:
            while self._quick and task.stage == "everything":
                self._do(self._quick.popleft())
            if task.left.is_set() or not self._open:
                raise Refused(503, "the server is stopping", "stopping")
            if time.monotonic() > task.deadline:
                raise Refused(408, "the time limit has passed; ask for fewer points", "too_slow")

        try:
            task.future.set_result(task.work(between))
        except BaseException as error:
            task.future.set_exception(error)
        self.metrics.stage(task.stage, time.perf_counter() - started)
