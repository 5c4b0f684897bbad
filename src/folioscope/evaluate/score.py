"""What a metric says of one page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Score:
    """A share of something that adds up over pages: edits of characters, say, or similarity of tables.

    Attributes:
        amount: Such as edits; may exceed `of`.
        of: Such as characters; 0 where there is nothing to share.
    """

    amount: float
    of: float

    @property
    def value(self) -> float:
        """amount / of. Something of nothing (edits of an empty truth) is 1, and nothing of nothing 0."""
        return self.amount / self.of if self.of else float(self.amount > 0)


Measure = Callable[[str, str], "Score | None"]
"""(prediction, truth) → the score of a page; None where the truth has nothing that it is about."""
