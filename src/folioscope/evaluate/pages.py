"""Pages of both sides, paired and measured."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

from folioscope.evaluate.edit import edit
from folioscope.evaluate.error_rates import cer, wer
from folioscope.evaluate.intake import Text
from folioscope.evaluate.names import namesakes
from folioscope.evaluate.options import EvaluateOptions
from folioscope.evaluate.order import blocks, order
from folioscope.evaluate.result import BEST, Missing, PageScores
from folioscope.evaluate.score import Measure, Score
from folioscope.evaluate.teds import teds, teds_structure
from folioscope.evaluate.texts import TEXTS
from folioscope.types import InputError

Pages = Mapping["int | None", Sequence[str]]
"""The readings of a document's pages by number; by None, those of all of it."""

OF_TEXTS: Mapping[str, Measure] = {"edit": edit, "cer": cer, "wer": wer}
OF_MARKDOWN: Mapping[str, Mapping[str, Measure]] = {
    "blocks": {"blocks": blocks},
    "order": {"order": order},
    "teds": {"teds": teds, "teds_structure": teds_structure},
}


def page_scores(
    read: Sequence[Text],
    there: Sequence[Text],
    metrics: Sequence[str],
    options: EvaluateOptions,
    now: Callable[[str], None],
) -> tuple[list[PageScores], list[str]]:
    """Every page of either side, and what of it was left out."""
    readings, truths = by_name(read), by_name(there)
    pairs = namesakes(truths, readings)
    if not pairs:
        raise InputError(
            f"no name is on both sides; one read is {next(iter(readings))}, one there {next(iter(truths))}"
        )
    measures = _measures(metrics, options.text)
    scored = []
    for name, pages in truths.items():
        now(name)
        scored += _document_scores(name, readings.get(pairs.get(name, ""), {}), pages, measures)
    paired = set(pairs.values())
    for name in (name for name in readings if name not in paired):
        scored += _document_scores(name, readings[name], {}, measures)
    if not options.partial:
        return scored, []
    left_out = [page.label for page in scored if page.missing == "truth"]
    return [page for page in scored if page.missing != "truth"], left_out


def by_name(texts: Sequence[Text]) -> dict[str, dict[int | None, list[str]]]:
    """The texts of each page of each name."""
    found: dict[str, dict[int | None, list[str]]] = defaultdict(lambda: defaultdict(list))
    for text in texts:
        found[text.name][text.page].append(text.text)
    return found


def _measures(metrics: Sequence[str], form: str) -> dict[str, Measure]:
    compared = TEXTS[form]

    def of_texts(measure: Measure, prediction: str, truth: str) -> Score | None:
        return measure(compared(prediction), compared(truth))

    chosen: dict[str, Measure] = {name: partial(of_texts, OF_TEXTS[name]) for name in metrics if name in OF_TEXTS}
    return chosen | {key: measure for name in metrics for key, measure in OF_MARKDOWN.get(name, {}).items()}


def _document_scores(name: str, read: Pages, there: Pages, measures: Mapping[str, Measure]) -> Iterator[PageScores]:
    """The pages that the truth has, and those beyond that were read."""
    for page, truths in there.items():
        if len(truths) > 1:
            raise InputError(f"{name}: has {len(truths)} truths")
        answers = readings_of(read, page)
        missing: Missing | None = None if answers else "prediction"
        yield PageScores(name, page, missing, _mean_scores(answers or [""], truths[0], measures, missing))
    if None in there:
        return
    for page, answers in read.items():
        if page not in there and not (page is None and there):  # a text without pages was page 1
            yield PageScores(name, page, "truth", _mean_scores(answers, "", measures, "truth"))


def readings_of(read: Pages, page: int | None) -> Sequence[str]:
    """The readings of a page or a document: a text without pages is page 1, pages make up the document."""
    if page in read:
        return read[page]
    if page is None and read:
        return ["\n\n".join(read[number][0] for number in sorted(filter(None, read)) if read[number][0])]
    return read.get(None, ()) if page == 1 else ()


def _mean_scores(
    answers: Sequence[str], truth: str, measures: Mapping[str, Measure], missing: Missing | None
) -> dict[str, Score]:
    """By metric, the mean over the readings of a page."""
    found: dict[str, Score] = {}
    for name, measure in measures.items():
        scores = [measure(answer, truth) for answer in answers]
        kept = [score for score in scores if score is not None]
        if missing == "truth" or (missing and kept):
            of = max([1.0, *(score.of for score in kept)])
            found[name] = Score(of * (1 - BEST[name]), of)
        elif kept:
            found[name] = Score(sum(s.amount for s in kept) / len(kept), sum(s.of for s in kept) / len(kept))
    return found
