"""What a verb is given to work on."""

from __future__ import annotations

from collections.abc import Sequence

from folioscope.cli.report import Report
from folioscope.types import FolioscopeError


def sources_of(paths: Sequence[str], report: Report) -> list[str]:
    """The files that paths, folders and patterns name, each once; what names none is reported."""
    from folioscope.pages import expand_sources

    sources: dict[str, None] = {}
    for path in paths:
        try:
            sources.update(dict.fromkeys(expand_sources([path])))
        except FolioscopeError as error:
            report.error(error)
    return list(sources)
