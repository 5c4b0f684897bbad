"""OpenAI's chat completions: a client that sends an image and a prompt gets the text that the model writes about it.

The prompt reaches the model as it stands, without marks of roles, and nothing else is asked of a client: greedy, the
published rule against loops and special tokens kept are the reader's own defaults.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from folioscope.serve.chat_shapes import ChatRequest, check_parameters, generate_fields, prompt_and_image
from folioscope.serve.desk import Reading
from folioscope.serve.errors import REFUSALS, Refused, error_json
from folioscope.serve.events import SSE, SSE_HEADERS, chain, sse
from folioscope.serve.going import unless_gone
from folioscope.serve.inputs import checked_fields, upload_from_text
from folioscope.serve.reading import ReadFields, read_request
from folioscope.serve.state import State, state_of
from folioscope.types import InputError, PageResult, StreamEvent

router = APIRouter(tags=["chat"], responses=REFUSALS)

FINISH: dict[str, str] = dict.fromkeys(("ok", "retried", "rotated", "fallback", "blank"), "stop")
"""Of a page's status; the others were cut: "length"."""


@router.get("/v1/models")
async def models(request: Request) -> dict[str, Any]:
    """The one model that is served."""
    state = state_of(request)
    return {"object": "list", "data": [_model(state)]}


@router.get("/v1/models/{name:path}")
async def model(request: Request, name: str) -> dict[str, Any]:
    state = state_of(request)
    _check_model(state, name)
    return _model(state)


def _model(state: State) -> dict[str, Any]:
    return {"id": state.name, "object": "model", "created": state.started, "owned_by": "folioscope"}


def _check_model(state: State, name: str | None) -> None:
    if name not in (None, "", state.name):
        raise Refused(404, f"model {name!r}: is not served here; {state.name!r} is", "model_not_found", param="model")


@router.post("/v1/chat/completions")
async def chat(request: Request, asked: ChatRequest) -> Response:
    """Read one image. Streams with `stream`, see OpenAI's documentation."""
    state = state_of(request)
    state.desk.admit()
    _check_model(state, asked.model)
    check_parameters(asked)
    prompt, url = prompt_and_image(asked.messages)
    upload = await upload_from_text(url, state.options, "image_url")
    once = {"retries": 0, "text_layer": False} if asked.stream else {}  # what is sent cannot be taken back
    fields = checked_fields(ReadFields, {"prompt": prompt, "mode": asked.mode, **once, **generate_fields(asked)})
    reading = state.desk.read(await read_request(upload, fields, state.reader, state.options, max_pages=1))
    answer = {"id": f"chatcmpl-{secrets.token_hex(12)}", "created": int(time.time()), "model": state.name}
    if asked.stream:
        usage = bool(asked.stream_options and asked.stream_options.include_usage)
        first = await unless_gone(request, anext(texts := _texts(reading)))
        return StreamingResponse(_chunks(answer, first, texts, usage), headers=SSE_HEADERS, media_type=SSE)
    page = await unless_gone(request, _page(reading))
    choice = {"index": 0, "message": {"role": "assistant", "content": page.raw}, "finish_reason": _finish(page)}
    return JSONResponse({**answer, "object": "chat.completion", "choices": [choice], "usage": _usage(page)})


async def _page(reading: Reading) -> PageResult:
    """The page when it is read. Raises what went wrong with it."""
    return await anext(result async for event in _texts(reading) if (result := event.result))


async def _texts(reading: Reading) -> AsyncGenerator[StreamEvent, None]:
    """Pieces of the page's text, and its result. Raises what went wrong with it."""
    async with aclosing(reading.events()) as events:
        async for event in events:
            if isinstance(event, StreamEvent):
                if event.result and event.result.status == "failed":
                    raise InputError(event.result.error or "the page could not be read")
                yield event


async def _chunks(
    answer: dict[str, Any], first: StreamEvent, rest: AsyncIterator[StreamEvent], usage: bool
) -> AsyncIterator[str]:
    """OpenAI's chunks of the answer; what goes wrong once it has begun is a chunk with an error."""

    def chunk(delta: dict[str, str], finish: str | None = None, **more: Any) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return sse({**answer, "object": "chat.completion.chunk", "choices": [choice], **more})

    yield chunk({"role": "assistant", "content": ""})
    try:
        async for event in chain(first, rest):
            if event.text:
                yield chunk({"content": event.text})
            if event.result:
                yield chunk({}, _finish(event.result))
                if usage:
                    totals = {"choices": [], "usage": _usage(event.result)}
                    yield sse({**answer, "object": "chat.completion.chunk", **totals})
    except Exception as error:
        yield sse(error_json(error))
    yield "data: [DONE]\n\n"


def _finish(page: PageResult) -> str:
    return FINISH.get(page.status, "length")


def _usage(page: PageResult) -> dict[str, int]:
    prompt, output = page.usage.prompt_tokens, page.usage.output_tokens
    return {"prompt_tokens": prompt, "completion_tokens": output, "total_tokens": prompt + output}
