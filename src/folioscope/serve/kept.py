"""Results of pages → JSON, and back, so that a job's pages outlive the process."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from typing import Any

from PIL import Image

from folioscope.types import Attempt, Line, PageResult, Region, Usage


def kept_page(page: PageResult) -> str:
    """All of a page's result but its picture, which its source gives again."""
    return json.dumps(asdict(replace(page, pixels=None)), ensure_ascii=False)


def page_of(kept: str, picture: Callable[[int], Image.Image]) -> PageResult:
    """What `kept_page` was given; `picture` makes that of a page's number."""
    page = _tuples(json.loads(kept))
    nested = {
        "regions": tuple(map(_region, page["regions"])),
        "attempts": tuple(Attempt(**attempt) for attempt in page["attempts"]),
        "usage": Usage(**page["usage"]),
        "pixels": partial(picture, page["number"]),
    }
    return PageResult(**{**page, **nested})


def _region(region: dict[str, Any]) -> Region:
    return Region(**{**region, "lines": tuple(Line(**line) for line in region["lines"])})


def _tuples(value: Any) -> Any:
    """JSON knows no tuples, and our types no lists."""
    if isinstance(value, list):
        return tuple(map(_tuples, value))
    if isinstance(value, dict):
        return {key: _tuples(part) for key, part in value.items()}
    return value
