"""Derived files of arrays that are read in parts: each page is compared with its checksum when it is read.

Pages are read by offset, not mapped: what was checked can then not change any more, and a file that is cut meanwhile is
an error rather than a signal. Where an array lies follows from the counts in the header alone; no offset is stored.

    header (one page): magic, mark, counts, zeros, SHA-256 of all this and of the checksums
    the arrays, each filled up to whole pages with zeros
    the checksum of each of these pages, 8 bytes
"""

from __future__ import annotations

import hashlib
import io
import itertools
import math
import os
import struct
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semret.errors import IndexCorruptError
from semret.foreign import open_regular
from semret.index.store import durable
from semret.index.store.layout import Column, row_checksums
from semret.index.store.members import damaged

PAGE = 512
"""Bytes that are checked together: small, for each array of a small index fills its last page up."""

MARK_BYTES = 32

_COUNTS = 16
_HEAD = struct.Struct(f"<24s{MARK_BYTES}s{_COUNTS}Q")
_DIGEST_BYTES = 32
_KEPT_PAGES = 16384
_CHUNK_PAGES = 2048
_MOST = 2**40


@dataclass(frozen=True)
class Kind:
    """What a file holds.

    Attributes
    ----------
    magic : bytes
        Up to 24 bytes that it begins with.
    counts : tuple of str
        Names of the numbers that its arrays' shapes follow from.
    columns : callable
        Given these numbers by name, dtype and shape of each array by its name, in the order of the file.
    label : str
        What the steps of writing one are called by.
    """

    magic: bytes
    counts: tuple[str, ...]
    columns: Callable[[Mapping[str, int]], dict[str, Column]]
    label: str


def _pages(column: Column) -> int:
    return -(-column.bytes // PAGE)


def write_paged(
    path: Path, kind: Kind, mark: bytes, counts: Mapping[str, int], arrays: Mapping[str, Iterable[NDArray[Any]]]
) -> None:
    """Write a file of arrays, whole or not at all.

    Parameters
    ----------
    path : Path
    kind : Kind
    mark : bytes
        32 bytes that say what the file belongs to.
    counts : mapping of str to int
        As `kind` names them.
    arrays : mapping of str to iterable of ndarray
        Blocks of each array, which follow one another along its first axis.

    Raises
    ------
    StorageError
        If the disk is full, read-only, or refuses access. Nothing is left behind.
    """
    head = _HEAD.pack(kind.magic, mark, *(counts[name] for name in kind.counts), *[0] * (_COUNTS - len(kind.counts)))
    try:
        with durable.storage(f"write {path}"):
            with io.BufferedRandom(durable.create_temporary(path)) as stream:
                stream.write(bytes(PAGE))
                sums = [
                    _write_array(stream, column, arrays[name], name) for name, column in kind.columns(counts).items()
                ]
                table = np.concatenate(sums).astype("<u8").tobytes()
                stream.write(table)
                stream.seek(0)
                stream.write(_header(head, table))
                stream.flush()
                durable.flush_file(stream.fileno())
            durable.put_in_place(path, kind.label)
    except BaseException:
        durable.discard(durable.temporary(path))
        raise


def _header(head: bytes, table: bytes) -> bytes:
    filled = head.ljust(PAGE - _DIGEST_BYTES, b"\0")
    return filled + hashlib.sha256(filled + table).digest()


def _write_array(
    stream: io.BufferedRandom, column: Column, blocks: Iterable[NDArray[Any]], name: str
) -> NDArray[np.uint64]:
    """Write one array page by page; return the checksums of its pages."""
    sums: list[NDArray[np.uint64]] = [np.zeros(0, dtype=np.uint64)]
    rest, size = b"", 0
    for block in itertools.chain(blocks, [None]):
        if block is not None:
            raw = np.ascontiguousarray(block, dtype=column.dtype).tobytes()
            rest, size = rest + raw, size + len(raw)
        elif len(rest) % PAGE:
            rest = rest.ljust(-(-len(rest) // PAGE) * PAGE, b"\0")
        whole = len(rest) - len(rest) % PAGE
        if whole:
            stream.write(memoryview(rest)[:whole])
            sums.append(row_checksums(np.frombuffer(rest, dtype=np.uint8, count=whole).reshape(-1, PAGE)))
            rest = rest[whole:]
    if size != column.bytes:
        raise ValueError(f"{name} has {size} bytes, expected {column.bytes}")
    return np.concatenate(sums)


class PagedFile:
    """An open file of arrays.

    It stays readable though another one is put in its place. Safe for use from several threads.

    Parameters
    ----------
    path : Path
    kind : Kind
    most : mapping of str to int
        For each of the counts, what it cannot exceed; checked before memory is taken for anything.

    Attributes
    ----------
    mark : bytes
    counts : dict of str to int
    digest : bytes
        SHA-256 of the header and the checksums: no other content has it.

    Raises
    ------
    IndexCorruptError
        If it is not of this kind, of another length than its header says, or the header or the
        checksums are damaged.
    OSError
        If it is missing or cannot be opened.
    """

    def __init__(self, path: Path, kind: Kind, most: Mapping[str, int]) -> None:
        self.path = path
        with open_regular(path, follow=False) as stream:
            # An own descriptor: a file object that nobody closes would complain.
            self._descriptor = os.dup(stream.fileno())
        weakref.finalize(self, os.close, self._descriptor)
        self._guard = threading.Lock()
        self._kept: dict[int, bytes] = {}
        head = self._read(0, PAGE)
        self.mark: bytes
        magic, self.mark, *numbers = _HEAD.unpack_from(head)
        if magic != kind.magic.ljust(24, b"\0"):
            raise damaged(path, "it does not begin as it must")
        self.counts = dict(zip(kind.counts, numbers, strict=False))
        if any(count > min(most[name], _MOST) for name, count in self.counts.items()):
            raise damaged(path, "it says that it is larger than it can be")
        self._columns = kind.columns(self.counts)
        self._rows: dict[str, tuple[int, np.dtype[Any], int]] = {}
        pages = 0
        for name, column in self._columns.items():
            # First page, dtype, bytes of a row.
            self._rows[name] = pages, np.dtype(column.dtype), Column(column.dtype, column.shape[1:]).bytes
            pages += _pages(column)
        size = os.fstat(self._descriptor).st_size
        if size != PAGE + pages * (PAGE + 8):
            raise damaged(path, f"it has {size} bytes instead of {PAGE + pages * (PAGE + 8)}")
        table = self._read(PAGE + pages * PAGE, 8 * pages)
        if _header(head[: _HEAD.size], table) != head:
            raise damaged(path, "its header does not have its checksum")
        self.digest = head[-_DIGEST_BYTES:]
        self._sums = np.frombuffer(table, dtype="<u8")

    def whole(self, name: str) -> NDArray[Any]:
        """Return an array, all of it read and checked.

        Parameters
        ----------
        name : str

        Returns
        -------
        ndarray
            A new one at every call.

        Raises
        ------
        IndexCorruptError
            If one of its pages does not have its checksum.
        """
        column = self._columns[name]
        first, dtype, _ = self._rows[name]
        raw = self._checked(first, _pages(column))
        return np.frombuffer(raw, dtype=dtype, count=math.prod(column.shape)).reshape(column.shape)

    def part(self, name: str, start: int, stop: int) -> NDArray[Any]:
        """Return some rows of an array; only their pages are read and checked.

        Parameters
        ----------
        name : str
        start, stop : int
            Along its first axis.

        Returns
        -------
        ndarray
            Not writable.

        Raises
        ------
        IndexCorruptError
            If there are no such rows, or a page does not have its checksum.
        """
        column = self._columns[name]
        if not 0 <= start <= stop <= column.shape[0]:
            raise damaged(self.path, f"it names rows {start} to {stop} of {name}, which has {column.shape[0]}")
        origin, dtype, stride = self._rows[name]
        begin, end = start * stride, stop * stride
        first, pages = origin + begin // PAGE, -(-end // PAGE) - begin // PAGE
        raw = self._page(first) if pages == 1 else self._checked(first, pages)
        shape = (stop - start, *column.shape[1:])
        return np.frombuffer(raw, dtype, math.prod(shape), begin % PAGE if pages > 0 else 0).reshape(shape)

    def take(self, name: str, rows: NDArray[np.integer[Any]]) -> NDArray[Any]:
        """Return rows of an array at any places.

        Parameters
        ----------
        name : str
        rows : ndarray of shape (n,), integer
            In any order; one may come twice.

        Returns
        -------
        ndarray of shape (n, ...)

        Raises
        ------
        IndexCorruptError
            As `part`.
        """
        column = self._columns[name]
        if not len(rows):
            return np.empty((0, *column.shape[1:]), dtype=column.dtype)
        if len(rows) * PAGE > column.bytes and rows.min() >= 0 and rows.max() < column.shape[0]:
            return np.asarray(self.whole(name)[rows])
        return np.concatenate([self.part(name, row, row + 1) for row in rows.tolist()])

    def require_sound(self) -> None:
        """Read and check every page.

        Raises
        ------
        IndexCorruptError
            If one does not have its checksum.
        """
        for start in range(0, len(self._sums), _CHUNK_PAGES):
            self._checked(start, min(_CHUNK_PAGES, len(self._sums) - start))

    def _page(self, number: int) -> bytes:
        page = self._kept.get(number)
        if page is None:
            page = self._checked(number, 1)
            if len(self._kept) >= _KEPT_PAGES:
                self._kept.clear()
            self._kept[number] = page
        return page

    def _checked(self, first: int, count: int) -> bytes:
        """Read pages of the arrays, and compare them with their checksums."""
        raw = self._read(PAGE * (1 + first), PAGE * count)
        found = row_checksums(np.frombuffer(raw, dtype=np.uint8).reshape(-1, PAGE))
        if not np.array_equal(found, self._sums[first : first + count]):
            raise damaged(self.path, "a page does not have its checksum")
        return raw

    def _read(self, offset: int, size: int) -> bytes:
        parts, done = [], 0
        try:
            while done < size:
                part = self._read_at(offset + done, size - done)
                if not part:
                    raise damaged(self.path, "it is cut off")
                parts.append(part)
                done += len(part)
        except OSError as error:
            raise IndexCorruptError(f"{self.path} cannot be read: {error.strerror or error}") from error
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _read_at(self, offset: int, size: int) -> bytes:
        if hasattr(os, "pread"):
            return os.pread(self._descriptor, size, offset)
        with self._guard:
            os.lseek(self._descriptor, offset, os.SEEK_SET)
            return os.read(self._descriptor, size)
