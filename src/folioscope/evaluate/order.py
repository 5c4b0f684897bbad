"""Whether blocks of text stand in the right order, and how right each is: OmniDocBench's metrics of text.

Text is cut into blocks, tables, displayed formulas and figures left out; blocks are paired (see `matching`) and
compared by their letters and digits. Formulas in a line are compared as written; OmniDocBench makes Unicode of them.
https://github.com/pyc96/OmniDocBench/blob/3310febe99fdeade8e214e04e013d91e624e26d1/dataset/end2end_dataset.py
"""

from __future__ import annotations

import re

from folioscope.evaluate.edit import edit_distance
from folioscope.evaluate.matching import best_pairs
from folioscope.evaluate.score import Score
from folioscope.evaluate.texts import letters

_IMAGE = re.compile(r"!\[.*?\]\(.*?\)")
_FORMULA = re.compile(r"\$\$.+?\$\$|\\\[.+?\\\]", re.DOTALL)
_BLANK_LINE = re.compile(r"\n[ \t]*\n")


def blocks_of(markdown: str) -> list[str]:
    """Blocks of text, in order: what stands between blank lines, or lines where there is no blank line."""
    text = _FORMULA.sub("\n\n", _IMAGE.sub("", _without_tables(markdown)))
    pieces = _BLANK_LINE.split(text.strip())
    pieces = pieces if len(pieces) > 1 else text.splitlines()
    return [kept for piece in pieces if (kept := letters(piece))]


def _without_tables(markdown: str) -> str:
    from folioscope.export.tables import find_tables

    for start, end, _ in reversed(find_tables(markdown)):
        markdown = markdown[:start] + "\n\n" + markdown[end:]
    return markdown


def order(prediction: str, truth: str) -> Score | None:
    """Edit distance between the truth's blocks as they are and as they were read, over their number; 0 is best.

    `Edit_dist` of `reading_order`. A block that was not read is missing in the order, and so an edit; what was read and
    is not there does not count. None if the truth has no block of text.
    """
    read, there = blocks_of(prediction), blocks_of(truth)
    as_read = [block for _, block in sorted(best_pairs(read, there))]
    return Score(edit_distance(as_read, range(len(there))), len(there)) if there else None


def blocks(prediction: str, truth: str) -> Score | None:
    """Edits of the truth's blocks over the lengths of the longer of each pair, 0..1, 0 is best.

    `Edit_dist` of `text_block`: the mean over pages is its `ALL_page_avg`, pooled its `edit_whole`. A block that was
    not read is all edits; what was read and is not there does not count. None if the truth has no block of text.
    """
    read, there = blocks_of(prediction), blocks_of(truth)
    answers = {block: read[index] for index, block in best_pairs(read, there)}
    pairs = [(answers.get(index, ""), text) for index, text in enumerate(there)]
    edits = sum(edit_distance(answer, text) for answer, text in pairs)
    return Score(edits, sum(max(len(answer), len(text)) for answer, text in pairs)) if there else None
