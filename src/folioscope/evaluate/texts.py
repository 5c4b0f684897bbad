"""What of a page's Markdown is compared."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

_NOT_WORDS = re.compile(r"\\[tn]|/[tn]|\W")


def plain(markdown: str) -> str:
    """The words that stand on the page, without marks; any run of blanks and line ends is one blank."""
    from folioscope.export.plain import plain as without_marks

    return one_line(without_marks(markdown))


def one_line(text: str) -> str:
    """The text as it is, but that any run of blanks and line ends is one blank."""
    return " ".join(text.split())


def letters(text: str) -> str:
    """Letters, digits and underscores alone: `clean_string` of OmniDocBench, which drops "/t" and "/n" too.

    https://github.com/pyc96/OmniDocBench/blob/147ddbd80762c4111e648ccafe743805fecc4d6b/utils/data_preprocess.py
    """
    return _NOT_WORDS.sub("", text)


TEXTS: Mapping[str, Callable[[str], str]] = {"plain": plain, "markdown": one_line, "letters": letters}
"""By name; `markdown` is the text as it is."""
