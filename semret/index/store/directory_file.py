"""The file ``directory.bin``: which image is where, as the catalog has it, in the form in which readers need it.

It is derived from the catalog and says of which state; one that is missing, stale or damaged costs time and no answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from semret.index.store.layout import Column
from semret.index.store.paged_file import MARK_BYTES, Kind, PagedFile, write_paged

DIRECTORY_NAME = "directory.bin"
NO_LISTS = bytes(16)
"""Stands for the inverted lists of an index that has none."""

_BLOCK = 2**12
_LEAST_BYTES = 40
"""An image takes more than this in a catalog, with its path, times and two digests."""


def directory_columns(counts: Mapping[str, int]) -> dict[str, Column]:
    """Return the arrays of a directory of N images, in the order of the file.

    ``ids`` (N,), ascending, and by position among them: ``places`` (N,), which of the segments; ``rows`` (N,), in it;
    ``hashes`` (N, 32), of the file; ``sizes``, ``stamps`` (N,), of the file; ``path_ends`` (N,), where each stored path
    ends in ``paths``; ``by_hash``, ``by_path`` (N,), positions in the order of hashes and of stored paths, equal ones
    in the order of ids; ``firsts`` (N,), the first position with the same content; ``nexts`` (N,), the next one, -1 at
    the last; ``composed``, positions of paths that are not ASCII, in the order of their composed form; ``tail``,
    positions that the inverted lists do not have; of each segment in use ``segment_numbers``, ``segment_rows``, and its
    entry in the catalog as JSON in ``segments``; refused files, ``skipped_paths`` and ``skipped_reasons``; the means
    ``pooled_mean`` and ``channel_mean`` where the index has them from its images.

    Parameters
    ----------
    counts : mapping of str to int

    Returns
    -------
    dict of str to Column
    """
    images, segments, skipped = counts["images"], counts["segments"], counts["skipped"]
    return {
        "ids": Column("<i8", (images,)),
        "places": Column("<i4", (images,)),
        "rows": Column("<i4", (images,)),
        "hashes": Column("u1", (images, 32)),
        "sizes": Column("<i8", (images,)),
        "stamps": Column("<i8", (images,)),
        "path_ends": Column("<i8", (images,)),
        "paths": Column("u1", (counts["path_bytes"],)),
        "by_hash": Column("<i4", (images,)),
        "by_path": Column("<i4", (images,)),
        "firsts": Column("<i4", (images,)),
        "nexts": Column("<i4", (images,)),
        "composed": Column("<i4", (counts["composed"],)),
        "tail": Column("<i4", (counts["tail"],)),
        "segment_numbers": Column("<i8", (segments,)),
        "segment_rows": Column("<i8", (segments,)),
        "segment_ends": Column("<i8", (segments,)),
        "segments": Column("u1", (counts["segment_bytes"],)),
        "skipped_path_ends": Column("<i8", (skipped,)),
        "skipped_paths": Column("u1", (counts["skipped_bytes"],)),
        "skipped_reason_ends": Column("<i8", (skipped,)),
        "skipped_reasons": Column("u1", (counts["reason_bytes"],)),
        "pooled_mean": Column("<f8", (counts["pooled"],)),
        "channel_mean": Column("<f8", (counts["channels"],)),
    }


_SIZES = {
    "images": "ids",
    "path_bytes": "paths",
    "composed": "composed",
    "tail": "tail",
    "segments": "segment_numbers",
    "segment_bytes": "segments",
    "skipped": "skipped_path_ends",
    "skipped_bytes": "skipped_paths",
    "reason_bytes": "skipped_reasons",
    "pooled": "pooled_mean",
    "channels": "channel_mean",
}
"""For each count the array whose length it is."""

_KIND = Kind(b"semret-directory-1\n", tuple(_SIZES), directory_columns, "directory")


class Arrays(Protocol):
    """The arrays of a directory, in a file or in memory."""

    def whole(self, name: str) -> NDArray[Any]:
        """Return an array.

        Parameters
        ----------
        name : str

        Returns
        -------
        ndarray

        Raises
        ------
        IndexCorruptError
            If it is damaged; so of every method.
        """

    def part(self, name: str, start: int, stop: int) -> NDArray[Any]:
        """Return some rows of an array.

        Parameters
        ----------
        name : str
        start, stop : int
            Along its first axis.

        Returns
        -------
        ndarray
        """

    def take(self, name: str, rows: NDArray[Any]) -> NDArray[Any]:
        """Return rows of an array at any places.

        Parameters
        ----------
        name : str
        rows : ndarray of shape (n,), integer

        Returns
        -------
        ndarray of shape (n, ...)
        """


def write_directory(path: Path, state: str, lists: bytes, arrays: Arrays, others: Mapping[str, NDArray[Any]]) -> None:
    """Write a directory, whole or not at all.

    Parameters
    ----------
    path : Path
    state : str
        Of the catalog; see `Catalog.state`.
    lists : bytes
        The 16 bytes that tell which inverted lists ``tail`` is about; `NO_LISTS` without any.
    arrays : Arrays
        See `directory_columns`.
    others : mapping of str to ndarray
        Arrays that take the place of these: ``tail`` and means.

    Raises
    ------
    StorageError
        If the disk is full, read-only, or refuses access.
    """

    def whole(name: str) -> NDArray[Any]:
        return others[name] if name in others else arrays.whole(name)

    counts = {name: len(whole(array)) for name, array in _SIZES.items()}
    blocks = {name: _blocks(partial(whole, name)) for name in directory_columns(counts)}
    write_paged(path, _KIND, bytes.fromhex(state) + lists, counts, blocks)


def _blocks(whole: Callable[[], NDArray[Any]]) -> Iterator[NDArray[Any]]:
    """Give an array in pieces: what is written is converted, and has its checksums made, a piece at a time."""
    array = whole()
    for start in range(0, len(array), _BLOCK):
        yield array[start : start + _BLOCK]


def open_directory(path: Path, catalog_bytes: int, dimension: int) -> PagedFile:
    """Open the directory of an index; what is read of it is checked as it is read.

    Parameters
    ----------
    path : Path
    catalog_bytes : int
        Length of the catalog, which bounds what a directory of it can hold.
    dimension : int
        The same for its means.

    Returns
    -------
    PagedFile

    Raises
    ------
    IndexCorruptError
        If it is not one that semret wrote.
    OSError
        If it is missing, cannot be opened, or is no regular file.
    """
    images = catalog_bytes // _LEAST_BYTES
    most = dict.fromkeys(_SIZES, images) | dict.fromkeys(("pooled", "channels"), dimension)
    # Text in the catalog may become longer as JSON, by escapes.
    most |= dict.fromkeys(("path_bytes", "segment_bytes", "skipped_bytes", "reason_bytes"), 8 * catalog_bytes)
    return PagedFile(path, _KIND, most)


def state_of(file: PagedFile) -> str:
    """Return the state of the catalog that a directory was made of.

    Parameters
    ----------
    file : PagedFile

    Returns
    -------
    str
        32 hexadecimal digits.
    """
    return file.mark[: MARK_BYTES // 2].hex()


def lists_of(file: PagedFile) -> bytes:
    """Return which inverted lists the ``tail`` of a directory is about.

    Parameters
    ----------
    file : PagedFile

    Returns
    -------
    bytes
        16 of them; `NO_LISTS` where there are none.
    """
    return file.mark[MARK_BYTES // 2 :]
