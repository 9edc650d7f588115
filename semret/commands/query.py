"""``semret query`` and ``semret rerank``."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from semret.commands.candidates import read_candidates
from semret.commands.filter_options import FilterOptions
from semret.commands.hits import HitOptions, write_results
from semret.commands.matching_options import MatchingOptions, RegionOption
from semret.commands.options import DeviceOption, IndexOption
from semret.commands.output import progress_bar, reported, say, show_error
from semret.commands.together_options import TogetherOptions
from semret.errors import ArgumentError, ImageDecodeError
from semret.outputs import require_distinct
from semret.progress import Progress, rare_waits_drawn

if TYPE_CHECKING:
    from semret.retrieval.search.engine import SearchEngine
    from semret.retrieval.search.options import SearchOptions
    from semret.retrieval.search.query_pictures import ImageLike, Seen
    from semret.retrieval.search.results import SearchResult

_STALE_SHOWN = 5
_MANY = 1000
"""Candidates from which a rerank takes long enough for a bar."""

ExcludeOption = Annotated[
    bool, typer.Option("--exclude-self", help="Leave out the query's own picture and its copies, if they are indexed.")
]


@dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """Which index is searched, and how its network is loaded."""

    index: IndexOption = None
    weights: Annotated[
        Path | None, typer.Option("--weights", help="Checkpoint, if the index was made with one of your own.")
    ] = None
    device: DeviceOption = None

    def open(self, queries: list[str]) -> SearchEngine:
        """Open the index.

        Parameters
        ----------
        queries : list of str
            Where no index is named, it is also looked for above those that are files.

        Returns
        -------
        SearchEngine

        Raises
        ------
        IndexNotFoundError, IndexCorruptError, IncompatibleIndexError
            See `semret.retrieval.search.engine.open_index`.
        """
        from semret.retrieval.search.engine import open_index

        return open_index(self.index, near=file_names(queries), weights=self.weights, device=self.device)


def register(app: typer.Typer) -> None:
    """Add this file's commands to the application.

    Parameters
    ----------
    app : typer.Typer
    """
    app.command("query")(query)
    app.command("rerank")(rerank)


def query(
    images: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="IMAGE", help="Pictures to search with: files, addresses (https, s3 and the like), or - for stdin."
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
        int | None,
        typer.Option(
            "--shortlist",
            help="Candidates to rerank; default: 100, or k if that is larger; for a --region, the whole index.",
        ),
    ] = None,
    region: RegionOption = None,
    *,
    together: TogetherOptions,
    filters: FilterOptions,
    matching: MatchingOptions,
    exhaustive: Annotated[
        bool,
        typer.Option(
            "--exhaustive", help="Rerank the whole index, and mark the hits that the shortlist would have missed."
        ),
    ] = False,
    exclude_self: ExcludeOption = False,
    opened: EngineOptions,
    output: HitOptions,
) -> None:
    """Find the indexed pictures most similar to IMAGE.

    A shortlist is drawn by the pooled embedding, then ordered by the best one-to-one matching of its patches with
    those of IMAGE. A score of 1 (cosine) means the same patches, in any arrangement. The order is exact among the
    shortlist's candidates; --exhaustive makes it exact over the whole index. Copies of a picture are one hit.

    With --region, pictures that show this part of IMAGE come first, whatever else they show: the whole index is
    compared, or in a large one what a first stage by patches finds (--exhaustive compares all), and a score of 1 means
    that every patch of the region has its equal.

    Several IMAGEs are a question each; with --all they are one, and --not names pictures that hits should not be like.
    """
    images, text = images or [], text or []
    if not images and not text:
        raise typer.BadParameter("give at least one IMAGE, or --text SENTENCE", param_hint="IMAGE")
    if exclude_self and not images:
        raise typer.BadParameter("a sentence is in no index; give an IMAGE too", param_hint="--exclude-self")
    if region is not None and not images:
        raise typer.BadParameter("a sentence has no regions; give an IMAGE too", param_hint="--region")
    if output.explain and not images:
        raise typer.BadParameter("a sentence has no patches to explain; give an IMAGE too", param_hint="--explain")
    together.check(images, text)
    pictures = [*images, *(together.avoid or [])]
    if pictures.count("-") > 1:
        raise typer.BadParameter("- is given twice, but standard input can be read once", param_hint="IMAGE")
    output.check()
    with reported(), rare_waits_drawn(progress_bar):
        from semret.retrieval.search.options import SearchOptions

        engine = opened.open(pictures)
        options = SearchOptions(
            k=k,
            shortlist=shortlist,
            **matching.names(),
            exhaustive=exhaustive,
            exclude_self=exclude_self,
            region=region,
            explain=output.explain,
            **filters.names(),
        )
        options.check(max(len(engine), 1))
        if output.html is not None:
            require_distinct(output.html, file_names(pictures))
            _require_no_source(output.html, engine)
        results, failures = [], []
        # Once for all questions.
        avoided = [engine.represent(picture_of(name)) for name in together.avoid or []]
        for names in [images] if together.together else [[name] for name in images]:
            try:
                asked = [picture_of(name) for name in names]
                with _bar(shown=options.compares_all) as progress:
                    results.append(_answer(engine, asked, avoided, options, together, progress))
            except ImageDecodeError as error:
                failures.append(error)
        results += [engine.query_text(sentence, k=k, **filters.names()) for sentence in text]
        settings = " · ".join([*([matching.describe(region)] if images else []), *filters.describe()])
        if text:
            settings = " · ".join(filter(None, [settings, "sentences by the pooled embedding"]))
            say("semret: a sentence has no patches to match; ranked by the pooled embedding")
        if images and options.compares_all and (reason := engine.why_not_on_device) is not None:
            say(f"semret: compared on the processor: {reason}")
        write_results(results, output, settings=settings)
        for failure in failures:
            show_error(failure)
    if failures:
        raise typer.Exit(1)


def rerank(
    query: Annotated[
        str, typer.Option("--query", help="The picture to compare with: a file, an address, or - for stdin.")
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
    region: RegionOption = None,
    *,
    filters: FilterOptions,
    matching: MatchingOptions,
    exclude_self: ExcludeOption = False,
    opened: EngineOptions,
    output: HitOptions,
) -> None:
    """Order the candidates of your own first stage by similarity to a picture.

    Paths may be relative to the current directory or to the root of the index, or absolute. What is not in the index
    is reported and passed over.
    """
    if query == "-" and str(candidates) == "-":
        raise typer.BadParameter("--query is - too, but standard input can be read once", param_hint="--candidates")
    output.check()
    with reported(), rare_waits_drawn(progress_bar):
        engine = opened.open([query])
        if output.html is not None:
            require_distinct(output.html, [*file_names([query]), candidates])
            _require_no_source(output.html, engine)
        chosen = _choose(engine, candidates)
        wanted = {**matching.names(), "exclude_self": exclude_self, "region": region, "explain": output.explain}
        wanted |= filters.names() | ({} if k is None else {"k": k})
        with _bar(shown=len(chosen) > _MANY) as progress:
            result = engine.rerank(picture_of(query), chosen, progress=progress, **wanted)
        settings = " · ".join([f"{len(chosen)} given candidates", matching.describe(region), *filters.describe()])
        write_results([result], output, settings=settings)


def _answer(
    engine: SearchEngine,
    asked: list[ImageLike],
    avoided: list[Seen],
    options: SearchOptions,
    together: TogetherOptions,
    progress: Progress | None,
) -> SearchResult:
    """Answer one question, of one picture or of several."""
    if len(asked) == 1 and not avoided:
        return engine.search(asked[0], options, progress=progress)
    return engine.search_all(asked, options, avoid=avoided, progress=progress, **together.names())


@contextlib.contextmanager
def _bar(*, shown: bool) -> Iterator[Progress | None]:
    """Draw a bar where many pictures are compared, and stderr is a terminal."""
    with progress_bar("comparing") if shown else contextlib.nullcontext() as progress:
        yield progress


def _require_no_source(html: Path, engine: SearchEngine) -> None:
    # Only where a page is written: what reads archives takes a while to import.
    from semret.index.indexed_pictures import require_no_source

    require_no_source(html, engine.collection)


def picture_of(name: str) -> ImageLike:
    """Return a query as the engine takes it: a file by its path, anything else by its content.

    Parameters
    ----------
    name : str
        A file, an address, or ``-`` for standard input.

    Returns
    -------
    ImageLike

    Raises
    ------
    ImageDecodeError
        If an address or standard input cannot be read, or it is a folder.
    """
    from semret.index.pictures.sources import STANDARD_INPUT, is_address, read_source
    from semret.retrieval.search.query_pictures import EncodedImage

    if name == STANDARD_INPUT or is_address(name):
        return EncodedImage(read_source(name), name)
    if Path(name).is_dir():
        raise ImageDecodeError(f"{name}: is a folder, expected a picture; semret index makes folders searchable")
    return name


def file_names(names: list[str]) -> list[str]:
    """Return those of the queries that are files: an index is looked for above them.

    Parameters
    ----------
    names : list of str

    Returns
    -------
    list of str
    """
    from semret.index.pictures.sources import STANDARD_INPUT, is_address

    return [name for name in names if name != STANDARD_INPUT and not is_address(name)]


def _choose(engine: SearchEngine, file: Path) -> list[int]:
    """Return the ids of a list of candidates; candidates that are not in the index are reported and passed over."""
    engine.require_images()
    entries = read_candidates(file, engine.find)
    found = [(entry, entry.find(engine.find)) for entry in entries]
    chosen = [id_ for _, id_ in found if id_ is not None]
    stale = [entry for entry, id_ in found if id_ is None]
    if stale and not chosen:
        which = "the only candidate" if len(stale) == 1 else f"none of the {len(stale)} candidates is known; the first"
        raise ArgumentError(
            f"{which}, {stale[0].place}: {stale[0]}, is not in the index {engine.collection.name}; index it first"
        )
    for entry in stale[:_STALE_SHOWN]:
        show_error(ArgumentError(f"{entry.place}: {entry} is not in the index, passed over"))
    if len(stale) > _STALE_SHOWN:
        show_error(ArgumentError(f"{len(stale) - _STALE_SHOWN} more candidates are not in the index, passed over"))
    return chosen
