"""Immutable segments: one HDF5 file with the features of up to some hundred images.

Every dataset is contiguous, and the catalog knows its offset: a reader takes rows straight from the file, without an
HDF5 library, and checks them against the checksums stored beside them. Reading by offset rather than by mapping turns
a truncated file into an error instead of a bus error, and was twice as fast.
"""

from __future__ import annotations

import io
import itertools
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semret.arrays import Float32Array, Float64Array
from semret.errors import IndexCorruptError
from semret.index import durable
from semret.index.manifest import Manifest

SEGMENT_ROWS = 256
"""Most images in one segment; also the most that a kill can cost."""

SEGMENT_BYTES = 2**27
"""Bytes of tokens after which a segment is closed though it has fewer rows."""

FOLDER = "segments"
REPAIR = "run semret verify --repair, then semret index"

_ALIGNMENT = 4096


@dataclass(frozen=True)
class Column:
    """One dataset of a segment: its dtype (little-endian) and shape, rows first where it has rows."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def bytes(self) -> int:
        """Size of the dataset."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


def columns(manifest: Manifest, rows: int) -> dict[str, Column]:
    """Return the datasets of a segment with this many rows, in the order of the file.

    ``tokens`` (n, S, C); ``pooled`` (n, D); ``means`` (n, C), of the tokens as stored; ``norms`` (n,), Frobenius, of
    the tokens as stored; ``ids`` (n,), the id under which each row was first indexed; ``sha256`` (n, 32), of the image
    file; ``sizes`` (n, 2), width and height of the picture; ``position_sum`` (S, C) and ``channel_sum`` (C,), of
    tokens and token means over all rows; ``pooled_sum`` (D,); ``checksums`` (n, 3), of the row of tokens, pooled and
    means.
    """
    positions, channels = manifest.token_shape
    dimension = manifest.identity.pooled_dim
    tokens = {"float16": "<f2", "float32": "<f4"}[manifest.dtype]
    return {
        "tokens": Column(tokens, (rows, positions, channels)),
        "pooled": Column("<f4", (rows, dimension)),
        "means": Column("<f4", (rows, channels)),
        "norms": Column("<f8", (rows,)),
        "ids": Column("<i8", (rows,)),
        "sha256": Column("u1", (rows, 32)),
        "sizes": Column("<i4", (rows, 2)),
        "position_sum": Column("<f8", (positions, channels)),
        "channel_sum": Column("<f8", (channels,)),
        "pooled_sum": Column("<f8", (dimension,)),
        "checksums": Column("<u8", (rows, 3)),
    }


CHECKED_ROWS = {"tokens": 0, "pooled": 1, "means": 2}
"""Datasets whose rows are checked one by one, and their column of ``checksums``; the others are checked as a whole."""


@dataclass(frozen=True, kw_only=True)
class Segment:
    """What the catalog knows of a segment.

    Attributes
    ----------
    number : int
        Its file is ``segments/NNNNNN.h5``. Never used twice.
    rows, bytes : int
        Images in it, whether still wanted or not; size of the file.
    sha256 : str
        Of the whole file, in hexadecimal.
    offsets : dict of str to int
        Where each dataset begins in the file.
    sums : dict of str to int
        `checksum` of each dataset that has no checksums of its rows.
    """

    number: int
    rows: int
    bytes: int
    sha256: str
    offsets: dict[str, int]
    sums: dict[str, int]


@dataclass(frozen=True)
class Rows:
    """Features of n images on their way into a segment: see `columns` for the fields."""

    tokens: NDArray[np.floating[Any]]
    pooled: Float32Array
    means: Float32Array
    norms: Float64Array
    ids: NDArray[np.int64]
    sha256: NDArray[np.uint8]
    sizes: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.ids)


def segment_path(index: Path, number: int) -> Path:
    """Return the file of a segment."""
    return index / FOLDER / f"{number:06d}.h5"


def checksum(array: NDArray[Any]) -> int:
    """Return the sum of an array's bytes taken as 64-bit words, modulo 2^64: changes with any single byte."""
    raw = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    whole = len(raw) - len(raw) % 8
    tail = int.from_bytes(raw[whole:].tobytes(), "little")
    return (int(np.add.reduce(raw[:whole].view("<u8"), dtype=np.uint64)) + tail) % 2**64


def row_checksums(array: NDArray[Any]) -> NDArray[np.uint64]:
    """Return the `checksum` of each row, (n,)."""
    flat = np.ascontiguousarray(array).reshape(len(array), math.prod(array.shape[1:])).view(np.uint8)
    if flat.shape[1] % 8:
        return np.array([checksum(row) for row in flat], dtype=np.uint64)
    return np.asarray(np.add.reduce(flat.view("<u8"), axis=1, dtype=np.uint64))


class _Guarded(io.RawIOBase):
    """The file that HDF5 writes to. Keeps the first error to itself, for HDF5 cannot recover from one."""

    def __init__(self, raw: io.FileIO) -> None:
        self._raw = raw
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        done = 0
        while self.error is None and done < len(view):
            try:
                done += self._raw.write(view[done:])
            except OSError as error:
                self.error = error
        return len(view)

    def readinto(self, buffer: Any) -> int:
        return self._raw.readinto(buffer) or 0

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._raw.seek(offset, whence)

    def tell(self) -> int:
        return self._raw.tell()

    def truncate(self, size: int | None = None) -> int:
        if self.error is None:
            try:
                return self._raw.truncate(size)
            except OSError as error:
                self.error = error
        return 0 if size is None else size

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True


def write_segment(index: Path, number: int, manifest: Manifest, parts: Sequence[Rows]) -> Segment:
    """Write a segment and force it to the disk; the catalog does not know it yet.

    Parameters
    ----------
    parts : sequence of Rows
        In the order of the rows; at least one row in all.

    Raises
    ------
    StorageError
        If the disk is full, read-only, or refuses access. Nothing is left behind.
    """
    path = segment_path(index, number)
    try:
        with durable.storage(f"write {path}"):
            path.parent.mkdir(exist_ok=True)
            with durable.temporary(path).open("w+b", buffering=0) as raw:
                durable.checkpoint("segment:begun")
                guarded = _Guarded(raw)
                offsets, sums = _write_datasets(guarded, manifest, parts)
                if guarded.error is not None:
                    raise guarded.error
                durable.flush_file(raw.fileno())
            digest, size = durable.digest_of(durable.temporary(path))
            durable.put_in_place(path, "segment")
    except BaseException:
        durable.discard(durable.temporary(path))
        raise
    rows = sum(map(len, parts))
    return Segment(number=number, rows=rows, bytes=size, sha256=digest, offsets=offsets, sums=sums)


def _write_datasets(
    stream: _Guarded, manifest: Manifest, parts: Sequence[Rows]
) -> tuple[dict[str, int], dict[str, int]]:
    import h5py

    layout = columns(manifest, sum(map(len, parts)))
    offsets, sums = {}, {}
    with h5py.File(stream, "w", alignment_threshold=_ALIGNMENT, alignment_interval=_ALIGNMENT) as file:
        for name, values in _datasets(layout, parts):
            column = layout[name]
            dataset = file.create_dataset(name, column.shape, column.dtype, track_times=False)
            start = 0
            for block in values:
                dataset[start : start + len(block)] = block
                start += len(block)
            offsets[name] = int(dataset.id.get_offset())
            if name not in CHECKED_ROWS:
                sums[name] = checksum(np.concatenate(values))
    return offsets, sums


def _datasets(layout: dict[str, Column], parts: Sequence[Rows]) -> list[tuple[str, list[NDArray[Any]]]]:
    """Return what goes into each dataset, as blocks along its first axis; tokens are never copied as a whole."""
    found: dict[str, list[NDArray[Any]]] = {
        name: [np.ascontiguousarray(getattr(part, name), dtype=layout[name].dtype) for part in parts]
        for name in Rows.__dataclass_fields__
    }
    position_sum = np.zeros(layout["position_sum"].shape)
    for tokens in found["tokens"]:
        for image in tokens:
            position_sum += image
    found["position_sum"] = [position_sum]
    found["channel_sum"] = [np.sum([part.sum(axis=0, dtype=np.float64) for part in found["means"]], axis=0)]
    found["pooled_sum"] = [np.sum([part.sum(axis=0, dtype=np.float64) for part in found["pooled"]], axis=0)]
    found["checksums"] = [
        np.stack([row_checksums(found[name][part]) for name in CHECKED_ROWS], axis=1) for part in range(len(parts))
    ]
    return [(name, found[name]) for name in layout]


class SegmentReader:
    """Rows of one segment, straight from its file.

    Parameters
    ----------
    index : Path
    segment : Segment
        As the catalog has it; checked against the file, for neither is trusted.
    manifest : Manifest
    """

    def __init__(self, index: Path, segment: Segment, manifest: Manifest) -> None:
        self.path = segment_path(index, segment.number)
        self.segment = segment
        self._columns = columns(manifest, segment.rows)
        self._kept: dict[str, NDArray[Any]] = {}
        for name, column in self._columns.items():
            offset = segment.offsets.get(name, -1)
            if offset < 0 or offset + column.bytes > segment.bytes:
                raise self._damaged(f"the catalog places {name} outside the file")

    def whole(self, name: str) -> NDArray[Any]:
        """Return a small dataset, checked, and keep it.

        Raises
        ------
        IndexCorruptError
            If it does not have its checksum, or the file is missing or cut.
        """
        if name not in self._kept:
            column = self._columns[name]
            with self._open() as stream:
                # Only now is it sure that the file is as large as the catalog says.
                values = np.empty(column.shape, dtype=column.dtype)
                self._fill(stream, self.segment.offsets[name], values)
            if checksum(values) != self.segment.sums.get(name):
                raise self._damaged(f"{name} does not have its checksum")
            self._kept[name] = values
        return self._kept[name]

    def read(self, name: str, rows: NDArray[np.intp], out: NDArray[Any]) -> None:
        """Fill `out` with rows of ``tokens``, ``pooled`` or ``means``, reading and checking only these.

        Raises
        ------
        IndexCorruptError
            If a row does not have its checksum, or the file is missing or cut.
        """
        column = self._columns[name]
        stride = Column(column.dtype, column.shape[1:]).bytes
        expected = self.whole("checksums")[rows, CHECKED_ROWS[name]]
        with self._open() as stream:
            for start, stop in _runs(rows):
                self._fill(stream, self.segment.offsets[name] + int(rows[start]) * stride, out[start:stop])
        wrong = np.flatnonzero(row_checksums(out) != expected)
        if wrong.size:
            raise self._damaged(f"row {int(rows[wrong[0]])} of {name} does not have its checksum")

    def take(self, name: str, rows: NDArray[np.intp]) -> NDArray[Any]:
        """Return what `read` fills."""
        column = self._columns[name]
        out = np.empty((len(rows), *column.shape[1:]), dtype=column.dtype)
        self.read(name, rows, out)
        return out

    def _open(self) -> io.FileIO:
        try:
            stream = self.path.open("rb", buffering=0)
        except FileNotFoundError as error:
            raise self._damaged("the file is missing") from error
        except OSError as error:
            raise IndexCorruptError(
                f"{self.path} cannot be read: {error.strerror}; check access, or {REPAIR}"
            ) from error
        size = os.fstat(stream.fileno()).st_size
        if size != self.segment.bytes:
            stream.close()
            raise self._damaged(f"it has {size} bytes instead of {self.segment.bytes}")
        return stream

    def _fill(self, stream: io.FileIO, offset: int, out: NDArray[Any]) -> None:
        view = memoryview(out.reshape(-1).view(np.uint8).data)
        try:
            stream.seek(offset)
            done = 0
            while done < len(view):
                count = stream.readinto(view[done:])
                if not count:
                    raise self._damaged("it ends too early")
                done += count
        except OSError as error:
            raise self._damaged(error.strerror or str(error)) from error

    def _damaged(self, what: str) -> IndexCorruptError:
        return IndexCorruptError(f"{self.path} is damaged: {what}; {REPAIR}")


def _runs(rows: NDArray[np.intp]) -> list[tuple[int, int]]:
    """Split rows into runs of neighbours, which one read takes together."""
    breaks = np.flatnonzero(np.diff(rows) != 1) + 1
    edges = [0, *breaks.tolist(), len(rows)]
    return [(start, stop) for start, stop in itertools.pairwise(edges) if stop > start]
