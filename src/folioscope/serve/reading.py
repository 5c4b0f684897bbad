"""How a page is to be read, as clients say it, and the request that becomes of it."""

from __future__ import annotations

import time
from dataclasses import fields, replace
from functools import partial
from typing import Any, Literal, TypeAlias, get_type_hints

from pydantic import Field, create_model
from starlette.concurrency import run_in_threadpool

from folioscope.config import MODES
from folioscope.docstrings import described
from folioscope.pages import PDF_DPI, Opened, open_pages, page_numbers
from folioscope.read import Reader
from folioscope.serve.desk import ReadRequest
from folioscope.serve.errors import Refused
from folioscope.serve.inputs import Fields, Upload, given_values
from folioscope.serve.options import ServeOptions
from folioscope.tokens import prompt_text
from folioscope.types import ExportOptions, GenerateOptions, TrustOptions

MOST = 100_000
"""Of any number that a client gives; beyond it lies nothing that would make sense."""

NOT_OFFERED = ("ngram_exempt", "stop_ids")
"""They are token ids, which is the checkpoint's business."""

GENERATE_FIELDS = frozenset(field.name for field in fields(GenerateOptions)) - {*NOT_OFFERED}
TRUST_FIELDS = frozenset(field.name for field in fields(TrustOptions))
EXPORT_FIELDS = frozenset(field.name for field in fields(ExportOptions))


def _offered(kind: type, names: frozenset[str]) -> dict[str, Any]:
    """Fields of a dataclass as they are described there, None being what is taken when nothing is said."""
    return {field.name: _optional(kind, field.name, field.default) for field in fields(kind) if field.name in names}


def _optional(kind: type, name: str, default: Any) -> tuple[Any, Any]:
    of = int if default is None else get_type_hints(kind)[name] if isinstance(default, str) else type(default)
    bounds: dict[str, Any] = {"ge": 0, "le": MOST} if of in (int, float) else {}
    return of | None, Field(None, description=described(kind, name), **bounds)


class PageFields(Fields):
    """Which pages, and how they are asked about."""

    prompt: str = Field(
        "markdown", description='markdown, ocr, free, figure, describe, locate:WORDS, or a text with one "<image>".'
    )
    mode: Literal[tuple(MODES)] | None = Field(  # pyright: ignore[reportInvalidTypeForm]
        None, description="What the page is scaled to; without, what suits the checkpoint and the page."
    )
    pages: str | None = Field(None, max_length=1000, description='From 1, such as "1-4" or "1,3,8-"; without, all.')
    dpi: float | None = Field(None, gt=0, le=MOST, description=f"That PDFs are rendered in; without, {PDF_DPI}.")
    password: str | None = Field(None, description="Opens an encrypted PDF.")


ReadFields: TypeAlias = PageFields
ReadFields = create_model(  # pyright: ignore
    "ReadFields",
    __base__=PageFields,
    **_offered(GenerateOptions, GENERATE_FIELDS),
    **_offered(TrustOptions, TRUST_FIELDS),
)


ExportFields: TypeAlias = Fields
ExportFields = create_model("ExportFields", __base__=Fields, **_offered(ExportOptions, EXPORT_FIELDS))  # pyright: ignore


def export_options(fields: Any) -> ExportOptions:
    """How the answer is written, as far as it was said."""
    return ExportOptions(**given_values(fields, EXPORT_FIELDS))


def generate_options(reader: Reader, given: dict[str, Any], limits: ServeOptions) -> GenerateOptions:
    """The reader's options with what was given, within the server's limit of tokens. Raises Refused, InputError."""
    asked = given.get("max_new_tokens")
    if asked is not None and asked > limits.max_tokens:
        raise Refused(400, f"max_new_tokens={asked}: this server gives at most {limits.max_tokens}", "too_many_tokens")
    return replace(reader.options, **{"max_new_tokens": limits.max_tokens, **given})


async def read_request(
    upload: Upload, fields: Any, reader: Reader, limits: ServeOptions, *, max_pages: int, deadline: bool = True
) -> ReadRequest:
    """The request, checked as far as that can be done before its turn. Raises Refused and InputError."""
    prompt_text(fields.prompt)
    options = generate_options(reader, given_values(fields, GENERATE_FIELDS), limits)
    trust = TrustOptions(**given_values(fields, TRUST_FIELDS))
    numbers = await numbers_of(upload, fields, limits, max_pages)
    source = partial(
        _open,
        upload,
        pages=fields.pages,
        dpi=fields.dpi,
        password=fields.password,
        max_pixels=limits.max_pixels,
    )
    until = time.monotonic() + limits.max_seconds if deadline else None
    return ReadRequest(source, tuple(numbers), fields.prompt, options, trust, fields.mode, until)


def _open(upload: Upload, **how: Any) -> Opened:
    return open_pages(upload.open(), **how)


async def numbers_of(upload: Upload, fields: Any, limits: ServeOptions, max_pages: int) -> list[int]:
    """The numbers of the pages asked for. Raises Refused if they are too many, InputError if they cannot be had."""
    numbers = await run_in_threadpool(
        page_numbers, upload.open(), pages=fields.pages, password=fields.password, max_pixels=limits.max_pixels
    )
    if len(numbers) > max_pages:
        raise Refused(
            400,
            f"{len(numbers)} pages: at most {max_pages} are read at once; say which with pages, or make it a job",
            "too_many_pages",
            param="pages",
        )
    return list(numbers)
