"""Pages in, documents out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from folioscope.types.options import ExportOptions

if TYPE_CHECKING:
    from PIL import Image

Box = tuple[float, float, float, float]
"""(x1, y1, x2, y2), left-top inclusive, right-bottom exclusive; the unit is stated where it is used."""

Status = Literal["ok", "retried", "truncated", "repeated", "rotated", "fallback", "blank", "failed"]
"""What became of a page.

ok: read to its end at once. retried: read to its end when it was read again. rotated: read to its end when it was
turned. fallback: no reading could be trusted, so the text is the one that the PDF holds. truncated: cut by the token
limit, or its text breaks off within a table or a mark. repeated: stopped in a loop. blank: no ink, so not read.
failed: not readable, see `PageResult.error`.
"""

Doubt = Literal["loop", "cut", "empty", "nonsense", "turned", "coverage"]
"""Why a reading is not trusted: it was stopped in a loop; it breaks off; there is ink and no text; the model was not
sure of it, or it is no text; the model was surer when the page was turned; much of the page's ink lies outside its
regions."""

Turn = Literal["rotate90", "rotate180", "rotate270"]
Glance = Literal["glance90", "glance180", "glance270"]
Step = Literal["first", Glance, "ngram", "temperature", "mode", Turn, "text_layer"]
"""How a page is read: first as asked; the beginning of the page turned clockwise by so many degrees, to compare; under
a stricter n-gram rule, with a small temperature, in another mode, turned; text_layer is no reading, but the text that
the PDF holds."""


@dataclass(frozen=True)
class Page:
    """One page to read.

    Attributes:
        image: RGB, upright (EXIF orientation applied), at the resolution it was given or rendered in.
        source: The path, URL or name the page came from, for messages.
        number: 1-based place in its source.
        points: Width and height in PDF points (1/72 inch), or None for images.
        again: Makes `image` once more, so that what outlives the page need not keep it. None where only keeping it
            would do.
        text_layer: Regions "text" with the text that the PDF holds itself, in reading order. None for images.
    """

    image: Image.Image
    source: str = "image"
    number: int = 1
    points: tuple[float, float] | None = None
    again: Callable[[], Image.Image] | None = field(default=None, repr=False, compare=False)
    text_layer: Callable[[], tuple[Region, ...]] | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class Line:
    """One line of a region's text.

    Attributes:
        confidence: Geometric mean probability of the line's tokens, 0..1, or None if not measured.
        box: Pixels of the original page, or None where it is not known: the model points at regions.
    """

    text: str
    confidence: float | None = None
    box: Box | None = None


@dataclass(frozen=True)
class Region:
    """One block the model pointed at: what it is, where it is, what it says.

    Attributes:
        label: As the model wrote it: title, sub_title, text, image, table, table_caption, equation, ...
            For `ocr` and `locate` prompts the model writes the recognised words here.
        boxes: Pixels of the original page, clipped to it; of blocks, fitted to its ink, see `TrustOptions.fit_boxes`.
            Empty for text the model gave no box.
        text: Markdown of the block, as written by the model, blanks at both ends removed.
        confidence: Geometric mean probability of the region's tokens, 0..1, or None if not measured.
        boxes_points: The same boxes in PDF points from the left top, or empty for images.
        figure: 0-based number of the first figure crop of this region, or None.
        lines: The lines of `text` that are not blank, in order.
    """

    label: str
    boxes: tuple[Box, ...] = ()
    text: str = ""
    confidence: float | None = None
    boxes_points: tuple[Box, ...] = ()
    figure: int | None = None
    lines: tuple[Line, ...] = ()

    @property
    def box(self) -> Box | None:
        """The smallest box around all boxes, in pixels of the original page."""
        return hull(self.boxes) if self.boxes else None

    def moved(self, move: Callable[[Box], Box]) -> Region:
        """The region with its boxes and those of its lines elsewhere; `boxes_points` are to be made from them anew."""
        lines = tuple(replace(line, box=move(line.box)) if line.box else line for line in self.lines)
        return replace(self, boxes=tuple(map(move, self.boxes)), boxes_points=(), lines=lines)


def hull(boxes: Sequence[Box]) -> Box:
    """The smallest box around all of these, at least one."""
    left, top, right, bottom = zip(*boxes, strict=True)
    return min(left), min(top), max(right), max(bottom)


@dataclass(frozen=True)
class Usage:
    """What a page cost, all its readings together. Counts are tokens; `seconds` is wall time."""

    image_tokens: int = 0
    prompt_tokens: int = 0
    output_tokens: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Attempt:
    """One reading of a page.

    Attributes:
        step: How it was read.
        finish: How it ended, as `Generated.finish`; "stop" for a text layer.
        doubts: Why it is not trusted; empty if it is.
        confidence: Geometric mean probability of its tokens, 0..1, or None if not measured.
        coverage: Share of the page's dark ink inside its regions, 0..1, or None if not measured.
        output_tokens: How many were written.
        kept: Whether it became the page's result; at most one is.
    """

    step: Step
    finish: str = "stop"
    doubts: tuple[Doubt, ...] = ()
    confidence: float | None = None
    coverage: float | None = None
    output_tokens: int = 0
    kept: bool = False


@dataclass(frozen=True)
class PageResult:
    """What was read from one page.

    Attributes:
        raw: The model's text with every special token, without the final end-of-sequence token. Its boxes are those of
            the view it was read in: of a page that was turned or cut in halves, they are not the page's.
        markdown: Markdown as it was read, without marks; figures are links to `images/{figure}.jpg`.
        regions: In reading order, as the model wrote them.
        size: Width and height of the original page in pixels.
        confidence: Geometric mean probability of its tokens, 0..1, or None if not measured.
        error: One line saying what went wrong, if `status` is "failed".
        coverage: Share of the page's dark ink that lies inside `regions`, 0..1, or None if not measured.
        attempts: Its readings, in order. Empty for a page that was not read.
        pixels: Makes `image`; None where it is not to be had.
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
    coverage: float | None = None
    attempts: tuple[Attempt, ...] = ()
    pixels: Callable[[], Image.Image] | None = field(default=None, repr=False, compare=False)

    @property
    def image(self) -> Image.Image | None:
        """The page as it was read, made anew from its source at each call. InputError if the source is gone."""
        return self.pixels() if self.pixels else None

    @property
    def doubts(self) -> tuple[Doubt, ...]:
        """Why the reading that was kept is not trusted; empty if it is."""
        return next((attempt.doubts for attempt in self.attempts if attempt.kept), ())


@dataclass(frozen=True)
class Document:
    """The pages of one source, read."""

    source: str
    pages: tuple[PageResult, ...] = ()

    @property
    def markdown(self) -> str:
        """All pages' Markdown, a blank line between pages, as `to_markdown` writes it where nothing is said."""
        return self.to_markdown()

    @property
    def ok(self) -> bool:
        """True when no page is truncated, repeated or failed."""
        return all(page.status not in ("truncated", "repeated", "failed") for page in self.pages)

    def __iter__(self) -> Iterator[PageResult]:
        return iter(self.pages)

    def to_markdown(self, options: ExportOptions | None = None) -> str:
        """All pages' Markdown: cleaned, joined, paginated or with figures embedded, as the options say."""
        from folioscope.export.written import to_markdown  # the one arrow that points outward: users expect the verbs

        return to_markdown(self, options)

    def save(
        self,
        folder: str | Path,
        formats: Sequence[str] = ("md", "json"),
        *,
        force: bool = False,
        options: ExportOptions | None = None,
    ) -> list[Path]:
        """Write the document into `folder`, one file a format, plus figures; see `folioscope.export.save`."""
        from folioscope.export import save

        return save(self, folder, formats, force=force, options=options)


@dataclass(frozen=True)
class StreamEvent:
    """A piece of a page as it is decoded; `result` comes with the page's last event.

    Attributes:
        restart: The page starts again, by this step: what came of it so far is to be forgotten.
    """

    page: int
    text: str = ""
    result: PageResult | None = None
    restart: Step | None = None
