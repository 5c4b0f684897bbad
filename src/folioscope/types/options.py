"""How tokens are chosen, when a reading is trusted, and what a sequence ended with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from folioscope.types.errors import InputError


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
        stop_loops: A sequence that repeats itself ends within 200 tokens; see `repetition.LoopWatch`.
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
    stop_loops: bool = False

    def __post_init__(self) -> None:
        _check(
            self,
            max_new_tokens=(self.max_new_tokens is None or self.max_new_tokens > 0, "a positive integer or None"),
            temperature=(self.temperature >= 0, "0 (greedy) or more"),
            top_p=(0 < self.top_p <= 1, "above 0 and at most 1"),
            top_k=(self.top_k >= 0, "0 (all) or a positive integer"),
            no_repeat_ngram_size=(self.no_repeat_ngram_size >= 0, "0 (off) or a positive integer"),
            ngram_window=(self.ngram_window >= 0, "0 (whole sequence) or a positive integer"),
        )


@dataclass(frozen=True)
class TrustOptions:
    """When a reading of a page is trusted, and what is done about one that is not.

    Attributes:
        retries: Read a page again at most this many times; 0 takes the first reading as it is.
        retry_temperature: Temperature of the readings that vary the choice of tokens.
        min_coverage: Read again when less than this share of the page's ink, 0..1, lies inside regions.
        min_confidence: Read again when the tokens' geometric mean probability, 0..1, is below this.
        rotate: Turn a page that reads as nonsense, or is surer of its text so, by 90, 180 or 270 degrees.
        text_layer: Take a PDF's own text where no reading can be trusted.
        skip_blank: Do not read pages without ink.
        fit_boxes: Move the edges of a block's box to those of the lines of ink that it means.
    """

    retries: int = 6
    retry_temperature: float = 0.2
    min_coverage: float = 0.5
    min_confidence: float = 0.5
    rotate: bool = True
    text_layer: bool = True
    skip_blank: bool = True
    fit_boxes: bool = True

    def __post_init__(self) -> None:
        _check(
            self,
            retries=(self.retries >= 0, "0 (off) or a positive integer"),
            retry_temperature=(self.retry_temperature > 0, "above 0"),
            min_coverage=(0 <= self.min_coverage <= 1, "from 0 (off) to 1"),
            min_confidence=(0 <= self.min_confidence <= 1, "from 0 (off) to 1"),
        )


@dataclass(frozen=True)
class ExportOptions:
    """How what was read is written down. Regions, boxes and the model's own text are never changed.

    Attributes:
        paginate: Begin each page of the Markdown with a mark such as <!-- page 2 -->.
        figures: Show figures in Markdown and HTML as a link to a file beside it, embed them, or leave a placeholder.
        tables: Write the tables of Markdown as-read, as html, or as pipes, in which what a cell spans is blank.
        join_tables: Put all rows of a table that goes on over pages where it begins, in Markdown, text and HTML.
        clean: Mend words broken at line ends, and list items that run together, in Markdown and text.
    """

    paginate: bool = False
    figures: Literal["link", "embed", "placeholder"] = "link"
    tables: Literal["as-read", "html", "pipes"] = "as-read"
    join_tables: bool = False
    clean: bool = True

    def __post_init__(self) -> None:
        _check(
            self,
            figures=(self.figures in ("link", "embed", "placeholder"), "link, embed or placeholder"),
            tables=(self.tables in ("as-read", "html", "pipes"), "as-read, html or pipes"),
        )


def _check(options: object, **fields: tuple[bool, str]) -> None:
    for name, (good, wanted) in fields.items():
        if not good:
            raise InputError(f"{name}={getattr(options, name)!r}: must be {wanted}")


@dataclass(frozen=True)
class Generated:
    """One finished sequence: only the new token ids, the stop token included when there was one.

    Attributes:
        ids: New token ids.
        logprobs: Natural-log probability of each id under the model's own (unprocessed) distribution.
        finish: "stop" on a stop id, "length" on a limit, "loop" when it repeated itself, "cancelled" when the caller
            said so.
    """

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish: Literal["stop", "length", "loop", "cancelled"]
