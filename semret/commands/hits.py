"""How hits are printed: every format of ``semret query`` and ``semret rerank``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from semret.commands.output import Format, printable, say, write_csv, write_json, write_path, write_table
from semret.errors import StorageError

if TYPE_CHECKING:
    from semret.retrieval.search.results import Hit, SearchResult

_WIDTH = 79
_COLUMNS = ("query", "rank", "id", "path", "score", "pooled_score", "in_shortlist")


def write_results(
    results: list[SearchResult],
    format_: Format,
    *,
    print0: bool = False,
    html: Path | None = None,
    settings: str = "",
) -> None:
    """Print results on stdout and, if asked, write the page; what the answers lack is said on stderr."""
    if format_ is Format.json:
        write_json([result.as_json() for result in results])
    elif format_ is Format.jsonl:
        for result in results:
            typer.echo(json.dumps(result.as_json(), allow_nan=False))
    elif format_ is Format.csv:
        write_csv(_COLUMNS, [row for result in results for row in _csv_rows(result)])
    elif format_ is Format.paths:
        for result in results:
            for hit in result:
                for path in hit.paths:
                    write_path(path, zero=print0)
    else:
        _write_tables(results)
    _write_notes(results, missed=format_ is not Format.table)
    if html is not None:
        _write_page(results, html, settings)


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


def _write_page(results: list[SearchResult], file: Path, settings: str) -> None:
    from semret.retrieval.search.page import render_page

    try:
        file.write_text(render_page([result.as_section() for result in results], settings=settings), encoding="utf-8")
    except OSError as error:
        raise StorageError(f"cannot write {file}: {error.strerror}; choose another file with --html") from error
