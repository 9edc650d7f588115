"""Rows of a segment, straight from its file.

Every dataset is contiguous and the catalog knows its offset, so no HDF5 library is needed. Reading by offset rather
than by mapping turns a truncated file into an error instead of a bus error, and was twice as fast.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semret.errors import IndexCorruptError
from semret.index.store.layout import (
    Column,
    Rows,
    Segment,
    checked_rows,
    checksum,
    columns,
    row_checksums,
    segment_path,
)
from semret.index.store.manifest import Manifest
from semret.index.store.members import REPAIR, damaged, open_member, require_folder
from semret.index.store.open_files import OpenFile, kept_open, let_go

_CHUNK = 2**20


class SegmentReader:
    """Rows of one segment, straight from its file.

    Parameters
    ----------
    index : Path
    segment : Segment
        As the catalog has it; checked against the file, for neither is trusted.
    manifest : Manifest

    Raises
    ------
    IndexCorruptError
        If the catalog places a dataset outside the file.
    """

    def __init__(self, index: Path, segment: Segment, manifest: Manifest) -> None:
        self.path = segment_path(index, segment.number)
        self.segment = segment
        self._columns = columns(manifest, segment.rows)
        self._kept: dict[str, NDArray[Any]] = {}
        let_go(self)
        for name, column in self._columns.items():
            offset = segment.offsets.get(name, -1)
            if offset < 0 or offset + column.bytes > segment.bytes:
                raise damaged(self.path, f"the catalog places {name} outside the file")

    def whole(self, name: str) -> NDArray[Any]:
        """Return a small dataset, checked, and keep it.

        Parameters
        ----------
        name : str
            One whose rows have no checksums of their own; see `semret.index.store.layout.columns`.

        Returns
        -------
        ndarray
            The same one at every call.

        Raises
        ------
        IndexCorruptError
            If it does not have its checksum, or the file is missing or cut.
        """
        if name not in self._kept:
            column = self._columns[name]
            file = self._open()
            # Only now is it sure that the file is as large as the catalog says.
            values = np.empty(column.shape, dtype=column.dtype)
            self._fill(file, self.segment.offsets[name], values)
            if checksum(values) != self.segment.sums.get(name):
                raise damaged(self.path, f"{name} does not have its checksum")
            self._kept[name] = values
        return self._kept[name]

    def read(self, name: str, rows: NDArray[np.intp], out: NDArray[Any]) -> None:
        """Fill `out` with rows of a dataset whose rows have checksums, reading and checking only these.

        Parameters
        ----------
        name : {"tokens", "scales", "pooled", "means"}
        rows : ndarray of shape (n,), intp
            In any order.
        out : ndarray of shape (n, ...)
            Contiguous, in the stored dtype; what is in it is replaced.

        Raises
        ------
        IndexCorruptError
            If there is no such row, a row does not have its checksum, or the file is missing or cut.
        """
        if len(rows) and not (rows.min() >= 0 and rows.max() < self.segment.rows):
            outside = rows[(rows < 0) | (rows >= self.segment.rows)]
            raise damaged(self.path, f"the catalog names row {int(outside[0])}, it has {self.segment.rows}")
        column = self._columns[name]
        stride = Column(column.dtype, column.shape[1:]).bytes
        expected = self.whole("checksums")[rows, column.check]
        file = self._open()
        for start, stop in _runs(rows):
            self._fill(file, self.segment.offsets[name] + int(rows[start]) * stride, out[start:stop])
        wrong = np.flatnonzero(row_checksums(out) != expected)
        if wrong.size:
            raise damaged(self.path, f"row {int(rows[wrong[0]])} of {name} does not have its checksum")

    def take(self, name: str, rows: NDArray[np.intp]) -> NDArray[Any]:
        """Return rows of a dataset whose rows have checksums, reading and checking only these.

        Parameters
        ----------
        name : {"tokens", "scales", "pooled", "means"}
        rows : ndarray of shape (n,), intp
            In any order.

        Returns
        -------
        ndarray of shape (n, ...), in the stored dtype

        Raises
        ------
        IndexCorruptError
            As `read`.
        """
        column = self._columns[name]
        out = np.empty((len(rows), *column.shape[1:]), dtype=column.dtype)
        self.read(name, rows, out)
        return out

    def take_rows(self, rows: NDArray[np.intp]) -> Rows:
        """Return rows as they go into another segment.

        Parameters
        ----------
        rows : ndarray of shape (n,), intp
            In any order.

        Returns
        -------
        Rows
            Of length n.

        Raises
        ------
        IndexCorruptError
            As `read`.
        """
        checked = checked_rows(self._columns)
        read = {name: self.take(name, rows) for name in checked}
        kept = {name: self.whole(name)[rows] for name in Rows.__dataclass_fields__ if self._has(name, checked)}
        return Rows(**read, **kept)

    def _has(self, name: str, checked: list[str]) -> bool:
        return name in self._columns and name not in checked

    def chunks(self) -> Iterator[bytes]:
        """Give the whole file as it is, in pieces, unchecked but for its size.

        Yields
        ------
        bytes

        Raises
        ------
        IndexCorruptError
            If the file is missing, or does not have its size.
        """
        file = self._open()
        piece = np.empty(_CHUNK, dtype=np.uint8)
        for start in range(0, self.segment.bytes, _CHUNK):
            part = piece[: min(_CHUNK, self.segment.bytes - start)]
            self._fill(file, start, part)
            yield part.tobytes()

    def _open(self) -> OpenFile:
        file = kept_open(self, self._opened)
        if (size := file.size()) != self.segment.bytes:
            raise damaged(self.path, f"it has {size} bytes instead of {self.segment.bytes}")
        return file

    def _opened(self) -> OpenFile:
        try:
            require_folder(self.path.parent)
            return OpenFile(open_member(self.path))
        except FileNotFoundError as error:
            raise damaged(self.path, "the file is missing") from error
        except OSError as error:
            raise IndexCorruptError(
                f"{self.path} cannot be read: {error.strerror}; check access, or {REPAIR}"
            ) from error

    def _fill(self, file: OpenFile, offset: int, out: NDArray[Any]) -> None:
        view = memoryview(out.reshape(-1).view(np.uint8).data)
        try:
            done = 0
            while done < len(view):
                count = file.read_into(view[done:], offset + done)
                if not count:
                    raise damaged(self.path, "it ends too early")
                done += count
        except OSError as error:
            raise damaged(self.path, error.strerror or str(error)) from error


def _runs(rows: NDArray[np.intp]) -> list[tuple[int, int]]:
    """Split rows into runs of neighbours, which one read takes together."""
    if len(rows) == 1:
        return [(0, 1)]
    breaks = np.flatnonzero(np.diff(rows) != 1) + 1
    edges = [0, *breaks.tolist(), len(rows)]
    return [(start, stop) for start, stop in itertools.pairwise(edges) if stop > start]
