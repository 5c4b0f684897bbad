"""What the routes of one server share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fastapi import Request

from folioscope.serve.cutter import Cutter
from folioscope.serve.desk import Desk
from folioscope.serve.jobs import Jobs
from folioscope.serve.metrics import Metrics
from folioscope.serve.options import ServeOptions
from folioscope.serve.runner import Runner
from folioscope.serve.scenes import Scenes

if TYPE_CHECKING:
    from folioscope.read import Reader
    from folioscope.segment import Segmenter


@dataclass(frozen=True)
class State:
    """The models and who owns them.

    Attributes:
        segmenter, cutter: None where there is no segmenter.
        name: What clients call the reader.
        started: Unix seconds.
        decoder: The ONNX file that browsers may have; None where they may not.
    """

    options: ServeOptions
    metrics: Metrics
    reader: Reader
    desk: Desk
    segmenter: Segmenter | None
    cutter: Cutter | None
    scenes: Scenes
    jobs: Jobs
    runner: Runner
    name: str
    started: int
    decoder: Path | None = None


def state_of(request: Request) -> State:
    """The state of the server that was asked."""
    return request.app.state.folioscope
