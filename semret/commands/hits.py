"""How hits are printed: every format of ``semret query`` and ``semret rerank``."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from semret.commands.output import (
    Format,
    printable,
    progress_bar,
    say,
    write_csv,
    write_json,
    write_json_lines,
    write_path,
    write_table,
)

if TYPE_CHECKING:
    from semret.retrieval.search.results import Hit, SearchResult

_WIDTH = 79
_MANY_DRAWINGS = 10
"""Drawings from which a page takes long enough for a bar."""

_COLUMNS = ("query", "rank", "id", "path", "score", "pooled_score", "in_shortlist")


@dataclass(frozen=True, kw_only=True)
class HitOptions:
    """How hits are printed."""

    format_: Annotated[Format, typer.Option("--format", help="How to print the hits.")] = Format.table
    print0: Annotated[
        bool, typer.Option("--print0", help="With --format paths: end each path with a zero byte, unescaped.")
    ] = False
    html: Annotated[Path | None, typer.Option("--html", help="Also write a page with thumbnails to this file.")] = None
    open_: Annotated[
        bool,
        typer.Option("--open", help="Show the page in the browser; without --html it is a temporary file."),
    ] = False
    thumbnails: Annotated[
        bool,
        typer.Option(
            "--thumbnails",
            help="Draw the pictures below the table, in terminals that can (kitty, and those with sixels: iTerm2, "
            "WezTerm, foot, Windows Terminal); needs semret[terminal].",
        ),
    ] = False
    explain: Annotated[
        bool,
        typer.Option(
            "--explain",
            help="Tell why each picture is a hit: which patches met, where they lie, and what each pair adds to the "
            "score. In --format json and jsonl as numbers, on the page of --html as drawings.",
        ),
    ] = False

    def check(self) -> None:
        """Refuse --print0, --thumbnails and --explain where they would do nothing.

        Raises
        ------
        typer.BadParameter
            If hits are not printed as paths, or as a table, or in no form that has room for explanations.
        """
        if self.explain and self.format_ not in (Format.json, Format.jsonl) and not self.has_page:
            raise typer.BadParameter(
                f"--format {self.format_.value} has no room for explanations; "
                "add --html FILE or --open, or --format json",
                param_hint="--explain",
            )
        if self.print0 and self.format_ is not Format.paths:
            raise typer.BadParameter("goes with --format paths, and does nothing without", param_hint="--print0")
        if self.thumbnails and self.format_ is not Format.table:
            raise typer.BadParameter("goes with --format table, and does nothing without", param_hint="--thumbnails")

    @property
    def has_page(self) -> bool:
        """Whether a page is written."""
        return self.html is not None or self.open_


def write_results(results: list[SearchResult], options: HitOptions, *, settings: str = "") -> None:
    """Print results on stdout and, if asked, write the page; notes go to stderr.

    Parameters
    ----------
    results : list of SearchResult
        One for each query.
    options : HitOptions
    settings : str
        How the pictures were compared, for the page.

    Raises
    ------
    StorageError
        If the page cannot be written.
    """
    format_ = options.format_
    if format_ is Format.json:
        write_json([result.as_json() for result in results])
    elif format_ is Format.jsonl:
        write_json_lines(result.as_json() for result in results)
    elif format_ is Format.csv:
        write_csv(_COLUMNS, [row for result in results for row in _csv_rows(result)])
    elif format_ is Format.paths:
        for result in results:
            for hit in result:
                for path in hit.paths:
                    write_path(path, zero=options.print0)
    else:
        _write_tables(results)
    _write_notes(results, missed=format_ is not Format.table)
    if options.thumbnails:
        from semret.commands.thumbnails import draw_thumbnails

        draw_thumbnails(results)
    if options.has_page:
        _write_page(results, options, settings)


def _csv_rows(result: SearchResult) -> list[list[object]]:
    """Return a row for each path: copies of one picture share rank and score."""
    return [
        [result.query, hit.rank, id_, path, hit.score, hit.pooled_score, _mark(hit)]
        for hit in result
        for id_, path in zip(hit.ids, hit.paths, strict=True)
    ]


def _mark(hit: Hit) -> str:
    return "" if hit.in_shortlist is None else "yes" if hit.in_shortlist else "no"


def _write_tables(results: list[SearchResult]) -> None:
    for position, result in enumerate(results):
        if len(results) > 1:
            typer.echo(("\n" if position else "") + printable(result.query))
        marked = result.missed is not None
        header = ["rank", "score", "pooled", "id", *(["in shortlist"] if marked else []), "path"]
        rows = []
        for hit in result:
            mark = [_mark(hit)] if marked else []
            rows.append(
                [str(hit.rank), f"{hit.score:.4f}", f"{hit.pooled_score:.4f}", str(hit.id), *mark, hit.path],
            )
            for id_, path in zip(hit.ids[1:], hit.paths[1:], strict=True):
                rows.append(["", "", "", str(id_), *["" for _ in mark], f"also {path}"])
        write_table(header, rows, right=frozenset({0, 1, 2, 3}))
        if result.region is not None:
            typer.echo(_folded(str(result.region)))
        typer.echo(_folded(str(result.stats)))
        if result.missed:
            typer.echo(result.missed)


def _folded(line: str) -> str:
    """Break a line between its parts where it would be wider than a plain terminal."""
    lines = [""]
    for part in line.split(" · "):
        longer = f"{lines[-1]} · {part}" if lines[-1] else part
        if len(longer) > _WIDTH and lines[-1]:
            lines.append(part)
        else:
            lines[-1] = longer
    return "\n".join(lines)


def _write_notes(results: list[SearchResult], *, missed: bool) -> None:
    notes = dict.fromkeys(note for result in results for note in result.notes)
    for note in notes:
        say(f"semret: {note}")
    for result in results:
        if missed and result.missed:
            name = f"{printable(result.query)}: " if len(results) > 1 else ""
            say(f"semret: {name}{result.missed}")


def _write_page(results: list[SearchResult], options: HitOptions, settings: str) -> None:
    from semret.commands.browser import give_page
    from semret.retrieval.search.page import render_page

    drawings = sum(len(result.explanations) for result in results)
    with progress_bar("drawing") if drawings >= _MANY_DRAWINGS else nullcontext() as progress:
        page = render_page([result.as_section(progress=progress) for result in results], settings=settings)
    give_page(page, options.html, shown=options.open_)
