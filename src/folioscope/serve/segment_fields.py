"""What clients may ask of the segmenter."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, create_model

from folioscope.docstrings import described
from folioscope.masks import EverythingOptions
from folioscope.serve.inputs import Fields


def _spelled(given: Any) -> Any:
    """Forms spell lists as JSON."""
    if isinstance(given, str):
        try:
            return json.loads(given)
        except (ValueError, RecursionError):
            return given
    return given


Pair = Annotated[list[float], Field(min_length=2, max_length=2)]
Corners = Annotated[list[float], Field(min_length=4, max_length=4)]
Points = Annotated[list[Pair], Field(max_length=256), BeforeValidator(_spelled)]
Labels = Annotated[list[int], Field(max_length=256), BeforeValidator(_spelled)]
Box = Annotated[Corners, BeforeValidator(_spelled)]
Boxes = Annotated[list[Corners], Field(max_length=64), BeforeValidator(_spelled)]

Form = Literal["rle", "png", "polygons"]

LONG = 100_000_000
"""Characters that a picture in base64 may have: the body's bound is nearer."""


class EmbedFields(Fields):
    """Nothing but the picture."""


class MaskFields(Fields):
    scene: str | None = Field(None, max_length=100, description="Of an embedded image, in place of a file.")
    format: Form = Field("rle", description="How masks come: COCO's run-length code, PNGs in base64, or outlines.")


class SegmentFields(MaskFields):
    points: Points | None = Field(None, description="[[x, y], …] in pixels of the image.")
    labels: Labels | None = Field(None, description="One for each point: 1 on the object, 0 beside it; without, all 1.")
    box: Box | None = Field(None, description="[x1, y1, x2, y2] around the object.")
    boxes: Boxes | None = Field(None, description="Boxes of several objects, in place of the other prompts.")
    mask: Annotated[str, Field(max_length=LONG)] | None = Field(
        None, description="A rough mask of the image's size, white on the object: a data URL or base64."
    )
    only_best: bool = Field(
        False, description="Of each object the best mask alone: much quicker where the picture is large."
    )
    multimask: bool = Field(True, description="Three masks for each object, for a prompt that can mean several things.")


MOST = {"points_per_side": 64, "points_per_batch": 256, "crop_n_layers": 2, "crop_n_points_downscale_factor": 16}
"""So that one request cannot take hours or all memory."""


def _everything_fields() -> dict[str, Any]:
    return {
        field.name: (
            type(field.default),
            Field(
                field.default,
                ge=0,
                le=MOST.get(field.name, 1_000_000),
                description=described(EverythingOptions, field.name),
            ),
        )
        for field in fields(EverythingOptions)
        if field.name != "point_grids"
    }


EverythingFields: Any = create_model("EverythingFields", __base__=MaskFields, **_everything_fields())
