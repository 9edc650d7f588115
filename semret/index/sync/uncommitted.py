"""What a run has found and computed since its last commit, and when the next one is due."""

from __future__ import annotations

import time
from typing import Any

from semret.index.store.energies import note_sums
from semret.index.sync.new_rows import NewRows
from semret.index.sync.stored_images import Stored
from semret.index.writer import IndexWriter

COMMIT_SECONDS = 30.0
"""Longest time between commits, as long as there is something to commit."""

_MOST_OPERATIONS = 2**14

_PLACE = (
    "INSERT INTO images VALUES (?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE "
    "SET path = excluded.path, size = excluded.size, mtime_ns = excluded.mtime_ns"
)
_LOSE = "UPDATE images SET path = NULL WHERE id = ?"


class Uncommitted:
    """Where images are now, and the features of contents that the index did not have.

    Parameters
    ----------
    writer : IndexWriter
        Of an index that exists.
    commit_rows : int
        Number of embedded images after which they are committed.

    Attributes
    ----------
    rows : NewRows
        The features.
    """

    def __init__(self, writer: IndexWriter, commit_rows: int) -> None:
        self._writer = writer
        self._commit_rows = commit_rows
        self.rows = NewRows(writer)
        self._operations: list[tuple[str, tuple[Any, ...]]] = []
        self._since = time.monotonic()

    def place(self, key: bytes, image: Stored) -> None:
        """Note where an image is.

        Parameters
        ----------
        key : bytes
            Stored path.
        image : Stored
        """
        self._operations.append((_PLACE, (image.id, key, image.size, image.mtime_ns, image.sha256)))

    def lose(self, id_: int) -> None:
        """Note that an image is no longer where it was.

        Parameters
        ----------
        id_ : int
        """
        self._operations.append((_LOSE, (id_,)))

    @property
    def is_due(self) -> bool:
        """Whether it is time to commit."""
        full = self.rows.are_many(self._commit_rows) or len(self._operations) >= _MOST_OPERATIONS
        return full or (bool(self._operations) and time.monotonic() - self._since >= COMMIT_SECONDS)

    def commit(self) -> None:
        """Make all of it part of the index, in one transaction; without any of it, do nothing.

        Raises
        ------
        StorageError
            If the disk is full, read-only, or refuses access. What was committed before is intact.
        """
        catalog = self._writer.catalog
        segments = self.rows.write(self._placed_ids)
        if segments or self._operations:
            with catalog.transaction():
                for written in segments:
                    number = written.segment.number
                    note_sums(self._writer.index, catalog, self._writer.manifest, number, written.sums)
                    catalog.add_segment(written.segment)
                    contents = [(sha, number, row, None) for sha, row in written.contents.items()]
                    catalog.change_many("INSERT INTO contents VALUES (?, ?, ?, ?)", contents)
                for statement, values in self._operations:
                    catalog.change(statement, *values)
        self.rows.forget(segments)
        self._operations = []
        self._since = time.monotonic()

    def _placed_ids(self) -> dict[bytes, int]:
        """Return the id of the image that each content was first placed as."""
        return {values[4]: values[0] for statement, values in reversed(self._operations) if statement == _PLACE}
