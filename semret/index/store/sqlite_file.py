"""The SQLite file of a catalog, whatever its tables: opened guarded, read in one state, changed by statements.

A reader writes nothing: what a killed writer has begun is undone in a private copy, and in place by the next writer
alone.
"""

from __future__ import annotations

import contextlib
import sqlite3
import tempfile
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from semret.errors import IndexCorruptError, StorageError
from semret.index.store.catalog_file import JOURNAL_NAME, CatalogFile, check_companions, copy_with_journal
from semret.index.store.guarded_sqlite import GuardedConnection, open_guarded, sqlite_reported

PORTION = 2**13
"""Rows of a table that are in memory at a time."""

_ATTEMPTS = 5


class SqliteFile:
    """An open SQLite file that may come from somebody else. Several threads may ask it.

    Parameters
    ----------
    path : Path
        The file.
    writable : bool
        Whether it is going to be changed; the caller then holds the writer's lock.

    Raises
    ------
    IndexCorruptError
        If the file is missing, or not one that semret can have written.
    StorageError
        If it may not be read, or is to be written and may not be.
    """

    def __init__(self, path: Path, *, writable: bool = False) -> None:
        self.path = path
        # A thread that asks waits for the end of a transaction of another one.
        self._guard = threading.RLock()
        self._copy: tempfile.TemporaryDirectory[str] | None = None
        self._files = [CatalogFile(path, writable=writable)]
        try:
            with self._reported():
                self._db = self._connect(writable)
            if not self._files[0].is_in_place:
                raise IndexCorruptError(f"{path} was exchanged while it was opened; try again")
        except BaseException:
            self.close()
            raise

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
        """Copy file and journal to where they may be written; None if a writer has put things right meanwhile."""
        self._copy = self._copy or tempfile.TemporaryDirectory(prefix="semret-")
        copy = copy_with_journal(self._files[0], self.path.with_name(JOURNAL_NAME), Path(self._copy.name))
        if copy is not None:
            self._files.append(CatalogFile(copy, writable=True))
        return copy

    @contextlib.contextmanager
    def _reported(self) -> Iterator[None]:
        with sqlite_reported(self.path):
            yield

    def close(self) -> None:
        """Close the file; a second time does nothing."""
        if hasattr(self, "_db"):
            self._db.close()
        while self._files:
            self._files.pop().close()
        if self._copy is not None:
            self._copy.cleanup()
            self._copy = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Hold one state of the file for the length of a ``with`` block; a writer waits.

        Yields
        ------
        None

        Raises
        ------
        IndexCorruptError, StorageError
            If SQLite finds the file damaged, or may not lock it.
        """
        with self._reported():
            self._db.execute("BEGIN")
            try:
                # Of the schema, because it takes the lock as well and is not yet known to hold tables alone.
                self._db.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone()
                yield
            finally:
                self._db.execute("ROLLBACK")

    def select(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Return all rows of a query.

        Parameters
        ----------
        statement : str
            SQL with a ``?`` for each of `values`.
        *values : int, float, str, bytes or None

        Returns
        -------
        list of tuple

        Raises
        ------
        IndexCorruptError
            If the file is damaged, or would keep SQLite busy without end.
        StorageError
            If the disk refuses.
        """
        with self._guard, self._reported():
            self._db.allow(self.size)
            return self._db.execute(statement, values).fetchall()

    def portions(self, statement: str, first: int | bytes, *values: Any) -> Iterator[list[tuple[Any, ...]]]:
        """Give the rows of a query a portion at a time, so that a table of any length takes little memory.

        Nothing is locked between two portions but within `reading`.

        Parameters
        ----------
        statement : str
            SQL without an ``ORDER BY``, whose first column is a key of its table, with a condition ``key > ?``.
        first : int or bytes
            What all keys are greater than.
        *values : int, float, str, bytes or None
            For the other marks, in order; the key's is the first.

        Yields
        ------
        list of tuple
            Some rows; all of them together are in the order of keys.

        Raises
        ------
        IndexCorruptError, StorageError
            As `select`; the first also if keys are not in order.
        """
        after: Any = first
        while rows := self.select(f"{statement} ORDER BY 1 LIMIT {PORTION}", after, *values):
            if not rows[-1][0] > after:
                raise IndexCorruptError(f"{self.path} is damaged: its entries are not in order")
            yield rows
            after = rows[-1][0]

    def change(self, statement: str, *values: Any) -> int:
        """Execute one statement inside a transaction.

        Parameters
        ----------
        statement : str
            SQL with a ``?`` for each of `values`.
        *values : int, float, str, bytes or None

        Returns
        -------
        int
            Row id of an insertion; 0 where nothing was inserted.

        Raises
        ------
        IndexCorruptError, StorageError
            As `select`.
        """
        with self._guard, self._reported():
            self._db.allow(self.size, changes=True)
            return int(self._db.execute(statement, values).lastrowid or 0)

    def change_many(self, statement: str, rows: Iterable[tuple[Any, ...]]) -> None:
        """Execute one statement for many rows inside a transaction.

        Parameters
        ----------
        statement : str
            SQL with a ``?`` for each value of a row.
        rows : iterable of tuple
            Taken one by one; may be empty, and nothing happens then.

        Raises
        ------
        IndexCorruptError, StorageError
            As `select`.
        """
        with self._guard, self._reported():
            self._db.allow(self.size, changes=True)
            self._db.executemany(statement, rows)

    @property
    def size(self) -> int:
        """Length of the file in bytes."""
        return self._files[-1].size

    def chunks(self) -> Iterator[bytes]:
        """Give the content of the file, in pieces; of one state within `reading`.

        Returns
        -------
        iterator of bytes
        """
        return self._files[-1].chunks()

    def problems(self) -> list[str]:
        """Return what SQLite finds wrong with the file's structure.

        Returns
        -------
        list of str
            Empty for a sound file.
        """
        try:
            found = [str(row[0]) for row in self.select("PRAGMA integrity_check(20)")]
        except IndexCorruptError as error:
            return [str(error)]
        return [] if found == ["ok"] else found
