"""``semret query`` and ``semret rerank``."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from semret.cli.options import (
    Centering,
    DeviceOption,
    IndexOption,
    Invariance,
    InvarianceOption,
    Kernel,
    KernelOption,
    SolverOption,
    check_print0,
)
from semret.cli.output import Format, printable, reported, show_error, write_json, write_path, write_table
from semret.errors import ArgumentError, ImageDecodeError, StorageError

if TYPE_CHECKING:
    from semret.retrieval.results import SearchResult


CenterOption = Annotated[Centering, typer.Option("--center", help="Mean of the database subtracted from all patches.")]
WeightsOption = Annotated[
    Path | None, typer.Option("--weights", help="Checkpoint, if the index was made with one of your own.")
]
FormatOption = Annotated[Format, typer.Option("--format", help="How to print the hits.")]
HtmlOption = Annotated[Path | None, typer.Option("--html", help="Also write a page with thumbnails to this file.")]


def register(app: typer.Typer) -> None:
    """Add this file's commands to the application."""
    app.command("query")(query)
    app.command("rerank")(rerank)


def query(
    images: Annotated[list[Path] | None, typer.Argument(metavar="IMAGE", help="Pictures to search with.")] = None,
    text: Annotated[
        list[str] | None,
        typer.Option(
            "--text",
            help="A sentence to search with (models with a text tower), ranked by the pooled embedding, not reranked; "
            "may be repeated.",
        ),
    ] = None,
    k: Annotated[int, typer.Option("-k", help="Hits per query.")] = 5,
    shortlist: Annotated[
        int | None, typer.Option("--shortlist", help="Candidates to rerank; default: 100, or k if that is larger.")
    ] = None,
    kernel: KernelOption = Kernel.cosine,
    invariance: InvarianceOption = Invariance.permutation,
    solver: SolverOption = "auction",
    center: CenterOption = Centering.channel,
    exhaustive: Annotated[
        bool, typer.Option("--exhaustive", help="Rerank the whole database instead of a shortlist.")
    ] = False,
    index: IndexOption = None,
    weights: WeightsOption = None,
    device: DeviceOption = None,
    format_: FormatOption = Format.table,
    print0: Annotated[
        bool, typer.Option("--print0", help="With --format paths: end each path with a zero byte, unescaped.")
    ] = False,
    html: HtmlOption = None,
) -> None:
    """Find the indexed pictures most similar to IMAGE.

    A shortlist is drawn by the pooled embedding, then ordered by the best one-to-one matching of its patches with
    those of IMAGE. A score of 1 (cosine) means the same patches, in any arrangement.
    """
    if not images and not text:
        raise typer.BadParameter("give at least one IMAGE, or --text SENTENCE", param_hint="IMAGE")
    check_print0(print0, format_)
    with reported():
        from semret.retrieval.engine import open_index
        from semret.retrieval.options import SearchOptions

        engine = open_index(index, weights=weights, device=device)
        options = SearchOptions(
            k=k,
            shortlist=shortlist,
            kernel=kernel.value,
            invariance=invariance.value,
            solver=solver,
            center=center.value,
            exhaustive=exhaustive,
        )
        options.check(len(engine))
        results, failures = [], []
        for path in images or []:
            try:
                results.append(engine.search(path, options))
            except ImageDecodeError as error:
                failures.append(error)
        results += [engine.query_text(sentence, k=k) for sentence in text or []]
        settings = f"{invariance.value} · {kernel.value} · centring {center.value}" if images else ""
        if text:
            settings = " · ".join(filter(None, [settings, "sentences by the pooled embedding"]))
            typer.echo("semret: a sentence has no patches to match; ranked by the pooled embedding", err=True)
        write_results(results, format_, print0=print0, html=html, settings=settings)
        for failure in failures:
            show_error(failure)
    if failures:
        raise typer.Exit(1)


def rerank(
    query: Annotated[Path, typer.Option("--query", help="The picture to compare with.")],
    candidates: Annotated[
        Path,
        typer.Option(
            "--candidates",
            help="Paths or ids of indexed pictures, one a line, or JSON lines with an id or a path; - for stdin.",
        ),
    ],
    k: Annotated[int | None, typer.Option("-k", help="Hits; default: all candidates.")] = None,
    kernel: KernelOption = Kernel.cosine,
    invariance: InvarianceOption = Invariance.permutation,
    solver: SolverOption = "auction",
    center: CenterOption = Centering.channel,
    index: IndexOption = None,
    weights: WeightsOption = None,
    device: DeviceOption = None,
    format_: FormatOption = Format.table,
    print0: Annotated[
        bool, typer.Option("--print0", help="With --format paths: end each path with a zero byte, unescaped.")
    ] = False,
    html: HtmlOption = None,
) -> None:
    """Order the candidates of your own first stage by similarity to a picture."""
    check_print0(print0, format_)
    with reported():
        from semret.retrieval.engine import open_index

        engine = open_index(index, weights=weights, device=device)
        chosen = read_candidates(candidates)
        result = engine.rerank(
            query,
            chosen,
            kernel=kernel.value,
            invariance=invariance.value,
            solver=solver,
            center=center.value,
            **({} if k is None else {"k": k}),
        )
        settings = f"{len(chosen)} given candidates · {invariance.value} · {kernel.value} · centring {center.value}"
        write_results([result], format_, print0=print0, html=html, settings=settings)


def read_candidates(file: Path) -> list[int | str]:
    """Read ids and paths, one a line; a line that starts with a brace is a JSON object with ``id`` or ``path``."""
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise ArgumentError(f"cannot read candidates from {file}: {error.strerror}") from error
    chosen: list[int | str] = []
    for number, line in enumerate(text.splitlines(), start=1):
        entry = line.strip()
        if not entry:
            continue
        if entry.startswith("{"):
            chosen.append(_candidate_of(entry, f"{file}, line {number}"))
        else:
            chosen.append(int(entry) if entry.isdecimal() else entry)
    return chosen


def _candidate_of(entry: str, place: str) -> int | str:
    try:
        record = json.loads(entry)
    except json.JSONDecodeError as error:
        raise ArgumentError(f"{place} is no JSON object: {error}") from error
    for key, kind in (("id", int), ("path", str)):
        if isinstance(record.get(key), kind):
            value: int | str = record[key]
            return value
    raise ArgumentError(f'{place} has neither an integer "id" nor a "path"')


def write_results(
    results: list[SearchResult],
    format_: Format,
    *,
    print0: bool = False,
    html: Path | None = None,
    settings: str = "",
) -> None:
    """Print results on stdout and, if asked, write the page."""
    if format_ is Format.json:
        write_json([result.as_json() for result in results])
    elif format_ is Format.jsonl:
        for result in results:
            typer.echo(json.dumps(result.as_json(), allow_nan=False))
    elif format_ is Format.csv:
        _write_csv(results)
    elif format_ is Format.paths:
        for result in results:
            for hit in result:
                write_path(hit.path, zero=print0)
    else:
        _write_tables(results)
    if html is not None:
        _write_page(results, html, settings)


def _write_csv(results: list[SearchResult]) -> None:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["query", "rank", "id", "path", "score", "pooled_score"])
    for result in results:
        for hit in result:
            writer.writerow(
                [printable(result.query), hit.rank, hit.id, printable(hit.path), hit.score, hit.pooled_score]
            )
    typer.echo(buffer.getvalue(), nl=False)


def _write_tables(results: list[SearchResult]) -> None:
    for position, result in enumerate(results):
        if len(results) > 1:
            typer.echo(("\n" if position else "") + printable(result.query))
        rows = [[str(hit.rank), f"{hit.score:.4f}", f"{hit.pooled_score:.4f}", str(hit.id), hit.path] for hit in result]
        write_table(["rank", "score", "pooled", "id", "path"], rows, right=frozenset({0, 1, 2, 3}))


def _write_page(results: list[SearchResult], file: Path, settings: str) -> None:
    from semret.retrieval.page import render_page

    try:
        file.write_text(render_page(results, settings=settings), encoding="utf-8")
    except OSError as error:
        raise StorageError(f"cannot write {file}: {error.strerror}; choose another file with --html") from error
