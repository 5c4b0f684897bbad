"""Models loaded, the application made, and served until somebody says stop."""

from __future__ import annotations

import ipaddress
import multiprocessing
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import uvicorn

from folioscope.read import Reader
from folioscope.segment import EMBEDDED, Segmenter
from folioscope.serve.app import create_app, name_of
from folioscope.serve.browser_decoder import check_folder
from folioscope.serve.gate import LOOPBACK
from folioscope.serve.options import ServeOptions
from folioscope.types import InputError


def run(
    options: ServeOptions,
    *,
    host: str,
    port: int,
    model: str | None,
    segmenter: str | None,
    device: str,
    **how: Any,
) -> None:
    """Serve until interrupted or terminated.

    Args:
        host, port: Where to listen.
        model, segmenter: Folders, files or hub ids; None are the embedded ones.
        how: As of `Reader.from_pretrained`.

    Raises:
        InputError: The address is in use, or what browsers are to decode with is not there.
        CheckpointError: A model cannot be loaded.
    """
    if options.browser_decoder:
        check_folder(options.browser_decoder)
    with _listen(host, port) as listening:
        models = {"model": model, "segmenter": segmenter, "device": device, **how}
        arguments = (listening, options, _names(host), models)
        spawn = multiprocessing.get_context("spawn")
        others = [spawn.Process(target=_serve, args=arguments) for _ in range(options.workers - 1)]
        for other in others:
            other.start()
        try:
            _serve(*arguments, told=f"serving at {_address(host, listening)}, Ctrl-C ends it")
        finally:
            for other in others:
                other.terminate()  # the signal that lets it finish what runs
                other.join()


def _serve(
    listening: socket.socket,
    options: ServeOptions,
    hosts: Sequence[str] | None,
    models: Mapping[str, Any],
    told: str = "",
) -> None:
    """One process: its models, its application, the socket that all share."""
    how = {name: value for name, value in models.items() if name not in ("model", "segmenter")}
    reader = Reader.from_pretrained(models["model"], **how)
    cutter = segmenter_of(models["segmenter"], models["device"])
    app = create_app(reader, options, segmenter=cutter, name=name_of(models["model"]), hosts=hosts)
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=int(options.grace_seconds) or 1,
        server_header=False,
    )
    if told:
        print(f"folioscope: {told}", file=sys.stderr, flush=True)
    uvicorn.Server(config).run(sockets=[listening])


def segmenter_of(asked: str | None, device: str) -> Segmenter | None:
    """The one asked for, or the embedded, or, where there is none, none."""
    if asked is None and not EMBEDDED.is_dir():
        print("folioscope: there is no embedded segmenter; serving without one", file=sys.stderr)
        return None
    return Segmenter.from_pretrained(asked, device=device)


def _listen(host: str, port: int) -> socket.socket:
    """Before the models are loaded: an address that cannot be had is not worth the wait."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listening = socket.create_server((host, port), family=family, backlog=1024)
    except OSError as error:
        raise InputError(f"{host}:{port}: cannot listen there ({error.strerror}); choose another --port") from error
    # What is accepted inherits it: asyncio leaves it out, and answers in two parts then wait 40 ms for each other
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def _names(host: str) -> list[str] | None:
    """What a server that only this machine reaches may be called; None is anything."""
    with suppress(ValueError):
        if not ipaddress.ip_address(host).is_loopback:
            return None
    return [*LOOPBACK, host]


def _address(host: str, listening: socket.socket) -> str:
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{listening.getsockname()[1]}"
