"""Documents → files. A format is one entry of `FORMATS`: a name and what makes its files."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, count
from pathlib import Path

from folioscope.export.alto import alto
from folioscope.export.doctags import doctags
from folioscope.export.figures import figure_files, with_saved_links
from folioscope.export.files import File, text_file, write
from folioscope.export.hocr import hocr
from folioscope.export.html_page import html_document
from folioscope.export.json_document import document_json
from folioscope.export.overlay import overlay_files
from folioscope.export.plain import plain
from folioscope.export.searchable_pdf import searchable_pdf
from folioscope.export.tables import document_tables, to_csv
from folioscope.types import Document, InputError

Writer = Callable[[Document, str], Iterable[File]]
"""(document, stem) → the files of one format, named after the stem. The document's Markdown links to the files of
`figure_files`, which a format that shows figures yields too."""

STEM_BYTES = 180
"""A file name holds 255 bytes on most disks; this leaves room for what is added to the stem."""


def save(
    document: Document,
    folder: str | Path,
    formats: Sequence[str] = ("md", "json"),
    *,
    force: bool = False,
    stem: str | None = None,
) -> list[Path]:
    """Write the document into `folder` as `{stem}.{format}`, and its figures as `{stem}_images/{page}_{k}.jpg`.

    Several documents may share a folder. All files are written, or none.

    Args:
        document: What was read; figures and overlays need `PageResult.pixels`.
        folder: Made if it is not there.
        formats: Names in `FORMATS`.
        force: Overwrite files that are there.
        stem: What the names of its files begin with; None is `stem_of` its source.

    Returns:
        The files written, in the order of the formats.

    Raises:
        InputError: No such format.
        OutputError: A file is there and `force` is False, or the folder cannot be written.
    """
    names = _known(formats)
    stem = stem_of(document.source) if stem is None else stem
    linked = with_saved_links(document, stem)
    files = {file.name: file for name in names for file in FORMATS[name](linked, stem)}
    return write(Path(folder), files.values(), force=force)


def planned(stem: str, formats: Sequence[str]) -> list[str]:
    """Names of the files that `save` writes for any document, whatever is on its pages. Raises InputError."""
    return [file.name for name in _known(formats) for file in FORMATS[name](Document(stem), stem)]


def _known(formats: Sequence[str]) -> list[str]:
    names = [formats] if isinstance(formats, str) else list(formats)
    unknown = [name for name in names if name not in FORMATS]
    if unknown:
        raise InputError(f"format {unknown[0]!r}: there is no such format; choose from {', '.join(FORMATS)}")
    return names


def stems_of(sources: Iterable[str]) -> list[str]:
    """A stem for each of the sources of one run, so that none overwrites another's files: x, then x_2, x_3, ….

    They differ by more than case, which some disks do not tell apart.
    """
    stems: dict[str, str] = {}
    for stem in map(stem_of, sources):
        candidates = chain((stem,), (f"{stem}_{number}" for number in count(2)))
        free = next(candidate for candidate in candidates if candidate.casefold() not in stems)
        stems[free.casefold()] = free
    return list(stems.values())


def stem_of(source: str) -> str:
    """The name that a source's files begin with: its own without folder and suffix, fit for any disk and for links."""
    if source == "-":
        return "stdin"
    if "://" in source:
        source = re.split(r"[?#]", source)[0]
    stem = re.sub(r"[^\w.-]+", "_", Path(source).stem).strip(".")
    return stem.encode("utf-8", "ignore")[:STEM_BYTES].decode("utf-8", "ignore") or "document"


def _markdown_files(document: Document, stem: str) -> Iterator[File]:
    yield text_file(f"{stem}.md", document.markdown + "\n")
    yield from figure_files(document, stem)


def _json_files(document: Document, stem: str) -> Iterator[File]:
    yield text_file(f"{stem}.json", document_json(document))
    yield from figure_files(document, stem)


def _text_files(document: Document, stem: str) -> Iterator[File]:
    pages = (plain(page.markdown) for page in document.pages)
    yield text_file(f"{stem}.txt", "\f".join(f"{page}\n" for page in pages))


def _html_files(document: Document, stem: str) -> Iterator[File]:
    yield text_file(f"{stem}.html", html_document(document, stem))
    yield from figure_files(document, stem)


def _hocr_files(document: Document, stem: str) -> Iterator[File]:
    yield text_file(f"{stem}.hocr", hocr(document))


def _alto_files(document: Document, stem: str) -> Iterator[File]:
    yield text_file(f"{stem}.alto.xml", alto(document))


def _pdf_files(document: Document, stem: str) -> Iterator[File]:
    yield File(f"{stem}.pdf", lambda: searchable_pdf(document))


def _doctags_files(document: Document, stem: str) -> Iterator[File]:
    yield text_file(f"{stem}.doctags", doctags(document))


def _csv_files(document: Document, stem: str) -> Iterator[File]:
    for number, table in enumerate(document_tables(document), 1):
        yield text_file(f"{stem}_table_{number}.csv", to_csv(table))


FORMATS: Mapping[str, Writer] = {
    "md": _markdown_files,
    "json": _json_files,
    "txt": _text_files,
    "html": _html_files,
    "hocr": _hocr_files,
    "alto": _alto_files,
    "pdf": _pdf_files,
    "doctags": _doctags_files,
    "csv": _csv_files,
    "overlay": overlay_files,
}
"""What a document can be saved as."""
