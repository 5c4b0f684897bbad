"""Loops are seen within 200 tokens of their onset, and what is regular and right is left alone."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Iterator

import pytest

from folioscope.repetition import LONGEST, LoopWatch
from folioscope.sampling import NgramBan

TD, END_TD, TR, END_TR = 300, 301, 302, 303
TAGS = (TD, END_TD)
WORDS = ("invoice", "total", "amount", "due", "date", "the", "of", "to", "quick", "brown", "number", "customer", "paid")


def stopped(ids: Iterable[int], exempt: tuple[int, ...] = ()) -> int | None:
    """How many ids are taken until the loop is seen."""
    watch = LoopWatch(exempt)
    return next((count for count, token in enumerate(ids, 1) if watch.append(token)), None)


def spelled(text: str) -> list[int]:
    """A token a character, as the embedded reader has them: the hardest case, for characters repeat most."""
    return list(text.encode())


def prose(words: int, seed: int = 0) -> list[int]:
    return spelled(" ".join(random.Random(seed).choices(WORDS, k=words)))


def row(*cells: str) -> list[int]:
    return [TR, *(token for cell in cells for token in (TD, *spelled(cell), END_TD)), END_TR]


@pytest.mark.parametrize(
    "cycle",
    [
        spelled("\n"),
        spelled(" \n\n"),
        spelled("of the "),
        spelled("Total amount due on this invoice\n"),
        spelled("| 1 | 2 | 3 |\n| 4 | 5 | 6 |\n"),
        row("", "", ""),
        row("12", "0.50"),
        prose(16)[:100],
        prose(40)[:190],
    ],
    ids=lambda cycle: f"period {len(cycle)}",
)
def test_a_cycle_ends_within_200_tokens_of_its_onset(cycle: list[int]) -> None:
    before = prose(300, seed=1)
    end = stopped([*before, *cycle * 400], TAGS)
    assert end is not None
    onset = len(before) + len(cycle)
    assert onset + 90 < end <= onset + 200


def test_a_long_cycle_ends_when_it_begins_for_a_third_time() -> None:
    cycle = list(range(LONGEST))
    assert 2 * LONGEST < (stopped(cycle * 9) or 0) <= 2 * LONGEST + 200
    assert stopped([*cycle, -1, *cycle, -1]) is None  # what stands there twice is no loop


def disturbed(cycle: list[int]) -> Iterator[int]:
    """What the published rule against repetition makes of a cycle: a wrong token whenever the right one is banned."""
    ban, others, place = NgramBan(30, 90), random.Random(0), 0
    while True:
        token = cycle[place % len(cycle)]
        if token in ban.banned():
            token = others.randrange(97, 123)
        else:
            place += 1
        ban.append(token)
        yield token


@pytest.mark.parametrize("period", [1, 2, 5, 12, 30, 45, 60])
def test_a_cycle_that_an_ngram_ban_disturbs_is_a_loop_still(period: int) -> None:
    numbers = random.Random(period)
    cycle = [numbers.randrange(97, 123) for _ in range(period)]
    assert (stopped(token for token, _ in zip(disturbed(cycle), range(1000), strict=False)) or 999) <= period + 200


RANDOM = random.Random(2)
REGULAR = {
    "prose": prose(3000),
    "table": [t for n in range(200) for t in row(str(n), "0.00", RANDOM.choice(["yes", "no"]), "0.00", "-")],
    "table of yes and no": [t for _ in range(200) for t in row(*RANDOM.choices(["yes", "no"], k=8))],
    "empty rows of a form": row("Name", "Date", "Sum") + row("", "", "") * 16 + row("Total", "", ""),
    "contents": spelled("".join(f"Chapter {n} {'.' * RANDOM.randint(20, 60)} {3 * n}\n" for n in range(80))),
    "numbered list": spelled("".join(f"{n}. {RANDOM.choice(['Yes', 'No'])}\n" for n in range(200))),
    "prices": spelled("".join(f"${RANDOM.randint(1, 99)}.00\n" for _ in range(200))),
    "pipe table": spelled("".join(f"| {n} | {RANDOM.choice('ab')} | 0 |\n" for n in range(200))),
    "two copies of a receipt": prose(100) * 2,
    "a ruled line": spelled("_" * 150 + "\nSigned"),
}


@pytest.mark.parametrize("name", REGULAR)
def test_what_is_regular_is_left_alone(name: str) -> None:
    assert stopped(REGULAR[name], TAGS) is None


def test_it_costs_microseconds_a_token() -> None:
    ids, watch = prose(1000), LoopWatch()
    start = time.perf_counter()
    for token in ids:
        watch.append(token)
    assert (time.perf_counter() - start) / len(ids) < 500e-6  # some 20 on a free core
