"""Rows that a command has to sort, or to look up, and that would take too much memory: a private file of SQLite.

The file has no name: it is in the folder for temporary files, and gone with the process that made it. It holds only
what its command puts in, never something that was found.
"""

from __future__ import annotations

import sqlite3
import weakref
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import gettempdir
from types import TracebackType
from typing import Any, Self

from semret.index.store.guarded_sqlite import sqlite_reported

_CACHE_KIB = 2048
_ROWS = 512


class Scratch:
    """Tables of one command; safe to be dropped at any time. Not for several threads.

    Parameters
    ----------
    *tables : str
        Statements that make them.

    Raises
    ------
    StorageError
        If there is no room for temporary files; so of every method.
    """

    def __init__(self, *tables: str) -> None:
        self._place = Path(gettempdir())
        with sqlite_reported(self._place):
            self._db = sqlite3.connect("", isolation_level=None, check_same_thread=False)
            self.close = weakref.finalize(self, self._db.close)
            for pragma in ("journal_mode=OFF", "synchronous=OFF", f"cache_size=-{_CACHE_KIB}", "temp_store=FILE"):
                self._db.execute(f"PRAGMA {pragma}")
            # Never committed: what is not kept need not be written.
            self._db.execute("BEGIN")
        for table in tables:
            self.run(table)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def run(self, statement: str, *values: Any) -> int:
        """Execute a statement.

        Parameters
        ----------
        statement : str
            SQL with a ``?`` for each of `values`.
        *values : int, float, str, bytes or None

        Returns
        -------
        int
            Number of rows that it changed.
        """
        with sqlite_reported(self._place):
            return self._db.execute(statement, values).rowcount

    def fill(self, statement: str, rows: Iterable[tuple[Any, ...]]) -> None:
        """Execute a statement for many rows.

        Parameters
        ----------
        statement : str
            SQL with a ``?`` for each value of a row.
        rows : iterable of tuple
            Taken one by one.
        """
        with sqlite_reported(self._place):
            self._db.executemany(statement, rows)

    def rows(self, statement: str, *values: Any) -> Iterator[tuple[Any, ...]]:
        """Give the rows of a query, which are read as they are taken; the tables must not change meanwhile.

        Parameters
        ----------
        statement : str
            SQL with a ``?`` for each of `values`.
        *values : int, float, str, bytes or None

        Yields
        ------
        tuple
        """
        with sqlite_reported(self._place):
            cursor = self._db.execute(statement, values)
            while rows := cursor.fetchmany(_ROWS):
                yield from rows

    def one(self, statement: str, *values: Any) -> tuple[Any, ...] | None:
        """Return the first row of a query.

        Parameters
        ----------
        statement : str
            SQL with a ``?`` for each of `values`.
        *values : int, float, str, bytes or None

        Returns
        -------
        tuple or None
            None if there is none.
        """
        with sqlite_reported(self._place):
            found: tuple[Any, ...] | None = self._db.execute(statement, values).fetchone()
            return found
