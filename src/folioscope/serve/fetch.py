"""Pictures from other hosts: only from those that are allowed, and never from where only this machine can look."""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from urllib.parse import urljoin, urlsplit

from folioscope.serve.errors import Refused

REDIRECTS = 3
CHUNK = 65_536

IsPublic = Callable[[str], bool]


def is_public(address: str) -> bool:
    """Whether an address is one of the internet at large: not private, not loopback, not of a cloud's own services."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(ip, "ipv4_mapped", None)
    return (mapped or ip).is_global and not ip.is_multicast


def fetch(url: str, allowed: Sequence[str], most: int, seconds: float, public: IsPublic = is_public) -> bytes:
    """The body of an address, its redirects followed, each of them held to the same rules.

    The host's addresses are looked up once and the connection is made to what was checked, so that a name which
    changes its mind in between gains nothing.

    Args:
        url: http or https.
        allowed: Hosts that may be asked.
        most: Bytes it may have.
        seconds: That all of it may take.
        public: Whether an IP address may be connected to.

    Raises:
        Refused: 403 for what is not allowed, 400 for what cannot be had.
    """
    deadline = time.monotonic() + seconds
    for _ in range(REDIRECTS + 1):
        answer = _ask(url, allowed, public, deadline)
        with answer:
            if answer.status in (301, 302, 303, 307, 308):
                url = urljoin(url, answer.headers.get("location", ""))
                continue
            if answer.status != 200:
                raise _failed(url, f"it answers {answer.status}")
            return _body(url, answer, most, deadline)
    raise _failed(url, f"more than {REDIRECTS} redirects")


def _ask(url: str, allowed: Sequence[str], public: IsPublic, deadline: float) -> http.client.HTTPResponse:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        raise _failed(url, "not an address") from None
    if parts.scheme not in ("http", "https") or host.lower() not in {name.lower() for name in allowed}:
        raise Refused(
            403, f"{_shown(url)}: pictures from this host are not fetched; send them as data URLs", "url_not_allowed"
        )
    address = _address(url, host, port, public)
    try:
        connection = _connection(parts.scheme, host, port, address, deadline)
        path = parts._replace(scheme="", netloc="", fragment="").geturl() or "/"
        connection.request("GET", path, headers={"Accept": "image/*, application/pdf", "User-Agent": "folioscope"})
        return connection.getresponse()
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _failed(url, str(error) or type(error).__name__) from error


def _address(url: str, host: str, port: int, public: IsPublic) -> str:
    """The first of a host's addresses, all of which must be public."""
    try:
        found = [str(info[4][0]) for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    except (OSError, UnicodeError) as error:
        raise _failed(url, "no such host") from error
    if not all(map(public, found)):
        raise Refused(403, f"{_shown(url)}: leads to an address that is not public", "url_not_allowed")
    return found[0]


def _connection(scheme: str, host: str, port: int, address: str, deadline: float) -> http.client.HTTPConnection:
    left = max(deadline - time.monotonic(), 0.1)
    plain = socket.create_connection((address, port), timeout=left)
    connection = http.client.HTTPConnection(host, port, timeout=left)
    if scheme == "https":
        connection.sock = ssl.create_default_context().wrap_socket(plain, server_hostname=host)
    else:
        connection.sock = plain
    return connection


def _body(url: str, answer: http.client.HTTPResponse, most: int, deadline: float) -> bytes:
    parts, size = [], 0
    try:
        while part := answer.read1(CHUNK):
            parts.append(part)
            size += len(part)
            if size > most:
                raise Refused(413, f"{_shown(url)}: has more than {most:,} bytes", "body_too_large")
            if time.monotonic() > deadline:
                raise _failed(url, "it takes too long")
    except (OSError, http.client.HTTPException) as error:
        raise _failed(url, str(error) or type(error).__name__) from error
    return b"".join(parts)


def _failed(url: str, why: str) -> Refused:
    return Refused(400, f"{_shown(url)}: cannot be fetched ({why}); send the picture as a data URL", "fetch_failed")


def _shown(url: str) -> str:
    return url if len(url) <= 100 else url[:100] + "…"
