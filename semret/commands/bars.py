"""The progress bar, of rich's parts; imported where one is drawn, for rich takes a while."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from rich import progress as rich_progress
from rich.console import Console
from rich.progress import Progress as Bar
from rich.progress import ProgressColumn, Task
from rich.table import Column
from rich.text import Text

from semret.progress import Display

NARROW = 60
"""Columns of a terminal below which the rate is left out, so that the bar keeps some room."""


class RateColumn(ProgressColumn):
    """Items per second, shown once two items have been counted."""

    def render(self, task: Task) -> Text:
        """Return the rate as text.

        Parameters
        ----------
        task : rich.progress.Task

        Returns
        -------
        rich.text.Text
            Empty before two items were counted.
        """
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.1f}/s", style="progress.data.speed")


class CountColumn(rich_progress.MofNCompleteColumn):
    """How many items of how many, shown once the total is known."""

    def render(self, task: Task) -> Text:
        """Return the two numbers as text.

        Parameters
        ----------
        task : rich.progress.Task

        Returns
        -------
        rich.text.Text
        """
        return Text("") if task.total is None else super().render(task)


class _Display:
    """One line of a bar, as `semret.progress.Display`."""

    def __init__(self, bar: Bar, label: str) -> None:
        self._bar = bar
        self._label = label
        self._task = bar.add_task(label, total=None)

    def __call__(self, done: int, total: int, /) -> None:
        self._bar.update(self._task, completed=done, total=total)

    def wait_for(self, what: str | None, /) -> None:
        # Drawn at once: what is over before the bar's next turn would otherwise never be seen.
        self._bar.update(self._task, description=self._label if what is None else what, refresh=True)


@contextlib.contextmanager
def drawn(label: str) -> Iterator[Display]:
    """Draw a bar on stderr, as wide as the terminal, and remove it when the ``with`` block ends.

    Parameters
    ----------
    label : str
        What is being done.

    Yields
    ------
    Display
    """
    console = Console(stderr=True)
    narrow = console.width < NARROW
    columns: list[ProgressColumn] = [
        rich_progress.TextColumn(
            "{task.description}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis")
        ),
        rich_progress.BarColumn(bar_width=None if narrow else 40),
        CountColumn(),
        *([] if narrow else [RateColumn()]),
        rich_progress.TimeRemainingColumn(),
        # Room for the ^C that a terminal shows: in a line of its own it would stay there.
        rich_progress.TextColumn("  "),
    ]
    with Bar(*columns, console=console, transient=True, expand=narrow) as bar:
        yield _Display(bar, label)
