"""Which way up a page is: a reading that is not sure of its text is compared with glances at the page turned.

A small model makes sense of a page that stands on its head: it spells what the letters look like, with no sign in its
text that could be relied on. But it is less sure of it, and surer once the page is turned. So where the text's tokens
are not sure, the page is turned and read as far as `GLANCE` tokens, and the same stretch of both is compared. Measured
with the embedded reader: docs/read.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from folioscope.ink import Ink
from folioscope.read.confidence import geometric_mean
from folioscope.read.doubts import is_nonsense
from folioscope.types import TrustOptions

if TYPE_CHECKING:
    from folioscope.read.ladder import Reading

SURE = 0.9
"""Text read with at least this confidence stands the right way up."""

GLANCE = 96
"""Tokens of a turned page that are read to compare it."""

LEAST = 0.5
"""Text of a turned page must be read with this confidence to count as text."""

SURER = 1.2
"""A page is turned if that makes its text so many times surer."""


def may_be_turned(first: Reading) -> bool:
    """Whether a page's first reading is not so sure of its text that the page must stand the right way up."""
    sure = first.text_confidence
    return sure is not None and sure < SURE


def ways_to_look(first: Reading, ink: Ink) -> Sequence[int]:
    """Degrees clockwise by which a page is worth turning: with many words in lines across, only on its head."""
    long = len(first.text_logprobs) > GLANCE
    return (180,) if long and ink.in_lines else (90, 180, 270)


def surer_way(first: Reading, glances: Sequence[Reading]) -> int | None:
    """Degrees clockwise by which the page must be turned, going by glances at it; None if it need not."""
    surest, degrees = 0.0, None
    for glance in glances:
        length = min(len(glance.text_logprobs), len(first.text_logprobs))
        as_it_came, turned = (_confidence(reading, length) for reading in (first, glance))
        if is_surer(turned, as_it_came) and turned > surest and not is_nonsense(glance.raw):
            surest, degrees = turned, int(glance.step.removeprefix("glance"))
    return degrees


def is_surer(turned: float, as_it_came: float) -> bool:
    """Whether text of the turned page is so much surer that the page must be turned."""
    return turned >= LEAST and turned > SURER * as_it_came


def turned_trust(trust: TrustOptions) -> TrustOptions:
    """When the text of a page that was turned is trusted: not with the confidence that noise comes to."""
    return replace(trust, min_confidence=max(LEAST, trust.min_confidence))


def _confidence(reading: Reading, length: int) -> float:
    """Of the first so many tokens of the text; 0 without any."""
    return geometric_mean(sum(reading.text_logprobs[:length]), length) or 0.0
