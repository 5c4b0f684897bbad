"""Markdown as it is written down: page marks, figures, tables and clean-up, as `ExportOptions` say."""

from __future__ import annotations

from dataclasses import replace

from folioscope.export.cleaning import clean, words_of
from folioscope.export.continued import with_joined_tables
from folioscope.export.figures import with_figures
from folioscope.export.tables import rewrite_tables, to_html, to_pipes
from folioscope.grounding import tidy
from folioscope.types import Document, ExportOptions

_FORMS = {"html": to_html, "pipes": to_pipes}


def to_markdown(document: Document, options: ExportOptions | None = None, stem: str | None = None) -> str:
    """All pages' Markdown, a blank line between pages; paginated, each begins with its mark, also an empty one.

    Args:
        stem: Links lead to the figures of `figure_files`; None leaves them as they were read.
    """
    options = options or ExportOptions()
    pages = written(document, options, stem).pages
    if options.paginate:
        return "\n\n".join(f"<!-- page {page.number} -->\n\n{page.markdown}".rstrip() for page in pages)
    return "\n\n".join(page.markdown for page in pages if page.markdown)


def written(document: Document, options: ExportOptions, stem: str | None = None) -> Document:
    """The document with each page's Markdown as it is written down; all else is as it was read."""
    words = words_of(page.markdown for page in document) if options.clean else frozenset[str]()
    whole = with_joined_tables(document) if options.join_tables else document
    pages = []
    for page, joined in zip(document.pages, whole.pages, strict=True):
        text = clean(joined.markdown, words) if options.clean else joined.markdown
        text = with_figures(page, _with_tables(text, options.tables), options.figures, stem)
        pages.append(replace(page, markdown=tidy(text)))
    return replace(document, pages=tuple(pages))


def _with_tables(markdown: str, form: str) -> str:
    """The Markdown with its tables in one form; as read, they stay."""
    if form not in _FORMS:
        return markdown
    write, around = _FORMS[form], "\n" if form == "pipes" else ""
    return rewrite_tables(markdown, lambda _, table: f"{around}{write(table)}{around}")
