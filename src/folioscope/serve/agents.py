"""Reading, locating and segmenting as tools of the Model Context Protocol, on stdin and stdout. Needs the extra `mcp`.

Whoever starts it gives it files of their own machine by path, which the HTTP server never takes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import wraps
from pathlib import Path
from typing import Any

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from starlette.concurrency import run_in_threadpool

from folioscope import __version__
from folioscope.export.json_document import region_json
from folioscope.export.mask_files import best_of, mask_json
from folioscope.export.masks import polygons
from folioscope.pages import open_pages
from folioscope.read import Reader
from folioscope.segment import Segmenter
from folioscope.segment.prompts import given_prompt
from folioscope.serve.cutter import Cutter
from folioscope.serve.desk import Desk
from folioscope.serve.errors import Refused
from folioscope.serve.inputs import Upload, checked_fields
from folioscope.serve.metrics import Metrics
from folioscope.serve.options import ServeOptions
from folioscope.serve.read import document_of
from folioscope.serve.reading import ReadFields, read_request
from folioscope.serve.run import segmenter_of
from folioscope.types import Document, FolioscopeError, InputError, Page

PURPOSE = """Reads images and PDFs into Markdown with the place of each block, finds words, and cuts objects out.
Boxes are x1, y1, x2, y2 and points x, y, in pixels of the page; PDFs are rendered in 144 dpi."""


class Agents:
    """The tools, around loaded models."""

    def __init__(self, reader: Reader, segmenter: Segmenter | None, options: ServeOptions) -> None:
        metrics = Metrics()
        self.reader, self.segmenter, self.options = reader, segmenter, options
        self.desk = Desk(reader, metrics, queue=options.queue, slots=options.slots)
        self.cutter = Cutter(metrics, queue=options.queue, seconds=options.max_seconds)
        self.server = MCPServer("folioscope", instructions=PURPOSE, version=__version__)
        for tool in (self.read, self.locate, *([self.segment] if segmenter else ())):
            self.server.tool()(_told(tool))

    def close(self) -> None:
        self.desk.close()
        self.cutter.close()

    async def read(self, path: str, prompt: str = "markdown", pages: str | None = None) -> dict[str, Any]:
        """Read an image or a PDF.

        Args:
            path: The file.
            prompt: markdown (with boxes), free (plain text), ocr, figure, describe, or a text with one "<image>".
            pages: From 1, such as "1-4"; without, all.
        """
        document = await self._document(path, prompt, pages)
        return {
            "markdown": document.markdown,
            "pages": [
                {
                    "number": page.number,
                    "size": page.size,
                    "status": page.status,
                    "error": page.error,
                    "regions": [_short(region_json(region, page.size)) for region in page.regions],
                }
                for page in document
            ],
        }

    async def locate(self, path: str, words: str, page: int = 1) -> dict[str, Any]:
        """Ask the model where words, or what they describe, are on a page.

        Args:
            path: An image or a PDF.
            words: What to look for.
            page: Its number, from 1.
        """
        document = await self._document(path, f"locate:{words}", str(page))
        found = [box for region in document.pages[0].regions for box in region.boxes]
        return {"boxes": found, "size": document.pages[0].size}

    async def segment(
        self,
        path: str,
        points: list[list[float]] | None = None,
        labels: list[int] | None = None,
        box: list[float] | None = None,
        page: int = 1,
    ) -> dict[str, Any]:
        """Cut an object out of an image: its outlines, box, area and the estimated quality of the mask.

        Args:
            path: An image or a PDF.
            points: [[x, y], …] on the object, or beside it.
            labels: One for each point: 1 on the object, 0 beside it; without, all 1.
            box: [x1, y1, x2, y2] around the object.
            page: Its number, from 1.
        """
        segmenter = self.segmenter
        assert segmenter is not None, "offered only where there is one"
        prompt = given_prompt(points, labels, box, None)
        opened = await run_in_threadpool(_page, path, page, self.options.max_pixels)
        scene = await self.cutter.do("embed", lambda _: segmenter.embed(opened))
        masks = await self.cutter.do("predict", lambda _: segmenter.predict_many(scene, [prompt])[0])
        best = masks[best_of(masks)]
        measured = {key: value for key, value in mask_json(best).items() if key in ("score", "area", "box")}
        return {**measured, "size": best.size, "outlines": polygons(best)}

    async def _document(self, path: str, prompt: str, pages: str | None) -> Document:
        upload = await run_in_threadpool(_upload, path)
        fields = checked_fields(ReadFields, {"prompt": prompt, "pages": pages})
        options = self.options
        request = await read_request(upload, fields, self.reader, options, max_pages=options.max_pages)
        return await document_of(self.desk.read(request), upload.name)


def _told(tool: Callable[..., Awaitable[dict[str, Any]]]) -> Callable[..., Awaitable[dict[str, Any]]]:
    """The tool, with refusals that its caller may read."""

    @wraps(tool)
    async def telling(*args: Any, **given: Any) -> dict[str, Any]:
        try:
            return await tool(*args, **given)
        except (FolioscopeError, Refused) as error:
            raise ToolError(str(getattr(error, "detail", error))) from error

    return telling


def _upload(path: str) -> Upload:
    file = Path(path).expanduser()
    try:
        return Upload(file.read_bytes(), file.name)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; give the path of an image or a PDF") from error


def _page(path: str, number: int, max_pixels: int) -> Page:
    page = next(open_pages(_upload(path).open(), pages=str(number), max_pixels=max_pixels))
    if not isinstance(page, Page):
        raise InputError(page.error)
    return page


def _short(region: dict[str, Any]) -> dict[str, Any]:
    return {key: region[key] for key in ("label", "box", "text", "confidence")}


def run(options: ServeOptions, *, model: str | None, segmenter: str | None, device: str, **how: Any) -> None:
    """Speak on stdin and stdout until the client has gone; the arguments are those of the HTTP server's `run`."""
    agents = Agents(Reader.from_pretrained(model, device=device, **how), segmenter_of(segmenter, device), options)
    try:
        agents.server.run("stdio")
    finally:
        agents.close()
