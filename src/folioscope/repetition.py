"""Loops: a sequence that has begun to repeat itself, seen from its token ids while it is decoded.

Two signs, both looked for in ids alone, since the decode loop knows no text:

* A *cycle*: the last tokens are those one period earlier, token by token, for so long that what is repeated stands
  there more than twice. A line, a table row, a blank or a run of line breaks that comes again and again is one, with a
  period of 1 to LONGEST tokens. Rows that differ in any token are none, so a regular table is safe however long it
  is, as long as its cells say different things.
* A *stammer*: few different n-grams in a window of tokens. It is what a cycle becomes under an n-gram ban, which
  makes every round stumble over another token. Inside tables it is not looked for: a column of "yes" and "no" has as
  few n-grams as a stammer, and the tags of tables are exempt from the ban anyway. Runs of one token are cut short
  before they are counted, so that the dots of a table of contents are no stammer.

What needs the text (answers that are empty, or nonsense, or break off) is judged when a page is done: `read.doubts`.
"""

from __future__ import annotations

from collections.abc import Collection
from itertools import groupby, islice

import numpy as np

REPEATED = 184
"""Tokens that must repeat what stands one period before them. A loop is stopped within 200 tokens of its onset, the
first token that repeats; this many, less than that, of a form with some equal rows are no loop yet."""

LONGEST = 512
"""Longest period in tokens. From REPEATED up, a loop is stopped soon after its cycle begins for a third time."""

THIRD = 8
"""Tokens into the third time, for those."""

WINDOW, NGRAM, EVERY = 184, 8, 8
"""A stammer is looked for in so many tokens, by n-grams of so many, every so many tokens."""

FEW_NGRAMS = 0.45
"""A stammer has at most this share of different n-grams. Measured: cycles of 2 to 60 tokens that an n-gram ban
disturbs once in 30 tokens come to 0.25 to 0.42, numbered lists and columns of numbers, a token a character, to 0.56 and
more."""

RUN, LEAST = 3, 30
"""Longer runs of one token count as the first; a window of which then less than the second is left is runs alone."""

FEW_TAGS = 0.1
"""A window with a larger share of exempt tokens is inside a table."""


class LoopWatch:
    """Follows one sequence; `append` says whether it has become a loop. A few microseconds a token.

    Args:
        exempt: Ids of table tags.
    """

    def __init__(self, exempt: Collection[int] = ()) -> None:
        self._exempt = frozenset(exempt)
        self._past = np.full(4 * LONGEST, -1, np.int32)  # the last LONGEST ids stand before `_count`
        self._count = LONGEST
        self._enough = np.maximum(REPEATED, np.arange(1, LONGEST + 1, dtype=np.int32) + THIRD)
        self._missing = self._enough  # for each period, shortest first: tokens that must yet repeat

    def append(self, token: int) -> bool:
        """The sequence goes on with `token`; True if it repeats itself."""
        before = self._past[self._count - LONGEST : self._count][::-1]
        self._missing = np.where(before == token, self._missing - 1, self._enough)
        if self._count == len(self._past):
            self._past[:LONGEST] = self._past[-LONGEST:]
            self._count = LONGEST
        self._past[self._count] = token
        self._count += 1
        if not self._missing.all():
            return True
        return self._count % EVERY == 0 and self._stammers()

    def _stammers(self) -> bool:
        window = self._past[self._count - WINDOW : self._count].tolist()
        if window[0] < 0 or sum(token in self._exempt for token in window) > FEW_TAGS * WINDOW:
            return False
        kept = [token for token, run in groupby(window) for _ in islice(run, RUN)]
        if len(kept) < LEAST:
            return True
        ngrams = list(zip(*(kept[start:] for start in range(NGRAM)), strict=False))
        return len(set(ngrams)) <= FEW_NGRAMS * len(ngrams)
