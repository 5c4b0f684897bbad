"""The words every part of Folioscope shares: pages in, documents out, and the errors between.

Nothing here imports torch, numpy or Pillow: `import folioscope` stays instant.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from PIL import Image

Box = tuple[float, float, float, float]
"""(x1, y1, x2, y2), left-top inclusive, right-bottom exclusive; the unit is stated where it is used."""

Status = Literal["ok", "truncated", "repeated", "failed"]
"""What became of a page: read to its end; cut by the token limit; stopped in a loop; not readable."""


class FolioscopeError(Exception):
    """Base of every error Folioscope raises on purpose. Its message is one line for a person."""


class InputError(FolioscopeError, ValueError):
    """An image, a PDF, a prompt or an option that cannot be used; says what would do."""


class CheckpointError(FolioscopeError, ValueError):
    """A checkpoint, config or tokenizer that cannot be loaded or saved."""


class OutputError(FolioscopeError, OSError):
    """A place that cannot be written, or that would be overwritten."""


@dataclass(frozen=True)
class Page:
    """One page to read.

    Attributes:
        image: RGB, upright (EXIF orientation applied), at the resolution it was given or rendered in.
        source: The path, URL or name the page came from, for messages.
        number: 1-based place in its source.
        points: Width and height in PDF points (1/72 inch), or None for images.
    """

    image: Image.Image
    source: str = "image"
    number: int = 1
    points: tuple[float, float] | None = None


@dataclass(frozen=True)
class Region:
    """One block the model pointed at: what it is, where it is, what it says.

    Attributes:
        label: As the model wrote it: title, sub_title, text, image, table, table_caption, equation, ...
            For `ocr` and `locate` prompts the model writes the recognised words here.
        boxes: Pixels of the original page, clipped to it. Empty for text the model gave no box.
        text: Markdown of the block, as written by the model, blanks at both ends removed.
        confidence: Geometric mean probability of the region's tokens, 0..1, or None if not measured.
        boxes_points: The same boxes in PDF points from the left top, or empty for images.
        figure: 0-based number of the first figure crop of this region, or None.
    """

    label: str
    boxes: tuple[Box, ...] = ()
    text: str = ""
    confidence: float | None = None
    boxes_points: tuple[Box, ...] = ()
    figure: int | None = None

    @property
    def box(self) -> Box | None:
        """The smallest box around all boxes, in pixels of the original page."""
        return _hull(self.boxes)


def _hull(boxes: Sequence[Box]) -> Box | None:
    if not boxes:
        return None
    left, top, right, bottom = zip(*boxes, strict=True)
    return min(left), min(top), max(right), max(bottom)


@dataclass(frozen=True)
class Usage:
    """What a page cost. Counts are tokens; `seconds` is wall time."""

    image_tokens: int = 0
    prompt_tokens: int = 0
    output_tokens: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class PageResult:
    """What was read from one page.

    Attributes:
        raw: The model's text with every special token, without the final end-of-sequence token.
        markdown: Clean Markdown; figures are links to `images/{figure}.jpg`.
        regions: In reading order, as the model wrote them.
        size: Width and height of the original page in pixels.
        error: One line saying what went wrong, if `status` is "failed".
    """

    number: int
    source: str
    size: tuple[int, int]
    status: Status = "ok"
    raw: str = ""
    markdown: str = ""
    regions: tuple[Region, ...] = ()
    confidence: float | None = None
    usage: Usage = field(default_factory=Usage)
    points: tuple[float, float] | None = None
    error: str | None = None
    image: Image.Image | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class Document:
    """The pages of one source, read."""

    source: str
    pages: tuple[PageResult, ...] = ()

    @property
    def markdown(self) -> str:
        """All pages' Markdown, a blank line between pages."""
        return "\n\n".join(page.markdown for page in self.pages if page.markdown)

    @property
    def ok(self) -> bool:
        """True when every page was read to its end."""
        return all(page.status == "ok" for page in self.pages)

    def __iter__(self) -> Iterator[PageResult]:
        return iter(self.pages)

    def save(self, folder: str | Path, formats: Sequence[str] = ("md", "json"), *, force: bool = False) -> list[Path]:
        """Write the document into `folder`, one file a format, plus figures; see `folioscope.export.save`."""
        from folioscope.export import save  # the one arrow that points outward: users expect the verb here

        return save(self, folder, formats, force=force)


@dataclass(frozen=True)
class StreamEvent:
    """A piece of a page as it is decoded; `result` comes with the page's last event."""

    page: int
    text: str = ""
    result: PageResult | None = None


@dataclass(frozen=True)
class GenerateOptions:
    """How tokens are chosen. The defaults are what the published `infer` does: greedy, no 20-gram twice.

    Attributes:
        max_new_tokens: At most this many; None means up to the model's last position.
        temperature: 0 is greedy; above 0 samples from softmax(logits / temperature).
        top_p: Sample from the fewest tokens that hold this much probability, 0..1.
        top_k: Sample from this many most probable tokens; 0 is all.
        seed: Makes sampling repeatable.
        no_repeat_ngram_size: A token that would complete an n-gram seen before is banned; 0 is off.
        ngram_window: Only n-grams that start in the last this-many tokens count; 0 is the whole sequence,
            prompt included, as `infer` does.
        ngram_exempt: Token ids that are never banned (the published server exempts <td> and </td>).
        stop_ids: Generation ends with any of these.
    """

    max_new_tokens: int | None = None
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int | None = None
    no_repeat_ngram_size: int = 20
    ngram_window: int = 0
    ngram_exempt: tuple[int, ...] = ()
    stop_ids: tuple[int, ...] = (1,)

    def __post_init__(self) -> None:
        checks = (
            (self.max_new_tokens is None or self.max_new_tokens > 0, "max_new_tokens", "a positive integer or None"),
            (self.temperature >= 0, "temperature", "0 (greedy) or more"),
            (0 < self.top_p <= 1, "top_p", "above 0 and at most 1"),
            (self.top_k >= 0, "top_k", "0 (all) or a positive integer"),
            (self.no_repeat_ngram_size >= 0, "no_repeat_ngram_size", "0 (off) or a positive integer"),
            (self.ngram_window >= 0, "ngram_window", "0 (whole sequence) or a positive integer"),
        )
        for good, name, wanted in checks:
            if not good:
                raise InputError(f"{name}={getattr(self, name)!r}: must be {wanted}")


@dataclass(frozen=True)
class Generated:
    """One finished sequence: only the new token ids, the stop token included when there was one.

    Attributes:
        ids: New token ids.
        logprobs: Natural-log probability of each id under the model's own (unprocessed) distribution.
        finish: "stop" on a stop id, "length" on a limit, "cancelled" when the caller said so.
    """

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish: Literal["stop", "length", "cancelled"]
