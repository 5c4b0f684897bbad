"""What stands before every route: who asks, under which name, and how much they send how slowly."""

from __future__ import annotations

import asyncio
import hmac
import re
import time
from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from folioscope.serve.errors import Refused, error_response
from folioscope.serve.metrics import Metrics
from folioscope.serve.options import ServeOptions

OPEN = ("/health", "/ready", "/docs", "/openapi.json", "/page/", "/static-offline-docs/")
"""Paths that need no key: they tell nothing but that the server is there, and what it can."""

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")


class Gate:
    """Refuses before a route, or even the body, is looked at; counts what passes."""

    def __init__(self, app: ASGIApp, options: ServeOptions, metrics: Metrics, hosts: Sequence[str] | None) -> None:
        """`hosts` are the names that the server may be called by; None is any."""
        self.app, self.options, self.metrics = app, options, metrics
        self.hosts = None if hosts is None else {host.lower() for host in (*hosts, *options.allow_host)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status = time.perf_counter(), 499  # the client went before there was an answer

        async def observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            self._check(scope)
        except Refused as refusal:
            await error_response(refusal)(scope, receive, observed)
        else:
            await self.app(scope, self._bounded(scope, receive), observed)
        finally:
            route = getattr(scope.get("route"), "path", "none")
            self.metrics.request(route, scope["method"], status, time.perf_counter() - started)

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        host = re.sub(r":\d*$", "", headers.get("host", ""))
        if self.hosts is not None and host.lower() not in self.hosts:
            raise Refused(403, f"host {host!r}: not a name of this server; --allow-host adds one", "wrong_host")
        if self.options.api_key is not None and not _is_open(scope["path"]) and not self._has_key(headers):
            raise Refused(
                401,
                'this server wants its API key, as "Authorization: Bearer KEY"',
                "invalid_api_key",
                headers={"WWW-Authenticate": "Bearer"},
            )
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > self.options.max_bytes:
            raise self._too_large()

    def _has_key(self, headers: Headers) -> bool:
        kind, _, given = headers.get("authorization", "").partition(" ")
        key = given.strip() if kind.lower() == "bearer" else headers.get("x-api-key", "")
        return hmac.compare_digest(key.encode(), (self.options.api_key or "").encode())

    def _too_large(self) -> Refused:
        return Refused(
            413, f"the body has more than {self.options.max_bytes:,} bytes; send less at a time", "body_too_large"
        )

    def _bounded(self, scope: Scope, receive: Receive) -> Receive:
        """`receive` that raises for a body that is too large, or takes too long to arrive."""
        received, whole = 0, False
        deadline = time.monotonic() + self.options.upload_seconds

        async def bounded() -> Message:
            nonlocal received, whole
            if whole:  # what comes now is that the client goes
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), deadline - time.monotonic())
            except asyncio.TimeoutError:
                seconds = f"{self.options.upload_seconds:g} seconds"
                raise Refused(408, f"the body took longer than {seconds} to arrive", "upload_too_slow") from None
            received += len(message.get("body", b""))
            if received > self.options.max_bytes:
                raise self._too_large()
            whole = message["type"] != "http.request" or not message.get("more_body", False)
            return message

        return bounded


def _is_open(path: str) -> bool:
    return path == "/" or any(path == known or (known.endswith("/") and path.startswith(known)) for known in OPEN)
