"""What a verb tells a person, on stderr, beside the data on stdout, and the exit code that it adds up to."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from folioscope.types import FolioscopeError

if TYPE_CHECKING:
    from rich.progress import Progress

INPUT_FAILED, WRONG_COMMAND = 1, 2


class Report:
    """Lines for errors and warnings, a bar of progress where stderr is a terminal, and data kept clear of both.

    Attributes:
        exit_code: 0 until something failed.
    """

    def __init__(self, quiet: bool = False) -> None:
        self.exit_code = 0
        self._quiet = quiet
        self._blocks = 0
        self._in_block = False
        self._bar: Progress | None = None

    def error(self, problem: object) -> None:
        """Something failed; the exit code will say so."""
        self.exit_code = INPUT_FAILED
        self._line("error", problem)

    def warning(self, problem: object) -> None:
        """Something to know; not said when quiet."""
        if not self._quiet:
            self._line("warning", problem)

    def say(self, doing: str) -> None:
        """What is being done, as a line of its own; not said when quiet."""
        if not self._quiet:
            print(f"folioscope: {doing}", file=sys.stderr, flush=True)

    def _line(self, kind: str, problem: object) -> None:
        with self._bar_hidden():
            print(f"folioscope: {kind}: {' '.join(str(problem).splitlines())}", file=sys.stderr, flush=True)

    def data(self, text: str) -> None:
        """Write text on stdout, at once."""
        with self._bar_hidden():
            sys.stdout.write(text)
            sys.stdout.flush()

    def block(self, text: str, ends: bool = True) -> None:
        """Write text on stdout; between blocks is a blank line, and a block that stays empty is none."""
        if text:
            self.data("\n" + text if self._blocks and not self._in_block else text)
            self._in_block = True
        if ends and self._in_block:
            self.data("\n")
            self._blocks, self._in_block = self._blocks + 1, False

    @contextmanager
    def input(self, name: str) -> Iterator[None]:
        """Within it, a FolioscopeError costs this input only."""
        self.now(name)
        try:
            yield
        except FolioscopeError as error:
            self.error(error if str(error).startswith(name) else f"{name}: {error}")
        if self._bar:
            self._bar.update(self._bar.task_ids[0], completed=int(self._bar.tasks[0].completed) + 1)

    def portion(self, done: int, total: int) -> None:
        """How much is done of the present input."""
        if self._bar:
            part = min(done / total, 0.999)  # the rest comes with the end of the input
            self._bar.update(self._bar.task_ids[0], completed=int(self._bar.tasks[0].completed) + part)

    def now(self, doing: str) -> None:
        """What is being done, beside the bar."""
        if self._bar:
            self._bar.update(self._bar.task_ids[0], description=doing)

    @contextmanager
    def progress(self, inputs: int, hidden: bool = False) -> Iterator[None]:
        """Show a bar over so many inputs, gone at the end."""
        if hidden or self._quiet or not sys.stderr.isatty():
            yield
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        console = Console(stderr=True)
        with Progress(*columns, console=console, transient=True, redirect_stdout=False, redirect_stderr=False) as bar:
            bar.add_task("", total=inputs)
            self._bar = bar
            try:
                yield
            finally:
                self._bar = None

    @contextmanager
    def _bar_hidden(self) -> Iterator[None]:
        if self._bar:
            self._bar.stop()
        yield
        if self._bar:
            self._bar.start()
