"""What the routes of one server share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastapi import Request

from folioscope.serve.desk import Desk
from folioscope.serve.metrics import Metrics
from folioscope.serve.options import ServeOptions

if TYPE_CHECKING:
    from folioscope.read import Reader


@dataclass(frozen=True)
class State:
    """The models and who owns them.

    Attributes:
        name: What clients call the reader.
        started: Unix seconds.
    """

    options: ServeOptions
    metrics: Metrics
    reader: Reader
    desk: Desk
    name: str
    started: int


def state_of(request: Request) -> State:
    """The state of the server that was asked."""
    return request.app.state.folioscope
