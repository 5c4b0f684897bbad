"""POST /v1/read: an image or a PDF in, the document out: as JSON, as files, or as it is decoded."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from folioscope.export import FORMATS
from folioscope.serve.deliver import delivered, formats_of
from folioscope.serve.desk import Event, Reading
from folioscope.serve.errors import REFUSALS
from folioscope.serve.events import SSE, SSE_HEADERS, chain, page_events
from folioscope.serve.going import unless_gone
from folioscope.serve.inputs import Upload, body_of, body_schema, needed
from folioscope.serve.reading import ExportFields, ReadFields, export_options, read_request
from folioscope.serve.state import State, state_of
from folioscope.types import Document, PageResult, StreamEvent

router = APIRouter(tags=["read"], responses=REFUSALS)


class ReadForm(ReadFields, ExportFields):  # pyright: ignore[reportGeneralTypeIssues]
    """Fields of /v1/read."""

    format: str = Field("json", description=f"What to send back: {', '.join(FORMATS)}; several, by commas, as a ZIP.")
    previews: bool = Field(False, description="Send a picture of each page with its events.")
    keep: bool = Field(False, description="Keep what is read as a finished job, to be fetched in other formats.")


@router.post("/v1/read", openapi_extra=body_schema(ReadForm))
async def read(request: Request) -> Response:
    """Read a picture or a PDF.

    With "Accept: text/event-stream" the answer comes as it is decoded: `page`, `text`, `region` and `result` events,
    then `done`, or `error`. A page that is read again, for doubts about it, sends `restart`. With `keep`, the id of the
    finished job is in `done`, or in the header Location.
    """
    state = state_of(request)
    state.desk.admit()
    upload, fields = await body_of(request, ReadForm, state.options)
    upload, formats = needed(upload), formats_of(fields.format)
    asked = await read_request(upload, fields, state.reader, state.options, max_pages=state.options.max_pages)
    reading = state.desk.read(asked)
    if SSE in request.headers.get("accept", ""):
        events = reading.events()
        first = await unless_gone(request, anext(events, None))  # what is refused at its turn has a status of its own
        pages: list[PageResult] = []

        async def last() -> dict[str, str]:
            return {"job": await _keep(state, upload, fields, pages)} if fields.keep else {}

        seen = _noting(chain(first, events), pages)
        stream = page_events(seen, asked, previews=fields.previews, last=last)
        return StreamingResponse(stream, media_type=SSE, headers=SSE_HEADERS)
    document = await unless_gone(request, document_of(reading, upload.name))
    answer = await run_in_threadpool(delivered, document, formats, export_options(fields))
    if fields.keep:
        answer.headers["Location"] = f"/v1/jobs/{await _keep(state, upload, fields, document.pages)}"
    return answer


async def _noting(events: AsyncIterator[Event | None], pages: list[PageResult]) -> AsyncIterator[Event]:
    """The events, the results among them noted."""
    async for event in events:
        if isinstance(event, StreamEvent) and event.result:
            pages.append(event.result)
        if event is not None:
            yield event


async def _keep(state: State, upload: Upload, fields: ReadForm, pages: Sequence[PageResult]) -> str:
    given = fields.model_dump(exclude_none=True, include=set(ReadFields.model_fields))
    return await run_in_threadpool(state.jobs.add_done, upload, given, pages)


async def document_of(reading: Reading, name: str) -> Document:
    """The document when it is read. Raises what the reading raises."""
    async with aclosing(reading.events()) as events:
        pages = [event.result async for event in events if isinstance(event, StreamEvent) and event.result]
    return Document(name, tuple(sorted(pages, key=lambda page: page.number)))
