"""``semret tokens``."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from semret.commands.output import (
    ValueFormat,
    printable,
    progress_bar,
    reported,
    say,
    write_csv,
    write_json,
    write_json_lines,
    write_table,
)
from semret.commands.query import EngineOptions, file_names, picture_of
from semret.errors import ArgumentError
from semret.names import amount
from semret.outputs import require_distinct

if TYPE_CHECKING:
    from semret.retrieval.search.engine import SearchEngine


class StoredCenter(StrEnum):
    """What may be left of the mean of stored tokens."""

    none = "none"
    channel = "channel"


def register(app: typer.Typer) -> None:
    """Add this file's commands to the application.

    Parameters
    ----------
    app : typer.Typer
    """
    app.command("tokens")(tokens)


def tokens(
    images: Annotated[
        list[str] | None,
        typer.Argument(metavar="IMAGE", help="Indexed pictures, by path or id; default: all of the index."),
    ] = None,
    *,
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", help="What to write: .npy, .npz, .parquet (needs pyarrow), or .lance (semret[lance])."
        ),
    ],
    pooled: Annotated[
        bool,
        typer.Option("--pooled", help="Pooled embeddings, as the shortlist compares them, in place of maps."),
    ] = False,
    query: Annotated[
        list[str] | None,
        typer.Option(
            "--query",
            metavar="PICTURE",
            help="With --pooled: of this picture, indexed or not (file, address, or -); may be repeated.",
        ),
    ] = None,
    center: Annotated[
        StoredCenter,
        typer.Option("--center", help="Mean to subtract; channel: as pictures are compared; none: nothing."),
    ] = StoredCenter.none,
    integers: Annotated[
        bool, typer.Option("--integers", help="What a codec stores, and its scales; not into .npy.")
    ] = False,
    opened: EngineOptions,
    format_: Annotated[
        ValueFormat | None,
        typer.Option("--format", help="How to print what the rows are; default: table, of tables nothing."),
    ] = None,
) -> None:
    """Write stored maps of pictures, or pooled embeddings, for other programs, and print which row is which picture.

    The maps are an array (images, positions, channels); .npz holds ids and paths as well. A Parquet file or a Lance
    data set is a table of ids, paths, contents (SHA-256), sizes, pooled embeddings, and maps unless --pooled is given.
    """
    if query and (images or not pooled or integers or center is not StoredCenter.none):
        raise typer.BadParameter("it goes with --pooled, and with no other picture or option", param_hint="--query")
    with reported():
        if query:
            _write_queries(opened.open(query), query, output, format_)
        else:
            chosen = {"center": center.value, "integers": integers, "pooled": pooled}
            with opened.open(images or []) as engine:
                _write_stored(engine, images, output, format_, chosen)


def _write_stored(
    engine: SearchEngine, images: list[str] | None, output: Path, format_: ValueFormat | None, chosen: dict[str, Any]
) -> None:
    import numpy as np

    ids = np.array(_meant(engine, images), dtype=np.int64) if images else engine.ids
    # Of a Lance data set earlier versions stay, which take room.
    again = output.suffix.lower() == ".lance" and (output / "_versions").is_dir()
    with progress_bar("writing") as bar:
        shape = engine.write_tokens(output, ids, progress=bar, **chosen)
    # A table says itself what its rows are.
    if format_ is not None or output.suffix.lower() in (".npy", ".npz"):
        known = zip(ids.tolist(), engine.collection.paths(ids), strict=True)
        _write([{"row": row, "id": id_, "path": path} for row, (id_, path) in enumerate(known)], format_)
    if chosen["pooled"]:
        what = f"{amount(shape[0], 'pooled embedding')} of length {shape[1]}"
    else:
        what = f"{amount(shape[0], 'map')} of {shape[1]} tokens of {amount(shape[2], 'channel')}"
    note = " as its next version; earlier ones stay until cleanup_old_versions() of Lance" if again else ""
    say(f"semret: {what} written to {printable(str(output))}{note}")


def _write_queries(engine: SearchEngine, queries: list[str], output: Path, format_: ValueFormat | None) -> None:
    import numpy as np

    from semret.retrieval.search.token_files import check_vector_file, write_vectors

    with engine:
        check_vector_file(output, engine.collection)
        require_distinct(output, file_names(queries))
        vectors = np.stack([engine.query_vector(picture_of(name)) for name in queries])
        write_vectors(output, engine.collection, queries, vectors)
    _write([{"row": row, "path": name} for row, name in enumerate(queries)], format_)
    what = f"{amount(len(queries), 'pooled embedding')} of length {vectors.shape[1]}"
    say(f"semret: {what} written to {printable(str(output))}")


def _meant(engine: SearchEngine, words: Sequence[str]) -> list[int]:
    """Return the ids of pictures named by paths, or else by numbers."""
    found = []
    for word in words:
        id_ = engine.find(word)
        if id_ is None and word.isascii() and word.isdigit():
            id_ = engine.find(int(word))
        if id_ is None:
            raise ArgumentError(f"{word} is neither the path nor the id of a picture in {engine.collection.name}")
        found.append(id_)
    return found


def _write(rows: Sequence[dict[str, Any]], format_: ValueFormat | None) -> None:
    """Print rows, which have the same fields."""
    if not rows:
        return
    header = list(rows[0])
    if format_ is ValueFormat.json:
        write_json(rows)
    elif format_ is ValueFormat.jsonl:
        write_json_lines(rows)
    elif format_ is ValueFormat.csv:
        write_csv(header, [list(row.values()) for row in rows])
    else:
        numbers = frozenset(range(len(header) - 1))
        write_table(header, [[str(value) for value in row.values()] for row in rows], right=numbers)
