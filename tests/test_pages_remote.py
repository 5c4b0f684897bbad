"""Pages from URLs: of the web, from a server here, and of fsspec, from its memory."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import fsspec
import pytest
from PIL import Image

from folioscope.export import stem_of
from folioscope.pages import expand_sources, open_pages, remote
from folioscope.types import InputError, Page
from test_pages import only
from test_pages_pdf import many


def png(side: int = 9) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (side, side), "red").save(stream, "PNG")
    return stream.getvalue()


class Answers(BaseHTTPRequestHandler):
    """What is at each path."""

    def do_GET(self) -> None:
        if self.path.startswith("/moved"):
            self.send_response(302)
            self.send_header("Location", {"/moved": "/a.pdf?x=1", "/moved-out": "file:///etc/hostname"}[self.path])
            self.end_headers()
        elif self.path == "/long":
            self.send_response(200)
            self.end_headers()
            self.wfile.write(bytes(5000))
        elif self.path.startswith("/a.pdf"):
            self._send(many(2))
        elif self.path == "/claims":
            self._send(png(), length=10**12)
        else:
            self.send_error(404)

    def _send(self, content: bytes, length: int | None = None) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(length or len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on stderr."""


@pytest.fixture(scope="module")
def web() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=partial(server.serve_forever, poll_interval=0.01))
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def memory() -> Iterator[fsspec.AbstractFileSystem]:
    fs = fsspec.filesystem("memory")
    yield fs
    fs.store.clear()
    fs.pseudo_dirs[:] = [""]


@pytest.mark.parametrize("path", ["/a.pdf", "/a.pdf?x=1", "/moved"])
def test_the_web(web: str, path: str) -> None:
    first, second = open_pages(f"{web}{path}", dpi=72)
    assert isinstance(first, Page)
    assert isinstance(second, Page)
    assert (first.source, first.image.size, second.number) == (f"{web}{path}", (100, 50), 2)
    assert first.again is not None
    assert first.again().size == (100, 50)  # from memory, whatever became of the server


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("/none", "the server answers 404"),
        ("/moved-out", "the server answers 302|cannot be fetched|unknown url type"),
        ("/claims", "is larger than 4,000 bytes; download it"),
        ("/long", "is larger than 4,000 bytes"),
    ],
)
def test_what_the_web_does_not_give(web: str, path: str, problem: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote.fetch, "__defaults__", (4000,))
    with pytest.raises(InputError, match=f"^{web}{path}: .*({problem})"):
        only(f"{web}{path}")


def test_a_server_that_is_not_there_or_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"^http://127\.0\.0\.1:9/a\.png: cannot be fetched .*check the address"):
        only("http://127.0.0.1:9/a.png")
    with pytest.raises(InputError, match="cannot be fetched"):
        only("http://[nonsense/a.png")


def test_fsspec(memory: fsspec.AbstractFileSystem) -> None:
    memory.pipe({"/scans/b.png": png(), "/scans/a.pdf": many(2), "/scans/notes.txt": b"no page"})
    assert only("memory://scans/b.png").image.size == (9, 9)
    names = ["memory:///scans/a.pdf", "memory:///scans/b.png"]
    assert [name.replace("memory://scans", "memory:///scans") for name in expand_sources(["memory://scans"])] == names
    assert len(expand_sources(["memory://scans/*.png", "memory://scans/b.png"])) == 1
    assert expand_sources(["https://example.org/a.pdf"]) == ["https://example.org/a.pdf"]


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("memory://none.png", "no such file"),
        ("nothing://a/b.png", "cannot be reached.*Protocol not known"),
    ],
)
def test_what_fsspec_does_not_give(memory: fsspec.AbstractFileSystem, url: str, problem: str) -> None:
    for look in (only, lambda one: expand_sources([one])):
        with pytest.raises(InputError, match=f"^{url}: {problem}"):
            look(url)


def test_size_limit_of_fsspec(memory: fsspec.AbstractFileSystem) -> None:
    memory.pipe("/a.png", png())
    with pytest.raises(InputError, match=r"memory://a\.png: is larger than 10 bytes"):
        remote.fetch("memory://a.png", max_bytes=10)


def test_paths_are_no_urls() -> None:
    assert not any(map(remote.is_url, ("a.pdf", "/a/b.pdf", r"C:\a.pdf", "C:/a.pdf", "a//b", "-")))
    assert all(map(remote.is_url, ("s3://a/b", "gs://a", "HTTPS://x/y", "zip://a::s3://b/c.zip")))


def test_files_are_named_after_the_path_of_a_url() -> None:
    assert stem_of("https://example.org/papers/a.b.pdf?key=x/y#page") == "a.b"
