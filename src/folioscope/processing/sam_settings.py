"""The settings of SAM's image processor: their published values, and what each of them may be."""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Real
from typing import Any

from PIL import Image

from folioscope.types import InputError
from folioscope.views import SAM_MEAN, SAM_STD

PUBLISHED: Mapping[str, Any] = {
    "do_convert_rgb": True,
    "do_normalize": True,
    "do_pad": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": list(SAM_MEAN),
    "image_std": list(SAM_STD),
    "mask_pad_size": {"height": 256, "width": 256},
    "mask_size": {"longest_edge": 256},
    "pad_size": {"height": 1024, "width": 1024},
    "resample": int(Image.Resampling.BILINEAR),
    "rescale_factor": 1 / 255,
    "size": {"longest_edge": 1024},
}
SIDES = {
    "size": ("longest_edge",),
    "mask_size": ("longest_edge",),
    "pad_size": ("height", "width"),
    "mask_pad_size": ("height", "width"),
}


def checked(name: str, value: Any) -> Any:
    """The value as it is stored, one number for sides or channels being one each. Raises InputError if it cannot be."""
    if name in SIDES:
        return _sides(name, value)
    if name.startswith("do_"):
        wanted, valid = "True or False", isinstance(value, bool)
    elif name in ("image_mean", "image_std"):
        value = [value] * 3 if _is_number(value) else list(value) if isinstance(value, (list, tuple)) else value
        positive = name == "image_std"
        wanted = f"three {'positive ' if positive else ''}numbers, one for each of red, green and blue"
        valid = isinstance(value, list) and len(value) == 3 and all(map(_is_number, value))
        valid = valid and (not positive or min(value) > 0)
    elif name == "resample":
        wanted, valid = "one of Pillow's filters, 0 to 5", _is_number(value) and value in set(Image.Resampling)
        value = int(value) if valid else value
    else:
        wanted, valid = "a positive number", _is_number(value) and value > 0
    if not valid:
        raise InputError(f"{name}={value!r}: give {wanted}")
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def _sides(name: str, value: Any) -> dict[str, int]:
    sides = SIDES[name]
    given = dict.fromkeys(sides, value) if isinstance(value, int) else dict(value) if isinstance(value, Mapping) else {}
    given = {side: length for side, length in given.items() if length is not None}
    if set(given) != set(sides) or not all(type(length) is int and length > 0 for length in given.values()):
        raise InputError(f"{name}={value!r}: give {' and '.join(sides)} in pixels, above 0")
    return given
