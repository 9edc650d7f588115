"""Stored maps and pooled embeddings as tables of Arrow: a Parquet file, or a Lance data set; a few rows at a time."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from semret.errors import ArgumentError, SemretError, StorageError, cut_text
from semret.integer_tokens import IntegerTokens
from semret.optional import need
from semret.paths import PathLike
from semret.retrieval.search.stored_rows import StoredRows

METADATA_KEY = "semret"
"""Under which `StoredRows.description` is in the metadata of a schema."""

_INTEGERS_LEAF = "integers.list.element.list.element"
"""How Parquet calls the numbers of the column."""

_OF_LANCE = frozenset({"_versions", "_transactions", "_deletions", "_indices", "_refs", "data", "tree"})
"""What a Lance data set, or the beginnings of one, may consist of."""

_OF_SOURCES = re.compile(r", /\S*\.rs\b.*")
"""Where in its own sources Lance says that an error arose."""


def require_arrow(suffix: str) -> None:
    """Refuse a kind of table whose package is not installed.

    Parameters
    ----------
    suffix : {".parquet", ".lance"}

    Raises
    ------
    MissingDependencyError
        If it is not.
    """
    if suffix == ".lance":
        _lance()
    else:
        _pyarrow("pyarrow.parquet")


def write_parquet(stream: IO[bytes], rows: StoredRows) -> None:
    """Write a Parquet file.

    Parameters
    ----------
    stream : binary file
    rows : StoredRows

    Raises
    ------
    IndexCorruptError
        If what is read is damaged.
    OSError
        If the file cannot be written.
    """
    parquet, schema = _pyarrow("pyarrow.parquet"), _schema(rows)
    # Integers take few values, floats are all different: a dictionary of these would be as long as they are.
    options = {"use_dictionary": [_INTEGERS_LEAF], "write_statistics": ["id"], "compression": "zstd"}
    with parquet.ParquetWriter(stream, schema, **options) as writer:
        for batch in _batches(rows, schema):
            writer.write_batch(batch)


def require_lance_place(path: PathLike) -> None:
    """Refuse a place where no Lance data set can be written, or not without harm to something else.

    Parameters
    ----------
    path : path

    Raises
    ------
    ArgumentError
        If there is a file, or a folder of something else, or the name cannot be written in Unicode.
    StorageError
        If there is no folder for it to be in, or what is there cannot be looked at.
    """
    name, place = os.fspath(path), _absolute(path)
    try:
        if not place.parent.is_dir():
            raise StorageError(f"cannot write {name}: there is no folder {place.parent}; make it first")
        if place.exists() and not place.is_dir():
            raise ArgumentError(f"cannot write {name}: it is a file, and a Lance data set is a folder; choose another")
        if place.is_dir() and not {entry.name for entry in place.iterdir()} <= _OF_LANCE:
            raise ArgumentError(f"cannot write {name}: it is a folder that is no Lance data set; choose another name")
        str(place).encode()
    except OSError as error:
        raise StorageError(f"cannot write {name}: {error.strerror or error}; choose another place") from error
    except UnicodeEncodeError as error:
        raise ArgumentError(f"cannot write {name}: Lance takes names in Unicode; choose another") from error


def write_lance(path: PathLike, rows: StoredRows) -> None:
    """Write a Lance data set; over one that exists, as its next version, which is seen when all of it is written.

    Parameters
    ----------
    path : path
    rows : StoredRows

    Raises
    ------
    IndexCorruptError
        If what is read is damaged; the data set is as it was.
    StorageError
        If the data set cannot be written; it is as it was.
    """
    lance, pa, schema = _lance(), _pyarrow("pyarrow"), _schema(rows)
    place = _absolute(path)
    failures: list[BaseException] = []

    def batches() -> Iterator[Any]:
        # It is called by Lance, which makes another error of one that is raised here.
        try:
            yield from _batches(rows, schema)
        except BaseException as error:
            failures.append(error)
            raise

    mode = "overwrite" if (place / "_versions").is_dir() else "create"
    try:
        lance.write_dataset(pa.RecordBatchReader.from_batches(schema, batches()), str(place), mode=mode)
    except (OSError, ValueError, RuntimeError) as error:
        if failures and isinstance(failures[0], (SemretError, MemoryError, KeyboardInterrupt)):
            raise failures[0] from None
        # Its paths are long, and the reason stands behind them.
        reason = _OF_SOURCES.sub("", cut_text(error, 500))
        raise StorageError(f"cannot write {os.fspath(path)}: {reason}; choose another place") from error


def _absolute(path: PathLike) -> Path:
    return Path(os.path.abspath(os.fsdecode(path)))  # noqa: PTH100 - links stay as they are


def _schema(rows: StoredRows) -> Any:
    pa = _pyarrow("pyarrow")
    fields = [("id", pa.int64()), ("path", pa.string()), ("sha256", pa.string())]
    fields += [("width", pa.int32()), ("height", pa.int32())]
    fields.append(("pooled", pa.list_(pa.float32(), rows.collection.manifest.pooled_length)))
    if not rows.chosen.pooled:
        _, positions, channels = rows.shape
        maps = pa.list_(pa.list_(pa.from_numpy_dtype(_written(rows.dtype)), channels), positions)
        fields.append(("tokens" if rows.scales is None else "integers", maps))
        if rows.scales is not None:
            fields.append(("scales", pa.list_(pa.from_numpy_dtype(rows.scales), positions)))
    return pa.schema(fields, metadata={METADATA_KEY: rows.description})


def _batches(rows: StoredRows, schema: Any) -> Iterator[Any]:
    pa = _pyarrow("pyarrow")
    for ids, features in rows.parts():
        columns = [
            pa.array(ids),
            pa.array(rows.paths_of(ids), type=pa.string()),
            pa.array(rows.collection.hashes(ids), type=pa.string()),
            # Features that came without a picture have no size.
            *(pa.array(column, mask=column == 0) for column in rows.sizes_of(ids).T),
        ]
        if isinstance(features, IntegerTokens):
            columns += [_nested(rows.pooled_of(ids)), _nested(features.integers), _nested(features.scales)]
        else:
            columns += [*([] if rows.chosen.pooled else [_nested(rows.pooled_of(ids))]), _nested(features)]
        yield pa.record_batch(columns, schema=schema)


def _nested(values: NDArray[Any]) -> Any:
    """Return an array as lists of lists of fixed lengths."""
    pa = _pyarrow("pyarrow")
    found = pa.array(np.ascontiguousarray(values, dtype=_written(values.dtype)).reshape(-1))
    for length in reversed(values.shape[1:]):
        found = pa.FixedSizeListArray.from_arrays(found, length)
    return found


def _written(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype of a column: not every program that reads tables knows float16."""
    return np.dtype(np.float32) if dtype == np.float16 else dtype


def _pyarrow(name: str) -> Any:
    return need(name, "Parquet", "pyarrow", "run pip install pyarrow, or name a .npz file")


def _lance() -> Any:
    return need("lance", "Lance", "pylance", "run pip install 'semret[lance]', or name a .parquet file")
