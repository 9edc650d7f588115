"""What every command shares: one-line errors, results on stdout, progress on stderr."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from typing import Any

import typer

from semret.errors import SemretError
from semret.names import escaped, one_line, spreadsheet_cell
from semret.progress import Display


class Format(StrEnum):
    """How hits and lists of names are printed."""

    table = "table"
    json = "json"
    jsonl = "jsonl"
    csv = "csv"
    paths = "paths"


class ValueFormat(StrEnum):
    """How a result without paths is printed."""

    table = "table"
    json = "json"
    jsonl = "jsonl"
    csv = "csv"


class ReportFormat(StrEnum):
    """How a report is printed; it is one document, so it has no form as lines or as CSV."""

    table = "table"
    json = "json"


def printable(text: str) -> str:
    """Escape invisible characters, so that a file name can neither steer the terminal nor hide anything in it.

    Parameters
    ----------
    text : str

    Returns
    -------
    str
        See `semret.names.escaped`.
    """
    return escaped(text)


@contextlib.contextmanager
def reported() -> Iterator[None]:
    """Turn a semret error into one line on stderr and exit status 1.

    Yields
    ------
    None

    Raises
    ------
    typer.Exit
        With status 1, in place of the error.
    """
    try:
        yield
    except SemretError as error:
        show_error(error)
        raise typer.Exit(code=1) from error


def show_error(error: SemretError) -> None:
    """Print an error as one line on stderr.

    Parameters
    ----------
    error : SemretError
    """
    say(f"semret: {one_line(error)}")


def say(line: str) -> None:
    """Print a line on stderr; where that fails, go on, since the results matter more.

    Parameters
    ----------
    line : str
    """
    with contextlib.suppress(OSError):
        # typer.echo would write past the progress bar, which then would not move aside.
        sys.stderr.write(line + "\n")
        sys.stderr.flush()


def duration(seconds: float) -> str:
    """Return a length of time for people: ``40 s``, ``12 min``, ``3.4 h``.

    Parameters
    ----------
    seconds : float

    Returns
    -------
    str
    """
    if seconds < 100:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def write_path(path: str, *, zero: bool = False) -> None:
    """Print a path: escaped on a line of its own, or its exact bytes and a zero byte, as ``xargs -0`` reads them.

    Parameters
    ----------
    path : str
    zero : bool
    """
    if zero:
        sys.stdout.buffer.write(os.fsencode(path) + b"\0")
        sys.stdout.buffer.flush()
    else:
        typer.echo(printable(path))


def write_json(value: Any) -> None:
    """Print a JSON document on stdout.

    Parameters
    ----------
    value : any
        A JSON value without NaN and infinity.
    """
    typer.echo(json.dumps(value, indent=2, ensure_ascii=True, allow_nan=False))


def write_json_lines(values: Iterable[Any]) -> None:
    """Print values on stdout, each as JSON on a line of its own.

    Parameters
    ----------
    values : iterable
        JSON values, without NaN and infinity.
    """
    for value in values:
        typer.echo(json.dumps(value, allow_nan=False))


def write_csv(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print a CSV document: text quoted and safe to open in a spreadsheet, numbers bare, None as an empty cell.

    Parameters
    ----------
    header : sequence of str
    rows : iterable of sequence
        Texts, numbers and None.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    # Quotes around every text: programs that split at semicolons see no formula inside one either.
    quoting = csv.writer(buffer, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    writer.writerow(header)
    for row in rows:
        quoting.writerow([spreadsheet_cell(cell) if isinstance(cell, str) else cell for cell in row])
    typer.echo(buffer.getvalue(), nl=False)


def write_table(
    header: list[str],
    rows: list[list[str]],
    *,
    right: frozenset[int] = frozenset(),
    prose: frozenset[int] = frozenset(),
) -> None:
    """Print aligned columns; the columns in `right` are aligned to the right, those in `prose` are sentences.

    In a terminal long cells are folded to its width, so that no line breaks the columns; elsewhere nothing is folded.

    Parameters
    ----------
    header : list of str
    rows : list of list of str
    right, prose : frozenset of int
    """
    cells = [[printable(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        from semret.commands.tables import draw_table

        draw_table(header, cells, right, prose)
        return
    widths = [max(len(row[column]) for row in [header, *cells]) for column in range(len(header))]
    for row in [header, *cells]:
        line = "  ".join(
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        typer.echo(line.rstrip())


def write_fields(fields: list[tuple[str, str]]) -> None:
    """Print names and values, one pair a line; in a terminal long values are folded beside their names.

    Parameters
    ----------
    fields : list of (str, str)
    """
    cells = [(name, printable(value)) for name, value in fields]
    if sys.stdout.isatty():
        from semret.commands.tables import draw_fields

        draw_fields([cells])
        return
    width = max(len(name) for name, _ in cells) + 2
    for name, value in cells:
        typer.echo(f"{name:{width}}{value}")


def write_phrases(text: str, *, head: str = "") -> None:
    """Print `head` and `text` in one line; in a terminal that is too narrow, `text` goes on below after a comma.

    Parameters
    ----------
    text : str
    head : str
        Stands in front of it.
    """
    parts = [*([head] if head else []), *re.split(r"(?<=[,;]) ", text)]
    room = shutil.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize
    line = parts[0]
    for part in parts[1:]:
        if len(line) + 1 + len(part) > room:
            typer.echo(line)
            line = part
        else:
            line += f" {part}"
    typer.echo(line)


@contextlib.contextmanager
def progress_bar(label: str) -> Iterator[Display | None]:
    """Draw a bar with rate and remaining time on stderr.

    Parameters
    ----------
    label : str
        What is being done.

    Yields
    ------
    Display or None
        None where stderr is no terminal.
    """
    if not sys.stderr.isatty():
        yield None
        return
    from semret.commands.bars import drawn

    with drawn(label) as display:
        yield display
