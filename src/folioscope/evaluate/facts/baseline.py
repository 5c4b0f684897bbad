"""The least that is asked of any page."""

from __future__ import annotations

import re
from dataclasses import dataclass

from folioscope.evaluate.facts.fact import Fact

_IMAGE = re.compile(r"!\[.*?\]\(.*?\)")
_DISALLOWED = re.compile(
    "[\u4e00-\u9fff\u3040-\u309f\u30a0-\u30ff"  # Chinese characters, hiragana, katakana
    "\U0001f600-\U0001f64f\U0001f300-\U0001f5ff\U0001f680-\U0001f6ff\U0001f1e0-\U0001f1ff]"  # emoji
)
LONGEST = 5
"""Letters of the longest piece whose repetition at the end is looked for."""


@dataclass(frozen=True, kw_only=True)
class Baseline(Fact):
    """The page is not empty, does not end in a loop, and has no Chinese, Japanese or emoji characters.

    Attributes:
        max_length: The page is blank: no more letters and digits than this, and nothing else is asked.
        max_length_skips_image_alt_tags: Descriptions of images do not count for that.
        max_repeats: A piece of up to five letters may stand so often at the end.
        check_disallowed_characters: False for pages in those languages.
    """

    max_length: int | None = None
    max_length_skips_image_alt_tags: bool = False
    max_repeats: int = 30
    check_disallowed_characters: bool = True

    def failure(self, text: str) -> str | None:
        if self.max_length is not None:
            count = _letters(_IMAGE.sub("", text) if self.max_length_skips_image_alt_tags else text)
            return f"{count} letters on a blank page" if count > self.max_length else None
        if not _letters(text):
            return "no letter and no digit"
        times = max(map(_repeats, (text,) * LONGEST, range(1, LONGEST + 1)))
        if times > self.max_repeats:
            return f"ends with the same letters, {times} times"
        found = _DISALLOWED.search(text) if self.check_disallowed_characters else None
        return f'has the character "{found[0]}"' if found else None


def _letters(text: str) -> int:
    return sum(map(str.isalnum, text))


def _repeats(text: str, size: int) -> int:
    """How often the last `size` characters stand at the end, one after the other."""
    text = re.sub(r"\s+", " ", text)
    piece, count = text[-size:], 0
    while len(piece) == size and text.endswith(piece):
        text, count = text[:-size], count + 1
    return count
