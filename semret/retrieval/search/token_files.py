"""Stored token maps written to a file for other programs: .npy, .npz or Parquet, a few images at a time."""

from __future__ import annotations

import importlib
import os
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from semret.arrays import IdVector
from semret.errors import ArgumentError, MissingDependencyError, StorageError
from semret.index.collection import Collection
from semret.index.indexed_pictures import require_no_source
from semret.integer_tokens import IntegerTokens
from semret.names import escaped
from semret.outputs import replaced
from semret.paths import PathLike
from semret.progress import Progress
from semret.retrieval.search.stored import stored_maps

_PART_BYTES = 2**25
_WRITERS = (".npy", ".npz", ".parquet")


def check_token_file(path: PathLike, collection: Collection, *, integers: bool) -> None:
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
    MissingDependencyError
        If Parquet is wanted and pyarrow is not installed.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in _WRITERS:
        raise ArgumentError(f"cannot write {os.fspath(path)}: name a file that ends in {', '.join(_WRITERS)}")
    if integers and suffix != ".npz":
        raise ArgumentError(
            f"integers come with their scales, which do not fit into {os.fspath(path)}; name a .npz file"
        )
    if suffix == ".parquet":
        _pyarrow("pyarrow.parquet")
    require_no_source(path, collection)


def write_tokens(
    path: PathLike,
    collection: Collection,
    ids: IdVector,
    *,
    center: str = "none",
    integers: bool = False,
    progress: Progress | None = None,
) -> tuple[int, int, int]:
    """Write stored maps to a file; an interrupted write leaves what was there before.

    ``.npy`` holds the maps alone, (n, S, C). ``.npz`` also holds ``ids`` and ``paths``, or in place of the maps
    ``integers`` and ``scales``. Parquet has a row for each image: ``id``, ``path``, and ``tokens``, S lists of C
    numbers. Paths are written as they are printed, see `semret.names.escaped`.

    Parameters
    ----------
    path : path
        Its suffix decides.
    collection : Collection
    ids : ndarray of shape (n,), int64
        In any order; one may come twice.
    center, integers
        See `semret.SearchEngine.tokens`.
    progress : callable, optional
        Called with the number of images written and their total.

    Returns
    -------
    (int, int, int)
        Shape of the maps.

    Raises
    ------
    ArgumentError, UnknownNameError, MissingDependencyError
        See `check_token_file` and `semret.SearchEngine.tokens`.
    StorageError
        If the file cannot be written.
    IndexCorruptError
        If what is read is damaged.
    """
    check_token_file(path, collection, integers=integers)
    maps = _Maps(collection, ids, center, integers, progress)
    writer = {".npy": _write_npy, ".npz": _write_npz, ".parquet": _write_parquet}[Path(path).suffix.lower()]
    try:
        with replaced(path) as stream:
            writer(stream, maps)
    except OSError as error:
        raise StorageError(f"cannot write {os.fspath(path)}: {error.strerror or error}; choose another file") from error
    return maps.shape


class _Maps:
    """The maps to be written, read a few at a time."""

    def __init__(
        self, collection: Collection, ids: IdVector, center: str, integers: bool, progress: Progress | None
    ) -> None:
        self.ids, self.integers = ids, integers
        # With no image, too: it checks the arguments and tells the dtype.
        empty = stored_maps(collection, ids[:0], center=center, integers=integers)
        self.shape = (len(ids), *empty.shape[1:])
        self.dtype = np.dtype(np.int8) if isinstance(empty, IntegerTokens) else empty.dtype
        self.scales = empty.scales.dtype if isinstance(empty, IntegerTokens) else None
        self._collection, self._center, self._progress = collection, center, progress

    @property
    def paths(self) -> list[str]:
        return [escaped(path) for path in self._collection.paths(self.ids)]

    def parts(self) -> Iterator[tuple[IdVector, Any]]:
        """Give ids and maps of a few images after another."""
        step = max(1, _PART_BYTES // (4 * self.shape[1] * self.shape[2]))
        for start in range(0, len(self.ids), step):
            ids = self.ids[start : start + step]
            yield ids, stored_maps(self._collection, ids, center=self._center, integers=self.integers)
            if self._progress is not None:
                self._progress(start + len(ids), len(self.ids))

    def paths_of(self, ids: IdVector) -> list[str]:
        return [escaped(path) for path in self._collection.paths(ids)]


def _write_npy(stream: IO[bytes], maps: _Maps) -> None:
    _write_array(stream, maps.shape, maps.dtype, (part for _, part in maps.parts()))


def _write_npz(stream: IO[bytes], maps: _Maps) -> None:
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:

        def add(name: str, write: Callable[[IO[bytes]], None]) -> None:
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                write(member)

        add("ids", lambda member: np.save(member, maps.ids, allow_pickle=False))
        paths = np.array(maps.paths, dtype=np.str_)
        add("paths", lambda member: np.save(member, paths, allow_pickle=False))
        if maps.scales is None:
            add("tokens", lambda member: _write_npy(member, maps))
            return
        scales: list[NDArray[Any]] = []

        def integers() -> Iterator[NDArray[Any]]:
            for _, part in maps.parts():
                scales.append(part.scales)
                yield part.integers

        add("integers", lambda member: _write_array(member, maps.shape, maps.dtype, integers()))
        kept = np.concatenate([*scales, np.empty((0, maps.shape[1]), dtype=maps.scales)])
        add("scales", lambda member: np.save(member, kept, allow_pickle=False))


def _write_array(
    stream: IO[bytes], shape: tuple[int, ...], dtype: np.dtype[Any], parts: Iterator[NDArray[Any]]
) -> None:
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, header)
    for part in parts:
        stream.write(np.ascontiguousarray(part, dtype=dtype).tobytes())


def _write_parquet(stream: IO[bytes], maps: _Maps) -> None:
    pa, parquet = _pyarrow("pyarrow"), _pyarrow("pyarrow.parquet")
    _, positions, channels = maps.shape
    number = pa.from_numpy_dtype(maps.dtype) if maps.dtype != np.float16 else pa.float32()
    rows = pa.list_(pa.list_(number, channels), positions)
    schema = pa.schema([("id", pa.int64()), ("path", pa.string()), ("tokens", rows)])
    with parquet.ParquetWriter(stream, schema) as writer:
        for ids, part in maps.parts():
            flat = pa.array(part.astype(number.to_pandas_dtype()).reshape(-1))
            tokens = pa.FixedSizeListArray.from_arrays(pa.FixedSizeListArray.from_arrays(flat, channels), positions)
            writer.write_table(pa.table([pa.array(ids), pa.array(maps.paths_of(ids)), tokens], schema=schema))


def _pyarrow(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingDependencyError(
            "Parquet needs pyarrow, which is not installed: pip install pyarrow, or name a .npz file"
        ) from error
