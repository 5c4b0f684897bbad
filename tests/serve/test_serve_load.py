"""Many clients at once: no error but 429, what one alone gets, and no memory that grows."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import pytest

from conftest import ROOT
from folioscope.hub import EMBEDDED
from folioscope.read import Reader
from folioscope.serve.options import ServeOptions
from live_server import chat_body, metric, picture, process, served

CLIENTS = 32
PAGES = [ROOT / "examples" / "letter.png", ROOT / "examples" / "receipt.png"]


@dataclass
class Load:
    """What many clients saw."""

    statuses: Counter[int] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


def load(address: str, images: list[bytes], seconds: float, watch: Callable[[], object] = lambda: None) -> Load:
    """Every client asks again and again; each answer must be the one that was got alone."""
    seen = Load()
    with httpx2.Client(timeout=300) as alone:
        expected = [
            text_of(alone.post(f"{address}/v1/chat/completions", json=chat_body(image=image))) for image in images
        ]

    until = time.monotonic() + seconds

    def client(number: int) -> None:
        answered = False
        with httpx2.Client(timeout=300) as session:
            while not answered or time.monotonic() < until:
                which = number % len(images)
                answer = session.post(f"{address}/v1/chat/completions", json=chat_body(image=images[which]))
                seen.statuses[answer.status_code] += 1
                answered |= answer.status_code != 429
                if answer.status_code == 429:
                    time.sleep(0.2)
                elif text_of(answer) != expected[which]:
                    seen.wrong.append(answer.text)
                number += 1

    threads = [threading.Thread(target=client, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        watch()
        time.sleep(0.5)
    return seen


def text_of(answer: httpx2.Response) -> str:
    return answer.json()["choices"][0]["message"]["content"] if answer.status_code == 200 else answer.text


def test_thirty_two_clients_for_a_moment(scripted: Reader, tmp_path: Path) -> None:
    with served(scripted, ServeOptions(data=tmp_path, queue=8)) as address:
        seen = load(address, [picture(), picture(80, 40)], seconds=2)
        assert metric(address, "folioscope_reader_waiting") == metric(address, "folioscope_reader_running") == 0
    assert set(seen.statuses) <= {200, 429}
    assert seen.statuses[200] >= CLIENTS
    assert seen.wrong == []


@pytest.mark.slow
def test_thirty_two_clients_for_a_minute_on_the_embedded_reader(tmp_path: Path) -> None:
    with process(EMBEDDED, tmp_path) as (running, address):
        sizes: list[int] = []
        seen = load(address, [page.read_bytes() for page in PAGES], 60, lambda: sizes.append(resident(running.pid)))
        print(dict(seen.statuses), f"{sizes[len(sizes) // 3] >> 20} MB after a third, {sizes[-1] >> 20} MB at the end")
    assert set(seen.statuses) <= {200, 429}
    assert seen.statuses[200] >= CLIENTS
    assert seen.wrong == []
    assert sizes[-1] < 1.1 * sizes[len(sizes) // 3] + 30e6


def resident(pid: int) -> int:
    """Bytes of memory that a process has."""
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        pytest.skip("this system has no /proc")
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmRSS"))
    return 1024 * int(line.split()[1])
