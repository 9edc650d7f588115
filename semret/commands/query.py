"""``semret query`` and ``semret rerank``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from semret.commands.candidates import read_candidates
from semret.commands.hits import write_results
from semret.commands.options import (
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
from semret.commands.output import Format, reported, say, show_error
from semret.errors import ArgumentError, ImageDecodeError
from semret.outputs import require_distinct

if TYPE_CHECKING:
    from semret.retrieval.search.engine import SearchEngine
    from semret.retrieval.search.query_pictures import ImageLike

_STALE_SHOWN = 5

CenterOption = Annotated[Centering, typer.Option("--center", help="Mean of the database subtracted from all patches.")]
WeightsOption = Annotated[
    Path | None, typer.Option("--weights", help="Checkpoint, if the index was made with one of your own.")
]
FormatOption = Annotated[Format, typer.Option("--format", help="How to print the hits.")]
ExcludeOption = Annotated[
    bool, typer.Option("--exclude-self", help="Leave out the query's own picture and its copies, if they are indexed.")
]
HtmlOption = Annotated[Path | None, typer.Option("--html", help="Also write a page with thumbnails to this file.")]


def register(app: typer.Typer) -> None:
    """Add this file's commands to the application."""
    app.command("query")(query)
    app.command("rerank")(rerank)


def query(
    images: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="IMAGE", help="Pictures to search with: files, http or https addresses, or - for stdin."
        ),
    ] = None,
    text: Annotated[
        list[str] | None,
        typer.Option(
            "--text",
            help="A sentence to search with (models with a text tower), ranked by the pooled embedding, not reranked; "
            "may be repeated.",
        ),
    ] = None,
    k: Annotated[int, typer.Option("-k", help="Hits per query; at most what there is.")] = 5,
    shortlist: Annotated[
        int | None, typer.Option("--shortlist", help="Candidates to rerank; default: 100, or k if that is larger.")
    ] = None,
    kernel: KernelOption = Kernel.cosine,
    invariance: InvarianceOption = Invariance.permutation,
    solver: SolverOption = "auction",
    center: CenterOption = Centering.channel,
    exhaustive: Annotated[
        bool,
        typer.Option(
            "--exhaustive", help="Rerank the whole index, and mark the hits that the shortlist would have missed."
        ),
    ] = False,
    exclude_self: ExcludeOption = False,
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
    those of IMAGE. A score of 1 (cosine) means the same patches, in any arrangement. The order is exact among the
    shortlist's candidates; --exhaustive makes it exact over the whole index. Copies of a picture are one hit.
    """
    if not images and not text:
        raise typer.BadParameter("give at least one IMAGE, or --text SENTENCE", param_hint="IMAGE")
    if exclude_self and not images:
        raise typer.BadParameter("a sentence is in no index; give an IMAGE too", param_hint="--exclude-self")
    if (images or []).count("-") > 1:
        raise typer.BadParameter("- is given twice, but standard input can be read once", param_hint="IMAGE")
    check_print0(print0, format_)
    with reported():
        from semret.index.indexed_pictures import require_no_source
        from semret.retrieval.search.engine import open_index
        from semret.retrieval.search.options import SearchOptions

        engine = open_index(index, near=_files(images or []), weights=weights, device=device)
        options = SearchOptions(
            k=k,
            shortlist=shortlist,
            kernel=kernel.value,
            invariance=invariance.value,
            solver=solver,
            center=center.value,
            exhaustive=exhaustive,
            exclude_self=exclude_self,
        )
        options.check(max(len(engine), 1))
        if html is not None:
            require_distinct(html, _files(images or []))
            require_no_source(html, engine.collection)
        results, failures = [], []
        for name in images or []:
            try:
                results.append(engine.search(_picture(name), options))
            except ImageDecodeError as error:
                failures.append(error)
        results += [engine.query_text(sentence, k=k) for sentence in text or []]
        settings = f"{invariance.value} · {kernel.value} · centring {center.value}" if images else ""
        if text:
            settings = " · ".join(filter(None, [settings, "sentences by the pooled embedding"]))
            say("semret: a sentence has no patches to match; ranked by the pooled embedding")
        write_results(results, format_, print0=print0, html=html, settings=settings)
        for failure in failures:
            show_error(failure)
    if failures:
        raise typer.Exit(1)


def rerank(
    query: Annotated[
        str, typer.Option("--query", help="The picture to compare with: a file, http or https address, or - for stdin.")
    ],
    candidates: Annotated[
        Path,
        typer.Option(
            "--candidates",
            help="Paths or ids of indexed pictures, one a line, or what semret query prints in any format but table; "
            "- for stdin.",
        ),
    ],
    k: Annotated[int | None, typer.Option("-k", help="Hits; default, and at most: all candidates.")] = None,
    kernel: KernelOption = Kernel.cosine,
    invariance: InvarianceOption = Invariance.permutation,
    solver: SolverOption = "auction",
    center: CenterOption = Centering.channel,
    exclude_self: ExcludeOption = False,
    index: IndexOption = None,
    weights: WeightsOption = None,
    device: DeviceOption = None,
    format_: FormatOption = Format.table,
    print0: Annotated[
        bool, typer.Option("--print0", help="With --format paths: end each path with a zero byte, unescaped.")
    ] = False,
    html: HtmlOption = None,
) -> None:
    """Order the candidates of your own first stage by similarity to a picture.

    Paths may be relative to the current directory or to the root of the index, or absolute. What is not in the index
    is reported and passed over.
    """
    if query == "-" and str(candidates) == "-":
        raise typer.BadParameter("--query is - too, but standard input can be read once", param_hint="--candidates")
    check_print0(print0, format_)
    with reported():
        from semret.index.indexed_pictures import require_no_source
        from semret.retrieval.search.engine import open_index

        engine = open_index(index, near=_files([query]), weights=weights, device=device)
        if html is not None:
            require_distinct(html, [*_files([query]), candidates])
            require_no_source(html, engine.collection)
        chosen = _choose(engine, candidates)
        result = engine.rerank(
            _picture(query),
            chosen,
            kernel=kernel.value,
            invariance=invariance.value,
            solver=solver,
            center=center.value,
            exclude_self=exclude_self,
            **({} if k is None else {"k": k}),
        )
        settings = f"{len(chosen)} given candidates · {invariance.value} · {kernel.value} · centring {center.value}"
        write_results([result], format_, print0=print0, html=html, settings=settings)


def _picture(name: str) -> ImageLike:
    """Return a query as the engine takes it: a file by its path, anything else by its content."""
    from semret.index.pictures.sources import STANDARD_INPUT, is_address, read_source
    from semret.retrieval.search.query_pictures import EncodedImage

    return EncodedImage(read_source(name), name) if name == STANDARD_INPUT or is_address(name) else name


def _files(names: list[str]) -> list[str]:
    """Return those of the queries that are files: an index is looked for above them."""
    from semret.index.pictures.sources import STANDARD_INPUT, is_address

    return [name for name in names if name != STANDARD_INPUT and not is_address(name)]


def _choose(engine: SearchEngine, file: Path) -> list[int]:
    """Return the ids that a list of candidates stands for; what is not in the index is reported and passed over."""
    engine.require_images()
    entries = read_candidates(file, engine.find)
    found = [(entry, entry.find(engine.find)) for entry in entries]
    chosen = [id_ for _, id_ in found if id_ is not None]
    stale = [entry for entry, id_ in found if id_ is None]
    if stale and not chosen:
        which = "the only candidate" if len(stale) == 1 else f"none of the {len(stale)} candidates is known; the first"
        raise ArgumentError(
            f"{which}, {stale[0].place}: {stale[0]}, is not in the index {engine.collection.path}; index it first"
        )
    for entry in stale[:_STALE_SHOWN]:
        show_error(ArgumentError(f"{entry.place}: {entry} is not in the index, passed over"))
    if len(stale) > _STALE_SHOWN:
        show_error(ArgumentError(f"{len(stale) - _STALE_SHOWN} more candidates are not in the index, passed over"))
    return chosen
