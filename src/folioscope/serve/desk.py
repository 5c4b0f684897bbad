"""One thread owns the reader's model and reads for everybody: pages of all requests share a batch, and take turns."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import Counter, deque
from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from folioscope.generate import Batcher, Story, converse
from folioscope.serve.errors import Refused
from folioscope.serve.metrics import Metrics
from folioscope.types import GenerateOptions, Page, StreamEvent, TrustOptions

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
        numbers: Of the pages.
        prompt: A preset's name, or a text with one `<image>`.
        mode: A mode's name, or None.
        deadline: Of `time.monotonic()`; what is not read by then is not read.
    """

    open: Callable[[], Opened]
    numbers: tuple[int, ...]
    prompt: str
    options: GenerateOptions
    trust: TrustOptions
    mode: str | None = None
    deadline: float | None = None


@dataclass(eq=False)
class Reading:
    """A request while it is read, seen from the event loop that made it.

    Attributes:
        share: Pages of it that may be read at a time.
    """

    request: ReadRequest
    loop: asyncio.AbstractEventLoop
    share: int
    cancelled: threading.Event = field(default_factory=threading.Event)
    asked: float = field(default_factory=time.monotonic)
    begun: bool = False
    read_out: bool = False
    ended: bool = False
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
    """The reader and its thread. Readings take turns, a page each; up to `slots` pages are decoded together."""

    def __init__(self, reader: Reader, metrics: Metrics, *, queue: int, slots: int) -> None:
        self.reader, self.metrics, self.queue, self.slots = reader, metrics, queue, slots
        self._readings: deque[Reading] = deque()
        self._changed = threading.Condition()
        self._open = True
        self._page_seconds = FIRST_GUESS
        self._running: Counter[Reading] = Counter()  # pages of each that are being read
        self._thread = threading.Thread(target=self._work, name="folioscope-reader", daemon=True)
        metrics.gauge("folioscope_reader_waiting", "Requests that wait for the reader.", lambda: self.waiting)
        metrics.gauge("folioscope_reader_running", "Pages being read.", self._running.total)
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
        share = max(1, self.slots // 2 if always else self.slots - 1)
        reading = Reading(request, asyncio.get_running_loop(), share)
        with self._changed:
            self._readings.append(reading)
            self._changed.notify()
        return reading

    def close(self) -> None:
        """End what runs, and the thread."""
        with self._changed:
            self._open = False
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        """Until the desk is closed: what breaks the batch is told to those in it, and the next are served."""
        while self._open:
            try:
                for _ in converse(Batcher(self.reader.model, self.slots), self._coming()):
                    pass
            except Exception as error:
                logging.getLogger(__name__).exception("the reader failed")
                for reading in list(self._running.elements()):
                    self._end(reading, error)

    def _coming(self) -> Iterator[Story[None] | None]:
        """Stories of pages, in turns; None while there are none and some are being told."""
        while True:
            with self._changed:
                while not self._readings and not self._running and self._open:
                    self._changed.wait()
                if not self._readings and not self._open:
                    return
                # somebody who asks for one page need not wait until a long document has one less
                reading = next((one for one in self._readings if self._running[one] < one.share), None)
                if reading:
                    self._readings.remove(reading)
            yield self._next_story(reading) if reading else None

    def _next_story(self, reading: Reading) -> Story[None] | None:
        """Of the reading's next page; the reading waits for its next turn, unless it has no page left or fails."""
        try:
            page = self._next_page(reading)
        except Exception as error:
            return self._end(reading, error)
        if page is None:
            reading.read_out = True
            return None if self._running[reading] else self._end(reading)
        if isinstance(page, Page):
            reading.tell(page)
        self._running[reading] += 1
        with self._changed:
            self._readings.append(reading)
        return self._story(reading, page)

    def _next_page(self, reading: Reading) -> Page | UnreadablePage | None:
        if not reading.begun:
            reading.begun = True
            self.metrics.stage("wait", time.monotonic() - reading.asked)
        self._check(reading)
        if reading.cancelled.is_set():
            return None
        if reading.pages is None:
            reading.pages = reading.request.open()
        return next(reading.pages, None)

    def _check(self, reading: Reading) -> None:
        if not self._open:
            raise self._stopping()
        if reading.late():
            raise Refused(408, "the time limit has passed; read fewer pages at a time, or make it a job", "too_slow")

    def _story(self, reading: Reading, page: Page | UnreadablePage) -> Story[None]:
        request, error = reading.request, None
        try:
            result = yield from self.reader.story(
                page,
                reading.tell,
                prompt=request.prompt,
                mode=request.mode,
                options=request.options,
                trust=request.trust,
                cancelled=lambda: reading.over() or not self._open,
            )
            self.metrics.page(result)
            self._page_seconds = 0.8 * self._page_seconds + 0.2 * result.usage.seconds
            self._check(reading)
        except Exception as raised:
            error = raised
        self._running[reading] -= 1
        self._running += Counter()  # forget those of which none runs
        if error or (reading.read_out and not self._running[reading]):
            self._end(reading, error)

    def _end(self, reading: Reading, error: Exception | None = None) -> None:
        """Tell it, once, and leave alone what runs of it."""
        with self._changed:
            if reading in self._readings:
                self._readings.remove(reading)
        self._running.pop(reading, None)
        if not reading.ended:
            reading.ended = True
            reading.cancelled.set()
            reading.tell(error)
