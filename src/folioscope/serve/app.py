"""The application: routes, gate, and the life of what they share."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from fastapi_offline import FastAPIOffline
from starlette.concurrency import run_in_threadpool
from starlette.staticfiles import StaticFiles

from folioscope import __version__
from folioscope.serve import browser_decoder, chat, errors, job_routes, page_routes, read, segment, status
from folioscope.serve.cutter import Cutter
from folioscope.serve.desk import Desk
from folioscope.serve.gate import Gate
from folioscope.serve.jobs import Jobs
from folioscope.serve.metrics import Metrics
from folioscope.serve.options import ServeOptions
from folioscope.serve.runner import Runner
from folioscope.serve.scenes import Scenes
from folioscope.serve.state import State

if TYPE_CHECKING:
    from folioscope.read import Reader
    from folioscope.segment import Segmenter

EMBEDDED_NAME = "folioscope"
"""What clients call the reader that comes with the package."""


def create_app(
    reader: Reader,
    options: ServeOptions,
    *,
    segmenter: Segmenter | None = None,
    name: str = EMBEDDED_NAME,
    hosts: Sequence[str] | None = None,
) -> FastAPI:
    """The ASGI application around loaded models.

    Args:
        reader: Reads for everybody, in one thread.
        options: Its limits.
        segmenter: Cuts out for everybody, in another thread; None answers that there is none.
        name: What clients call the reader.
        hosts: Names that the server may be called by, as a page of another site might make a browser's name for it
            lead here; None is any.
    """
    metrics = Metrics()
    given_away = options.browser_decoder if segmenter else None
    decoder = browser_decoder.decoder_of(given_away) if given_away else None

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        jobs = Jobs(options.data)
        desk = Desk(reader, metrics, queue=options.queue, slots=options.slots)
        cutter = Cutter(metrics, queue=options.queue, seconds=options.max_seconds) if segmenter else None
        seconds, room = 60 * options.scene_minutes, int(1e6 * options.scene_megabytes)
        shared = options.data / "scenes" if options.workers > 1 else None
        app.state.folioscope = State(
            options=options,
            metrics=metrics,
            reader=reader,
            desk=desk,
            segmenter=segmenter,
            cutter=cutter,
            scenes=Scenes(metrics, most_bytes=room, seconds=seconds, folder=shared),
            jobs=jobs,
            runner=(runner := Runner(jobs, reader, desk, options)),
            name=name,
            started=int(time.time()),
            decoder=decoder,
        )
        yield
        await runner.close()
        for owner in filter(None, (desk, cutter)):
            await run_in_threadpool(owner.close)
        jobs.close()

    app = FastAPIOffline(title="Folioscope", version=__version__, lifespan=life, redoc_url=None)
    errors.install(app)
    for part in (page_routes, chat, read, job_routes, segment, status):
        app.include_router(part.router)
    if given_away:
        app.mount(browser_decoder.PREFIX, browser_decoder.Runtime(given_away), name="decoder")
    app.mount("/page", StaticFiles(directory=page_routes.FOLDER), name="page")
    app.add_middleware(Gate, options=options, metrics=metrics, hosts=hosts)
    if options.cors:
        app.add_middleware(
            CORSMiddleware, allow_origins=options.cors, allow_methods=["GET", "POST", "DELETE"], allow_headers=["*"]
        )
    return app


def name_of(path_or_id: str | None) -> str:
    """What clients call a checkpoint: its hub id, or its folder's name; no path of this machine."""
    if path_or_id is None:
        return EMBEDDED_NAME
    return Path(path_or_id).name if Path(path_or_id).exists() else path_or_id
