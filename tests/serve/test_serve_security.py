"""What comes from outside is bounded and refused early, and the server stays up."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import pytest

from folioscope.read import Reader
from folioscope.serve.errors import Refused
from folioscope.serve.fetch import fetch, is_public
from folioscope.serve.gate import LOOPBACK
from folioscope.serve.options import ServeOptions
from folioscope.types import InputError
from live_server import KEY, chat_body, error_of, picture, served
from scripted import sheets
from test_pages import png_header

BOMB = png_header(35000, 35000)
HEAD = re.compile(rb".*?content-length: (\d+)\r\n.*?\r\n\r\n", re.DOTALL)


@pytest.fixture(scope="module")
def guarded(scripted: Reader, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with narrow bounds and a key."""
    options = ServeOptions(
        data=tmp_path_factory.mktemp("data"),
        api_key=KEY,
        max_megabytes=1,
        upload_seconds=0.5,
        cors=("https://good.example",),
    )
    with served(scripted, options, hosts=LOOPBACK) as address:
        yield address


@pytest.fixture
def client(guarded: str) -> Iterator[httpx2.Client]:
    """One with the key; whatever it does, the server must stay up."""
    with httpx2.Client(base_url=guarded, headers={"Authorization": f"Bearer {KEY}"}) as client:
        yield client
        assert client.get("/health").json() == {"status": "ok"}
        assert client.post("/v1/read", files={"file": picture()}).status_code == 200


def sent(address: str, head: str, *body: bytes, pause: float = 0) -> bytes:
    """What the server answers to bytes sent by hand."""
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        lines = f"{head}\r\nHost: localhost\r\nAuthorization: Bearer {KEY}\r\nContent-Type: application/json\r\n"
        connection.sendall(lines.encode())
        try:
            for part in body:
                connection.sendall(part)
                time.sleep(pause)
        except OSError:
            pass  # it has seen enough
        return _received(connection)


def _received(connection: socket.socket) -> bytes:
    """The head of an answer and the body that it announces, however they come."""
    answer, part = b"", b"-"
    while part:
        head = HEAD.match(answer)
        if head and len(answer) >= head.end() + int(head[1]):
            break
        part = connection.recv(65536)
        answer += part
    return answer


def test_a_large_body_is_refused_before_it_is_read(guarded: str, client: httpx2.Client) -> None:
    answer = sent(guarded, "POST /v1/read HTTP/1.1\r\nContent-Length: 1000001", b"\r\n")
    assert b" 413 " in answer
    assert b"more than 1,000,000 bytes" in answer
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    assert b" 413 " in sent(guarded, "POST /v1/read HTTP/1.1\r\nTransfer-Encoding: chunked", b"\r\n", *[chunk] * 20)


def test_a_slow_upload_is_refused(guarded: str, client: httpx2.Client) -> None:
    answer = sent(guarded, "POST /v1/read HTTP/1.1\r\nContent-Length: 1000", b"\r\n{", b" ", b" ", b" ", pause=0.2)
    assert b" 408 " in answer
    assert b"took longer than 0.5 seconds" in answer


def test_a_decompression_bomb_is_refused_before_it_is_decoded(client: httpx2.Client) -> None:
    for route in ("/v1/read", "/v1/jobs"):
        answer = client.post(route, files={"file": ("bomb.png", BOMB)})
        assert error_of(answer)[0] == 400
        assert "bomb.png: 35000 x 35000 pixels, from 1 to 60,000,000 can be read" in answer.text
    assert error_of(client.post("/v1/chat/completions", json=chat_body(image=BOMB)))[:2] == (400, "invalid_input")


def test_ten_thousand_pages_are_refused_at_once(client: httpx2.Client) -> None:
    document = sheets(1, again=10_000)
    start = time.perf_counter()
    for route, limit in (("/v1/read", 100), ("/v1/jobs", 2000)):
        answer = client.post(route, files={"file": ("x.pdf", document)})
        assert error_of(answer)[:2] == (400, "too_many_pages")
        assert f"10000 pages: at most {limit}" in answer.text
    assert time.perf_counter() - start < 10
    assert client.post("/v1/read", files={"file": ("x.pdf", document)}, data={"pages": "1-99999"}).status_code == 400


@pytest.mark.parametrize(
    "headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {KEY}"}, {"x-api-key": "é"}]
)
def test_a_wrong_key_is_refused(guarded: str, headers: dict[str, str]) -> None:
    coded = {name: value.encode("latin-1") for name, value in headers.items()}
    for route in ("/v1/read", "/v1/models", "/metrics", "/v1/jobs/x"):
        answer = httpx2.get(f"{guarded}{route}", headers=coded)
        assert error_of(answer)[:2] == (401, "invalid_api_key")
        assert answer.headers["www-authenticate"] == "Bearer"
    for route in ("/", "/health", "/ready", "/docs", "/openapi.json", "/page/app.js"):
        assert httpx2.get(f"{guarded}{route}", headers=coded).status_code == 200


def test_the_key_goes_either_way(guarded: str) -> None:
    assert httpx2.get(f"{guarded}/v1/models", headers={"x-api-key": KEY}).status_code == 200


def test_names_that_are_not_the_servers_are_refused(client: httpx2.Client) -> None:
    assert error_of(client.get("/v1/models", headers={"Host": "evil.example"}))[:2] == (403, "wrong_host")
    assert client.get("/v1/models", headers={"Host": "localhost:1234"}).status_code == 200


def test_other_sites_need_permission(client: httpx2.Client, server: str) -> None:
    asked = {"Access-Control-Request-Method": "POST"}
    allowed = client.options("/v1/read", headers={"Origin": "https://good.example", **asked})
    assert allowed.headers["access-control-allow-origin"] == "https://good.example"
    assert (
        "access-control-allow-origin" not in client.get("/health", headers={"Origin": "https://evil.example"}).headers
    )
    assert "access-control-allow-origin" not in httpx2.get(f"{server}/health", headers={"Origin": "https://x"}).headers


def test_the_page_cannot_be_left_or_framed(server: str) -> None:
    policy = httpx2.get(server).headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert httpx2.get(f"{server}/page/../app.py").status_code == 404
    assert httpx2.get(f"{server}/page/%2e%2e/app.py").status_code == 404


@pytest.mark.parametrize("wrong", [{"queue": 0}, {"api_key": ""}, {"api_key": "schlüssel"}, {"max_seconds": -1}])
def test_wrong_options(wrong: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        ServeOptions(data=tmp_path, **wrong)


# Pictures from other hosts


class Elsewhere(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        name, _, target = self.path.lstrip("/").partition("=")
        content = {"ok": picture(), "big": b"x" * 200_000}.get(name, b"")
        self.send_response(302 if target or name == "loop" else 200 if content else 404)
        if target or name == "loop":
            self.send_header("Location", target or "/loop")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere) as other:
        thread = threading.Thread(target=other.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{other.server_port}"
        other.shutdown()
        thread.join()


def one_is_public(address: str) -> bool:
    """Stands in for the internet: this address alone is out there."""
    return address == "127.0.0.1"


def fetched(url: str, allowed: tuple[str, ...] = ("127.0.0.1", "127.0.0.2")) -> bytes:
    return fetch(url, allowed, most=100_000, seconds=5, public=one_is_public)


def test_a_picture_is_fetched_from_an_allowed_host(elsewhere: str) -> None:
    assert fetched(f"{elsewhere}/ok") == fetched(f"{elsewhere}/to=/ok") == picture()


@pytest.mark.parametrize(
    ("path", "status", "problem"),
    [
        ("to=http://127.0.0.2/ok", 403, "not public"),
        ("to=http://localhost/ok", 403, "not fetched"),
        ("to=file:///etc/passwd", 403, "not fetched"),
        ("to=//127.0.0.2:1/x", 403, "not public"),
        ("loop", 400, "more than 3 redirects"),
        ("big", 413, "more than 100,000 bytes"),
        ("missing", 400, "answers 404"),
    ],
)
def test_redirects_and_sizes_are_held_to_the_rules(elsewhere: str, path: str, status: int, problem: str) -> None:
    with pytest.raises(Refused, match=problem) as caught:
        fetched(f"{elsewhere}/{path}")
    assert caught.value.status_code == status


PRIVATE = ("127.0.0.1", "10.1.2.3", "192.168.0.1", "169.254.169.254", "0.0.0.0", "100.64.0.1", "224.0.0.1")
PRIVATE_6 = ("::1", "fd00::1", "::ffff:10.0.0.1", "fe80::1%eth0")


@pytest.mark.parametrize("address", [*PRIVATE, *PRIVATE_6])
def test_private_addresses(address: str) -> None:
    assert not is_public(address)
    assert is_public("93.184.216.34")


def test_the_server_fetches_nothing_unless_told(
    elsewhere: str, client: httpx2.Client, scripted: Reader, tmp_path: Path
) -> None:
    body = chat_body()
    body["messages"][0]["content"][1]["image_url"]["url"] = f"{elsewhere}/ok"
    assert error_of(client.post("/v1/chat/completions", json=body))[:2] == (403, "url_not_allowed")
    with served(scripted, ServeOptions(data=tmp_path, allow_url=("127.0.0.1",))) as address:
        answer = httpx2.post(f"{address}/v1/chat/completions", json=body)
        assert error_of(answer)[:2] == (403, "url_not_allowed")
        assert "not public" in answer.text
