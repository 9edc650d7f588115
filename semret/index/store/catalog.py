"""The catalog: which image is where. One SQLite file; every change is one transaction and a new generation.

It runs with a rollback journal, so that readers need no shared memory and no right to write. After each commit the
digest of the whole file is put beside it, which makes any damage visible at the next opening. A reader writes nothing:
what a killed writer has begun is undone in a private copy, and in place by the next writer alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import sqlite3
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from semret.errors import IndexCorruptError, StorageError
from semret.index.store import durable
from semret.index.store.catalog_file import (
    CATALOG_NAME,
    DIGEST_NAME,
    JOURNAL_NAME,
    STRANGE_NAMES,
    CatalogFile,
    check_companions,
    copy_with_journal,
)
from semret.index.store.entries import CONDITIONS, read_segment
from semret.index.store.guarded_sqlite import GuardedConnection, open_guarded, sqlite_reported, text_bytes
from semret.index.store.manifest import FORMAT_VERSION
from semret.index.store.members import read_member
from semret.index.store.schema import SCHEMA, has_schema
from semret.index.store.segments import Segment

_APPLICATION = 0x53454D52
_ATTEMPTS = 5
_META = "(?, CAST(? AS TEXT))"
DIGEST_BYTES = 1024
_REPAIR = "run semret verify --repair"


class Catalog:
    """An open catalog.

    Parameters
    ----------
    index : Path
        Index directory.
    writable : bool
        Whether `transaction` will be used; the caller then holds the writer's lock.

    Raises
    ------
    IndexCorruptError
        If the file is missing, damaged, or holds anything but the tables of `SCHEMA`.
    StorageError
        If it is to be written and may not be.
    """

    def __init__(self, index: Path, *, writable: bool = False) -> None:
        self.path = index / CATALOG_NAME
        self._digest_path = index / DIGEST_NAME
        self._copy: tempfile.TemporaryDirectory[str] | None = None
        self._files = [CatalogFile(self.path, writable=writable)]
        try:
            with self._reported():
                self._db = self._connect(writable)
            if not self._files[0].is_in_place:
                raise IndexCorruptError(f"{self.path} was exchanged while it was opened; try again")
            with self.reading():
                self._check_schema()
                self._check_digest(thoroughly=writable)
                self._check_entries()
            if writable and not self._has_digest():
                self.write_digest()
        except BaseException:
            self.close()
            raise

    @classmethod
    def create(cls, index: Path, meta: dict[str, str]) -> Catalog:
        """Make an empty catalog in a directory that holds no index yet, and open it for writing."""
        path = index / CATALOG_NAME
        for name in (CATALOG_NAME, JOURNAL_NAME, DIGEST_NAME, *STRANGE_NAMES):
            durable.discard(index / name)
        with sqlite_reported(path):
            db = sqlite3.connect(path, isolation_level=None)
            with contextlib.closing(db):
                db.execute("PRAGMA journal_mode=DELETE")
                db.execute("PRAGMA synchronous=EXTRA")
                db.execute("BEGIN IMMEDIATE")
                for statement in SCHEMA.values():
                    db.execute(statement)
                db.execute(f"PRAGMA application_id={_APPLICATION}")
                db.execute(f"PRAGMA user_version={FORMAT_VERSION}")
                values = [(key, text_bytes(value)) for key, value in {"generation": "0", **meta}.items()]
                db.executemany(f"INSERT INTO meta VALUES {_META}", values)
                db.execute("COMMIT")
        durable.checkpoint("catalog:created")
        return cls(index, writable=True)

    def close(self) -> None:
        """Close the file."""
        if hasattr(self, "_db"):
            self._db.close()
        while self._files:
            self._files.pop().close()
        if self._copy is not None:
            self._copy.cleanup()
            self._copy = None

    def __enter__(self) -> Catalog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Hold one state of the catalog for the length of a ``with`` block; a writer waits."""
        with self._reported():
            self._db.execute("BEGIN")
            try:
                # Of the schema, because it takes the lock as well and is not yet known to hold tables alone.
                self._db.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone()
                yield
            finally:
                self._db.execute("ROLLBACK")

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Make everything written in a ``with`` block visible at once, as a new generation; nothing if it raises."""
        with self._reported():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute(
                    "UPDATE meta SET value = CAST(CAST(value AS INTEGER) + 1 AS TEXT) WHERE key = 'generation'"
                )
                durable.checkpoint("catalog:changed")
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
        durable.checkpoint("catalog:committed")
        self.write_digest()

    def select(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Return all rows of a query."""
        with self._reported():
            self._db.allow(self._files[-1].size)
            return self._db.execute(statement, values).fetchall()

    def change(self, statement: str, *values: Any) -> int:
        """Execute one statement inside a `transaction`; return the row id of an insertion."""
        with self._reported():
            self._db.allow(self._files[-1].size, changes=True)
            return int(self._db.execute(statement, values).lastrowid or 0)

    def change_many(self, statement: str, rows: list[tuple[Any, ...]]) -> None:
        """Execute one statement for many rows inside a `transaction`."""
        with self._reported():
            self._db.allow(self._files[-1].size, changes=True)
            self._db.executemany(statement, rows)

    @property
    def generation(self) -> int:
        """Number of the state that the catalog shows."""
        found = self.meta("generation")
        if not re.fullmatch(r"[0-9]{1,18}", found):
            raise IndexCorruptError(f"{self.path} is damaged: its generation is no number; {_REPAIR}")
        return int(found)

    def meta(self, key: str) -> str:
        """Return one of: ``generation``, ``root``, ``style``, ``manifest``."""
        rows = self.select("SELECT value FROM meta WHERE key = ?", key)
        if not rows or not isinstance(rows[0][0], str):
            raise IndexCorruptError(f"{self.path} is damaged: it has no {key}; {_REPAIR}")
        return str(rows[0][0])

    def set_meta(self, key: str, value: str) -> None:
        """Change a value of `meta` inside a `transaction`."""
        self.change(f"INSERT OR REPLACE INTO meta VALUES {_META}", key, text_bytes(value))

    def segments(self, *, retired: bool = False) -> dict[int, Segment]:
        """Return the segments in use, or those that are not any more and wait for their deletion, by number."""
        condition = "IS NOT NULL" if retired else "IS NULL"
        rows = self.select(f"SELECT number, rows, bytes, sha256, offsets, sums FROM segments WHERE retired {condition}")
        try:
            return {row[0]: read_segment(row) for row in rows}
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise IndexCorruptError(f"{self.path} is damaged: a segment's entry is no entry; {_REPAIR}") from error

    def add_segment(self, segment: Segment) -> None:
        """Enter a segment inside a `transaction`."""
        self.change(
            "INSERT INTO segments VALUES (?, ?, ?, ?, ?, ?, NULL)",
            segment.number,
            segment.rows,
            segment.bytes,
            segment.sha256,
            json.dumps(segment.offsets),
            json.dumps(segment.sums),
        )

    def next_segment(self) -> int:
        """Return a number that no segment ever had."""
        return 1 + int((self.select("SELECT seq FROM sqlite_sequence WHERE name = 'segments'") or [(0,)])[0][0])

    def next_id(self) -> int:
        """Return an id that no image ever had."""
        return 1 + int((self.select("SELECT seq FROM sqlite_sequence WHERE name = 'images'") or [(0,)])[0][0])

    @property
    def size(self) -> int:
        """Length of the file in bytes."""
        return self._files[-1].size

    def chunks(self) -> Iterator[bytes]:
        """Give the content of the file, in pieces; of one state within `reading`."""
        return self._files[-1].chunks()

    def problems(self) -> list[str]:
        """Return what SQLite finds wrong with the file's structure; nothing for a sound one."""
        try:
            found = [str(row[0]) for row in self.select("PRAGMA integrity_check(20)")]
        except IndexCorruptError as error:
            return [str(error)]
        return [] if found == ["ok"] else found

    def write_digest(self) -> None:
        """Put the digest of the file as it is now beside it."""
        durable.write_file(self._digest_path, digest_line(self.generation, self._hash()), "digest")

    def _hash(self) -> str:
        digest = hashlib.sha256()
        with durable.storage(f"read {self.path}"):
            for chunk in self.chunks():
                digest.update(chunk)
        return digest.hexdigest()

    def _has_digest(self) -> bool:
        found = read_digest(self._digest_path)
        return found is not None and found[0] == self.generation

    def _check_digest(self, *, thoroughly: bool) -> None:
        """Compare the file with its digest; where a killed writer left none for this generation, ask SQLite."""
        found, generation = read_digest(self._digest_path), self.generation
        pages, page = self.select("PRAGMA page_count")[0][0], self.select("PRAGMA page_size")[0][0]
        if self._files[-1].size != pages * page:
            # SQLite fills a page that is cut off with zeros, and says nothing.
            raise IndexCorruptError(f"{self.path} is damaged: it is cut off, or too long; {_REPAIR}")
        if found is not None and found[0] > generation:
            raise IndexCorruptError(f"{self.path} is damaged, or older than {DIGEST_NAME} beside it; {_REPAIR}")
        if found is not None and found[0] == generation:
            if found[1] != self._hash():
                raise IndexCorruptError(f"{self.path} is damaged: it does not have its checksum; {_REPAIR}")
        elif thoroughly and (problems := self.problems()):
            raise IndexCorruptError(f"{self.path} is damaged: {problems[0]}; {_REPAIR}")

    def _check_schema(self) -> None:
        version = self.select("PRAGMA user_version")[0][0]
        if version != FORMAT_VERSION or not has_schema(self._db):
            raise IndexCorruptError(f"{self.path} is damaged: its tables are not those of semret; {_REPAIR}")

    def _check_entries(self) -> None:
        for table, condition in CONDITIONS.items():
            wrong = self.select(f"SELECT count(*) FROM {table} WHERE ({condition}) IS NOT TRUE")[0][0]
            if wrong:
                raise IndexCorruptError(f"{self.path} is damaged: {wrong} of its {table} are not valid; {_REPAIR}")
        twice = self.select("SELECT count(*) - count(DISTINCT name) FROM sqlite_sequence")[0][0]
        if twice:
            raise IndexCorruptError(f"{self.path} is damaged: its numbers are not valid; {_REPAIR}")

    def _connect(self, writable: bool) -> GuardedConnection:
        for _ in range(_ATTEMPTS):
            check_companions(self.path)
            try:
                return open_guarded(self.path, "rw" if writable else "ro")
            except sqlite3.OperationalError as error:
                if writable or not str(getattr(error, "sqlite_errorname", "")).startswith("SQLITE_READONLY"):
                    raise
            # A writer was killed in the middle of a commit: what it began has to be undone before anything can be read.
            if copy := self._copy_aside():
                return open_guarded(copy, "rw")
        raise StorageError(f"cannot read {self.path}: it is being changed all the time; try again later")

    def _copy_aside(self) -> Path | None:
        """Copy catalog and journal to where they may be written; None if a writer has put things right meanwhile."""
        self._copy = self._copy or tempfile.TemporaryDirectory(prefix="semret-")
        copy = copy_with_journal(self._files[0], self.path.with_name(JOURNAL_NAME), Path(self._copy.name))
        if copy is not None:
            self._files.append(CatalogFile(copy, writable=True))
        return copy

    @contextlib.contextmanager
    def _reported(self) -> Iterator[None]:
        with sqlite_reported(self.path):
            yield


def digest_line(generation: int, digest: str) -> bytes:
    """Return the content of the file beside the catalog: generation, SHA-256, and a CRC of these two."""
    text = f"{generation} {digest}"
    return f"{text} {zlib.crc32(text.encode()):08x}\n".encode()


def read_digest(path: Path) -> tuple[int, str] | None:
    """Return generation and SHA-256 from the file beside the catalog; None if it is missing.

    Raises
    ------
    IndexCorruptError
        If it is not as `digest_line` made it.
    """
    try:
        raw = read_member(path, most=DIGEST_BYTES)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StorageError(durable.describe(error, f"read {path}")) from error
    found = re.fullmatch(rb"(\d{1,18}) ([0-9a-f]{64}) [0-9a-f]{8}\n", raw)
    if found is None or digest_line(int(found[1]), found[2].decode()) != raw:
        raise IndexCorruptError(f"{path} is damaged; {_REPAIR}")
    return int(found[1]), found[2].decode()
