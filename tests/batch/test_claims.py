"""Claims: one of many gets an item; the dead lose it, at once on this machine and after the lease elsewhere."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from folioscope.batch.claims import Claims
from folioscope.batch.place import LocalFolder

ELSEWHERE = {"worker": "b", "host": "another machine", "process": [1, "1"]}


def look(place: LocalFolder, lease: float = 60) -> Claims:
    claims = Claims(place, "me", lease)
    claims.refresh()
    return claims


def test_one_of_many_gets_it(tmp_path: Path) -> None:
    place = LocalFolder(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        numbers = list(pool.map(lambda _: look(place).take("x"), range(16)))
    assert sorted(number for number in numbers if number) == [1]


def test_a_living_holder_keeps_it_and_others_items_are_free(tmp_path: Path) -> None:
    place = LocalFolder(tmp_path)
    look(place).take("x")
    assert look(place).take("x") is None
    assert look(place).take("x-2") == 1


def test_a_process_of_this_machine_that_is_gone_loses_it_at_once(tmp_path: Path) -> None:
    code = "from folioscope.batch.claims import Claims; from folioscope.batch.place import place_of; import sys\n"
    code += "assert Claims(place_of(sys.argv[1]), 'other', 60).take('x') == 1"
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    claims = look(LocalFolder(tmp_path))
    if json.loads((tmp_path / "claims" / "x.1").read_text())["host"] is None:
        pytest.skip("this system does not say which processes live")
    assert claims.take("x") == 2
    assert look(LocalFolder(tmp_path)).take("x") is None


def test_a_holder_elsewhere_loses_it_when_it_is_silent_for_the_lease(tmp_path: Path) -> None:
    place = LocalFolder(tmp_path)
    claims = look(place, lease=0.2)
    for beat in range(4):  # gives signs of life
        place.replace("claims/x.1", json.dumps(ELSEWHERE | {"beat": beat}).encode())
        claims.refresh()
        assert claims.take("x") is None
        time.sleep(0.1)
    time.sleep(0.2)
    assert claims.take("x") == 2


def test_claims_are_renewed_while_the_work_goes_on(tmp_path: Path) -> None:
    place = LocalFolder(tmp_path)
    claims = look(place, lease=0.08)
    assert claims.take("x") == 1
    with claims.held("x", 1):
        before = place.read("claims/x.1")
        time.sleep(0.2)
        assert place.read("claims/x.1") != before
        assert look(place).take("x") is None


def test_what_is_done_or_broken_off_is_given_up(tmp_path: Path) -> None:
    place = LocalFolder(tmp_path)
    claims = look(place)
    claims.take("x")
    with claims.held("x", 1):
        pass
    assert look(place).take("x") == 2
    with pytest.raises(KeyboardInterrupt), claims.held("x", 2):
        raise KeyboardInterrupt
    assert look(place).take("x") == 3


def test_a_scheduler_may_take_it_from_the_living(tmp_path: Path) -> None:
    place = LocalFolder(tmp_path)
    assert [Claims(place, "me", 60).take("x", by_force=True) for _ in range(3)] == [1, 2, 3]


def test_a_claim_that_cannot_be_read_is_held_until_the_lease_is_over(tmp_path: Path) -> None:
    place = LocalFolder(tmp_path)
    place.create("claims/x.1", b"{")
    claims = look(place, lease=0.1)
    assert claims.take("x") is None
    time.sleep(0.15)
    assert claims.take("x") == 2
