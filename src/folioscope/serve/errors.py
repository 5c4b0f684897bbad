"""Every refusal in one shape, OpenAI's: {"error": {"message", "type", "param", "code"}}."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException

from folioscope.types import CheckpointError, FolioscopeError, InputError

TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}


class ErrorDetail(BaseModel):
    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorBody(BaseModel):
    """What every answer that is not 2xx holds."""

    error: ErrorDetail


REFUSALS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": ErrorBody, "description": "Refused; `error.message` says why and what would do."},
}
"""For the `responses` of routes."""


class Refused(HTTPException):
    """A request that is not served; one line says why and what would do."""

    def __init__(
        self,
        status: int,
        message: str,
        code: str,
        *,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status, message, dict(headers or {}))
        self.code, self.param = code, param


def error_body(status: int, message: str, code: str | None = None, param: str | None = None) -> dict[str, Any]:
    """The JSON of one error."""
    kind = TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    return ErrorBody(error=ErrorDetail(message=message, type=kind, param=param, code=code)).model_dump()


def error_response(error: Exception) -> JSONResponse:
    """The answer to a request that ended in an error."""
    status, content, headers = _told(error)
    return JSONResponse(content, status, headers)


def error_json(error: Exception) -> dict[str, Any]:
    """The JSON of an error that ends a stream."""
    return _told(error)[1]


def _told(error: Exception) -> tuple[int, dict[str, Any], dict[str, str]]:
    """What a client is told of an error; of one that is not Folioscope's own, nothing but that it happened."""
    status, code, param, headers = 500, "internal_error", None, {}
    message = "the server failed; its log says how"
    if isinstance(error, HTTPException):
        status, message, headers = error.status_code, str(error.detail), dict(error.headers or {})
        code, param = getattr(error, "code", None), getattr(error, "param", None)
    elif isinstance(error, InputError):
        status, message, code = 400, str(error), "invalid_input"
    elif isinstance(error, CheckpointError):
        message, code = str(error), "model_failed"
    elif isinstance(error, FolioscopeError):
        message = str(error)
    return status, error_body(status, message, code, param), headers


def invalid(error: ValidationError | RequestValidationError) -> Refused:
    """The first thing that is wrong with a request's fields."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"] if part != "body")
    return Refused(400, f"{where}: {first['msg']}" if where else first["msg"], "invalid_field", param=where or None)


def install(app: FastAPI) -> None:
    """Answer every error in the shape."""

    async def known(_: Request, error: Exception) -> JSONResponse:
        return error_response(error)

    async def unfit(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        return error_response(invalid(error))

    app.add_exception_handler(HTTPException, known)
    app.add_exception_handler(FolioscopeError, known)
    app.add_exception_handler(RequestValidationError, unfit)
    app.add_exception_handler(Exception, known)
