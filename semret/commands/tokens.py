"""``semret tokens``."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from semret.commands.options import IndexOption
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
from semret.errors import ArgumentError
from semret.names import amount

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
        Path, typer.Option("--output", "-o", help="File to write: .npy, .npz, or .parquet (needs pyarrow).")
    ],
    center: Annotated[
        StoredCenter,
        typer.Option("--center", help="Mean to subtract; channel: as pictures are compared; none: nothing."),
    ] = StoredCenter.none,
    integers: Annotated[
        bool, typer.Option("--integers", help="What a codec stores, and its scales; into .npz only.")
    ] = False,
    index: IndexOption = None,
    format_: Annotated[
        ValueFormat, typer.Option("--format", help="How to print what the rows are.")
    ] = ValueFormat.table,
) -> None:
    """Write the stored maps of pictures to a file, and print which row is which picture.

    The maps are an array (images, positions, channels); .npz and .parquet hold ids and paths as well.
    """
    with reported():
        import numpy as np

        from semret.retrieval.search.engine import open_index
        from semret.retrieval.search.token_files import write_tokens

        with open_index(index, near=images or []) as engine:
            ids = np.array(_meant(engine, images), dtype=np.int64) if images else engine.ids
            with progress_bar("writing maps") as bar:
                shape = write_tokens(
                    output, engine.collection, ids, center=center.value, integers=integers, progress=bar
                )
            paths = engine.collection.paths(ids)
    _write(ids.tolist(), paths, format_)
    size = f"{shape[1]} tokens of {amount(shape[2], 'channel')}"
    say(f"semret: {amount(shape[0], 'map')} of {size} written to {printable(str(output))}")


def _meant(engine: SearchEngine, words: Sequence[str]) -> list[int]:
    """Return the ids of pictures named by paths, or else by numbers."""
    found = []
    for word in words:
        id_ = engine.find(word)
        if id_ is None and word.isascii() and word.isdigit():
            id_ = engine.find(int(word))
        if id_ is None:
            raise ArgumentError(f"{word} is neither the path nor the id of a picture in {engine.collection.path}")
        found.append(id_)
    return found


def _write(ids: Sequence[int], paths: Sequence[str], format_: ValueFormat) -> None:
    rows = [{"row": row, "id": id_, "path": path} for row, (id_, path) in enumerate(zip(ids, paths, strict=True))]
    if format_ is ValueFormat.json:
        write_json(rows)
    elif format_ is ValueFormat.jsonl:
        write_json_lines(rows)
    elif format_ is ValueFormat.csv:
        write_csv(["row", "id", "path"], [list(row.values()) for row in rows])
    else:
        write_table(
            ["row", "id", "path"], [[str(value) for value in row.values()] for row in rows], right=frozenset({0, 1})
        )
