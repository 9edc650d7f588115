"""Tables in a terminal, of rich's; imported where one is drawn.

Nothing is ever cut off: what is too long is folded within its column, character by character, so that a path can be
put together again. Where columns would become too narrow to read, each row becomes a list of names and values.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from rich.cells import cell_len, chop_cells
from rich.console import Console
from rich.table import Table
from rich.text import Text

GAP = 2
LEAST = 10
"""Cells of a column below which nothing is folded into it."""


def draw_table(
    header: list[str], rows: list[list[str]], right: frozenset[int], prose: frozenset[int] = frozenset()
) -> None:
    """Print a table on stdout as wide as the terminal allows; the columns in `right` are aligned to the right.

    Those in `prose` are sentences, which are broken between words.

    Parameters
    ----------
    header : list of str
    rows : list of list of str
    right, prose : frozenset of int
    """
    console = _console()
    natural = [max(cell_len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    widths = shared_widths(natural, right, console.width)
    if widths is None:
        draw_fields([list(zip(header, row, strict=True)) for row in rows])
        return
    table = _grid(widths, right)
    _add_row(table, [Text(name, style="bold") for name in header])
    for row in rows:
        folded = [
            Text("\n".join(textwrap.wrap(cell, width))) if column in prose else _folded(cell, width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        _add_row(table, folded)
    console.print(table)


def shared_widths(natural: Sequence[int], right: frozenset[int], room: int) -> list[int] | None:
    """Share the width of a terminal among columns.

    Parameters
    ----------
    natural : sequence of int
        Widths at which nothing is folded.
    right : frozenset of int
        Columns of numbers, which are never folded.
    room : int
        Width of the terminal.

    Returns
    -------
    list of int or None
        With the gaps at most `room` in sum; None if a column would be too narrow to read.
    """
    widths = list(natural)
    left = room - GAP * (len(widths) - 1)
    foldable = [column for column, width in enumerate(natural) if column not in right and width > LEAST]
    left -= sum(width for column, width in enumerate(natural) if column not in foldable)
    # The shortest first: the part of its share that it does not need is left for the longer ones.
    for count, column in enumerate(sorted(foldable, key=lambda column: natural[column])):
        widths[column] = min(natural[column], left // (len(foldable) - count))
        left -= widths[column]
        if widths[column] < LEAST:
            return None
    return widths if left >= 0 else None


def draw_fields(records: Sequence[Sequence[tuple[str, str]]]) -> None:
    """Print records on stdout, each as names beside values, with a blank line between them.

    Parameters
    ----------
    records : sequence of sequence of (str, str)
    """
    console = _console()
    widest = max((cell_len(name) for record in records for name, _ in record), default=0)
    room = max(console.width - widest - GAP, 1)
    for position, record in enumerate(records):
        table = _grid([widest, room])
        for name, value in record:
            _add_row(table, [Text(name, style="bold"), _folded(value, room)])
        if position:
            console.print()
        console.print(table)


def _console() -> Console:
    return Console(highlight=False)


def _grid(widths: Sequence[int], right: frozenset[int] = frozenset()) -> Table:
    """Return a table of columns of these widths, with a narrow empty one for each gap between two of them.

    Releases of rich differ in whether a column's padding counts to its width, and cut what then is too wide.
    """
    table = Table.grid()
    for column, width in enumerate(widths):
        if column:
            table.add_column(width=GAP)
        table.add_column(width=width, justify="right" if column in right else "left", no_wrap=True)
    return table


def _add_row(table: Table, cells: Sequence[Text]) -> None:
    first, *others = cells
    table.add_row(first, *(part for cell in others for part in (Text(), cell)))


def _folded(cell: str, width: int) -> Text:
    # As text, not as markup: a file may be called [red].
    return Text("\n".join(chop_cells(cell, width)) if cell else "")
