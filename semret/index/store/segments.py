"""Writing segments: one HDF5 file with the features of up to some hundred images, which never changes again.

What is in one is in `semret.index.store.layout`, how it is read in `semret.index.store.reading`.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semret.index.store import durable
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
from semret.index.store.members import digest_of

_ALIGNMENT = 4096


class _Guarded(io.RawIOBase):
    """The file that HDF5 writes to.

    HDF5 cannot recover from an error of the disk. So the first one is kept in `error`, and every write after it is
    reported as done; the writer of the segment looks at `error` afterwards.
    """

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
    index : Path
        Index directory.
    number : int
        A number that no segment ever had.
    manifest : Manifest
    parts : sequence of Rows
        In the order of the rows; at least one row in all.

    Returns
    -------
    Segment
        What the catalog is to know of it.

    Raises
    ------
    StorageError
        If the disk is full, read-only, or refuses access. Nothing is left behind.
    """
    path = segment_path(index, number)
    segment = write_temporary(path, number, manifest, parts)
    try:
        with durable.storage(f"write {path}"):
            durable.put_in_place(path, "segment")
    except BaseException:
        durable.discard(durable.temporary(path))
        raise
    return segment


def write_temporary(path: Path, number: int, manifest: Manifest, parts: Sequence[Rows]) -> Segment:
    """Write a segment under the temporary name of a file, and force it to the disk.

    Parameters
    ----------
    path : Path
        What it is to be called in the end.
    number : int
    manifest : Manifest
    parts : sequence of Rows
        In the order of the rows; at least one row in all.

    Returns
    -------
    Segment

    Raises
    ------
    StorageError
        If the disk is full, read-only, or refuses access. Nothing is left behind.
    """
    try:
        with durable.storage(f"write {path}"):
            path.parent.mkdir(exist_ok=True)
            with durable.create_temporary(path) as raw:
                durable.checkpoint("segment:begun")
                guarded = _Guarded(raw)
                offsets, sums = _write_datasets(guarded, manifest, parts)
                if guarded.error is not None:
                    raise guarded.error
                durable.flush_file(raw.fileno())
            digest, size = digest_of(durable.temporary(path))
    except BaseException:
        durable.discard(durable.temporary(path))
        raise
    rows = sum(map(len, parts))
    return Segment(number=number, rows=rows, bytes=size, sha256=digest, offsets=offsets, sums=sums)


def _write_datasets(
    stream: _Guarded, manifest: Manifest, parts: Sequence[Rows]
) -> tuple[dict[str, int], dict[str, int]]:
    # Readers take rows at their offsets; only a writer waits for HDF5.
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
            if column.check is None:
                sums[name] = checksum(np.concatenate(values))
    return offsets, sums


def _datasets(layout: dict[str, Column], parts: Sequence[Rows]) -> list[tuple[str, list[NDArray[Any]]]]:
    """Return what goes into each dataset, as blocks along its first axis; tokens are never copied as a whole."""
    found: dict[str, list[NDArray[Any]]] = {
        name: [np.concatenate([getattr(part, name) for part in parts]).astype(layout[name].dtype, copy=False)]
        for name in Rows.__dataclass_fields__
        if name != "tokens" and name in layout
    }
    found["tokens"] = [np.ascontiguousarray(part.tokens, dtype=layout["tokens"].dtype) for part in parts]
    if "position_sum" in layout:
        position_sum = np.zeros(layout["position_sum"].shape)
        for tokens in found["tokens"]:
            for image in tokens:
                position_sum += image
        found["position_sum"] = [position_sum]
        found["channel_sum"] = [found["means"][0].sum(axis=0, dtype=np.float64)]
        found["pooled_sum"] = [found["pooled"][0].sum(axis=0, dtype=np.float64)]
    sums = [np.concatenate([row_checksums(block) for block in found[name]]) for name in checked_rows(layout)]
    found["checksums"] = [np.stack(sums, axis=1)]
    return [(name, found[name]) for name in layout]
