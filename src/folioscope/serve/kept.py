"""Results of pages → JSON, and back, so that a job's pages outlive the process."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial

from PIL import Image

from folioscope import records
from folioscope.types import PageResult


def kept_page(page: PageResult) -> str:
    """All of a page's result but its picture, which its source gives again."""
    return json.dumps(records.page_record(page), ensure_ascii=False)


def page_of(kept: str, picture: Callable[[int], Image.Image]) -> PageResult:
    """What `kept_page` was given; `picture` makes that of a page's number."""
    record = json.loads(kept)
    return records.page_of(record, partial(picture, record["number"]))
