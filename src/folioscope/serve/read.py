"""POST /v1/read: an image or a PDF in, the document out: as JSON, as files, or as it is decoded."""

from __future__ import annotations

from contextlib import aclosing

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from folioscope.export import FORMATS
from folioscope.serve.deliver import delivered, formats_of
from folioscope.serve.desk import Reading
from folioscope.serve.errors import REFUSALS
from folioscope.serve.events import SSE, SSE_HEADERS, chain, page_events
from folioscope.serve.going import unless_gone
from folioscope.serve.inputs import body_of, body_schema, needed
from folioscope.serve.reading import ReadFields, read_request
from folioscope.serve.state import state_of
from folioscope.types import Document, StreamEvent

router = APIRouter(tags=["read"], responses=REFUSALS)


class ReadForm(ReadFields):
    """Fields of /v1/read."""

    format: str = Field("json", description=f"What to send back: {', '.join(FORMATS)}; several, by commas, as a ZIP.")
    previews: bool = Field(False, description="Send a picture of each page with its events.")


@router.post("/v1/read", openapi_extra=body_schema(ReadForm))
async def read(request: Request) -> Response:
    """Read a picture or a PDF.

    With "Accept: text/event-stream" the answer comes as it is decoded: `page`, `text`, `region` and `result` events,
    then `done`, or `error`.
    """
    state = state_of(request)
    state.desk.admit()
    upload, fields = await body_of(request, ReadForm, state.options)
    upload, formats = needed(upload), formats_of(fields.format)
    asked = await read_request(upload, fields, state.reader, state.options, max_pages=state.options.max_pages)
    reading = state.desk.read(asked)
    if SSE in request.headers.get("accept", ""):
        events = reading.events()
        first = await unless_gone(request, anext(events))  # what is refused at its turn has a status of its own
        stream = page_events(chain(first, events), fields.prompt, previews=fields.previews)
        return StreamingResponse(stream, media_type=SSE, headers=SSE_HEADERS)
    document = await unless_gone(request, document_of(reading, upload.name))
    return await run_in_threadpool(delivered, document, formats)


async def document_of(reading: Reading, name: str) -> Document:
    """The document when it is read. Raises what the reading raises."""
    async with aclosing(reading.events()) as events:
        pages = [event.result async for event in events if isinstance(event, StreamEvent) and event.result]
    return Document(name, tuple(sorted(pages, key=lambda page: page.number)))
