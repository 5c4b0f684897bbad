"""The truth of OmniDocBench: its pages as Markdown.

https://github.com/pyc96/OmniDocBench/blob/27b604198e12abe77a7ad5052dd9f285c9692c53/README.md (Dataset Format)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from folioscope.types import InputError

FIELDS: Mapping[str, str] = {
    "title": "text",
    "text_block": "text",
    "code_txt": "text",
    "code_txt_caption": "text",
    "reference": "text",
    "equation_isolated": "latex",
    "table": "html",
}
"""Categories that the benchmark measures, and the field that holds what they say. Captions, headers, footers, page
numbers and footnotes are matched by it, and not measured."""


def is_omnidocbench(value: Any) -> bool:
    """Whether this is the content of `OmniDocBench.json`."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(page, dict) and "page_info" in page for page in value)
    )


def omnidocbench_pages(value: list[Any], where: str) -> Iterator[tuple[str, str]]:
    """The image and the Markdown of each page, its blocks in reading order. Raises InputError."""
    for number, page in enumerate(value, 1):
        try:
            blocks = [block for block in page["layout_dets"] if block["category_type"] in FIELDS]
            parts = {block["anno_id"]: str(block.get(FIELDS[block["category_type"]]) or "") for block in blocks}
            blocks = [block for block in _merged(page, blocks, parts) if not block.get("ignore")]
            blocks.sort(key=lambda block: block.get("order") or 0)
            image = page["page_info"]["image_path"]
            yield str(image), "\n\n".join(parts[block["anno_id"]] for block in blocks if parts[block["anno_id"]])
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{where}, page {number}: not as OmniDocBench has pages ({error!r})") from error


def _merged(page: Mapping[str, Any], blocks: list[Any], parts: dict[Any, str]) -> list[Any]:
    """The blocks that remain when those that a column or a page cuts in two are put together, in `parts`."""
    by_id, first = (
        {block["anno_id"]: block for block in blocks},
        {block["anno_id"]: block["anno_id"] for block in blocks},
    )
    for relation in page.get("extra", {}).get("relation", []):
        ends = [relation.get("source_anno_id"), relation.get("target_anno_id")]
        if relation.get("relation_type") == "truncated" and all(end in by_id for end in ends):
            one, other = (first[end] for end in ends)
            first = {key: one if value == other else value for key, value in first.items()}
    groups: dict[Any, list[Any]] = {}
    for block in sorted(blocks, key=lambda block: block.get("order") or 0):
        groups.setdefault(first[block["anno_id"]], []).append(block)
    for members in groups.values():
        parts[members[0]["anno_id"]] = "".join(parts[member["anno_id"]] for member in members)
    return [members[0] for members in groups.values()]
