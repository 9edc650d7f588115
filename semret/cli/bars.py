"""The progress bar, of rich's parts; imported where one is drawn, for rich takes a while."""

from __future__ import annotations

from rich import progress as rich_progress
from rich.console import Console
from rich.progress import Progress as Bar
from rich.progress import ProgressColumn, Task
from rich.table import Column
from rich.text import Text

NARROW = 60
"""Columns of a terminal below which the rate is left out, so that the bar keeps some room."""


class RateColumn(ProgressColumn):
    """Items per second; nothing until two were counted, for there is no rate before."""

    def render(self, task: Task) -> Text:
        """Return the rate as text."""
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.1f}/s", style="progress.data.speed")


def make_bar() -> Bar:
    """Return a bar for stderr, as wide as the terminal, that goes when it is done."""
    console = Console(stderr=True)
    columns: list[ProgressColumn] = [
        rich_progress.TextColumn(
            "{task.description}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis")
        ),
        rich_progress.BarColumn(bar_width=None if console.width < NARROW else 40),
        rich_progress.MofNCompleteColumn(),
        rich_progress.TimeRemainingColumn(),
    ]
    if console.width >= NARROW:
        columns.insert(3, RateColumn())
    return Bar(*columns, console=console, transient=True, expand=console.width < NARROW)
