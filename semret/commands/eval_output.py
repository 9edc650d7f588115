"""Progress and reports of the commands of ``semret eval``."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import typer

from semret.commands.eval_options import ReportOptions
from semret.commands.output import ReportFormat, printable, progress_bar, say, write_json, write_table
from semret.errors import MissingDependencyError
from semret.progress import Progress

if TYPE_CHECKING:
    from semret.eval.report.document import Report, Table


@contextlib.contextmanager
def stages() -> Iterator[Callable[[str], Progress | None]]:
    """Show one progress bar after the other.

    Yields
    ------
    callable
        Takes the name of a stage, closes the bar of the stage before and gives the new bar's callback, None where
        stderr is no terminal.
    """
    with contextlib.ExitStack() as stack:

        def stage(label: str) -> Progress | None:
            stack.close()
            return stack.enter_context(progress_bar(label))

        yield stage


def check_output(options: ReportOptions) -> bool:
    """See, before anything is computed, that the report can be written, and whether plots can be drawn.

    Where they cannot, a note on stderr says why.

    Parameters
    ----------
    options : ReportOptions

    Returns
    -------
    bool
        Whether plots are wanted and can be drawn.

    Raises
    ------
    StorageError
        If the folder cannot be made or written.
    """
    from semret.eval.report.drawing import load_matplotlib
    from semret.eval.report.files import require_writable

    if options.out is None:
        return False
    require_writable(options.out, "--out")
    if not options.plots:
        return False
    try:
        load_matplotlib()
    except MissingDependencyError as error:
        say(f"plots are left out: {printable(str(error))}")
        return False
    return True


def finish(report: Report, options: ReportOptions, *, plots: bool) -> None:
    """Write the report and print it; it is printed also where it cannot be written.

    Parameters
    ----------
    report : Report
        Its plots are taken out where there shall be none.
    options : ReportOptions
    plots : bool
        As `check_output` gives it.

    Raises
    ------
    StorageError
        If the report cannot be written.
    """
    from semret.eval.report.files import write_report

    if not plots:
        report.figures = {name: draw for name, draw in report.figures.items() if not name.endswith(".png")}
    try:
        if options.out is not None:
            written = write_report(report, options.out)
            say(f"wrote {', '.join(path.name for path in written)} to {printable(str(options.out))}")
    finally:
        _print_report(report, options.format_)


def _print_report(report: Report, format_: ReportFormat) -> None:
    if format_ is ReportFormat.json:
        write_json(report.as_json())
        return
    for table in report.shown_tables():
        print_table(table)
        typer.echo("")
    for note in report.notes:
        say(note)
    if report.deviations:
        say(f"{len(report.deviations)} deviations from the paper are listed in the report (--out).")


def print_table(table: Table) -> None:
    """Print a table on stdout under its title, columns of numbers to the right.

    Parameters
    ----------
    table : Table
    """
    typer.echo(table.title)
    numeric = {
        column for column in range(len(table.header)) if all(row[column][:1] in "+-.0123456789" for row in table.rows)
    }
    write_table(table.header, table.rows, right=frozenset(numeric))
