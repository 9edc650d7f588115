"""What a catalog holds, and all that it may hold."""

from __future__ import annotations

import contextlib
import functools
import sqlite3

SCHEMA = {
    "meta": "CREATE TABLE meta (key TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL) WITHOUT ROWID",
    "segments": (
        "CREATE TABLE segments (number INTEGER PRIMARY KEY AUTOINCREMENT, rows INTEGER NOT NULL,"
        " bytes INTEGER NOT NULL, sha256 TEXT NOT NULL, offsets TEXT NOT NULL, sums TEXT NOT NULL, retired REAL)"
    ),
    "contents": (
        "CREATE TABLE contents (sha256 BLOB PRIMARY KEY NOT NULL, segment INTEGER NOT NULL, row INTEGER NOT NULL,"
        " former_id INTEGER) WITHOUT ROWID"
    ),
    "images": (
        "CREATE TABLE images (id INTEGER PRIMARY KEY AUTOINCREMENT, path BLOB UNIQUE, size INTEGER NOT NULL,"
        " mtime_ns INTEGER NOT NULL, sha256 BLOB NOT NULL)"
    ),
    "images_by_content": "CREATE INDEX images_by_content ON images (sha256)",
    "skipped": (
        "CREATE TABLE skipped (path BLOB PRIMARY KEY NOT NULL, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,"
        " reason TEXT NOT NULL, decoder TEXT NOT NULL) WITHOUT ROWID"
    ),
}
"""What the file holds, and all that it may hold: a catalog with a trigger or a view more is refused."""

_ENTRIES = "SELECT type, name, tbl_name, sql FROM sqlite_schema"


@functools.cache
def _expected() -> tuple[tuple[str, ...], ...]:
    with contextlib.closing(sqlite3.connect(":memory:")) as db:
        for statement in SCHEMA.values():
            db.execute(statement)
        return tuple(sorted(db.execute(_ENTRIES), key=repr))


def has_schema(db: sqlite3.Connection) -> bool:
    """Tell whether a file holds these tables, what SQLite keeps beside them, and nothing else.

    Only the text of the schema is read: no view, virtual table or expression in it is used.

    Parameters
    ----------
    db : sqlite3.Connection

    Returns
    -------
    bool

    Raises
    ------
    sqlite3.Error
        If the file cannot be read.
    """
    return tuple(sorted(db.execute(f"{_ENTRIES} LIMIT {len(_expected()) + 1}"), key=repr)) == _expected()
