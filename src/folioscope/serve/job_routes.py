"""Long documents: handed in, looked after, and fetched when they are read."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from folioscope.export import FORMATS
from folioscope.serve.deliver import delivered, formats_of
from folioscope.serve.errors import REFUSALS, Refused
from folioscope.serve.inputs import body_of, body_schema, needed
from folioscope.serve.jobs import Job
from folioscope.serve.reading import ExportFields, ReadFields, export_options, read_request
from folioscope.serve.runner import document_of_job
from folioscope.serve.state import State, state_of

router = APIRouter(tags=["jobs"], responses=REFUSALS)

Id = Annotated[str, Path(max_length=64)]


class ResultFields(ExportFields):
    """What a job's document is given as."""

    format: str = Field("json", description=f"{', '.join(FORMATS)}; several, by commas, as a ZIP.")


@router.post("/v1/jobs", status_code=202, openapi_extra=body_schema(ReadFields))
async def hand_in(request: Request) -> Response:
    """Read a document when there is time: the fields of /v1/read. It outlives the server's process."""
    state = state_of(request)
    if await run_in_threadpool(state.jobs.waiting) >= state.options.jobs:
        raise Refused(429, f"{state.options.jobs} jobs are waiting", "queue_full", headers={"Retry-After": "60"})
    upload, fields = await body_of(request, ReadFields, state.options)
    upload = needed(upload)
    limits = state.options
    asked = await read_request(upload, fields, state.reader, limits, max_pages=limits.max_job_pages)
    given = fields.model_dump(exclude_none=True)
    job = await run_in_threadpool(state.jobs.add, upload, given, asked.numbers)
    state.runner.wake.set()
    return JSONResponse(_shown(job), 202, {"Location": f"/v1/jobs/{job.id}"})


@router.get("/v1/jobs/{id}")
async def look(request: Request, id: Id) -> dict[str, Any]:
    """How it goes."""
    return _shown(await _job(state_of(request), id))


@router.get("/v1/jobs/{id}/result")
async def result(request: Request, id: Id, asked: Annotated[ResultFields, Query()]) -> Response:
    """What is read of it: the whole document when it is done, else the pages there are."""
    state = state_of(request)
    formats = formats_of(asked.format)
    job = await _job(state, id)
    document = await run_in_threadpool(document_of_job, state.jobs, job, state.options)
    return await run_in_threadpool(delivered, document, formats, export_options(asked))


@router.delete("/v1/jobs/{id}", status_code=204)
async def remove(request: Request, id: Id) -> Response:
    """Cancel it if it is not over, and forget it, with all that is read of it."""
    state = state_of(request)
    await _job(state, id)
    await run_in_threadpool(state.jobs.delete, id)
    return Response(status_code=204)


async def _job(state: State, id: str) -> Job:
    try:
        return await run_in_threadpool(state.jobs.__getitem__, id)
    except KeyError:
        raise Refused(404, "job: there is none of this id, or no longer", "no_job") from None


def _shown(job: Job) -> dict[str, Any]:
    return {
        "id": job.id,
        "status": job.status,
        "error": job.error,
        "name": job.name,
        "created": _date(job.created),
        "finished": _date(job.finished),
        "pages": len(job.numbers),
        "pages_done": len(job.done),
        "starts": job.starts,
    }


def _date(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="milliseconds")
