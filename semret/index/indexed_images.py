"""The images of one state of an index: found by id, path and content."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semret.arrays import IdVector, IndexVector
from semret.errors import ArgumentError
from semret.index.image_table import ImageTable
from semret.index.open_table import OpenTable
from semret.index.store.cache import known_as
from semret.index.store.root import Root
from semret.paths import absolute, located

_BLOCK = 8192


def positions(index: Path, ids: IdVector, wanted: IdVector | Sequence[int]) -> IndexVector:
    """Return the positions of images among all of an index.

    Parameters
    ----------
    index : Path
        Index directory, for messages.
    ids : ndarray of shape (N,), int64
        Of all images, ascending.
    wanted : sequence of int
        n of them, in any order; one may come twice.

    Returns
    -------
    ndarray of shape (n,), intp

    Raises
    ------
    ArgumentError
        If one is not among them.
    """
    wanted = np.asarray(wanted, dtype=np.int64)
    rows = np.searchsorted(ids, wanted)
    missing = (rows >= len(ids)) | (ids[np.minimum(rows, len(ids) - 1)] != wanted if len(ids) else True)
    if np.any(missing):
        raise ArgumentError(f"the index {index} has no image with id {int(wanted[missing][0])}")
    return rows


class IndexedImages:
    """The images of one state of an index.

    Positions of images (`rows`) count from 0 in the order of ids.

    Parameters
    ----------
    path : Path
        Index directory.
    table : OpenTable
        What knows the images.
    root : Root
        The folder that stored paths are relative to.
    relative : bool
        Whether paths below the current directory are shown relative to it.

    Attributes
    ----------
    path : Path
        Index directory.
    root : Root
        As it was given.
    state : str or None
        What no other state of any index has; None in format 1.
    ids : ndarray of shape (N,), int64
        Ascending.
    """

    def __init__(self, path: Path, table: OpenTable, root: Root, *, relative: bool) -> None:
        self.path = path
        self.root = root
        self._relative = relative
        self._opened = table
        self.state = table.state
        self.ids: IdVector = table.table.ids

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.ids)

    @property
    def table(self) -> ImageTable:
        """What is known of the images, as arrays."""
        return self._opened.table

    @property
    def places(self) -> NDArray[np.int64]:
        """Number of the segment and row in it of each image, (N, 2)."""
        return np.stack([self._opened.table.numbers, self._opened.table.rows], axis=1).astype(np.int64)

    def rows(self, ids: IdVector | Sequence[int]) -> IndexVector:
        """Return the positions of images in this collection.

        Parameters
        ----------
        ids : sequence of int
            n of them, in any order; one may come twice.

        Returns
        -------
        ndarray of shape (n,), intp

        Raises
        ------
        ArgumentError
            If one is not in it.
        """
        return positions(self.path, self.ids, ids)

    @property
    def name(self) -> str:
        """What the user knows the index by: the path of its directory, or the address that it was fetched from."""
        return known_as(self.path)

    def paths(self, ids: IdVector | Sequence[int]) -> list[str]:
        """Return where images lie.

        Paths are as they were given to the last ``semret index``: relative to the current directory (for images below
        it) if that was given relative paths, else absolute. Undecodable bytes are surrogate escapes.

        Parameters
        ----------
        ids : sequence of int
            n of them, in any order.

        Returns
        -------
        list of str

        Raises
        ------
        ArgumentError
            If an id is not in the collection.
        """
        rows = self.rows(ids).tolist()
        stored = self._opened.ask(lambda table: [table.stored_path(row) for row in rows])
        here = self._here if self._relative else ""
        return [path[len(here) :] if path.startswith(here) else path for path in map(self.root.to_path, stored)]

    @property
    def _here(self) -> str:
        try:
            here = str(absolute("."))
        except ArgumentError:
            # The current directory was deleted: nothing lies below it, so paths are shown from the root.
            return os.sep * 2
        return here if here.endswith(os.sep) else here + os.sep

    def files(self) -> Iterator[tuple[str, int, int]]:
        """Give what is known of each image's file, in the order of ids.

        Yields
        ------
        (str, int, int)
            Absolute path; size in bytes; time stamp in nanoseconds, -1 if it is not to be relied on.
        """
        for start in range(0, len(self), _BLOCK):
            stop = min(start + _BLOCK, len(self))
            for stored, size, stamp in self._opened.ask(lambda table: table.files_between(start, stop)):  # noqa: B023
                yield self.root.to_path(stored), size, stamp

    @property
    def skipped(self) -> list[tuple[str, str]]:
        """Files that could not be indexed, as (path, reason), in the order of stored paths."""
        return [(self.root.to_path(path), reason) for path, reason in self._opened.ask(lambda table: table.skipped)]

    @property
    def skipped_count(self) -> int:
        """How many files could not be indexed."""
        return self._opened.ask(lambda table: table.skipped_count)

    def find_path(self, path: str | os.PathLike[str]) -> int | None:
        """Find the image at a path.

        Parameters
        ----------
        path : path
            Absolute, or relative to the current directory.

        Returns
        -------
        int or None
            Its id; None if there is none.
        """
        stored = self.root.to_stored(located(path))
        return self._id_at(self._opened.ask(lambda table: table.find_path(stored)))

    def find_composed(self, path: str) -> int | None:
        """Find the image at a path, whichever accents in its name are composed: macOS takes them apart.

        Parameters
        ----------
        path : str
            Absolute.

        Returns
        -------
        int or None
            The lowest id of those whose composed path is the composed `path`; None if there is none.
        """
        place, top = (unicodedata.normalize("NFC", text) for text in (path, str(self.root.folder)))
        stored = replace(self.root, folder=Path(top)).to_stored(place)
        plain = [] if not stored.isascii() else [self._opened.ask(lambda table: table.find_path(stored))]
        found = [
            row for row in (self._opened.ask(lambda table: table.find_composed(stored)), *plain) if row is not None
        ]
        return self._id_at(min(found, default=None))

    def _id_at(self, row: int | None) -> int | None:
        return None if row is None else int(self.ids[row])

    def find_hash(self, sha256: str) -> int | None:
        """Find an image by the content of its file.

        Parameters
        ----------
        sha256 : str
            Of the file, in hexadecimal.

        Returns
        -------
        int or None
            The lowest id of the images with this content; None if there is none.
        """
        content = bytes.fromhex(sha256)
        return self._id_at(self._opened.ask(lambda table: table.find_content(content)))

    def firsts(self, rows: IndexVector) -> IndexVector:
        """Return for each image the first one with the same content.

        Parameters
        ----------
        rows : ndarray of shape (n,), integer
            Positions.

        Returns
        -------
        ndarray of shape (n,), intp
            Positions; a content is known by that of its first image.
        """
        return self._opened.ask(lambda table: table.firsts(rows))

    def copies(self, id_: int) -> IdVector:
        """Return all images with the content of one.

        Parameters
        ----------
        id_ : int

        Returns
        -------
        ndarray of int64
            Ids, ascending; `id_` is among them.

        Raises
        ------
        ArgumentError
            If it is not in the collection.
        """
        row = int(self.rows([id_])[0])
        return self.ids[self._opened.ask(lambda table: table.copies(row))]

    def hashes(self, ids: IdVector | Sequence[int]) -> list[str]:
        """Return the SHA-256 of images' files.

        Parameters
        ----------
        ids : sequence of int
            n of them, in any order.

        Returns
        -------
        list of str
            In hexadecimal.

        Raises
        ------
        ArgumentError
            If an id is not in the collection.
        """
        rows = self.rows(ids)
        return [sha.hex() for sha in self._opened.ask(lambda table: table.contents(rows))]
