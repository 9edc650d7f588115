"""The table of images of one state of an index, from the file that spares reading the catalog, or from the catalog."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from numpy.typing import NDArray

from semret.errors import IndexCorruptError
from semret.index.image_table import ImageTable
from semret.index.store.catalog import Catalog
from semret.index.store.catalog_table import CatalogTable
from semret.index.store.directory_file import DIRECTORY_NAME, lists_of, open_directory, state_of, write_directory
from semret.index.store.paged_file import PagedFile

T = TypeVar("T")


class OpenTable:
    """The images of the state that a catalog shows, for as long as they are asked for.

    Where ``directory.bin`` belongs to that state it is used, and the catalog only once the directory turns out to be
    damaged.

    Parameters
    ----------
    index : Path
        Index directory.
    catalog : Catalog
        Within `Catalog.reading`. It is not used later.
    longest : int
        Length of the longest vector that the directory may hold.
    derived : bool
        Whether the directory is used at all.

    Attributes
    ----------
    state : str or None
        What no other state of any index has; None in format 1.
    table : ImageTable

    Raises
    ------
    IndexCorruptError
        If the catalog is damaged.
    """

    def __init__(self, index: Path, catalog: Catalog, longest: int, *, derived: bool) -> None:
        self._index = index
        self.state = catalog.state
        self._directory = self._open(catalog, longest) if derived else None
        self.table = self._read() or table_of(catalog)

    def _open(self, catalog: Catalog, longest: int) -> PagedFile | None:
        """Open the directory, if it belongs to the catalog's state."""
        # Where a file that is held open cannot be replaced, a reader would keep the next writer from it.
        if self.state is None or os.name != "posix":
            return None
        try:
            found = open_directory(self._index / DIRECTORY_NAME, catalog.size, longest)
        except (OSError, IndexCorruptError):
            return None
        return found if state_of(found) == self.state else None

    def _read(self) -> ImageTable | None:
        if self._directory is not None:
            try:
                return ImageTable(self._directory.path, self._directory)
            except IndexCorruptError:
                self._directory = None
        return None

    def ask(self, question: Callable[[ImageTable], T]) -> T:
        """Look something up; where the file for it turns out to be damaged, in the catalog.

        Parameters
        ----------
        question : callable
            From a table to an answer.

        Returns
        -------
        object
            What the question returns.

        Raises
        ------
        IndexCorruptError
            If what is read is damaged, or the directory is and the catalog has gone on meanwhile.
        """
        try:
            return question(self.table)
        except IndexCorruptError:
            if self._directory is None:
                raise
            with Catalog(self._index) as catalog, catalog.reading():
                if catalog.state != self.state:
                    raise
                self.table = table_of(catalog)
            self._directory = None
            return question(self.table)

    @property
    def lists(self) -> bytes | None:
        """Which inverted lists the directory's tail belongs to; None without a directory."""
        return None if self._directory is None else lists_of(self._directory)

    def save(self, lists: bytes, others: dict[str, NDArray[Any]]) -> None:
        """Write the directory of this state.

        Parameters
        ----------
        lists : bytes
            Token of the inverted lists that the tail belongs to.
        others : dict of str to ndarray
            Arrays that the catalog does not have.

        Raises
        ------
        IndexCorruptError
            If what is read is damaged.
        StorageError
            If the disk is full, read-only, or refuses access.
        """
        state = self.state
        if state is not None:
            self.ask(lambda table: write_directory(self._index / DIRECTORY_NAME, state, lists, table.arrays, others))


def table_of(catalog: Catalog) -> ImageTable:
    """Return the table that a catalog gives.

    Parameters
    ----------
    catalog : Catalog
        Within `Catalog.reading`. It is not used later.

    Returns
    -------
    ImageTable

    Raises
    ------
    IndexCorruptError
        If an entry is not valid.
    """
    return ImageTable(catalog.path, CatalogTable(catalog))
