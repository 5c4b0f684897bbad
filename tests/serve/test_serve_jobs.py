"""Jobs: read beside everything else, and kept through whatever happens to the server."""

from __future__ import annotations

import io
import os
import signal
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest
from PIL import Image

from folioscope.read import Reader
from folioscope.serve import jobs as jobs_module
from folioscope.serve.inputs import Upload
from folioscope.serve.jobs import STARTS, Jobs
from folioscope.serve.kept import kept_page, page_of
from folioscope.serve.options import ServeOptions
from folioscope.serve.runner import ranges_of
from live_server import error_of, picture, process, served, wait_until
from scripted import scripted_checkpoint, sheets


def hand_in(address: str, data: bytes, name: str = "long.pdf", **fields: str) -> str:
    answer = httpx2.post(f"{address}/v1/jobs", files={"file": (name, data)}, data=fields)
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/v1/jobs/{answer.json()['id']}"
    return answer.json()["id"]


def look(address: str, job: str) -> dict:
    return httpx2.get(f"{address}/v1/jobs/{job}").json()


def test_a_job_is_read_and_fetched_in_any_format(server: str) -> None:
    job = hand_in(server, sheets(5), pages="2-4")
    done = wait_until(lambda: (now := look(server, job))["status"] == "done" and now)
    assert (done["pages"], done["pages_done"], done["error"], done["starts"]) == (3, 3, None, 1)
    document = httpx2.get(f"{server}/v1/jobs/{job}/result").json()
    assert [page["number"] for page in document["pages"]] == [2, 3, 4]
    assert document["source"] == "long.pdf"
    archive = httpx2.get(f"{server}/v1/jobs/{job}/result", params={"format": "md,overlay"}).content
    assert "long_images/2_0.jpg" in zipfile.ZipFile(io.BytesIO(archive)).namelist()
    written = {"format": "md", "paginate": "true", "figures": "placeholder"}
    marked = httpx2.get(f"{server}/v1/jobs/{job}/result", params=written).text
    assert marked.startswith("<!-- page 2 -->\n\n# Hello\n\n<!-- figure 0 -->\n\n<!-- page 3 -->")
    refused = httpx2.get(f"{server}/v1/jobs/{job}/result", params={"tables": "csv"})
    assert error_of(refused)[0] == 400
    assert httpx2.delete(f"{server}/v1/jobs/{job}").status_code == 204
    assert error_of(httpx2.get(f"{server}/v1/jobs/{job}"))[:2] == (404, "no_job")


def test_wrong_jobs_are_refused_at_once(server: str) -> None:
    answer = httpx2.post(f"{server}/v1/jobs", files={"file": b"no picture"})
    assert error_of(answer)[:2] == (400, "invalid_input")
    assert error_of(httpx2.get(f"{server}/v1/jobs/../../etc/passwd"))[0] == 404


def test_a_job_that_fails_says_why(server: str) -> None:
    job = hand_in(server, picture()[:60], "broken.png")
    failed = wait_until(lambda: (now := look(server, job))["status"] == "failed" and now)
    assert "broken.png: the picture is broken or cut short" in failed["error"]


def test_a_deleted_job_is_left_at_once_and_requests_are_answered_meanwhile(endless: Reader, tmp_path: Path) -> None:
    with served(endless, ServeOptions(data=tmp_path, jobs=1)) as address:
        job = hand_in(address, sheets(9), prompt="free")
        wait_until(lambda: look(address, job)["status"] == "running")
        short = {"prompt": "free", "max_new_tokens": "3"}
        answer = httpx2.post(f"{address}/v1/read", files={"file": picture()}, data=short, timeout=60)
        assert answer.json()["pages"][0]["usage"]["output_tokens"] == 3
        again = httpx2.post(f"{address}/v1/jobs", files={"file": picture()})
        assert error_of(again)[:2] == (429, "queue_full")
        assert httpx2.delete(f"{address}/v1/jobs/{job}").status_code == 204
        wait_until(lambda: httpx2.get(f"{address}/ready").json()["waiting"] == 0)


def test_a_killed_server_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model").mkdir()
    model = scripted_checkpoint(tmp_path / "model")
    pages = 40
    with process(model, tmp_path / "data") as (running, address):
        job = hand_in(address, sheets(pages))
        wait_until(lambda: look(address, job)["pages_done"] >= 2, seconds=60)
        os.kill(running.pid, signal.SIGKILL)
        running.wait()
    kept = Jobs(tmp_path / "data")
    before = dict(zip(kept[job].done, kept.pages(job), strict=True))
    kept._write("UPDATE jobs SET lease = 0")  # as if some seconds had passed
    kept.close()
    assert 0 < len(before) < pages
    with process(model, tmp_path / "data") as (running, address):
        done = wait_until(lambda: (now := look(address, job))["status"] == "done" and now, seconds=60)
        assert (done["pages_done"], done["starts"]) == (pages, 2)
        running.send_signal(signal.SIGTERM)
        assert running.wait(timeout=30) in (0, -signal.SIGTERM)
    after = Jobs(tmp_path / "data")
    assert dict(zip(after[job].done, after.pages(job), strict=True)).items() >= before.items()
    after.close()


def test_a_stopped_server_gives_its_job_back(endless: Reader, scripted: Reader, tmp_path: Path) -> None:
    with served(endless, ServeOptions(data=tmp_path)) as address:
        job = hand_in(address, sheets(2))
        wait_until(lambda: look(address, job)["status"] == "running")
    kept = Jobs(tmp_path)
    assert (kept[job].status, kept[job].starts) == ("queued", 0)
    kept.close()
    with served(scripted, ServeOptions(data=tmp_path)) as address:
        wait_until(lambda: look(address, job)["status"] == "done")


def test_a_job_that_servers_die_of_is_not_tried_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs_module, "LEASE_SECONDS", -1.0)
    kept = Jobs(tmp_path)
    job = kept.add(Upload(b"x"), {}, [1])
    assert [bool(kept.claim("me")) for _ in range(STARTS + 1)] == [True] * STARTS + [False]
    assert kept[job.id].status == "failed"
    assert f"stopped {STARTS} times" in str(kept[job.id].error)
    kept.forget(days=1)
    assert kept[job.id].over
    time.sleep(0.01)
    kept.forget(days=0)
    with pytest.raises(KeyError):
        kept[job.id]
    kept.close()


def test_a_job_is_one_owners(tmp_path: Path) -> None:
    kept = Jobs(tmp_path)
    job = kept.add(Upload(b"x"), {}, [1])
    assert kept.claim("first")
    assert kept.claim("second") is None
    assert kept.renew(job.id, "first")
    assert not kept.renew(job.id, "second")
    kept.finish(job.id, "cancelled")
    assert not kept.renew(job.id, "first")
    kept.close()


def test_results_survive_as_they_were(scripted: Reader) -> None:
    image = Image.new("RGB", (40, 60), "white")
    page = scripted.read(image).pages[0]
    again = page_of(kept_page(page), lambda number: image)
    assert again == replace(page, pixels=None)
    assert again.image is image


@pytest.mark.parametrize(("numbers", "ranges"), [([1], "1-1"), ([1, 2, 3, 7, 9, 10], "1-3,7-7,9-10")])
def test_ranges(numbers: list[int], ranges: str) -> None:
    assert ranges_of(numbers) == ranges
