"""What a function emits as it works, as an iterator; and what an iterator yields, before it is asked for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from queue import Empty, Queue
from typing import TypeVar

T = TypeVar("T")

AHEAD = 256
"""Items that may wait for the reader before the work does."""


def pulled(items: Iterator[T], ahead: int) -> Generator[T, None, None]:
    """Yield what `items` yields, taken from it in a thread of its own, up to `ahead` before it is asked for."""

    def push(emit: Callable[[T], None], closed: Callable[[], bool]) -> None:
        for item in items:
            emit(item)
            if closed():
                break
        if isinstance(items, Generator):
            items.close()

    return pull(push, ahead)


def pull(
    push: Callable[[Callable[[T], None], Callable[[], bool]], object], ahead: int = AHEAD
) -> Generator[T, None, None]:
    """Yield what `push(emit, closed)`, run in a thread of its own, gives to `emit`; raise what it raises.

    When the iterator is closed, `closed()` turns True, and the thread is waited for.
    """
    queue: Queue[tuple[T, ...]] = Queue(ahead)
    closed = threading.Event()
    raised: list[BaseException] = []

    def work() -> None:
        try:
            push(lambda item: queue.put((item,)), closed.is_set)
        except BaseException as error:
            raised.append(error)
        queue.put(())  # the end

    thread = threading.Thread(target=work, name="folioscope-stream", daemon=True)
    thread.start()
    try:
        while item := queue.get():
            yield item[0]
        for error in raised:
            raise error
    finally:
        closed.set()
        while thread.is_alive():  # it may be waiting for room
            with suppress(Empty):
                queue.get(timeout=0.05)
