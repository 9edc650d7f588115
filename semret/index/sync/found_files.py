"""The files that a survey found, in the order of the walk; they lie on disk, and are in memory when they are taken."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import overload

from semret.index.pictures.find import FoundImage
from semret.index.store.scratch import Scratch

_PORTION = 512


class FoundFiles(Sequence[FoundImage]):
    """Files that may be pictures, in order.

    Parameters
    ----------
    scratch : Scratch
        With the table `FILES`.
    places : sequence of int
        Which of its rows, ascending.

    Raises
    ------
    StorageError
        If the disk refuses; so of every method.
    """

    FILES = "CREATE TABLE files (place INTEGER PRIMARY KEY, path BLOB, size INTEGER, mtime_ns INTEGER, vouched INTEGER)"

    def __init__(self, scratch: Scratch, places: Sequence[int]) -> None:
        self._scratch = scratch
        self._places = places

    @staticmethod
    def store(scratch: Scratch, found: Iterable[FoundImage]) -> None:
        """Put files behind those that there are.

        Parameters
        ----------
        scratch : Scratch
        found : iterable of FoundImage
        """
        rows = ((os.fsencode(file.path), file.size, file.mtime_ns, file.vouched) for file in found)
        scratch.fill("INSERT INTO files (path, size, mtime_ns, vouched) VALUES (?, ?, ?, ?)", rows)

    def __len__(self) -> int:
        """Return the number of files."""
        return len(self._places)

    @overload
    def __getitem__(self, number: int) -> FoundImage: ...

    @overload
    def __getitem__(self, number: slice) -> FoundFiles: ...

    def __getitem__(self, number: int | slice) -> FoundImage | FoundFiles:
        """Return one of the files, or some."""
        if isinstance(number, slice):
            return FoundFiles(self._scratch, self._places[number])
        return self._take([self._places[number]])[0]

    def __iter__(self) -> Iterator[FoundImage]:
        for start in range(0, len(self._places), _PORTION):
            yield from self._take(self._places[start : start + _PORTION])

    def at(self, numbers: Iterable[int]) -> FoundFiles:
        """Return some of the files.

        Parameters
        ----------
        numbers : iterable of int
            Which of them, ascending.

        Returns
        -------
        FoundFiles
        """
        return FoundFiles(self._scratch, array("q", (self._places[number] for number in numbers)))

    def _take(self, places: Sequence[int]) -> list[FoundImage]:
        marks = ", ".join("?" * len(places))
        select = f"SELECT path, size, mtime_ns, vouched FROM files WHERE place IN ({marks}) ORDER BY place"
        rows = self._scratch.rows(select, *places)
        return [FoundImage(os.fsdecode(path), size, time, bool(vouched)) for path, size, time, vouched in rows]
