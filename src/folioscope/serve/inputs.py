"""A request's body → what was sent and how it is to be treated, checked: multipart or JSON, the same fields in both."""

from __future__ import annotations

import base64
import binascii
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, BinaryIO, TypeVar
from urllib.parse import unquote_to_bytes, urlsplit

from fastapi import Request
from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile

from folioscope.serve.errors import Refused, invalid
from folioscope.serve.fetch import fetch
from folioscope.serve.options import ServeOptions

FILES, FIELDS = 4, 64
"""Parts that a form may have."""

FILE = {
    "type": "string",
    "description": "A picture or a PDF: as a file in a form; in JSON as a data URL, as plain base64, or, from hosts "
    "that the server allows, as an address.",
}

FORM, JSON = "multipart/form-data", "application/json"


class Fields(BaseModel):
    """What comes beside the file. A field that is not known is refused, since it would have no effect."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, str_max_length=10_000)


AnyFields = TypeVar("AnyFields", bound=Fields)


@dataclass(frozen=True)
class Upload:
    """What a client sent; its name serves messages and downloads, and is no path."""

    data: bytes = field(repr=False)
    name: str = "upload"

    def open(self) -> BinaryIO:
        """Its bytes under its name, which messages then say."""
        stream = _Named(self.data)
        stream.name = self.name
        return stream


class _Named(io.BytesIO):
    name: str


def body_schema(fields: type[Fields], *, required: bool = True) -> dict[str, Any]:
    """The `openapi_extra` of a route that takes a file and these fields."""
    schema = fields.model_json_schema()
    as_json = {**schema, "properties": {"file": FILE, **schema["properties"]}}
    as_form = {**schema, "properties": {"file": {**FILE, "format": "binary"}, **schema["properties"]}}
    if required:
        as_json["required"] = as_form["required"] = ["file", *schema.get("required", ())]
    content = {FORM: {"schema": as_form}, JSON: {"schema": as_json}}
    return {"requestBody": {"required": True, "content": content}}


async def body_of(request: Request, fields: type[AnyFields], options: ServeOptions) -> tuple[Upload | None, AnyFields]:
    """The file, if there is one, and the fields. Raises Refused."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == FORM:
        file, given = await _form(request)
    elif kind == JSON:
        given = await _json(request)
        file = given.pop("file", None)
    else:
        raise Refused(415, f"content type {kind!r}: send {FORM} or {JSON}", "wrong_content_type")
    checked = checked_fields(fields, given)
    if isinstance(file, str):
        file = await upload_from_text(file, options)
    elif file is not None and not isinstance(file, Upload):
        raise Refused(400, "file: must be a string in JSON: a data URL, base64, or an address", "invalid_field")
    return file, checked


def checked_fields(fields: type[AnyFields], given: Mapping[str, Any]) -> AnyFields:
    """The fields of these values. Raises Refused."""
    try:
        return fields.model_validate(given)
    except ValidationError as error:
        raise invalid(error) from None


def needed(upload: Upload | None) -> Upload:
    """The upload. Raises Refused if there is none, or nothing in it."""
    if upload is None:
        raise Refused(400, "file: is missing; send a picture or a PDF", "no_file", param="file")
    if not upload.data:
        raise Refused(400, "file: is empty (0 bytes)", "no_file", param="file")
    return upload


async def _form(request: Request) -> tuple[Upload | str | None, dict[str, Any]]:
    file: Upload | str | None = None
    given: dict[str, Any] = {}
    async with request.form(max_files=FILES, max_fields=FIELDS) as form:
        for name, value in form.multi_items():
            if isinstance(value, UploadFile):
                if name != "file" or file is not None:
                    raise Refused(400, f'{name}: send one file, as "file"', "invalid_field", param=name)
                file = Upload(await value.read(), _base_name(value.filename))
            elif name == "file":
                file = value or None
            elif value != "":  # forms send fields that were left empty
                given[name] = value
    return file, given


async def _json(request: Request) -> dict[str, Any]:
    body = await request.body()
    try:
        given = await run_in_threadpool(json.loads, body)
    except (ValueError, RecursionError):
        raise Refused(400, "the body is not JSON", "invalid_json") from None
    if not isinstance(given, dict):
        raise Refused(400, "the body must be a JSON object", "invalid_json")
    return given


async def upload_from_text(text: str, options: ServeOptions, param: str = "file") -> Upload:
    """What a data URL, base64 or an address stands for. Raises Refused."""
    scheme = text[:8].lower()
    if scheme.startswith("data:"):
        return Upload(await run_in_threadpool(_data_url, text, param))
    if scheme.startswith(("http://", "https://")):
        data = await run_in_threadpool(fetch, text, options.allow_url, options.max_bytes, options.upload_seconds)
        return Upload(data, _base_name(urlsplit(text).path))
    return Upload(await run_in_threadpool(_base64, text, param))


def _data_url(text: str, param: str) -> bytes:
    head, comma, data = text.partition(",")
    if not comma:
        raise Refused(400, f"{param}: the data URL has no comma", "invalid_data_url", param=param)
    return _base64(data, param) if head.lower().endswith(";base64") else unquote_to_bytes(data)


def _base64(text: str, param: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        shown = text[:40] + ("…" if len(text) > 40 else "")
        problem = f"{param}: {shown!r} is neither base64, nor a data URL, nor an address; paths are not taken"
        raise Refused(400, problem, "invalid_file", param=param) from None


def _base_name(name: str | None) -> str:
    """The last part of a name, whatever kind of path a client thinks it is."""
    return PurePosixPath((name or "").replace("\\", "/")).name[:200] or "upload"


def given_values(fields: BaseModel, names: Mapping[str, Any] | frozenset[str]) -> dict[str, Any]:
    """The fields of these names that were given a value."""
    return {name: value for name, value in fields if name in names and value is not None}
