"""Whether the server is there, whether it can work, and what it has done."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from folioscope.export import FORMATS
from folioscope.serve.errors import Refused
from folioscope.serve.state import state_of

router = APIRouter(tags=["status"])


@router.get("/health")
async def health() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@router.get("/ready", responses={503: {"description": "Not now."}})
async def ready(request: Request) -> dict[str, Any]:
    """The models are loaded and take work."""
    state = state_of(request)
    if not state.desk.alive or (state.cutter and not state.cutter.alive):
        raise Refused(503, "a model does not work", "not_ready", headers={"Retry-After": "10"})
    offered = {"model": state.name, "segmenter": state.cutter is not None, "formats": list(FORMATS)}
    offered["browser_decoder"] = state.decoder is not None
    return {"status": "ready", "waiting": state.desk.waiting, **offered}


@router.get("/metrics", response_class=Response)
async def metrics(request: Request) -> Response:
    """Counters, as Prometheus reads them."""
    return Response(state_of(request).metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")
