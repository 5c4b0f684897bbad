"""Facts of tables: what stands beside a cell, and in the headings above it and left of it.

https://github.com/allenai/olmocr/blob/dc802aabe0eac79a552749455cb5fb0aa8c69684/olmocr/bench/table_parsing.py
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from folioscope.evaluate.facts.fact import Fact, alike, shown

if TYPE_CHECKING:
    from folioscope.export.tables import Cell, Table

Place = tuple[int, int]
"""Row and column in which a cell begins."""

_PIPES = re.compile(r"(?:^[^|\n]*\|.*$\n?){2,}", re.MULTILINE)
_RULE = re.compile(r"[-\s:|]+")


@dataclass(frozen=True, kw_only=True)
class TableFact(Fact):
    """A cell, and what stands beside it; what is empty is not asked.

    Attributes:
        cell: Text of a cell of any table of the page.
        up, down, left, right: Of a cell beside it; beside a cell that spans several rows or columns are several.
        top_heading, left_heading: Of a heading in its column above it, or row left of it; where a table has no
            headings, of the outermost cell.
        ignore_markdown_tables: Look at HTML tables only.
    """

    cell: str
    up: str = ""
    down: str = ""
    left: str = ""
    right: str = ""
    top_heading: str = ""
    left_heading: str = ""
    ignore_markdown_tables: bool = False

    def failure(self, text: str) -> str | None:
        grids = [
            *([] if self.ignore_markdown_tables else map(Grid, _pipe_tables(text))),
            *map(Grid, _html_tables(text)),
        ]
        if not grids:
            return "there is no table"
        places = [(grid, place) for grid in grids for place in grid.cells if self._like(self.cell, grid, {place})]
        if not places:
            return f"no cell {shown(self.cell)}"
        asked = {name: wanted for name in RELATIONS if (wanted := getattr(self, name))}
        wrong = [self._wrong(asked, grid, place) for grid, place in places]
        return None if None in wrong else f"cell {shown(self.cell)}: {wrong[0]}"

    def _wrong(self, asked: Mapping[str, str], grid: Grid, place: Place) -> str | None:
        for name, wanted in asked.items():
            if not self._like(wanted, grid, RELATIONS[name](grid, place)):
                return f"{name} is not {shown(wanted)}"
        return None

    def _like(self, wanted: str, grid: Grid, places: set[Place]) -> bool:
        """Whether one of these cells says it, by rapidfuzz's `ratio`."""
        from rapidfuzz.fuzz import ratio

        wanted = alike(wanted)
        enough = max(0.5, self.allowed(wanted))
        return any(ratio(wanted, alike(grid.cells[place].text)) / 100 >= enough for place in places)


@dataclass(frozen=True)
class Grid:
    """A table as a graph of cells."""

    table: Table

    @cached_property
    def cells(self) -> dict[Place, Cell]:
        """Each cell by where it begins."""
        return {place: cell for place, (cell, down, across) in self.table.places.items() if not down and not across}

    def beside(self, place: Place, step: Place) -> set[Place]:
        """The nearest cells in a direction, along every row or column that the cell covers."""
        covered = self._covered[place]
        rows = [place[0]] if step[0] else sorted({y for y, _ in covered})
        columns = [place[1]] if step[1] else sorted({x for _, x in covered})
        found = (self._next((y, x), place, step) for y in rows for x in columns)
        return {start for start in found if start is not None}

    @cached_property
    def _starts(self) -> dict[Place, Place]:
        """Every place that is covered → where the cell that covers it begins."""
        return {(y, x): (y - down, x - across) for (y, x), (_, down, across) in self.table.places.items()}

    @cached_property
    def _covered(self) -> dict[Place, list[Place]]:
        covered: dict[Place, list[Place]] = {}
        for place, start in self._starts.items():
            covered.setdefault(start, []).append(place)
        return covered

    def _next(self, place: Place, start: Place, step: Place) -> Place | None:
        y, x = place
        while 0 <= y < len(self.table.rows) and 0 <= x < self.table.width:
            y, x = y + step[0], x + step[1]
            found = self._starts.get((y, x), start)
            if found != start:
                return found
        return None

    def headings(self, place: Place, step: Place) -> set[Place]:
        """Headings met when going on and on in a direction; where there is none, the cells at its end."""
        ends, headings, seen, ahead = set(), set(), set(), {place}
        while ahead:
            here = ahead.pop()
            seen.add(here)
            if self.cells[here].heading:
                headings.add(here)
            beside = self.beside(here, step)
            ends |= set() if beside else {here}
            ahead |= beside - seen
        return (headings - {place}) or (ends - {place})


_UP, _DOWN, _LEFT, _RIGHT = (-1, 0), (1, 0), (0, -1), (0, 1)

RELATIONS: Mapping[str, Callable[[Grid, Place], set[Place]]] = {
    "up": lambda grid, place: grid.beside(place, _UP),
    "down": lambda grid, place: grid.beside(place, _DOWN),
    "left": lambda grid, place: grid.beside(place, _LEFT),
    "right": lambda grid, place: grid.beside(place, _RIGHT),
    "top_heading": lambda grid, place: grid.headings(place, _UP),
    "left_heading": lambda grid, place: grid.headings(place, _LEFT),
}


def _html_tables(text: str) -> Iterator[Table]:
    from folioscope.export.tables import find_html_tables

    yield from (table for _, _, table in find_html_tables(text) if table.rows)


def _pipe_tables(text: str) -> Iterator[Table]:
    """Two lines or more with a pipe in each, ruled or not; the first row and the first column are headings."""
    from folioscope.export.tables import Cell, Table

    for match in _PIPES.finditer(text):
        lines = [line for line in match[0].splitlines() if not _RULE.fullmatch(line)]
        rows = [[piece.strip() for piece in re.sub(r"^\s*\||\|\s*$", "", line).split("|")] for line in lines]
        cells = ((Cell(cell, heading=not y or not x) for x, cell in enumerate(row)) for y, row in enumerate(rows))
        yield Table(tuple(map(tuple, cells)))
