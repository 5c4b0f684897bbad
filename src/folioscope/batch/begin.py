"""The run that a command means: a new one, the one in the folder, or the one in the folder begun again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

from folioscope.batch.place import SCRATCH, place_of
from folioscope.batch.plan import FOLDERS, MANIFEST, Run
from folioscope.batch.settings import Settings
from folioscope.batch.sources import documents_of
from folioscope.config import MODES
from folioscope.export import planned, stems_of
from folioscope.tokens import prompt_text
from folioscope.types import GenerateOptions, InputError, OutputError


def begin(
    sources: Sequence[str], out: str, settings: Settings, *, resume: bool = False, recompute: bool = False
) -> Run:
    """The run of a folder: joined if it is the same, begun if there is none.

    Args:
        sources: Paths, patterns and URLs; may be empty where there is a run to resume.
        out: The folder, a path or a URL.
        resume: Go on with the run that is there, whatever its sources and settings.
        recompute: Remove the run that is there, and begin.

    Raises:
        InputError: Wrong settings, no sources, or a run of others.
        OutputError: The folder holds something else.
    """
    _check(settings)
    place = place_of(out)
    if recompute:
        documents = _documents(sources)  # before anything is removed
        for name in (MANIFEST, *FOLDERS, SCRATCH, "summary.json"):
            place.remove(name)
        return Run.start(place, sources, documents, settings)
    run = Run.open(place)
    if run is None:
        strange = place.names() - {*FOLDERS, MANIFEST}
        if strange:
            raise OutputError(f"{out}: holds {min(strange)}, and no run of batch; choose another folder")
        return _same(Run.start(place, sources, _documents(sources), settings), sources, settings, out)
    return run if resume else _same(run, sources, settings, out)


def _check(settings: Settings) -> None:
    prompt_text(settings.prompt)
    if settings.mode not in (None, *MODES):
        from folioscope.read import choose_mode  # with torch, which nothing else here needs

        choose_mode(settings.mode)
    planned("", settings.formats)
    GenerateOptions(settings.max_new_tokens, settings.temperature, seed=settings.seed)


def _documents(sources: Sequence[str]) -> list[tuple[str, str]]:
    if not sources:
        raise InputError("give files, folders, patterns or URLs to read; --resume can do without where a run was begun")
    documents = documents_of(sources)
    return list(zip(documents, stems_of(documents), strict=True))


def _same(run: Run, sources: Sequence[str], settings: Settings, out: str) -> Run:
    """The run, if it was begun with the same command."""
    differences = [
        f"{field.name} {getattr(run.settings, field.name)!r}, not {getattr(settings, field.name)!r}"
        for field in fields(Settings)
        if getattr(run.settings, field.name) != getattr(settings, field.name)
    ]
    if run.arguments != list(sources):
        differences.insert(0, f"the sources {' '.join(run.arguments)[:200]}")
    if differences:
        raise InputError(
            f"{out}: a run was begun here with {differences[0]}; --resume goes on with it as it was begun, "
            "--recompute removes it and begins again"
        )
    return run
