"""A server as clients meet it: the real application on a port of this machine, around small readers."""

from __future__ import annotations

import base64
import io
import json
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import uvicorn
from PIL import Image

from folioscope.read import Reader
from folioscope.serve.app import create_app
from folioscope.serve.options import ServeOptions
from scripted import scripted_checkpoint, sheet

KEY = "s3cret-key"


@contextmanager
def served(reader: Reader, options: ServeOptions, **more: Any) -> Iterator[str]:
    """The address of a server, for as long as it is wanted."""
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listening:
        app = create_app(reader, options, **more)
        config = uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            wait_until(lambda: server.started)
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


@contextmanager
def process(model: Path, data: Path, *more: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command as a process of its own, and its address; it is killed at the end."""
    options = ("--port", "0", "--model", str(model), "--data", str(data), "--slots", "1", *more)
    command = (sys.executable, "-m", "folioscope", "serve", *options)
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr
        try:
            line = next(line for line in running.stderr if "serving at" in line)
            yield running, re.search(r"http://\S+?(?=,)", line)[0]  # pyright: ignore[reportOptionalSubscript]
        finally:
            running.kill()


def wait_until(condition: Callable[[], Any], seconds: float = 20) -> Any:
    """What the condition gives, as soon as it is true."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.01)
    return found


def scripted_reader(folder: Path) -> Reader:
    return Reader.from_pretrained(scripted_checkpoint(folder))


def endless_reader(folder: Path) -> Reader:
    """One that goes on and on: nothing ends a sequence but the number of positions."""
    reader = scripted_reader(folder)
    reader.options = replace(reader.options, stop_ids=(), no_repeat_ngram_size=0)
    config = reader.model.config
    reader.model.config = replace(config, decoder=replace(config.decoder, max_position_embeddings=8192))
    return reader


def picture(width: int = 40, height: int = 60, colour: str | None = None, format: str = "PNG") -> bytes:
    """A page with something to read, or of one colour."""
    stream = io.BytesIO()
    page = Image.new("RGB", (width, height), colour) if colour else sheet((width, height))
    page.save(stream, format)
    return stream.getvalue()


def data_url(data: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def chat_body(prompt: str | None = "Free OCR.", image: bytes | None = None, **more: Any) -> dict[str, Any]:
    parts: list[dict[str, Any]] = [{"type": "image_url", "image_url": {"url": data_url(image or picture())}}]
    if prompt is not None:
        parts.insert(0, {"type": "text", "text": prompt})
    return {"messages": [{"role": "user", "content": parts}], **more}


def error_of(answer: httpx2.Response) -> tuple[int, str, str]:
    """(status, code, message) of a refusal, in OpenAI's shape."""
    error = answer.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert "\n" not in error["message"]
    return answer.status_code, error["code"], error["message"]


def events_of(answer: httpx2.Response) -> Iterator[tuple[str, Any]]:
    """(name, data) of server-sent events, as they come."""
    name = "message"
    for line in answer.iter_lines():
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            text = line.removeprefix("data: ")
            yield name, text if text == "[DONE]" else json.loads(text)
            name = "message"


def metric(address: str, name: str, headers: dict[str, str] | None = None) -> float:
    lines = httpx2.get(f"{address}/metrics", headers=headers).text.splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith((f"{name} ", f"{name}{{")))
