"""``semret remove``, ``compact``, ``export`` and ``import``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from semret.commands.options import IndexOption, ReportOption, complete_codec
from semret.commands.output import ReportFormat, printable, progress_bar, reported, write_json
from semret.names import amount, readable


def register(app: typer.Typer) -> None:
    """Add this file's commands to the application.

    Parameters
    ----------
    app : typer.Typer
    """
    app.command("remove")(remove)
    app.command("compact")(compact)
    app.command("export")(export)
    app.command("import")(import_)


def remove(
    paths: Annotated[
        list[str], typer.Argument(metavar="PATH", help="Pictures, and folders with all below, or addresses of such.")
    ],
    index: IndexOption = None,
    format_: ReportOption = ReportFormat.table,
) -> None:
    """Take pictures out of the index; their files are not touched, and need not exist any more."""
    with reported():
        from semret.index.care.maintain import remove as remove_images
        from semret.index.location import writable_index

        with writable_index(index, near=paths) as place:
            report = remove_images(place.folder, paths)
        report = replace(report, index=place.name)
    if format_ is ReportFormat.json:
        write_json(report.as_json())
    else:
        typer.echo(f"{report.removed} removed, {amount(report.images, 'image')} left in {printable(report.index)}")


def compact(
    codec: Annotated[
        str | None,
        typer.Option(
            "--codec",
            metavar="NAME",
            autocompletion=complete_codec,
            help="Also store tokens with this codec: any where there is none, else a coarser one.",
        ),
    ] = None,
    index: IndexOption = None,
    format_: ReportOption = ReportFormat.table,
) -> None:
    """Free the space of pictures that are no longer in the index; searches may go on meanwhile."""
    with reported():
        from semret.index.care.maintain import compact as compact_index
        from semret.index.location import writable_index

        with writable_index(index) as place, progress_bar("compacting") as progress:
            report = compact_index(place.folder, codec=codec, progress=progress)
        report = replace(report, index=place.name)
    if format_ is ReportFormat.json:
        write_json(report.as_json())
        return
    saved = report.bytes_before - report.bytes
    typer.echo(
        f"{amount(report.segments_before, 'segment')} became {report.segments}, "
        f"{amount(report.dropped, 'row')} dropped, {readable(report.bytes)} ({readable(saved)} less)"
    )


def export(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file to write, a tar archive.")],
    index: IndexOption = None,
) -> None:
    """Write the index to one FILE, for another machine."""
    with reported():
        from semret.index.care.transfer import export_index
        from semret.index.location import find_index

        with progress_bar("exporting") as progress:
            written = export_index(find_index(index), file, progress=progress)
    typer.echo(f"{printable(str(written))}: {readable(written.stat().st_size)}")


def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file that semret export wrote.")],
    root: Annotated[
        Path | None, typer.Option("--root", help="Where the pictures are here; default: where they were.")
    ] = None,
    index: IndexOption = None,
) -> None:
    """Make an index from an exported FILE: .semret in the current directory, or what --index names."""
    with reported():
        from semret.index.care.transfer import import_index
        from semret.index.location import new_index_path

        with progress_bar("importing") as progress:
            made = import_index(file, new_index_path(index), root=root, progress=progress)
    typer.echo(f"imported into {printable(str(made))}")
