"""Points, labels and boxes in pixels of photos → arrays in SAM's frame, padded where objects differ."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from folioscope.model.sam_prompts import BACKGROUND, FOREGROUND, NOT_A_POINT, PADDING
from folioscope.types import InputError
from folioscope.views import SamFrame

POINTS, LABELS, BOXES = "input_points", "input_labels", "input_boxes"

KNOWN_LABELS = {FOREGROUND: "object", BACKGROUND: "not the object", NOT_A_POINT: "no point", PADDING: "padding"}

POINT_AXES = "[B, N, P, 2] (images, objects, points, x and y), or [B, P, 2] for one object an image"
LABEL_AXES = "[B, N, P], or [B, P] for one object an image"
BOX_AXES = "[B, N, 4] (images, objects, x1, y1, x2, y2)"

Nested = list[Any]


def sam_prompts(points: Any, labels: Any, boxes: Any, frames: Sequence[SamFrame]) -> dict[str, np.ndarray]:
    """What is asked of B images, in pixels of their frames.

    Args:
        points: Nested lists, arrays or tensors (B, N, P, 2), or (B, P, 2) for one object an image, in pixels of the
            photo. N and P may differ from image to image and from object to object.
        labels: (B, N, P) or (B, P), as many as points: 1 on the object, 0 beside it, -1 no point, -10 padding.
        boxes: (B, N, 4), x1, y1, x2, y2 in pixels of the photo; [] for an object without.
        frames: Those of the B images.

    Returns:
        Of what is given: input_points (B, N, P, 2) float64, input_labels (B, N, P) int64 and input_boxes (B, N, 4)
        float64. Where counts differ, rows are filled up with -10, and labels are there even if none were given.

    Raises:
        InputError: Another shape, an empty list, a coordinate that is NaN or out of its image, a box with x1 > x2.
    """
    asked: dict[str, np.ndarray] = {}
    point_rows = None if points is None else _points(points, len(frames))
    box_rows = None if boxes is None else _rows(boxes, BOXES, BOX_AXES, 3, len(frames))
    if point_rows is None and labels is not None:
        raise InputError(f"{LABELS}: labels without points; give {POINTS} of shape {POINT_AXES}")
    if point_rows is not None and box_rows is not None:
        _check_counts(point_rows, box_rows)
    if box_rows is not None:
        asked[BOXES] = _packed_boxes(box_rows, frames)
    if point_rows is not None:
        label_rows = _labels(labels, point_rows)
        asked[POINTS], asked[LABELS] = _packed_points(point_rows, label_rows, frames)
        if labels is None and not (asked[LABELS] == PADDING).any():
            del asked[LABELS]
    return asked


def nested(value: Any, name: str) -> Any:
    """Arrays, tensors and sequences as lists of lists of numbers. Raises InputError for anything else in them."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [nested(item, name) for item in value]
    if isinstance(value, (int, float)):
        return value
    raise InputError(f"{name}: holds a {type(value).__name__}; give numbers in nested lists, an array or a tensor")


def lengths(value: Any) -> list[tuple[int, int]]:
    """The least and greatest length of the lists at each level."""
    level, found = [value], []
    while rows := [item for item in level if isinstance(item, list)]:
        found.append((min(map(len, rows)), max(map(len, rows))))
        level = [item for row in rows for item in row]
    return found


def shape_text(value: Any) -> str:
    """Such as [2, 1-3, 2], with a range where lists differ in length."""
    return f"[{', '.join(str(low) if low == high else f'{low}-{high}' for low, high in lengths(value))}]"


def _rows(value: Any, name: str, axes: str, depth: int, images: int) -> Nested:
    """Nested lists `depth` deep, the last of them of a fixed length, for each of `images`."""
    rows = nested(value, name)
    sizes = lengths(rows)
    if any(high == 0 for _, high in sizes):
        raise InputError(f"{name}: an empty list; leave {name} out, or give {axes}")
    wanted = {POINTS: 2, BOXES: 4}.get(name)
    if len(sizes) != depth or not _is_even(rows, depth) or (wanted and sizes[-1][1] != wanted):
        raise InputError(f"{name}: shape {shape_text(rows)}; expected {axes}")
    if len(rows) != images:
        raise InputError(f"{name}: shape {shape_text(rows)} is for {len(rows)} images, but there are {images}")
    return rows


def _is_even(value: Any, depth: int) -> bool:
    """Whether all numbers lie `depth` lists deep."""
    if not isinstance(value, list):
        return depth == 0
    return depth > 0 and all(_is_even(item, depth - 1) for item in value)


def _points(points: Any, images: int) -> Nested:
    rows = nested(points, POINTS)
    if len(lengths(rows)) == 3:
        rows = [[row] for row in rows] if isinstance(rows[0], list) else rows
    rows = _rows(rows, POINTS, POINT_AXES, 4, images)
    if any(len(point) != 2 for row in rows for points in row for point in points):
        raise InputError(f"{POINTS}: shape {shape_text(rows)}; expected {POINT_AXES}")
    return rows


def _labels(labels: Any, points: Nested) -> Nested:
    """As many labels as points; of the object, if there are none."""
    if labels is None:
        return [[[FOREGROUND] * len(points) for points in row] for row in points]
    rows = nested(labels, LABELS)
    given = shape_text(rows)
    if len(lengths(rows)) == 2:
        rows = [[row] for row in rows]
    if not _is_even(rows, 3) or _counts(rows) != _counts(points):
        expected = f"{LABEL_AXES}, one for each of {POINTS} of shape {shape_text(points)}"
        raise InputError(f"{LABELS}: shape {given}; expected {expected}")
    for label in (label for row in rows for labels in row for label in labels):
        if label not in KNOWN_LABELS:
            meanings = ", ".join(f"{number} ({meaning})" for number, meaning in KNOWN_LABELS.items())
            raise InputError(f"{LABELS}: {label} is no label; give {meanings}")
    return rows


def _counts(rows: Nested) -> list[list[int]]:
    return [[len(items) for items in row] for row in rows]


def _check_counts(points: Nested, boxes: Nested) -> None:
    for image, (ours, theirs) in enumerate(zip(points, boxes, strict=True)):
        if len(ours) != len(theirs):
            counts = f"{POINTS} for {len(ours)} objects and {BOXES} for {len(theirs)}"
            raise InputError(f"{counts} in image {image}; give both for the same objects, [] where one has none")


def _packed_points(points: Nested, labels: Nested, frames: Sequence[SamFrame]) -> tuple[np.ndarray, np.ndarray]:
    objects = max(map(len, points))
    most = max(len(one) for row in points for one in row)
    coords = np.full((len(points), objects, most, 2), float(PADDING))  # (B, N, P, 2)
    kinds = np.full(coords.shape[:3], PADDING)  # (B, N, P)
    for image, number in ((image, number) for image, row in enumerate(points) for number in range(len(row))):
        ours = np.array(points[image][number], np.float64).reshape(-1, 2)  # (p, 2)
        kind = np.array(labels[image][number], np.int64)  # (p,)
        _check_points(ours, kind, f"{POINTS}[{image}][{number}]", frames[image])
        placed = np.where(kind[:, None] == PADDING, float(PADDING), ours * frames[image].ratios)
        coords[image, number, : len(ours)], kinds[image, number, : len(ours)] = placed, kind
    return coords, kinds


def _packed_boxes(boxes: Nested, frames: Sequence[SamFrame]) -> np.ndarray:
    packed = np.full((len(boxes), max(map(len, boxes)), 4), float(PADDING))  # (B, N, 4)
    for image, number in ((image, number) for image, row in enumerate(boxes) for number in range(len(row))):
        box = boxes[image][number]
        if box and not all(edge == PADDING for edge in box):
            _check_box(box, f"{BOXES}[{image}][{number}]", frames[image])
            corners = np.array(box, np.float32).reshape(2, 2)  # as published, boxes and not points lose digits here
            packed[image, number] = (corners.astype(np.float64) * frames[image].ratios).reshape(4)
    return packed


def _check_points(points: np.ndarray, labels: np.ndarray, name: str, frame: SamFrame) -> None:
    width, height = frame.size
    for number, ((x, y), label) in enumerate(zip(points.tolist(), labels.tolist(), strict=True)):
        if not (math.isfinite(x) and math.isfinite(y)):
            raise InputError(f"{name}[{number}]: ({x:g}, {y:g}) is not a point; give x and y in pixels of the image")
        if label >= BACKGROUND and not (0 <= x <= width and 0 <= y <= height):
            raise InputError(f"{name}[{number}]: ({x:g}, {y:g}) is outside its image, {width} x {height} pixels")


def _check_box(box: Sequence[float], name: str, frame: SamFrame) -> None:
    width, height = frame.size
    if len(box) != 4 or not all(map(math.isfinite, box)):
        raise InputError(f"{name}: {list(box)} is not a box; give x1, y1, x2, y2 in pixels of the image")
    x1, y1, x2, y2 = box
    if x1 > x2 or y1 > y2:
        raise InputError(f"{name}: {list(box)} has x1 > x2 or y1 > y2; give left, top, right, bottom")
    if x1 > width or y1 > height or x2 < 0 or y2 < 0:
        raise InputError(f"{name}: {list(box)} is outside its image, {width} x {height} pixels")
