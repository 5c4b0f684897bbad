"""POST /v1/read: multipart and JSON, whole and as it is decoded, in every format."""

from __future__ import annotations

import io
import json
import re
import socket
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from folioscope.export import FORMATS
from folioscope.read import Reader
from folioscope.serve.options import ServeOptions
from live_server import data_url, error_of, events_of, metric, picture, served, wait_until
from scripted import raw, sheets

MARKDOWN = "# Hello\n\n![](images/0.jpg)"


def post(server: str, data: bytes | None = None, name: str = "page.png", **fields: Any) -> httpx2.Response:
    return httpx2.post(f"{server}/v1/read", files={"file": (name, data or picture())}, data=fields)


def test_a_form_gives_the_document(server: str) -> None:
    answer = post(server)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    document = answer.json()
    assert (document["schema"], document["source"]) == ("folioscope.document/1", "page.png")
    assert document["markdown"] == MARKDOWN
    assert [region["label"] for region in document["pages"][0]["regions"]] == ["title", "image"]


@pytest.mark.parametrize("file", [data_url(picture()), data_url(picture()).partition(",")[2]])
def test_json_gives_the_same(server: str, file: str) -> None:
    whole = httpx2.post(f"{server}/v1/read", json={"file": file, "prompt": "ocr", "max_new_tokens": 3}).json()
    assert whole["pages"] == timeless(post(server, prompt="ocr", max_new_tokens="3").json(), like=whole)["pages"]


def timeless(document: dict, like: dict) -> dict:
    for page, other in zip(document["pages"], like["pages"], strict=True):
        page["usage"]["seconds"] = other["usage"]["seconds"]
    return document


def test_pages_of_a_pdf(server: str) -> None:
    document = post(server, sheets(4), "four.pdf", pages="2-3", dpi="72", prompt="free").json()
    assert [page["number"] for page in document["pages"]] == [2, 3]
    assert document["markdown"] == "Hello\n\nworld\n\nHello\n\nworld"


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_comes_as_a_file(server: str, name: str) -> None:
    answer = post(server, format=name)
    assert answer.status_code == 200
    assert answer.content
    if name != "json":
        assert answer.headers["content-disposition"].startswith("attachment; filename*=UTF-8''page")


def test_several_formats_come_as_a_zip_with_figures(server: str) -> None:
    archive = zipfile.ZipFile(io.BytesIO(post(server, format="md,json").content))
    assert set(archive.namelist()) == {"page.md", "page.json", "page_images/1_0.jpg"}
    assert archive.read("page.md").decode() == "# Hello\n\n![](page_images/1_0.jpg)\n"


@pytest.mark.parametrize(
    "name", ["../../etc/passwd.png", "C:\\evil\\..\\x.png", "a\r\nX: y.png", "/abs.png", "…\u202egnp.exe"]
)
def test_names_are_never_paths(server: str, name: str) -> None:
    answer = post(server, name=name, format="md,json")
    assert answer.status_code == 200
    assert all(re.fullmatch(r"[\w.-]+(_images/1_0\.jpg)?", entry) and ".." not in entry
               for entry in zipfile.ZipFile(io.BytesIO(answer.content)).namelist())  # fmt: skip
    assert "X" not in answer.headers


def test_events_of_a_page(server: str) -> None:
    with httpx2.stream(
        "POST",
        f"{server}/v1/read",
        files={"file": picture()},
        data={"previews": "true"},
        headers={"Accept": "text/event-stream"},
    ) as answer:
        events = list(events_of(answer))
    names = [name for name, _ in events]
    assert (names[0], names[-2:]) == ("page", ["result", "done"])
    assert events[0][1]["preview"].startswith("data:image/jpeg;base64,")
    assert "".join(data["text"] for name, data in events if name == "text") == raw("markdown")
    result = next(data for name, data in events if name == "result")
    assert result["markdown"] == MARKDOWN
    regions = [data for name, data in events if name == "region"]
    assert regions[0]["label"] == "title"
    assert regions[0]["boxes"]


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"format": "docx"}, "unknown_format"),
        ({"prompt": "no mark"}, "invalid_input"),
        ({"mode": "huge"}, "invalid_field"),
        ({"pages": "3"}, "invalid_input"),
        ({"dpi": "nan"}, "invalid_field"),
        ({"nonsense": "1"}, "invalid_field"),
        ({"temperature": "-1"}, "invalid_field"),
        ({"max_new_tokens": "0"}, "invalid_input"),
        ({"top_p": "0"}, "invalid_input"),
        ({"prompt": "\0" * 20_000}, "invalid_field"),
    ],
)
def test_wrong_fields(server: str, fields: dict[str, str], code: str) -> None:
    assert error_of(post(server, **fields))[:2] == (400, code)


@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        ({"content": b"x", "headers": {"content-type": "text/plain"}}, 415, "wrong_content_type"),
        ({"content": b"{", "headers": {"content-type": "application/json"}}, 400, "invalid_json"),
        ({"content": b"[" * 100_000, "headers": {"content-type": "application/json"}}, 400, "invalid_json"),
        ({"json": []}, 400, "invalid_json"),
        ({"json": {}}, 400, "no_file"),
        ({"json": {"file": 3}}, 400, "invalid_field"),
        ({"json": {"file": "/etc/passwd"}}, 400, "invalid_file"),
        ({"json": {"file": "http://localhost/x.png"}}, 403, "url_not_allowed"),
        ({"files": {"file": b""}}, 400, "no_file"),
        ({"files": {"other": b"x"}}, 400, "invalid_field"),
        ({"files": {"file": b"no picture at all"}}, 400, "invalid_input"),
    ],
)
def test_wrong_bodies(server: str, request_: dict[str, Any], status: int, code: str) -> None:
    assert error_of(httpx2.post(f"{server}/v1/read", **request_))[:2] == (status, code)


def test_a_page_that_cannot_be_had_costs_only_itself(server: str) -> None:
    lying = sheets(2).replace(b"4 0 R", b"9 0 R")
    pages = post(server, lying, "x.pdf").json()["pages"]
    assert [page["status"] for page in pages] == ["ok", "failed"]


@contextmanager
def asking(address: str, accept: str = "*/*") -> Iterator[None]:
    """A client that waits for an answer until it goes."""
    body = json.dumps({"file": data_url(picture()), "prompt": "free"})
    head = f"POST /v1/read HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\nContent-Type: application/json\r\n"
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        yield


@pytest.mark.parametrize("accept", ["text/event-stream", "application/json"])
def test_a_client_that_goes_frees_its_place_within_one_token(
    endless: Reader, tmp_path: Path, accept: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No token comes until the test lets it, and it lets one only."""
    tokens, step = threading.Semaphore(0), endless.model.step

    def held(*given: Any) -> Any:
        tokens.acquire(timeout=20)
        return step(*given)

    monkeypatch.setattr(endless.model, "step", held)
    with served(endless, ServeOptions(data=tmp_path)) as address:
        with asking(address, accept=accept):
            wait_until(lambda: metric(address, "folioscope_reader_running") == 1)
        wait_until(lambda: 'route="/v1/read"' in httpx2.get(f"{address}/metrics").text)  # it is over
        tokens.release()
        wait_until(lambda: metric(address, "folioscope_reader_running") == 0, seconds=10)


def test_a_full_queue_says_when_to_come_again(endless: Reader, tmp_path: Path) -> None:
    options = ServeOptions(queue=1, data=tmp_path, slots=1)
    with served(endless, options) as address, asking(address):
        wait_until(lambda: metric(address, "folioscope_reader_running") == 1)
        with asking(address):
            wait_until(lambda: metric(address, "folioscope_reader_waiting") == 1)
            answer = post(address)
            assert error_of(answer)[:2] == (429, "queue_full")
            assert int(answer.headers["retry-after"]) >= 1
        wait_until(lambda: metric(address, "folioscope_reader_waiting") == 0)


def test_the_time_limit_is_told(endless: Reader, tmp_path: Path) -> None:
    with served(endless, ServeOptions(max_seconds=0.3, data=tmp_path)) as address:
        answer = post(address, sheets(2), "two.pdf", prompt="free")
        assert error_of(answer)[:2] == (408, "too_slow")


def test_metrics_count(server: str) -> None:
    before = metric(server, "folioscope_pages_total")
    post(server)
    assert metric(server, "folioscope_pages_total") == before + 1
    assert json.loads(httpx2.get(f"{server}/ready").content)["model"] == "folioscope"
    assert httpx2.get(f"{server}/health").json() == {"status": "ok"}
    assert "swagger" in httpx2.get(f"{server}/docs").text
