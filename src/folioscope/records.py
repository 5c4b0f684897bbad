"""Page results as JSON holds them, and back, field by field as the types say."""

from __future__ import annotations

import types
from collections.abc import Callable
from dataclasses import asdict, is_dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any, Union, get_args, get_origin, get_type_hints

from folioscope.types import PageResult

if TYPE_CHECKING:
    from PIL import Image


def page_record(page: PageResult) -> dict[str, Any]:
    """The page, but for what makes its picture."""
    record = asdict(replace(page, pixels=None))
    del record["pixels"]
    return record


def page_of(record: dict[str, Any], pixels: Callable[[], Image.Image] | None = None) -> PageResult:
    """The page of a record, and what makes its picture."""
    return replace(_built(PageResult, record), pixels=pixels)


def _built(hint: Any, value: Any) -> Any:
    """JSON's value as the annotation has it: lists as tuples, objects as dataclasses."""
    if isinstance(hint, type) and is_dataclass(hint):
        return hint(**{name: _built(kind, value[name]) for name, kind in _hints(hint).items() if name in value})
    arguments = get_args(hint)
    if get_origin(hint) is tuple:
        kinds = arguments[:1] * len(value) if arguments[-1] is Ellipsis else arguments
        return tuple(_built(kind, inner) for kind, inner in zip(kinds, value, strict=True))
    if get_origin(hint) in (Union, types.UnionType):
        return None if value is None else _built(next(kind for kind in arguments if kind is not type(None)), value)
    return value


@cache
def _hints(kind: type) -> dict[str, Any]:
    from PIL import Image  # which types does not import

    return get_type_hints(kind, localns={"Image": Image})
