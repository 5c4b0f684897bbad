"""Documents → files. A format is one entry of `FORMATS`: a name and what makes its files."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, count
from pathlib import Path

from folioscope.export.alto import alto
from folioscope.export.continued import document_tables, with_joined_tables
from folioscope.export.doctags import doctags
from folioscope.export.figures import figure_files
from folioscope.export.files import File, text_file, write
from folioscope.export.hocr import hocr
from folioscope.export.html_page import html_document
from folioscope.export.json_document import document_json
from folioscope.export.overlay import overlay_files
from folioscope.export.plain import plain
from folioscope.export.searchable_pdf import searchable_pdf
from folioscope.export.tables import to_csv
from folioscope.export.written import to_markdown, written
from folioscope.types import Document, ExportOptions, InputError

Writer = Callable[[Document, str, ExportOptions], Iterable[File]]
"""(document, stem, options) → the files of one format, named after the stem; what links to the files of `figure_files`
yields them too."""

STEM_BYTES = 180
"""A file name holds 255 bytes on most disks; this leaves room for what is added to the stem."""


def save(
    document: Document,
    folder: str | Path,
    formats: Sequence[str] = ("md", "json"),
    *,
    force: bool = False,
    stem: str | None = None,
    options: ExportOptions | None = None,
) -> list[Path]:
    """Write the document into `folder` as `{stem}.{format}`, and its figures as `{stem}_images/{page}_{k}.jpg`.

    Several documents may share a folder. All files are written, or none.

    Args:
        document: What was read; figures and overlays need `PageResult.pixels`.
        folder: Made if it is not there.
        formats: Names in `FORMATS`.
        force: Overwrite files that are there.
        stem: What the names of its files begin with; None is `stem_of` its source.
        options: How Markdown, text and HTML are written.

    Returns:
        The files written, in the order of the formats.

    Raises:
        InputError: No such format.
        OutputError: A file is there and `force` is False, or the folder cannot be written.
    """
    files = document_files(document, formats, stem_of(document.source) if stem is None else stem, options)
    return write(Path(folder), files, force=force)


def document_files(
    document: Document, formats: Sequence[str], stem: str, options: ExportOptions | None = None
) -> list[File]:
    """The files of a document, each once, in the order of the formats. Raises InputError for no such format."""
    options = options or ExportOptions()
    files = (file for name in _known(formats) for file in FORMATS[name](document, stem, options))
    return list({file.name: file for file in files}.values())


def planned(stem: str, formats: Sequence[str]) -> list[str]:
    """Names of the files that `save` writes for any document, whatever is on its pages. Raises InputError."""
    return [file.name for file in document_files(Document(stem), formats, stem)]


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


def _markdown_files(document: Document, stem: str, options: ExportOptions) -> Iterator[File]:
    yield text_file(f"{stem}.md", to_markdown(document, options, stem) + "\n")
    yield from _linked_figures(document, stem, options)


def _linked_figures(document: Document, stem: str, options: ExportOptions) -> Iterator[File]:
    if options.figures == "link":
        yield from figure_files(document, stem)


def _json_files(document: Document, stem: str, options: ExportOptions) -> Iterator[File]:
    """Its figures are always files: a page's Markdown is there to be taken apart."""
    yield text_file(f"{stem}.json", document_json(written(document, replace(options, figures="link"), stem)))
    yield from figure_files(document, stem)


def _text_files(document: Document, stem: str, options: ExportOptions) -> Iterator[File]:
    pages = written(document, replace(options, figures="link")).pages
    yield text_file(f"{stem}.txt", "\f".join(f"{plain(page.markdown)}\n" for page in pages))


def _html_files(document: Document, stem: str, options: ExportOptions) -> Iterator[File]:
    whole = with_joined_tables(document) if options.join_tables else document
    yield text_file(f"{stem}.html", html_document(whole, stem, options.figures))
    yield from _linked_figures(document, stem, options)


def _hocr_files(document: Document, stem: str, options: ExportOptions) -> Iterator[File]:
    yield text_file(f"{stem}.hocr", hocr(document))


def _alto_files(document: Document, stem: str, options: ExportOptions) -> Iterator[File]:
    yield text_file(f"{stem}.alto.xml", alto(document))


def _pdf_files(document: Document, stem: str, options: ExportOptions) -> Iterator[File]:
    yield File(f"{stem}.pdf", lambda: searchable_pdf(document))


def _doctags_files(document: Document, stem: str, options: ExportOptions) -> Iterator[File]:
    yield text_file(f"{stem}.doctags", doctags(document))


def _csv_files(document: Document, stem: str, options: ExportOptions) -> Iterator[File]:
    for number, table in enumerate(document_tables(document), 1):
        yield text_file(f"{stem}_table_{number}.csv", to_csv(table))


def _overlay_files(document: Document, stem: str, options: ExportOptions) -> Iterator[File]:
    yield from overlay_files(document, stem)


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
    "overlay": _overlay_files,
}
"""What a document can be saved as."""
