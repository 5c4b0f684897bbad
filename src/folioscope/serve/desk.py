"""One thread owns the reader's model and reads for everybody, page by page, in turns."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from folioscope.serve.errors import Refused
from folioscope.serve.metrics import Metrics
from folioscope.types import GenerateOptions, Page, StreamEvent

if TYPE_CHECKING:
    from folioscope.pages import Opened, UnreadablePage
    from folioscope.read import Reader

Event: TypeAlias = "Page | StreamEvent"
"""A page about to be read; a piece of its text, and at last its result."""

FIRST_GUESS = 2.0
"""Seconds a page is taken to need until one was read."""


@dataclass(frozen=True)
class ReadRequest:
    """What is to be read and how.

    Attributes:
        open: Opens the pages, when their turn comes.
        count: How many there are.
        prompt: A preset's name, or a text with one `<image>`.
        mode: A mode's name, or None.
        deadline: Of `time.monotonic()`; what is not read by then is not read.
    """

    open: Callable[[], Opened]
    count: int
    prompt: str
    options: GenerateOptions
    mode: str | None = None
    deadline: float | None = None


@dataclass(eq=False)
class Reading:
    """A request while it is read, seen from the event loop that made it."""

    request: ReadRequest
    loop: asyncio.AbstractEventLoop
    cancelled: threading.Event = field(default_factory=threading.Event)
    asked: float = field(default_factory=time.monotonic)
    begun: bool = False
    pages: Opened | None = None
    _queue: asyncio.Queue[Event | BaseException | None] = field(default_factory=asyncio.Queue)

    async def events(self) -> AsyncGenerator[Event, None]:
        """What happens, as it does; raises what the reading raised. Left early, the reading is cancelled."""
        try:
            while (event := await self._queue.get()) is not None:
                if isinstance(event, BaseException):
                    raise event
                yield event
        finally:
            self.cancelled.set()

    def tell(self, event: Event | BaseException | None) -> None:
        """From the owner's thread; None is the end."""
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self._queue.put_nowait, event)

    def over(self) -> bool:
        """Whether it is to be left as it is."""
        return self.cancelled.is_set() or self.late()

    def late(self) -> bool:
        return self.request.deadline is not None and time.monotonic() > self.request.deadline


class Desk:
    """The reader and its thread. Readings take turns, a page each."""

    def __init__(self, reader: Reader, metrics: Metrics, *, queue: int) -> None:
        self.reader, self.metrics, self.queue = reader, metrics, queue
        self._readings: deque[Reading] = deque()
        self._changed = threading.Condition()
        self._open = True
        self._page_seconds = FIRST_GUESS
        self._running = 0
        self._thread = threading.Thread(target=self._work, name="folioscope-reader", daemon=True)
        metrics.gauge("folioscope_reader_waiting", "Requests that wait for the reader.", lambda: self.waiting)
        metrics.gauge("folioscope_reader_running", "Pages being read.", lambda: self._running)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Requests of which no page was begun."""
        with self._changed:
            return sum(not (reading.begun or reading.cancelled.is_set()) for reading in self._readings)

    @property
    def alive(self) -> bool:
        return self._thread.is_alive() and self._open

    def admit(self) -> None:
        """Raises Refused, 429 or 503, if a request had better come later."""
        if not self._open:
            raise self._stopping()
        if self.waiting >= self.queue:
            wait = min(max(round(self._page_seconds * self.waiting), 1), 60)
            raise Refused(
                429,
                f"{self.waiting} requests are waiting already; come again in {wait} s",
                "queue_full",
                headers={"Retry-After": str(wait)},
            )

    def _stopping(self) -> Refused:
        return Refused(503, "the server is stopping", "stopping", headers={"Retry-After": "10"})

    def read(self, request: ReadRequest, *, always: bool = False) -> Reading:
        """Queue a request; its `events` must be taken. `always` takes it whatever waits. Raises Refused."""
        if not always:
            self.admit()
        reading = Reading(request, asyncio.get_running_loop())
        with self._changed:
            self._readings.append(reading)
            self._changed.notify()
        return reading

    def close(self) -> None:
        """End what runs, and the thread."""
        with self._changed:
            self._open = False
            for reading in self._readings:
                reading.cancelled.set()
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        while (reading := self._next()) is not None:
            self._running = 1
            try:
                self._turn(reading)
            finally:
                self._running = 0

    def _next(self) -> Reading | None:
        """The reading whose turn it is; it stands in the queue until it has ended."""
        with self._changed:
            while not self._readings:
                if not self._open:
                    return None
                self._changed.wait()
            return self._readings[0]

    def _turn(self, reading: Reading) -> None:
        """Read one page, then let the next reading have its turn."""
        end: BaseException | None = None
        try:
            more = self._read_page(reading)
        except BaseException as error:
            more, end = False, error
        with self._changed:
            self._readings.popleft()
            if more:
                self._readings.append(reading)
        if not more:
            reading.tell(end)

    def _read_page(self, reading: Reading) -> bool:
        """False if there was no page left to read."""
        if not reading.begun:
            reading.begun = True
            self.metrics.stage("wait", time.monotonic() - reading.asked)
        if not self._open:
            raise self._stopping()
        if reading.cancelled.is_set():
            return False
        if reading.late():
            raise Refused(408, "the time limit has passed; read fewer pages at a time, or make it a job", "too_slow")
        if reading.pages is None:
            reading.pages = reading.request.open()
        page = next(reading.pages, None)
        if page is None:
            return False
        if isinstance(page, Page):
            reading.tell(page)
        request = reading.request
        for event in self.reader.stream(
            _opened(page), prompt=request.prompt, mode=request.mode, options=request.options, cancelled=reading.over
        ):
            reading.tell(event)
            if event.result:
                self.metrics.page(event.result)
                self._page_seconds = 0.8 * self._page_seconds + 0.2 * event.result.usage.seconds
        return True


def _opened(page: Page | UnreadablePage) -> Opened:
    yield page
