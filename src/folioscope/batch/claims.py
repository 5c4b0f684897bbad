"""Who works at what: claims that one of many gets, that are renewed while the work goes on, and outlive no worker.

A claim of `item` is the file `claims/{item}.{number}`. The first is number 1; whoever finds its holder dead creates the
next number, which, again, one of many gets. No file is ever taken away from anybody, so there is no moment at which two
believe to have won. A holder is dead when its claim has not been renewed for as long as the lease, by the clock of the
one who looks, or at once if it was a process of this machine and is gone.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from folioscope.batch.place import Place

FOLDER = "claims"


class Claims:
    """The claims of one worker, and its view of the others'.

    Args:
        lease: Seconds without a sign of life after which a holder counts as dead; the same for all workers of a run.
    """

    def __init__(self, place: Place, worker: str, lease: float):
        self.place, self.worker, self.lease = place, worker, lease
        self._numbers: Mapping[str, int] = {}
        self._seen: dict[str, tuple[bytes, float]] = {}  # claim → its content, and when it was first seen so

    def refresh(self) -> None:
        """Look at what others have claimed."""
        numbers: dict[str, int] = {}
        for name in self.place.names(FOLDER):
            item, _, number = name.rpartition(".")
            numbers[item] = max(numbers.get(item, 0), int(number))
        self._numbers = numbers

    def take(self, item: str, *, by_force: bool = False) -> int | None:
        """Claim an item: which attempt at it this is, from 1, or None if another holds it.

        Args:
            by_force: Whoever holds it is dead: a scheduler says so.
        """
        number = self._latest(item) if by_force else self._numbers.get(item, 0)
        if number and not by_force and not self._dead(f"{FOLDER}/{item}.{number}"):
            return None
        mine = f"{FOLDER}/{item}.{number + 1}"
        return number + 1 if self.place.create(mine, _claim(self.worker, beat=0)) else None

    def _latest(self, item: str) -> int:
        number = 0
        while self.place.read(f"{FOLDER}/{item}.{number + 1}") is not None:
            number += 1
        return number

    @contextmanager
    def held(self, item: str, number: int) -> Iterator[None]:
        """Renew a claim for as long as this lasts, then give it up, done or not."""
        name, ended = f"{FOLDER}/{item}.{number}", threading.Event()

        def renew() -> None:
            beat = 0
            while not ended.wait(self.lease / 4):
                beat += 1
                with suppress(Exception):  # a place out of reach for a moment
                    self.place.replace(name, _claim(self.worker, beat))

        thread = threading.Thread(target=renew, name="folioscope-claim", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            self.place.replace(name, _claim(self.worker, beat=-1))

    def _dead(self, name: str) -> bool:
        content = self.place.read(name) or b""
        with suppress(ValueError):
            claim = json.loads(content)
            if claim["beat"] < 0 or (claim["host"] == _host() and not _is_alive(claim["process"])):
                return True
        known, since = self._seen.get(name, (None, 0.0))
        if known != content:
            self._seen[name] = (content, time.monotonic())
            return False
        return time.monotonic() - since > self.lease


def _claim(worker: str, beat: int) -> bytes:
    claim = {"worker": worker, "host": _host(), "process": _process(os.getpid()), "beat": beat}
    return json.dumps(claim).encode()


@cache
def _host() -> str | None:
    """What tells this machine, since it was started, and its processes from others; None where that is not known."""
    try:
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return None


def _process(number: int) -> list[Any] | None:
    """A process and when it was started, since numbers are used again; None if it is gone, or cannot be known."""
    try:
        state, *fields = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if state in "ZX" else [number, fields[18]]  # field 22 of proc(5)'s stat


def _is_alive(process: list[Any] | None) -> bool:
    return process is None or _process(process[0]) == process
