"""A document → what a client downloads: JSON, one file, or a ZIP of several."""

from __future__ import annotations

import io
import mimetypes
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from urllib.parse import quote

from fastapi import Response

from folioscope.export import FORMATS, document_files, stem_of
from folioscope.export.files import File
from folioscope.export.json_document import document_json
from folioscope.export.written import written
from folioscope.serve.errors import Refused
from folioscope.types import Document, ExportOptions

TYPES = {".md": "text/markdown", ".hocr": "text/html"}
"""Which the standard library does not know, or takes for something else."""


def formats_of(asked: str) -> list[str]:
    """The names in a list with commas. Raises Refused for one that is none."""
    names = [name.strip() for name in asked.split(",") if name.strip()]
    unknown = [name for name in names if name not in FORMATS]
    if unknown or not names:
        problem = f"format {asked!r}: choose from {', '.join(FORMATS)}, several by commas"
        raise Refused(400, problem, "unknown_format", param="format")
    return names


def delivered(document: Document, formats: Sequence[str], options: ExportOptions) -> Response:
    """JSON alone as it is; the one file of a format; all files of several formats, figures included, as a ZIP.

    The Markdown of a single file links to figures that only the ZIP has.
    """
    if list(formats) == ["json"]:
        return Response(
            document_json(written(document, replace(options, figures="link"))), media_type="application/json"
        )
    stem = stem_of(document.source)
    files = document_files(document, formats, stem, options)
    figures = f"{stem}_images/"
    main = [file for file in files if not file.name.startswith(figures)]
    if len(main) == 1 and len(formats) == 1:
        return _attachment(main[0].name, main[0].content())
    return _attachment(f"{stem}.zip", _zip(files))


def _zip(files: Sequence[File]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in files:
            archive.writestr(file.name, file.content())
    return stream.getvalue()


def _attachment(name: str, content: bytes) -> Response:
    suffix = "." + name.rpartition(".")[2]
    kind = TYPES.get(suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"
    # never shown in place: HTML made from a stranger's page must not run as this server's
    disposition = f"attachment; filename*=UTF-8''{quote(name)}"
    return Response(content, media_type=kind, headers={"Content-Disposition": disposition})
