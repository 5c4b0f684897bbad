"""What the embedded reader is measured on: the rows of the table in docs/train.md."""

from __future__ import annotations

from dataclasses import dataclass, replace

from folioscope.train.layout import PageStyle


@dataclass(frozen=True)
class Trial:
    """One row: pages of one style, of held-out sentences and words, read with one preset prompt.

    Attributes:
        prompt: `free` (compared as it stands) or `markdown` (compared as Markdown, and its regions by box and label).
    """

    name: str
    style: PageStyle
    prompt: str = "free"


DOMAIN = PageStyle(side=384, lines=(1, 4), type_px=(18, 34), degrade=0.5, layout=0.5, fonts="listed")
"""What the embedded reader is for: see `PageStyle`."""

_WIDER = PageStyle(side=640, lines=(1, 14), type_px=(16, 36), degrade=0, layout=0.6, fonts="held_out", texts="held_out")

TRIALS = (
    Trial("domain", replace(DOMAIN, texts="held_out")),
    Trial("domain-markdown", replace(DOMAIN, texts="held_out"), "markdown"),
    Trial("clean", _WIDER),
    Trial("scanned", replace(_WIDER, degrade=1, strength=2)),
    Trial("codes", replace(_WIDER, random_share=1)),
    Trial("layout", replace(_WIDER, layout=1, degrade=0.5, tables=0.3), "markdown"),
    Trial("columns", replace(_WIDER, side=1000, lines=(12, 36), layout=1, degrade=0.5, tables=0.1, columns=1)),
)
"""All but the first two are in type faces that training never sees; the last is read in Gundam mode."""


def learnable(trial: Trial) -> PageStyle:
    """Pages like a trial's, of what may be learnt from: training's faces and texts."""
    return replace(trial.style, fonts="train", texts="train")
