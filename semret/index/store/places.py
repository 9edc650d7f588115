"""Where the features of contents lie, in the order of segments and rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias, overload

from semret.index.store.catalog import Catalog
from semret.index.store.scratch import Scratch

Place: TypeAlias = tuple[int, int, bytes]
"""Number of the segment, row in it, SHA-256 of the content."""

_IN_USE = " AND EXISTS (SELECT 1 FROM images WHERE images.sha256 = contents.sha256)"


class Places(Sequence[Place]):
    """All places of a catalog, sorted; they lie on disk, and are in memory when they are taken.

    Parameters
    ----------
    catalog : Catalog
        Read from beginning to end; it is not used later.
    in_use : bool
        Whether only contents are taken that some image has.
    segments : callable or None
        Tells by the number of a segment whether its places are taken; None takes those of all.

    Raises
    ------
    IndexCorruptError
        If an entry is not valid.
    StorageError
        If there is no room for temporary files; so of every method.
    """

    def __init__(
        self, catalog: Catalog, *, in_use: bool = False, segments: Callable[[int], bool] | None = None
    ) -> None:
        self._scratch = Scratch("CREATE TABLE found (segment INTEGER, row INTEGER, sha256 BLOB)")
        select = f"SELECT sha256, segment, row FROM contents WHERE sha256 > ?{_IN_USE if in_use else ''}"
        for rows in catalog.portions(select, b""):
            taken = (row for row in rows if segments is None or segments(row[1]))
            self._scratch.fill("INSERT INTO found (sha256, segment, row) VALUES (?, ?, ?)", taken)
        self._scratch.run("CREATE TABLE places (place INTEGER PRIMARY KEY, segment INTEGER, row INTEGER, sha256 BLOB)")
        self._scratch.run("INSERT INTO places (segment, row, sha256) SELECT * FROM found ORDER BY segment, row, sha256")
        self._scratch.run("DROP TABLE found")
        self._ends: dict[int, tuple[int, int]] = {}
        ends = "SELECT segment, min(place), max(place) FROM places GROUP BY segment"
        for number, first, last in self._scratch.rows(ends):
            self._ends[number] = first, last
        self._length = max((last for _, last in self._ends.values()), default=0)

    def __len__(self) -> int:
        """Return the number of places."""
        return self._length

    @overload
    def __getitem__(self, place: int) -> Place: ...

    @overload
    def __getitem__(self, place: slice) -> list[Place]: ...

    def __getitem__(self, place: int | slice) -> Place | list[Place]:
        """Return one place, or neighbouring ones."""
        if isinstance(place, slice):
            start, stop, _ = place.indices(self._length)
            return list(self._between(start + 1, stop))
        found = list(self._between(place + 1, place + 1))
        if not found:
            raise IndexError(place)
        return found[0]

    def __iter__(self) -> Iterator[Place]:
        return self._between(1, self._length)

    def of_segment(self, number: int) -> list[Place]:
        """Return the places in one segment.

        Parameters
        ----------
        number : int

        Returns
        -------
        list of (int, int, bytes)
            In the order of rows; several where a catalog places several contents in one.
        """
        first, last = self._ends.get(number, (1, 0))
        return list(self._between(first, last))

    def counts(self) -> dict[int, int]:
        """Return how many places there are in each segment that has any.

        Returns
        -------
        dict of int to int
        """
        return {number: last - first + 1 for number, (first, last) in self._ends.items()}

    def __enter__(self) -> Places:
        return self

    def __exit__(self, *_: object) -> None:
        """Take the file away; it goes with this object otherwise."""
        self._scratch.close()

    def _between(self, first: int, last: int) -> Iterator[Place]:
        select = "SELECT segment, row, sha256 FROM places WHERE place BETWEEN ? AND ? ORDER BY place"
        yield from map(_place, self._scratch.rows(select, first, last))


def _place(row: tuple[Any, ...]) -> Place:
    return row[0], row[1], row[2]
