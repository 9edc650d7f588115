"""The catalog: which image is where. One SQLite file; every change is one transaction and a new generation.

It runs with a rollback journal, so that readers need no shared memory and no right to write. After each commit the
digest of the whole file is put beside it, which makes any damage visible at the next opening.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import secrets
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from semret.errors import IndexCorruptError
from semret.index.store import durable
from semret.index.store.catalog_digest import digest_line, read_digest
from semret.index.store.catalog_file import CATALOG_NAME, DIGEST_NAME, JOURNAL_NAME, STRANGE_NAMES
from semret.index.store.entries import CONDITIONS, read_segment
from semret.index.store.guarded_sqlite import sqlite_reported, text_bytes
from semret.index.store.layout import Segment
from semret.index.store.manifest import FORMAT_VERSION
from semret.index.store.members import REPAIR, damaged
from semret.index.store.schema import SCHEMA, has_schema
from semret.index.store.sqlite_file import SqliteFile

DIGESTED_BYTES = 2**22
"""A catalog up to this length has its digest made at every commit, and is checked as a whole whenever it is opened.

A longer one has its digest made when a writer leaves, and is checked as a whole by writers and `verify`: what a reader
takes from it is checked as it is taken.
"""

_APPLICATION = 0x53454D52
_META = "(?, CAST(? AS TEXT))"


class Catalog(SqliteFile):
    """An open catalog.

    Parameters
    ----------
    index : Path
        Index directory.
    writable : bool
        Whether `transaction` will be used; the caller then holds the writer's lock.
    thoroughly : bool
        Whether a long catalog, too, is checked as a whole; writers always do that.

    Attributes
    ----------
    path : Path
        The file.

    Raises
    ------
    IndexCorruptError
        If the file is missing, damaged, or holds anything but the tables of `SCHEMA`.
    StorageError
        If it is to be written and may not be.
    """

    _writable = False

    def __init__(self, index: Path, *, writable: bool = False, thoroughly: bool = False) -> None:
        super().__init__(index / CATALOG_NAME, writable=writable)
        self._digest_path = index / DIGEST_NAME
        try:
            with self.reading():
                self._check_schema()
                self._check_digest(thoroughly=writable or thoroughly)
                if writable or thoroughly or self._is_short:
                    self._check_entries()
                for key in ("root", "style", "manifest"):
                    self.meta(key)
            if writable and not self._has_digest():
                self.write_digest()
        except BaseException:
            self.close()
            raise
        self._writable = writable

    @classmethod
    def create(cls, index: Path, meta: dict[str, str], version: int = FORMAT_VERSION) -> Catalog:
        """Make an empty catalog in a directory that holds no index yet, and open it for writing.

        Parameters
        ----------
        index : Path
            Index directory, which exists.
        meta : dict of str to str
            ``root``, ``style`` and ``manifest``; see `meta`.
        version : int
            The format of the index.

        Returns
        -------
        Catalog

        Raises
        ------
        StorageError
            If the disk is full, read-only, or refuses access.
        """
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
                db.execute(f"PRAGMA user_version={version}")
                first = {"generation": "0"} | ({"state": secrets.token_hex(16)} if version > 1 else {})
                values = [(key, text_bytes(value)) for key, value in {**first, **meta}.items()]
                db.executemany(f"INSERT INTO meta VALUES {_META}", values)
                db.execute("COMMIT")
        durable.checkpoint("catalog:created")
        return cls(index, writable=True)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Make everything written in a ``with`` block visible at once, as a new generation; nothing if it raises.

        Yields
        ------
        None

        Raises
        ------
        StorageError
            If the disk is full, read-only, or refuses access; then nothing has changed.
        IndexCorruptError
            If SQLite finds the file damaged.
        """
        with self._guard, self._reported():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute(
                    "UPDATE meta SET value = CAST(CAST(value AS INTEGER) + 1 AS TEXT) WHERE key = 'generation'"
                )
                self._db.execute("UPDATE meta SET value = ? WHERE key = 'state'", (secrets.token_hex(16),))
                durable.checkpoint("catalog:changed")
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
        durable.checkpoint("catalog:committed")
        if self._is_short:
            self.write_digest()

    def close(self) -> None:
        """Close the file; a writer of a long catalog puts its digest beside it first."""
        writable, self._writable = self._writable, False
        try:
            if writable and not self._has_digest():
                self.write_digest()
        finally:
            super().close()

    @property
    def generation(self) -> int:
        """Number of the state that the catalog shows."""
        found = self.meta("generation")
        if not re.fullmatch(r"[0-9]{1,18}", found):
            raise damaged(self.path, "its generation is not a number")
        return int(found)

    def meta(self, key: str) -> str:
        """Return one of the values that the whole index has.

        Parameters
        ----------
        key : {"generation", "root", "style", "manifest"}

        Returns
        -------
        str
            A number; the folder that paths are relative to; ``absolute`` or ``relative``; the text of the manifest.

        Raises
        ------
        IndexCorruptError
            If there is none.
        """
        rows = self.select("SELECT value FROM meta WHERE key = ?", key)
        if not rows or not isinstance(rows[0][0], str):
            raise damaged(self.path, f"it has no {key}")
        return str(rows[0][0])

    def set_meta(self, key: str, value: str) -> None:
        """Change a value of `meta` inside a `transaction`.

        Parameters
        ----------
        key : str
            As for `meta`, or ``former`` or ``energies``.
        value : str
            May hold undecodable bytes as surrogate escapes.
        """
        self.change(f"INSERT OR REPLACE INTO meta VALUES {_META}", key, text_bytes(value))

    def become_format(self, version: int) -> None:
        """Change the format inside a `transaction`; the tables are the same in all.

        Parameters
        ----------
        version : int
            Not smaller than that of the file.
        """
        self.change(f"PRAGMA user_version={int(version)}")
        self.change("INSERT OR IGNORE INTO meta VALUES ('state', ?)", secrets.token_hex(16))

    def segments(self, *, retired: bool = False) -> dict[int, Segment]:
        """Return the segments in use, or those that are out of use and wait to be deleted.

        Parameters
        ----------
        retired : bool
            Which of the two.

        Returns
        -------
        dict of int to Segment
            By number.

        Raises
        ------
        IndexCorruptError
            If an entry is not valid.
        """
        condition = "IS NOT NULL" if retired else "IS NULL"
        rows = self.select(f"SELECT number, rows, bytes, sha256, offsets, sums FROM segments WHERE retired {condition}")
        try:
            return {row[0]: read_segment(row) for row in rows}
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise damaged(self.path, "the entry of a segment is not valid") from error

    def add_segment(self, segment: Segment) -> None:
        """Enter a segment inside a `transaction`.

        Parameters
        ----------
        segment : Segment
        """
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
        """Return a number that no segment ever had.

        Returns
        -------
        int
            From 1.
        """
        return 1 + int((self.select("SELECT seq FROM sqlite_sequence WHERE name = 'segments'") or [(0,)])[0][0])

    def next_id(self) -> int:
        """Return an id that no image ever had.

        Returns
        -------
        int
            From 1.
        """
        return 1 + int((self.select("SELECT seq FROM sqlite_sequence WHERE name = 'images'") or [(0,)])[0][0])

    def write_digest(self) -> None:
        """Put the digest of the file as it is now beside it.

        Raises
        ------
        StorageError
            If the disk is full, read-only, or refuses access.
        """
        durable.write_file(self._digest_path, digest_line(self.generation, self._digest()), "digest")

    @property
    def _is_short(self) -> bool:
        return self.size <= DIGESTED_BYTES

    @property
    def former(self) -> str | None:
        """SHA-256 of the manifest before the last conversion, in hexadecimal; None if there was none."""
        found = self.select("SELECT value FROM meta WHERE key = 'former'")
        return str(found[0][0]) if found else None

    @property
    def energies(self) -> str | None:
        """What `semret.index.store.energies` keeps here; None if there is nothing."""
        found = self.select("SELECT value FROM meta WHERE key = 'energies'")
        return str(found[0][0]) if found else None

    @property
    def state(self) -> str | None:
        """What no other state of any index has: 32 hexadecimal digits, drawn at each commit; None in format 1."""
        found = self.select("SELECT value FROM meta WHERE key = 'state'")
        if not found:
            return None
        if not re.fullmatch(r"[0-9a-f]{32}", str(found[0][0])):
            raise damaged(self.path, "its state is not 32 hexadecimal digits")
        return str(found[0][0])

    def _digest(self) -> str:
        digest = hashlib.sha256()
        # Through the file that is open already: to open and close it again would drop SQLite's locks.
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
        if self.size != pages * page:
            # SQLite fills a page that is cut off with zeros, and says nothing.
            raise damaged(self.path, "it is cut off, or too long")
        if found is not None and found[0] > generation:
            raise IndexCorruptError(f"{self.path} is damaged, or older than {DIGEST_NAME} beside it; {REPAIR}")
        if found is not None and found[0] == generation:
            if (thoroughly or self._is_short) and found[1] != self._digest():
                raise damaged(self.path, "it does not have its checksum")
        elif thoroughly and (problems := self.problems()):
            raise damaged(self.path, problems[0])

    def _check_schema(self) -> None:
        version = self.select("PRAGMA user_version")[0][0]
        if not 1 <= version <= FORMAT_VERSION or not has_schema(self._db):
            raise damaged(self.path, "its tables are not those of semret")

    def _check_entries(self) -> None:
        for table, condition in CONDITIONS.items():
            wrong = self.select(f"SELECT count(*) FROM {table} WHERE ({condition}) IS NOT TRUE")[0][0]
            if wrong:
                raise damaged(self.path, f"{wrong} of its {table} are not valid")
        twice = self.select("SELECT count(*) - count(DISTINCT name) FROM sqlite_sequence")[0][0]
        if twice:
            raise damaged(self.path, "its numbers are not valid")
