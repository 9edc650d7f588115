"""Stored maps, or pooled embeddings, written to a file for other programs, a few images at a time."""

from __future__ import annotations

import contextlib
import os
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from semret.arrays import Float32Array, IdVector, require_flag, require_memory
from semret.errors import ArgumentError, StorageError
from semret.index.collection import Collection
from semret.index.indexed_pictures import require_no_source
from semret.names import escaped
from semret.outputs import replaced
from semret.paths import PathLike, require_path
from semret.progress import Progress
from semret.retrieval.search.stored_rows import Chosen, StoredRows
from semret.retrieval.search.token_tables import (
    require_arrow,
    require_lance_place,
    write_lance,
    write_parquet,
)

_WRITERS = (".npy", ".npz", ".parquet", ".lance")
_WITH_SCALES = _WRITERS[1:]
_OF_ARRAYS = _WRITERS[:2]


def check_token_file(path: PathLike, collection: Collection, *, integers: bool = False) -> None:
    """Refuse a file that maps cannot be written to, before anything is read.

    Parameters
    ----------
    path : path
    collection : Collection
    integers : bool

    Raises
    ------
    ArgumentError
        If the name ends otherwise, the file belongs to the index or is a picture in it, or integers do not fit in.
    StorageError
        If there is no folder for a Lance data set to be in.
    MissingDependencyError
        If a table is wanted whose package is not installed.
    """
    require_path(path)
    suffix = Path(path).suffix.lower()
    if suffix not in _WRITERS:
        raise ArgumentError(f"cannot write {os.fspath(path)}: name a file that ends in {', '.join(_WRITERS)}")
    if integers and suffix not in _WITH_SCALES:
        raise ArgumentError(
            f"integers come with their scales, which do not fit into {os.fspath(path)}; "
            f"name a file that ends in {', '.join(_WITH_SCALES)}"
        )
    require_no_source(path, collection)
    if suffix == ".lance":
        require_lance_place(path)
    if suffix in (".parquet", ".lance"):
        require_arrow(suffix)


def write_tokens(
    path: PathLike,
    collection: Collection,
    ids: IdVector,
    *,
    center: str = "none",
    integers: bool = False,
    pooled: bool = False,
    progress: Progress | None = None,
) -> tuple[int, ...]:
    """Do what `SearchEngine.write_tokens` does, for ids.

    Parameters
    ----------
    path : path
        Its suffix decides.
    collection : Collection
    ids : ndarray of shape (n,), int64
        In any order; one may come twice.
    center, integers, pooled
        See `SearchEngine.write_tokens`.
    progress : callable, optional
        Called with the number of images written and their total.

    Returns
    -------
    tuple of int
        Shape of the maps, or of the pooled embeddings.

    Raises
    ------
    ArgumentError, UnknownNameError, MissingDependencyError, StorageError, IndexCorruptError
        See `SearchEngine.write_tokens`.
    """
    require_flag(integers, "integers")
    require_flag(pooled, "pooled")
    check_token_file(path, collection, integers=integers)
    rows = StoredRows(collection, ids, Chosen(center, integers, pooled), progress)
    suffix = Path(path).suffix.lower()
    if suffix == ".lance":
        write_lance(path, rows)
        return rows.shape
    writer = {".npy": _write_npy, ".npz": _write_npz, ".parquet": write_parquet}[suffix]
    with _reported(path), replaced(path) as stream:
        writer(stream, rows)
    return rows.shape


def write_vectors(path: PathLike, collection: Collection, names: Sequence[str], vectors: Float32Array) -> None:
    """Write pooled embeddings of pictures that need not be in an index; ``.npz`` also holds ``paths`` and ``metadata``.

    Parameters
    ----------
    path : path
        Ends in .npy or .npz.
    collection : Collection
        The index whose embeddings they are like.
    names : sequence of str
        Of n pictures.
    vectors : ndarray of shape (n, D), float32
        See `SearchEngine.query_vector`.

    Raises
    ------
    ArgumentError
        If the name ends otherwise, or the file belongs to the index or is a picture in it.
    StorageError
        If the file cannot be written.
    """
    check_vector_file(path, collection)
    about = StoredRows(collection, collection.ids[:0], Chosen(pooled=True)).description
    with _reported(path), replaced(path) as stream:
        if Path(path).suffix.lower() == ".npy":
            np.save(stream, vectors, allow_pickle=False)
        else:
            shown = np.array([escaped(name) for name in names], dtype=np.str_)
            np.savez(stream, paths=shown, pooled=vectors, metadata=np.array(about))


def check_vector_file(path: PathLike, collection: Collection) -> None:
    """Refuse a file that `write_vectors` does not write.

    Parameters
    ----------
    path : path
    collection : Collection

    Raises
    ------
    ArgumentError
        If the name ends otherwise, or the file belongs to the index or is a picture in it.
    """
    if Path(path).suffix.lower() not in _OF_ARRAYS:
        raise ArgumentError(
            f"cannot write {os.fspath(path)}: embeddings of queries go into a file that ends in {', '.join(_OF_ARRAYS)}"
        )
    require_no_source(path, collection)


@contextlib.contextmanager
def _reported(path: PathLike) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(f"cannot write {os.fspath(path)}: {error.strerror or error}; choose another file") from error


def _write_npy(stream: IO[bytes], rows: StoredRows) -> None:
    _write_array(stream, rows.shape, rows.dtype, (features for _, features in rows.parts()))


def _write_npz(stream: IO[bytes], rows: StoredRows) -> None:
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:

        def add(name: str, write: Callable[[IO[bytes]], None]) -> None:
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                write(member)

        def add_array(name: str, array: NDArray[Any]) -> None:
            add(name, lambda member: np.save(member, array, allow_pickle=False))

        add_array("ids", rows.ids)
        paths = rows.paths_of(rows.ids)
        longest = max(map(len, paths), default=0)
        require_memory(4 * len(paths) * longest, f"an array of {len(paths)} paths, one of {longest} characters,")
        add_array("paths", np.array(paths, dtype=np.str_))
        add_array("metadata", np.array(rows.description))
        if rows.scales is None:
            add("pooled" if rows.chosen.pooled else "tokens", lambda member: _write_npy(member, rows))
            return
        scales: list[NDArray[Any]] = []

        def integers() -> Iterator[NDArray[Any]]:
            for _, part in rows.parts():
                scales.append(part.scales)
                yield part.integers

        add("integers", lambda member: _write_array(member, rows.shape, rows.dtype, integers()))
        add_array("scales", np.concatenate([*scales, np.empty((0, rows.shape[1]), dtype=rows.scales)]))


def _write_array(
    stream: IO[bytes], shape: tuple[int, ...], dtype: np.dtype[Any], parts: Iterator[NDArray[Any]]
) -> None:
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, header)
    for part in parts:
        stream.write(np.ascontiguousarray(part, dtype=dtype).tobytes())
