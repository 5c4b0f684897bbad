"""Server-sent events: a page as it is decoded, region by region."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

from PIL import Image
from starlette.concurrency import run_in_threadpool

from folioscope.export.files import jpeg
from folioscope.export.json_document import page_json, region_json
from folioscope.grounding import parse
from folioscope.read.result import words_in_refs
from folioscope.serve.desk import Event, ReadRequest
from folioscope.serve.errors import error_json
from folioscope.tokens import prompt_text
from folioscope.types import Page, Region

T = TypeVar("T")

SSE = "text/event-stream"
SSE_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}

TAG, BOX_END = "<|ref|>", "<|/det|>"

SKETCH_SECONDS = 0.1
"""Regions of an unfinished page are looked for no more often."""

PREVIEW_PIXELS = 1600
"""Longest side of the picture of a page that a browser shows."""


def sse(data: Any, event: str | None = None) -> str:
    """One event; JSON has no line ends of its own."""
    name = f"event: {event}\n" if event else ""
    return f"{name}data: {json.dumps(data, ensure_ascii=False, allow_nan=False)}\n\n"


async def chain(first: T, rest: AsyncIterator[T]) -> AsyncIterator[T]:
    """One item more, in front."""
    yield first
    async for item in rest:
        yield item


class Sketch:
    """The regions of a page as far as it is written."""

    def __init__(self, size: tuple[int, int], prompt: str) -> None:
        self.size, self.words = size, words_in_refs(prompt_text(prompt))
        self.raw, self.looked = "", 0.0
        self.shown: list[Region] = []

    def push(self, text: str) -> list[tuple[int, Region]]:
        """Regions that are new or have changed, with their places: whenever a box is complete, and now and then."""
        self.raw += text
        now = time.monotonic()
        if now - self.looked < SKETCH_SECONDS and BOX_END not in text:
            return []
        self.looked = now
        begun = self.raw.rfind(TAG)  # a block whose box is not complete yet has neither label nor place
        settled = self.raw[:begun] if begun > self.raw.rfind(BOX_END) else self.raw
        regions = parse(settled, self.size, words_in_refs=self.words).regions
        changed = [
            (place, region)
            for place, region in enumerate(regions)
            if place >= len(self.shown) or self.shown[place] != region
        ]
        self.shown = list(regions)
        return changed


async def page_events(
    events: AsyncIterator[Event], asked: ReadRequest, *, previews: bool, last: Callable[[], Awaitable[dict[str, str]]]
) -> AsyncIterator[str]:
    """The events of a reading as text: page, text, region and result, then done or error.

    Args:
        events: Of `Reading.events`.
        asked: What they are the answer to.
        previews: Send a picture of each page along, as a data URL.
        last: Gives what `done` says, when all is read.
    """
    sketches: dict[int, Sketch] = {}
    try:
        async for event in events:
            if isinstance(event, Page):
                sketches[event.number] = Sketch(event.image.size, asked.prompt)
                yield sse({**await _page(event, previews), "of": len(asked.numbers)}, "page")
            elif event.restart:
                sketches[event.page] = Sketch(sketches[event.page].size, asked.prompt)
                yield sse({"page": event.page, "step": event.restart}, "restart")
            elif event.result:
                sketches.pop(event.page, None)
                yield sse(page_json(event.result), "result")
            else:
                yield sse({"page": event.page, "text": event.text}, "text")
                sketch = sketches[event.page]
                for place, region in sketch.push(event.text):
                    yield sse({"page": event.page, "place": place, **region_json(region, sketch.size)}, "region")
        yield sse(await last(), "done")
    except Exception as error:
        yield sse(error_json(error), "error")


async def _page(page: Page, previews: bool) -> dict[str, Any]:
    shown = {"preview": await run_in_threadpool(preview, page.image)} if previews else {}
    return {"page": page.number, "size": page.image.size, "points": page.points, **shown}


def preview(image: Image.Image) -> str:
    """A data URL of the picture, scaled down to what a browser shows."""
    small = image.copy() if max(image.size) > PREVIEW_PIXELS else image
    if small is not image:
        small.thumbnail((PREVIEW_PIXELS, PREVIEW_PIXELS))
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg(small, 85)).decode('ascii')}"
