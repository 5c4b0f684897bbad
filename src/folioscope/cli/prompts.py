"""Points, boxes and masks as the command line writes them, and the objects that they ask for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from folioscope.masks import MaskPrompt
from folioscope.types import Box, InputError

if TYPE_CHECKING:
    from folioscope.segment import Scene

POINT, BOX = "X,Y[,LABEL]", "X1,Y1,X2,Y2"


@dataclass(frozen=True)
class Asked:
    """One object that is asked for, in pixels of the image; `mask` is the path of a picture."""

    points: tuple[tuple[float, float], ...] = ()
    labels: tuple[int, ...] = ()
    box: Box | None = None
    mask: str | None = None

    def prompt(self, scene: Scene) -> MaskPrompt:
        """For one image. Raises InputError if the mask is not one of it."""
        mask = None if self.mask is None else scene.mask_prompt(self.mask)
        return MaskPrompt(self.points, self.labels, self.box, mask)


def asked_objects(points: Sequence[str], boxes: Sequence[str], mask: str | None, objects: Sequence[str]) -> list[Asked]:
    """The objects in order: that of `--point`, `--box` and `--mask`, or those of several boxes; then each `--object`.

    Raises InputError for what is not written as it must be.
    """
    if len(boxes) > 1 and (points or mask):
        raise InputError(
            "--box: several boxes are several objects; say with --object which of them the others belong to"
        )
    asked: list[Asked] = []
    if len(boxes) > 1:
        asked += [Asked(box=_box(box)) for box in boxes]
    elif points or boxes or mask:
        asked.append(_with_points(points, _box(boxes[0]) if boxes else None, mask))
    return asked + [_object(text) for text in objects]


def _object(text: str) -> Asked:
    """An object's prompts, between blanks."""
    points, boxes, masks = [], [], []
    for word in text.split():
        if _numbers(word) is None:
            masks.append(word)
        else:
            (boxes if word.count(",") == BOX.count(",") else points).append(word)
    if not (points or boxes or masks):
        raise InputError(f'--object "{text}": is empty; write its points, its box and its mask with blanks between')
    if len(boxes) > 1 or len(masks) > 1:
        raise InputError(f'--object "{text}": an object has one box and one mask at most; give each an --object')
    return _with_points(points, _box(boxes[0]) if boxes else None, masks[0] if masks else None)


def _with_points(points: Sequence[str], box: Box | None, mask: str | None) -> Asked:
    read = [_point(point) for point in points]
    return Asked(tuple((x, y) for x, y, _ in read), tuple(label for _, _, label in read), box, mask)


def _point(text: str) -> tuple[float, float, int]:
    numbers = _numbers(text)
    if numbers is None or len(numbers) not in (2, 3) or numbers[2:] not in ([], [0], [1]):
        raise InputError(f'--point "{text}": expected {POINT}, in pixels; LABEL is 1 on the object, 0 beside it')
    x, y, label = (*numbers, 1)[:3]
    return x, y, int(label)


def _box(text: str) -> Box:
    numbers = _numbers(text)
    if numbers is None or len(numbers) != 4:
        raise InputError(f'--box "{text}": expected {BOX}, in pixels')
    x1, y1, x2, y2 = numbers
    return x1, y1, x2, y2


def _numbers(text: str) -> list[float] | None:
    """Finite numbers between commas, or None."""
    try:
        numbers = [float(word) for word in text.split(",")]
    except ValueError:
        return None
    return numbers if all(map(math.isfinite, numbers)) else None
