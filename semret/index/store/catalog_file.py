"""Checks on the files of the catalog before SQLite opens them: their kind, their length, what they make SQLite do.

SQLite follows links, waits for pipes, and undoes whatever a journal beside its file says, down to deleting the file
that the journal names as another one of several. So nothing is given to SQLite that semret itself could not have
written, and what has to be undone for a reader is undone in a private copy.
"""

from __future__ import annotations

import io
import os
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

from semret.errors import IndexCorruptError, StorageError
from semret.index.store import durable
from semret.index.store.members import REPAIR, damaged, open_member

CATALOG_NAME = "catalog.sqlite"
DIGEST_NAME = "catalog.sha256"
JOURNAL_NAME = CATALOG_NAME + "-journal"
STRANGE_NAMES = (CATALOG_NAME + "-wal", CATALOG_NAME + "-shm")
"""What SQLite would take for parts of the catalog though semret never writes them."""

MOST_BYTES = 2**32
"""No catalog is longer: that of ten million pictures takes about half of it."""

_CHUNK = 2**20
_SMALLEST = 512
_VERSIONS = slice(18, 20)
_ROLLBACK = b"\1\1"
_MAGIC = b"SQLite format 3\0"
_JOURNAL_MAGIC = bytes.fromhex("d9d505f920a163d7")
_JOURNAL_HEAD = struct.Struct(">8sIIIII")


class _Kept:
    """Open catalog files, kept until no `CatalogFile` is in use in this process.

    Closing any descriptor of a file drops all locks that the process has on it (POSIX), those of SQLite in another
    thread among them.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._users = 0
        self._streams: dict[tuple[int, int], io.FileIO] = {}

    def open(self, path: Path) -> io.FileIO:
        """Open a file, or give the stream that is open on it already; each call needs a `leave`."""
        with self._guard:
            found = path.lstat()
            stream = self._streams.get((found.st_dev, found.st_ino))
            if stream is None:
                stream = open_member(path, most=MOST_BYTES)
                opened = os.fstat(stream.fileno())
                # Should a file have been put in its place this moment, the one that was opened is kept.
                self._streams[opened.st_dev, opened.st_ino] = stream
            self._users += 1
            return stream

    def leave(self) -> None:
        """Close everything if this was the last user."""
        with self._guard:
            self._users -= 1
            if not self._users:
                for stream in self._streams.values():
                    stream.close()
                self._streams.clear()


_kept = _Kept()


class CatalogFile:
    """The file of a catalog, found fit to be opened by SQLite. `close` must follow.

    Parameters
    ----------
    path : Path
    writable : bool
        Whether it is going to be written to.

    Raises
    ------
    IndexCorruptError
        If it is missing, no regular file, too long, cut off, or would make SQLite look for a write-ahead log; if it is
        to be written and has another name elsewhere.
    StorageError
        If it may not be read.
    """

    def __init__(self, path: Path, *, writable: bool = False) -> None:
        self._path = path
        try:
            self._stream = _kept.open(path)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise IndexCorruptError(f"{path} is missing; {REPAIR}") from error
        except OSError as error:
            raise StorageError(durable.describe(error, f"read {path}")) from error
        try:
            self._check(writable)
        except BaseException:
            self.close()
            raise

    def _check(self, writable: bool) -> None:
        head = self._read(0, 100)
        if self.size < _SMALLEST:
            raise damaged(self._path, "it is cut off")
        if head.startswith(_MAGIC) and head[_VERSIONS] != _ROLLBACK:
            raise damaged(self._path, "it asks for a write-ahead log, which semret never uses")
        if writable and os.fstat(self._stream.fileno()).st_nlink > 1:
            raise IndexCorruptError(
                f"{self._path} has another name elsewhere (a hard link), which would change with it; "
                "put a copy in its place"
            )

    @property
    def size(self) -> int:
        """Its length in bytes, as it is now."""
        return os.fstat(self._stream.fileno()).st_size

    @property
    def is_in_place(self) -> bool:
        """Whether the path still leads to this file and not to another."""
        try:
            return os.path.samestat(self._path.lstat(), os.fstat(self._stream.fileno()))
        except OSError:
            return False

    def chunks(self) -> Iterator[bytes]:
        """Give its content, in pieces.

        Yields
        ------
        bytes
        """
        position = 0
        while chunk := self._read(position, _CHUNK):
            yield chunk
            position += len(chunk)

    def _read(self, position: int, size: int) -> bytes:
        if hasattr(os, "pread"):
            return os.pread(self._stream.fileno(), size, position)
        with _kept._guard:
            self._stream.seek(position)
            return self._stream.read(size)

    def close(self) -> None:
        """Close the file, unless another user in this process still has it open."""
        _kept.leave()


def check_companions(path: Path) -> None:
    """Refuse files beside a catalog that semret does not write, and that SQLite would act on.

    Parameters
    ----------
    path : Path
        The catalog.

    Raises
    ------
    IndexCorruptError
        If there is a write-ahead log; or a journal that is not a regular file, makes SQLite delete a file, or makes
        the catalog longer than any can be.
    StorageError
        If the journal may not be read.
    """
    for name in STRANGE_NAMES:
        if os.path.lexists(path.with_name(name)):
            raise IndexCorruptError(f"{path.with_name(name)} is no part of an index; take it away, or {REPAIR}")
    check_journal(path.with_name(JOURNAL_NAME))


def check_journal(path: Path) -> None:
    """Refuse a journal that no writer of semret can have left. Most catalogs have no journal.

    A transaction over one file never names another. A journal that does (its last bytes say so) would have SQLite
    delete that other file when it undoes the transaction.

    Parameters
    ----------
    path : Path
        The journal.

    Raises
    ------
    IndexCorruptError, StorageError
        See `check_companions`.
    """
    try:
        with open_member(path, most=2 * MOST_BYTES) as stream:
            head = stream.read(_JOURNAL_HEAD.size)
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, size - len(_JOURNAL_MAGIC)))
            tail = stream.read(len(_JOURNAL_MAGIC))
    except FileNotFoundError:
        return
    except OSError as error:
        raise StorageError(durable.describe(error, f"read {path}")) from error
    if size >= 2 * len(_JOURNAL_MAGIC) and tail == _JOURNAL_MAGIC:
        raise IndexCorruptError(
            f"{path} would have another file deleted, so semret did not write it; take it away, or {REPAIR}"
        )
    if len(head) == _JOURNAL_HEAD.size and head.startswith(_JOURNAL_MAGIC):
        _, _, _, pages, _, page = _JOURNAL_HEAD.unpack(head)
        if pages * page > MOST_BYTES:
            raise IndexCorruptError(
                f"{path} would make the catalog {pages * page} bytes long, expected at most {MOST_BYTES}; "
                f"take it away, or {REPAIR}"
            )


def copy_with_journal(file: CatalogFile, journal: Path, folder: Path) -> Path | None:
    """Copy a catalog and the journal of an interrupted commit to a folder, where the commit can be undone.

    Parameters
    ----------
    file : CatalogFile
        The catalog.
    journal : Path
    folder : Path
        Where to put the copies.

    Returns
    -------
    Path or None
        The copy of the catalog; None if a writer has dealt with the journal meanwhile, so that none is needed. Until it
        deletes the journal, all that it can have done is what the journal says, and that may be done twice.

    Raises
    ------
    IndexCorruptError
        As `check_journal`, for the copy.
    StorageError
        If there is no room for the copy.
    """
    copy = folder / CATALOG_NAME
    with durable.storage(f"copy the catalog beside {journal} to a temporary folder"):
        try:
            before = journal.lstat()
            write_chunks(copy, file.chunks())
            with open_member(journal, most=2 * MOST_BYTES) as stream:
                write_chunks(copy.with_name(JOURNAL_NAME), iter(lambda: stream.read(_CHUNK), b""))
            after = journal.lstat()
        except FileNotFoundError:
            return None
    state = [(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns) for found in (before, after)]
    check_journal(copy.with_name(JOURNAL_NAME))
    return copy if state[0] == state[1] else None


def write_chunks(path: Path, chunks: Iterator[bytes]) -> None:
    """Write a file from its pieces; an existing one is replaced.

    Parameters
    ----------
    path : Path
    chunks : iterator of bytes

    Raises
    ------
    OSError
        If the disk is full, read-only, or refuses access.
    """
    with path.open("wb") as stream:
        for chunk in chunks:
            stream.write(chunk)
