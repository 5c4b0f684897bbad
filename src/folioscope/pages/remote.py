"""URLs → bytes: `http(s)`, and every place that fsspec reaches (`s3://`, `gs://`, …), within a limit."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from http.client import HTTPException
from typing import Any
from urllib import request
from urllib.error import HTTPError, URLError

from folioscope.types import InputError

MAX_BYTES = 1 << 29
"""Larger files are refused; downloaded and given as a path, they are read from the disk."""

SILENCE, PATIENCE = 30.0, 600.0
"""Seconds that a server may be silent, and that a download may take."""

CHUNK = 1 << 20

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+(?:::[A-Za-z0-9+.:-]+)?://")
_WEB = re.compile(r"https?://", re.IGNORECASE)


def is_url(source: str) -> bool:
    """Whether this is a URL rather than a path."""
    return _URL.match(source) is not None


def fetch(url: str, max_bytes: int = MAX_BYTES) -> bytes:
    """The content of a URL. Raises InputError, in one line, if it cannot be had or is larger than `max_bytes`."""
    return _fetch_web(url, max_bytes) if _WEB.match(url) else _fetch_file(url, max_bytes)


def listed(url: str, suffixes: Sequence[str]) -> list[str]:
    """URLs of the files that a URL names: itself, those in a folder that end in `suffixes`, or those of a pattern.

    The web has no folders: `http(s)` names one file. Raises InputError if there is none.
    """
    if _WEB.match(url):
        return [url]
    fs, path = _file_system(url)
    try:
        if any(mark in path for mark in "*?["):
            names = [name for name in fs.glob(path) if not fs.isdir(name)]
        elif fs.isdir(path):
            names = [name for name in fs.ls(path, detail=False) if name.lower().endswith(tuple(suffixes))]
        else:
            names = [path] if fs.exists(path) else []
    except Exception as error:  # whatever its library raises
        raise InputError(f"{url}: cannot be listed ({_one_line(error)})") from error
    if not names:
        raise InputError(f"{url}: no such file, and no picture or PDF is in it or matches it ({' '.join(suffixes)})")
    return sorted(fs.unstrip_protocol(name) for name in names)


def _fetch_web(url: str, max_bytes: int) -> bytes:
    from folioscope import __version__  # 20 ms that few need

    try:
        asked = request.Request(url, headers={"User-Agent": f"folioscope/{__version__}"})
        with _opener().open(asked, timeout=SILENCE) as answer:
            length = answer.headers.get("Content-Length")
            if length and length.isdigit() and int(length) > max_bytes:
                raise _too_large(url, max_bytes)
            return _read(answer, url, max_bytes)
    except HTTPError as error:
        raise InputError(f"{url}: the server answers {error.code} {error.reason}; check the address") from error
    except (URLError, HTTPException, OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        reason = getattr(error, "reason", None) or error
        raise InputError(f"{url}: cannot be fetched ({_one_line(reason)}); check the address") from error


def _opener() -> request.OpenerDirector:
    """Follows redirections within the web only, never to files or to other protocols."""
    opener = request.OpenerDirector()
    for handler in (
        request.ProxyHandler,
        request.HTTPHandler,
        request.HTTPSHandler,
        request.HTTPRedirectHandler,
        request.HTTPDefaultErrorHandler,
        request.HTTPErrorProcessor,
        request.UnknownHandler,
    ):
        opener.add_handler(handler())
    return opener


def _read(stream: Any, url: str, max_bytes: int) -> bytes:
    content, deadline = bytearray(), time.monotonic() + PATIENCE
    while part := stream.read(CHUNK):
        content += part
        if len(content) > max_bytes:
            raise _too_large(url, max_bytes)
        if time.monotonic() > deadline:
            raise InputError(f"{url}: is not here after {PATIENCE:.0f} seconds; download it, and give its path")
    return bytes(content)


def _fetch_file(url: str, max_bytes: int) -> bytes:
    fs, path = _file_system(url)
    try:
        if (fs.size(path) or 0) > max_bytes:
            raise _too_large(url, max_bytes)
        with fs.open(path, "rb") as stream:
            return _read(stream, url, max_bytes)
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"{url}: no such file") from error
    except Exception as error:  # whatever its library raises
        raise InputError(f"{url}: cannot be fetched ({_one_line(error)})") from error


def _file_system(url: str) -> tuple[Any, str]:
    try:
        from fsspec.core import url_to_fs  # few need it

        return url_to_fs(url)
    except ImportError as error:
        raise InputError(f"{url}: {_one_line(error)}; pip install folioscope[cloud]") from error
    except Exception as error:  # an unknown protocol, or credentials that its library does not find
        raise InputError(f"{url}: cannot be reached ({_one_line(error)})") from error


def _too_large(url: str, max_bytes: int) -> InputError:
    return InputError(f"{url}: is larger than {max_bytes:,} bytes; download it, and give its path")


def _one_line(error: object) -> str:
    return " ".join(str(error).split()) or type(error).__name__
