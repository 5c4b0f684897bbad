"""Many clients at once: no error but 429, what one alone gets, and no memory that grows."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest

from conftest import ROOT
from folioscope.hub import EMBEDDED
from folioscope.read import Reader
from folioscope.segment import Segmenter
from folioscope.serve.options import ServeOptions
from live_server import chat_body, metric, picture, process, served
from random_sam import random_sam

CLIENTS = 32
PAGES = [ROOT / "examples" / "letter.png", ROOT / "examples" / "receipt.png"]


@dataclass
class Load:
    """What many clients saw."""

    statuses: Counter[int] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


def load(address: str, images: list[bytes], seconds: float, watch: Callable[[], object] = lambda: None) -> Load:
    """Every client reads and cuts out again and again; each answer must be the one that was got alone."""
    seen = Load()
    with httpx2.Client(timeout=300) as alone:
        asked = [ask for image in images for ask in asks(alone, address, image)]
        expected = [answered_to(alone.post(url, json=body)) for url, body in asked]

    until = time.monotonic() + seconds

    def client(number: int) -> None:
        answered = False
        with httpx2.Client(timeout=300) as session:
            while not answered or time.monotonic() < until:
                which = number % len(asked)
                url, body = asked[which]
                answer = session.post(url, json=body)
                seen.statuses[answer.status_code] += 1
                answered |= answer.status_code != 429
                if answer.status_code == 429:
                    time.sleep(0.2)
                elif answered_to(answer) != expected[which]:
                    seen.wrong.append(answer.text)
                number += 1

    threads = [threading.Thread(target=client, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        watch()
        time.sleep(0.5)
    return seen


def asks(client: httpx2.Client, address: str, image: bytes) -> Iterator[tuple[str, dict[str, Any]]]:
    """(address, body) of what is asked about an image: to read it, and to cut something out of it."""
    yield f"{address}/v1/chat/completions", chat_body(image=image)
    scene = client.post(f"{address}/v1/segment/embeddings", files={"file": image}).json()["id"]
    yield f"{address}/v1/segment", {"scene": scene, "points": [[20, 15]]}


def answered_to(answer: httpx2.Response) -> Any:
    """What must be the same each time."""
    if answer.status_code != 200:
        return answer.text
    told = answer.json()
    return told["choices"][0]["message"]["content"] if "choices" in told else told["objects"]


def test_thirty_two_clients_for_a_moment(scripted: Reader, tmp_path: Path) -> None:
    with served(scripted, ServeOptions(data=tmp_path, queue=8), segmenter=Segmenter(random_sam())) as address:
        seen = load(address, [picture(), picture(80, 40)], seconds=2)
        assert metric(address, "folioscope_reader_waiting") == metric(address, "folioscope_reader_running") == 0
    assert set(seen.statuses) <= {200, 429}
    assert seen.statuses[200] >= CLIENTS
    assert seen.wrong == []


@pytest.mark.slow
def test_thirty_two_clients_for_a_minute_on_the_embedded_models(tmp_path: Path) -> None:
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
