"""What a damaged catalog still tells, read from a copy of it. Nothing that it says is believed without a check."""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from semret.errors import IndexCorruptError, SemretError
from semret.index.store import durable
from semret.index.store.catalog_digest import read_digest
from semret.index.store.catalog_file import (
    CATALOG_NAME,
    DIGEST_NAME,
    JOURNAL_NAME,
    MOST_BYTES,
    check_journal,
    write_chunks,
)
from semret.index.store.entries import LONGEST_PATH, MOST
from semret.index.store.guarded_sqlite import GuardedConnection, open_guarded
from semret.index.store.members import open_member
from semret.index.store.schema import SCHEMA

DAMAGED_SUFFIX = ".damaged"
"""Ending under which the catalog that was replaced is kept."""

_TABLES = {
    b"meta": SCHEMA["meta"].encode(),
    b"images": SCHEMA["images"].encode(),
    b"sqlite_sequence": b"CREATE TABLE sqlite_sequence(name,seq)",
}
# The second is what Python makes of a message of SQLite that quotes damaged text.
_UNREADABLE = (sqlite3.Error, UnicodeDecodeError)
_MOST_SEGMENTS = 10**9
_HEADER_BYTES = 24


@dataclass
class Remains:
    """What could be read of a damaged catalog. Any of it may be wrong.

    Attributes
    ----------
    generation : int
        The largest that the catalog or the digest beside it names; 0 where neither does.
    root : str or None
        As the catalog stores it; None where it cannot be read.
    style : {"absolute", "relative"}
        How paths are shown.
    images : list of (id, path, size, sha256)
        Entries that have the form of an image's, by id.
    last_id, last_segment : int
        The largest numbers given so far; 0 where they cannot be read.
    """

    generation: int = 0
    root: str | None = None
    style: str = "absolute"
    images: list[tuple[int, bytes, int, bytes]] = field(default_factory=list)
    last_id: int = 0
    last_segment: int = 0


def read_remains(index: Path) -> Remains:
    """Read what can still be read of a damaged catalog, from a copy of it.

    Parameters
    ----------
    index : Path
        Index directory.

    Returns
    -------
    Remains
        As far as anything can be read.

    Raises
    ------
    StorageError
        If there is no room for the copy, or the files may not be read.
    """
    remains = Remains()
    with contextlib.suppress(SemretError):
        found = read_digest(index / DIGEST_NAME)
        remains.generation = found[0] if found else 0
    with tempfile.TemporaryDirectory(prefix="semret-") as folder, contextlib.suppress(*_UNREADABLE):
        copy = _copy_catalog(index, Path(folder))
        if copy is not None:
            _restore_header(copy)
            with contextlib.closing(open_guarded(copy, "rw")) as db:
                _read_tables(db, remains, copy.stat().st_size)
    return remains


def _copy_catalog(index: Path, folder: Path) -> Path | None:
    """Copy a damaged catalog, and its journal if semret can have written it; None if there is nothing to copy."""
    copy = folder / CATALOG_NAME
    for source in (index / CATALOG_NAME, index / (CATALOG_NAME + DAMAGED_SUFFIX)):
        if _copy_member(source, copy):
            break
    else:
        return None
    with contextlib.suppress(IndexCorruptError):
        check_journal(index / JOURNAL_NAME)
        _copy_member(index / JOURNAL_NAME, copy.with_name(JOURNAL_NAME))
        check_journal(copy.with_name(JOURNAL_NAME))
        return copy
    durable.discard(copy.with_name(JOURNAL_NAME))
    return copy


def _copy_member(source: Path, target: Path) -> bool:
    """Copy a file of the index; return whether it was there, and was a file of a possible length."""
    with durable.storage(f"copy {source} to a temporary folder"):
        try:
            with open_member(source, most=MOST_BYTES) as stream:
                write_chunks(target, iter(lambda: stream.read(2**20), b""))
        except (FileNotFoundError, IndexCorruptError):
            return False
    return True


def _restore_header(copy: Path) -> None:
    """Write the part of the file's header that is the same in every catalog: magic, page size, versions."""
    with contextlib.closing(sqlite3.connect(":memory:")) as db:
        db.execute("CREATE TABLE any_table (x)")
        header = db.serialize()[:_HEADER_BYTES]
    with copy.open("r+b") as stream:
        stream.write(header)


def _read_tables(db: GuardedConnection, remains: Remains, size: int) -> None:
    db.text_factory = bytes
    for name, sql in _readable(db, size, "SELECT name, sql FROM sqlite_schema"):
        if not isinstance(name, bytes) or sql != _TABLES.get(name.lower(), sql):
            # A view, or a virtual table: semret did not write this file.
            return
    meta = dict(_readable(db, size, "SELECT key, value FROM meta"))
    generation = meta.get(b"generation")
    if isinstance(generation, bytes) and re.fullmatch(rb"\d{1,15}", generation):
        remains.generation = max(remains.generation, int(generation))
    root, style = meta.get(b"root"), meta.get(b"style")
    remains.root = root.decode("utf-8", "surrogateescape") if isinstance(root, bytes) and b"\0" not in root else None
    remains.style = "relative" if style == b"relative" else "absolute"
    known: dict[int, tuple[int, bytes, int, bytes]] = {}
    for order in ("ASC", "DESC"):
        # What lies behind a damaged page is reached from the other end.
        for row in _readable(db, size, f"SELECT id, path, size, sha256 FROM images ORDER BY id {order}"):
            if _is_image(row):
                known[row[0]] = row
    remains.images = [known[id_] for id_ in sorted(known)]
    for name, last in _readable(db, size, "SELECT name, seq FROM sqlite_sequence"):
        if isinstance(last, int) and 0 <= last < MOST:
            if name == b"images":
                remains.last_id = last
            elif name == b"segments":
                remains.last_segment = min(last, _MOST_SEGMENTS)


def _readable(db: GuardedConnection, size: int, statement: str) -> Iterator[tuple[Any, ...]]:
    """Give the rows of a query until the damage."""
    with contextlib.suppress(*_UNREADABLE):
        db.allow(size)
        yield from db.execute(statement)


def _is_image(row: tuple[Any, ...]) -> bool:
    id_, path, size, sha256 = row
    return (
        isinstance(id_, int)
        and 0 < id_ < MOST
        and isinstance(path, bytes)
        and 0 < len(path) <= LONGEST_PATH
        and b"\0" not in path
        and isinstance(size, int)
        and -1 <= size < MOST
        and isinstance(sha256, bytes)
        and len(sha256) == 32
    )


def set_aside(path: Path) -> None:
    """Rename a file, or whatever stands in its place, so that it is out of the way.

    Parameters
    ----------
    path : Path
        It need not exist.

    Raises
    ------
    OSError
        If it cannot be renamed.
    """
    if os.path.lexists(path):
        path.replace(path.with_name(path.name + DAMAGED_SUFFIX))
