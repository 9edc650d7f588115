"""``semret duplicates``: which indexed pictures are copies of one another."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from semret.commands.options import IndexOption
from semret.commands.output import (
    Format,
    progress_bar,
    reported,
    say,
    write_csv,
    write_json,
    write_json_lines,
    write_path,
    write_phrases,
    write_table,
)
from semret.names import readable
from semret.outputs import require_distinct
from semret.progress import rare_waits_drawn

if TYPE_CHECKING:
    from semret.retrieval.duplicates.results import Duplicates

_SHOWN = 200
"""Groups of a page: more would be too large for a browser."""

_COLUMNS = ("group", "relation", "score", "id", "path", "bytes", "width", "height", "modified")


def register(app: typer.Typer) -> None:
    """Add this file's command to the application.

    Parameters
    ----------
    app : typer.Typer
    """
    app.command("duplicates")(duplicates)


def duplicates(
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PATH", help="Indexed pictures and folders: only groups with one of these; default: all groups."
        ),
    ] = None,
    threshold: Annotated[
        float,
        typer.Option(
            "--threshold",
            help="Score from which two pictures are copies, up to 1. Higher: fewer mistakes, and small, cut or grey "
            "copies are missed.",
        ),
    ] = 0.5,
    frames: Annotated[
        bool,
        typer.Option("--frames", help="Count other frames of the same view, of a burst or a video, as copies, too."),
    ] = False,
    format_: Annotated[
        Format, typer.Option("--format", help="How to print the groups; paths: of all files but those to keep.")
    ] = Format.table,
    print0: Annotated[
        bool, typer.Option("--print0", help="With --format paths: end each path with a zero byte, unescaped.")
    ] = False,
    html: Annotated[Path | None, typer.Option("--html", help="Also write a page with thumbnails to this file.")] = None,
    index: IndexOption = None,
) -> None:
    """Find copies and near-copies among the indexed pictures: resized, recompressed, recoloured, cropped, mirrored.

    Each group names first the file to keep: most pixels, then largest file, then oldest. The groups in which the other
    files hold most bytes come first. Nothing is ever deleted. Two pictures are copies if their patches match in one
    arrangement, and most of their pixels do, too. Frames of a video that hardly differ are taken for copies, so look
    before you delete.
    """
    if print0 and format_ is not Format.paths:
        raise typer.BadParameter("goes with --format paths, and does nothing without", param_hint="--print0")
    with reported(), rare_waits_drawn(progress_bar):
        from semret.index.indexed_pictures import require_no_source
        from semret.retrieval.duplicates.find import duplicates as find_duplicates
        from semret.retrieval.search.engine import open_index

        with open_index(index, near=paths or []) as engine:
            if html is not None:
                require_distinct(html, [path for path in paths or [] if Path(path).is_file()])
                require_no_source(html, engine.collection)
            with progress_bar("comparing") as progress:
                found = find_duplicates(
                    engine, touching=paths or [], threshold=threshold, frames=frames, progress=progress
                )
        _write(found, format_, zero=print0)
        if html is not None:
            _write_page(found, html)


def _write(found: Duplicates, format_: Format, *, zero: bool) -> None:
    if format_ is Format.json:
        write_json(found.as_json())
    elif format_ is Format.jsonl:
        write_json_lines({"group": number, **group.as_json()} for number, group in enumerate(found, start=1))
    elif format_ is Format.csv:
        write_csv(_COLUMNS, _rows(found))
    elif format_ is Format.paths:
        for group in found:
            for file in group.others:
                write_path(file.path, zero=zero)
    else:
        _write_table(found)
    if format_ is not Format.table:
        say(f"semret: {found}")
    for note in found.notes:
        say(f"semret: {note}")


def _rows(found: Duplicates) -> Iterator[list[object]]:
    for number, group in enumerate(found, start=1):
        for file in group:
            values = file.as_json()
            yield [number if name == "group" else values[name] for name in _COLUMNS]


def _write_table(found: Duplicates) -> None:
    rows = []
    for number, group in enumerate(found, start=1):
        for file in group:
            size = f"{file.width}x{file.height}"
            first = str(number) if file is group.kept else ""
            relation = "keep" if file is group.kept else file.relation
            rows.append([first, relation, f"{file.score:.4f}", size, readable(file.bytes), str(file.id), file.path])
    if rows:
        header = ["group", "relation", "score", "pixels", "size", "id", "path"]
        write_table(header, rows, right=frozenset({0, 2, 3, 4, 5}))
    write_phrases(str(found))


def _write_page(found: Duplicates, file: Path) -> None:
    from semret.commands.browser import give_page
    from semret.retrieval.search.page import render_page

    more = len(found) - _SHOWN
    settings = [str(found), f"threshold {found.threshold:g}"]
    if more > 0:
        settings.append(f"the first {_SHOWN} groups are shown, {more} more are not")
    page = render_page(found.as_sections(_SHOWN), title="copies", settings=" · ".join(settings))
    give_page(page, file)
