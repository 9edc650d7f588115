"""What every command shares: one-line errors, results on stdout, progress on stderr."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import Any

import typer

from semret.errors import SemretError


class Format(StrEnum):
    """How a result is printed."""

    table = "table"
    json = "json"
    jsonl = "jsonl"
    csv = "csv"
    paths = "paths"


Progress = Callable[[int, int], None]
"""Called with the number of items done and their total."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\udc80-\udcff]")


def printable(text: str) -> str:
    """Escape control characters and undecodable bytes, so that a file name cannot steer the terminal."""
    return _CONTROL.sub(lambda match: match.group().encode("unicode_escape").decode("ascii"), text)


@contextlib.contextmanager
def reported() -> Iterator[None]:
    """Turn a semret error into one line on stderr and exit status 1."""
    try:
        yield
    except SemretError as error:
        show_error(error)
        raise typer.Exit(code=1) from error


def show_error(error: SemretError) -> None:
    """Print an error as one line on stderr."""
    typer.echo(f"semret: {printable(' '.join(str(error).split()))}", err=True)


def write_path(path: str, *, zero: bool = False) -> None:
    """Print a path on a line of its own, escaped; or its exact bytes and a zero byte, as ``xargs -0`` wants them."""
    if zero:
        sys.stdout.buffer.write(os.fsencode(path) + b"\0")
        sys.stdout.buffer.flush()
    else:
        typer.echo(printable(path))


def write_json(value: Any) -> None:
    """Print a JSON document on stdout."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=True, allow_nan=False))


def write_table(header: list[str], rows: list[list[str]], *, right: frozenset[int] = frozenset()) -> None:
    """Print aligned columns; the columns in `right` are aligned to the right."""
    cells = [header, *[[printable(cell) for cell in row] for row in rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    for row in cells:
        line = "  ".join(
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        typer.echo(line.rstrip())


@contextlib.contextmanager
def progress_bar(label: str) -> Iterator[Progress | None]:
    """Give a callback that draws a bar with rate and remaining time on stderr, or None when that is no terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from semret.cli.bars import make_bar

    with make_bar() as bar:
        task = bar.add_task(label, total=None)

        def advance(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield advance
