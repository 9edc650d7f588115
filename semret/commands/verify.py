"""``semret verify``."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from semret.commands.options import IndexOption, ReportOption
from semret.commands.output import ReportFormat, printable, progress_bar, reported, say, write_json, write_table


def register(app: typer.Typer) -> None:
    """Add this file's command to the application.

    Parameters
    ----------
    app : typer.Typer
    """
    app.command("verify")(verify)


def verify(
    files: Annotated[
        bool, typer.Option("--files", help="Also compare the pictures themselves with the index.")
    ] = False,
    repair: Annotated[
        bool, typer.Option("--repair", help="Rebuild what can be derived, drop what is damaged; then check again.")
    ] = False,
    index: IndexOption = None,
    format_: ReportOption = ReportFormat.table,
) -> None:
    """Check every byte of an index; exit with 1 if something is wrong with it.

    The index is only read unless --repair is given. What --repair drops, semret index restores.
    """
    with reported():
        from semret.index.care.repair import repair as repair_index
        from semret.index.care.verify import find_damaged_index
        from semret.index.care.verify import verify as verify_index
        from semret.index.location import refuse_address

        if repair:
            refuse_address(index)
        path = find_damaged_index(index)
        actions: list[str] = []
        with progress_bar("checking") as progress:
            if repair:
                actions, report = repair_index(path, progress=progress)
            if not repair or files:
                report = verify_index(path, files=files, progress=progress)
    if format_ is ReportFormat.json:
        write_json({**asdict(report), "sound": report.sound, "actions": actions})
    else:
        for action in actions:
            say(f"repaired: {printable(action)}")
        if report.defects:
            write_table(
                ["kind", "object", "defect", "what to do"], [list(asdict(row).values()) for row in report.defects]
            )
        else:
            typer.echo(f"{printable(report.index)} is sound (images: {report.images}, segments: {report.segments})")
    if not report.sound:
        raise typer.Exit(code=1)
