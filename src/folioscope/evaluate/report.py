"""An evaluation as tables to read and as JSON to keep."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from folioscope.evaluate.result import NOT_READ, SOURCES, Evaluation, FactOutcome, PageScores

SCHEMA = "folioscope.evaluate/1"
DIGITS = 6


def as_text(evaluation: Evaluation, worst: int, every_page: bool = False) -> str:
    """Lines for a terminal.

    Args:
        worst: Pages listed for each metric.
        every_page: List all pages besides.
    """
    parts = [_metrics(evaluation), _pages(evaluation.pages) if every_page else "", _worst(evaluation, worst)]
    parts += [_facts(evaluation, worst)] if evaluation.facts else []
    return "\n\n".join([*filter(None, parts), *evaluation.notes]) + "\n"


def _metrics(evaluation: Evaluation) -> str:
    rows = [
        (name, str(found.pages), f"{found.mean:.4f}", f"{found.median:.4f}", f"{found.pooled:.4f}")
        for name, found in evaluation.aggregates.items()
    ]
    return _table(("metric", "pages", "mean", "median", "pooled"), rows) if rows else ""


def _pages(pages: Sequence[PageScores]) -> str:
    names = list(dict.fromkeys(name for page in pages for name in page.scores))
    rows = [
        (page.label, *(f"{page.scores[name].value:.4f}" if name in page.scores else "-" for name in names))
        for page in pages
    ]
    return _table(("page", *names), rows) if rows else ""


def _worst(evaluation: Evaluation, count: int) -> str:
    rows = [
        (metric, f"{page.scores[metric].value:.4f}", page.label + (f" (no {page.missing})" if page.missing else ""))
        for metric in evaluation.aggregates
        for page in evaluation.worst(metric, count)
    ]
    return _table(("worst", "value", "page"), rows) if rows else ""


def _facts(evaluation: Evaluation, count: int) -> str:
    files = [*evaluation.file_shares.items(), ("mean of files", (evaluation.facts_overall, len(evaluation.facts)))]
    tables = [
        _table((head, "hold", "of"), [(name, f"{share:.4f}", str(number)) for name, (share, number) in shares])
        for head, shares in (("facts by type", evaluation.fact_shares.items()), ("facts by file", files))
    ]
    low, high = evaluation.facts_interval
    tables[-1] += f"\n95 % interval: {low:.4f} to {high:.4f}"
    failed = [(one.fact.id, one.fact.type, one.why) for one in evaluation.facts if not one.holds][:count]
    return "\n\n".join(tables + ([_table(("does not hold", "type", "why"), failed)] if failed else []))


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns of numbers are aligned right, others left."""
    columns = list(zip(head, *rows, strict=True))
    aligned = [_aligned(column) for column in columns]
    return "\n".join("  ".join(cells).rstrip() for cells in zip(*aligned, strict=True))


def _aligned(column: Sequence[str]) -> list[str]:
    width = max(map(len, column))
    numbers = all(cell == "-" or cell.replace(".", "").isdigit() for cell in column[1:])
    return [cell.rjust(width) if numbers else cell.ljust(width) for cell in column]


def as_json(evaluation: Evaluation) -> dict[str, Any]:
    """Everything; numbers rounded to six digits."""
    content: dict[str, Any] = {
        "schema": SCHEMA,
        "text": evaluation.text,
        "notes": list(evaluation.notes),
        "metrics": {
            name: {**_rounded(asdict(found)), "definition": SOURCES[name]}
            for name, found in evaluation.aggregates.items()
        },
        "pages": [
            {
                "name": page.name,
                "page": page.page,
                "missing": page.missing,
                "scores": _rounded({name: score.value for name, score in page.scores.items()}),
            }
            for page in evaluation.pages
        ],
        "left_out": list(evaluation.left_out),
    }
    return content | ({"facts": _facts_json(evaluation)} if evaluation.facts else {})


def _facts_json(evaluation: Evaluation) -> dict[str, Any]:
    def shares(found: dict[str, tuple[float, int]]) -> dict[str, Any]:
        return {name: {"share": round(share, DIGITS), "facts": number} for name, (share, number) in found.items()}

    return {
        "overall": round(evaluation.facts_overall, DIGITS),
        "interval": [round(end, DIGITS) for end in evaluation.facts_interval],
        "by_type": shares(evaluation.fact_shares),
        "by_file": shares(evaluation.file_shares),
        "definition": SOURCES["facts"],
        "facts": list(map(_fact_json, evaluation.facts)),
    }


def _fact_json(outcome: FactOutcome) -> dict[str, Any]:
    fact = outcome.fact
    found = {"file": outcome.file, "id": fact.id, "type": fact.type, "pdf": fact.pdf, "page": fact.page}
    return found | {"holds": outcome.holds, "share": round(outcome.share, DIGITS), "why": outcome.why}


def _rounded(values: dict[str, Any]) -> dict[str, Any]:
    return {name: round(value, DIGITS) if isinstance(value, float) else value for name, value in values.items()}


def complaints(evaluation: Evaluation) -> Iterator[str]:
    """What was missing, a line each."""
    for page in evaluation.pages:
        if page.missing == "prediction":
            yield f"{page.label}: was not read; counts as wrong"
        elif page.missing:
            yield f"{page.label}: has no truth; counts as wrong (--partial leaves it out)"
    facts = (outcome.fact for outcome in evaluation.facts if outcome.why == NOT_READ)
    for page in sorted({f"{fact.pdf}, page {fact.page}" for fact in facts}):
        yield f"{page}: was not read; its facts count as wrong"
