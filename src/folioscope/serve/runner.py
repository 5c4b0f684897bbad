"""Reads jobs, one after the other, beside the requests that wait for their answers."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Sequence
from contextlib import aclosing, suppress
from itertools import groupby
from pathlib import Path
from typing import Any

from PIL import Image
from starlette.concurrency import run_in_threadpool

from folioscope.pages import open_pages
from folioscope.read import Reader
from folioscope.serve.desk import Desk
from folioscope.serve.errors import Refused
from folioscope.serve.inputs import checked_fields
from folioscope.serve.jobs import LEASE_SECONDS, Job, Jobs
from folioscope.serve.kept import kept_page, page_of
from folioscope.serve.options import ServeOptions
from folioscope.serve.reading import ReadFields, read_request
from folioscope.types import Document, FolioscopeError, InputError, Page, StreamEvent

IDLE_SECONDS = 2.0
"""How soon a job is seen that another server put into the file, or left there dying."""


class Runner:
    """A task of the event loop that takes jobs from the file."""

    def __init__(self, jobs: Jobs, reader: Reader, desk: Desk, options: ServeOptions) -> None:
        self.jobs, self.reader, self.desk, self.options = jobs, reader, desk, options
        self.owner = secrets.token_hex(8)
        self.wake = asyncio.Event()
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Stop; what is being read goes back to the file, its finished pages kept."""
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def _run(self) -> None:
        while True:
            try:
                await run_in_threadpool(self.jobs.forget, self.options.job_days)
                while job := await run_in_threadpool(self.jobs.claim, self.owner):
                    await self._attend(job)
            except Exception:
                logging.getLogger(__name__).exception("jobs cannot be taken from the file; trying again")
            self.wake.clear()
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self.wake.wait(), IDLE_SECONDS)

    async def _attend(self, job: Job) -> None:
        """Read it while it is wanted, and say what became of it."""
        reading = asyncio.ensure_future(self._read(job))
        try:
            while not reading.done():
                await asyncio.wait((reading,), timeout=LEASE_SECONDS / 4)
                if not reading.done() and not await run_in_threadpool(self.jobs.renew, job.id, self.owner):
                    return
            reading.result()
            await run_in_threadpool(self.jobs.finish, job.id, "done")
        except asyncio.CancelledError:
            self.jobs.give_back(job.id, self.owner)
            raise
        except Exception as error:
            if isinstance(error, Refused) and error.status_code == 503:
                self.jobs.give_back(job.id, self.owner)
                return
            known = isinstance(error, (FolioscopeError, Refused))
            if not known:
                logging.getLogger(__name__).exception("job %s failed", job.id)
            text = str(getattr(error, "detail", error)) if known else "the server failed; its log says how"
            await run_in_threadpool(self.jobs.finish, job.id, "failed", text)
        finally:
            reading.cancel()

    async def _read(self, job: Job) -> None:
        """The pages that are not read yet."""
        left = [number for number in job.numbers if number not in job.done]
        if not left:
            return
        upload = await run_in_threadpool(self.jobs.upload, job.id)
        fields = checked_fields(ReadFields, {**job.fields, "pages": ranges_of(left)})
        request = await read_request(upload, fields, self.reader, self.options, max_pages=len(left), deadline=False)
        async with aclosing(self.desk.read(request, always=True).events()) as events:
            async for event in events:
                if isinstance(event, StreamEvent) and event.result and self.desk.alive:
                    await run_in_threadpool(self.jobs.keep_page, job.id, event.page, kept_page(event.result))


def ranges_of(numbers: Sequence[int]) -> str:
    """Rising numbers as `open_pages` takes them: "1-3,7"."""
    runs = [list(run) for _, run in groupby(enumerate(numbers), key=lambda place: place[1] - place[0])]
    return ",".join(f"{run[0][1]}-{run[-1][1]}" for run in runs)


def document_of_job(jobs: Jobs, job: Job, options: ServeOptions) -> Document:
    """What is read of it, the pictures of its pages made anew when they are asked for."""
    upload = jobs.upload(job.id)

    def picture(number: int) -> Image.Image:
        pages = open_pages(
            upload.open(),
            pages=str(number),
            dpi=job.fields.get("dpi"),
            password=job.fields.get("password"),
            max_pixels=options.max_pixels,
        )
        page: Any = next(pages)
        if not isinstance(page, Page):
            raise InputError(page.error)
        return page.image

    pages = [page_of(kept, picture) for kept in jobs.pages(job.id)]
    return Document(Path(job.name).name, tuple(pages))
