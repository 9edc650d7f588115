"""Inverted lists: what is in those nearest to a query, and about how well it scores."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semret.arrays import Float32Array, IdVector, IndexVector
from semret.index.shortlist.opening import most_images, open_usable
from semret.index.store.lists_file import LISTS_KIND, MILLION, record
from semret.index.store.manifest import Manifest
from semret.index.store.members import damaged
from semret.index.store.paged_file import PagedFile

_BLOCK = 2**14
LEAST_LISTED = 10_000
"""Images from which a collection has inverted lists; fewer are searched as a whole."""


class InvertedLists:
    """An open file of inverted lists.

    Parameters
    ----------
    file : PagedFile
        See `open_any_lists`.
    dimension : int
        D, of the vectors.

    Attributes
    ----------
    token : bytes
        16 bytes that no other lists have.
    images, lists, probed, trained : int
        Images in it, lists, lists that are searched, images it was trained on.
    recall : float
        Share of the 100 nearest images that were found when it was trained.
    ends : ndarray of shape (lists,), int64
        Where each list ends.
    centroids : ndarray of shape (lists, D), float32

    Raises
    ------
    IndexCorruptError
        If it is not sound, or has vectors of another length.
    """

    def __init__(self, file: PagedFile, dimension: int) -> None:
        self.file = file
        counts, path = file.counts, file.path
        if counts["dimension"] != dimension:
            raise damaged(path, "its vectors have another length")
        self.token = self.file.digest[:16]
        self.images, self.lists, self.probed, self.trained = (
            counts[name] for name in ("images", "lists", "probed", "trained")
        )
        self.recall = counts["recall"] / MILLION
        self.centroids: Float32Array = self.file.whole("centroids")
        self.ends: NDArray[np.int64] = self.file.whole("ends")
        edges = np.concatenate([[0], self.ends, [self.images]])
        self._starts = edges[:-2]
        self._record = record(dimension)
        if not self.lists or (np.diff(edges) < 0).any() or edges[-2] != self.images:
            raise damaged(path, "its lists do not follow one another")
        if not 1 <= self.probed <= self.lists or not np.isfinite(self.centroids).all():
            raise damaged(path, "its numbers are not valid")

    def all_ids(self) -> IdVector:
        """Return the ids of all images in it.

        Returns
        -------
        ndarray of shape (images,), int64
            In the order of the lists.

        Raises
        ------
        IndexCorruptError
            If what is read is damaged.
        """
        ids = np.empty(self.images, dtype=np.int64)
        for start in range(0, self.images, _BLOCK):
            stop = min(start + _BLOCK, self.images)
            ids[start:stop] = self.records(start, stop)["id"]
        return ids

    def records(self, start: int, stop: int) -> NDArray[np.void]:
        """Return what is in the lists, these taken one behind the other.

        Parameters
        ----------
        start, stop : int
            Positions from 0 to `images`.

        Returns
        -------
        ndarray of shape (stop - start,)
            See `semret.index.store.lists_file.record`.

        Raises
        ------
        IndexCorruptError
            If what is read is damaged.
        """
        return self.file.part("records", start, stop).reshape(-1).view(self._record)

    def near(self, query: Float32Array, first: int, last: int) -> tuple[IdVector, Float32Array, Float32Array]:
        """Return what lies in the lists nearest to a query.

        Parameters
        ----------
        query : ndarray of shape (D,), float32
        first, last : int
            Which of the lists, the nearest being 0.

        Returns
        -------
        ids : ndarray of shape (n,), int64
        scores : ndarray of shape (n,), float32
            Inner products of the rounded vectors with the query.
        errors : ndarray of shape (n,), float32
            How long what rounding took away is.

        Raises
        ------
        IndexCorruptError
            If what is read is damaged.
        """
        chosen = np.argsort(-(self.centroids @ query), kind="stable")[first:last]
        starts, ends = self._starts[chosen], self.ends[chosen]
        edges = np.concatenate([[0], np.cumsum(ends - starts)]).tolist()
        ids = np.empty(edges[-1], dtype=np.int64)
        scores, errors = np.empty(edges[-1], dtype=np.float32), np.empty(edges[-1], dtype=np.float32)
        # List by list, in memory that is used again and stays in the processor's cache.
        wide = np.empty((int((ends - starts).max(initial=0)), len(query)), dtype=np.float32)
        for number, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
            place, codes = slice(edges[number], edges[number + 1]), wide[: end - start]
            found = self.records(start, end)
            np.copyto(codes, found["codes"])
            ids[place], errors[place] = found["id"], found["error"]
            with np.errstate(all="ignore"):
                scores[place] = (codes @ query) * found["unit"]
        return ids, scores, errors


def _among(some: IdVector, ids: IdVector) -> NDArray[np.bool_]:
    """Tell which of some ids are among others, which are ascending."""
    if not len(ids):
        return np.zeros(len(some), dtype=bool)
    return np.asarray(ids[np.minimum(np.searchsorted(ids, some), len(ids) - 1)] == some)


class ListsOfSome(InvertedLists):
    """The part of inverted lists that some images are in, in memory.

    Parameters
    ----------
    whole : InvertedLists
    ids : ndarray of shape (n,), int64
        Of the images, ascending.

    Raises
    ------
    IndexCorruptError
        If what is read is damaged.
    """

    def __init__(self, whole: InvertedLists, ids: IdVector) -> None:
        self.file, self.token, self.recall = whole.file, whole.token, whole.recall
        self.lists, self.probed, self.trained = whole.lists, whole.probed, whole.trained
        self.centroids, self._record = whole.centroids, whole._record
        kept, counts = [], np.zeros(whole.images + 1, dtype=np.int64)
        for start in range(0, whole.images, _BLOCK):
            records = whole.records(start, min(start + _BLOCK, whole.images))
            there = np.flatnonzero(_among(records["id"], ids))
            kept.append(records[there].copy())
            counts[start + there + 1] = 1
        self._kept = np.concatenate([np.zeros(0, dtype=self._record), *kept])
        self.images = len(self._kept)
        edges = np.cumsum(counts)[np.concatenate([[0], whole.ends])]
        self._starts, self.ends = edges[:-1], edges[1:]

    def records(self, start: int, stop: int) -> NDArray[np.void]:
        """Return what is in the lists, see `InvertedLists.records`.

        Parameters
        ----------
        start, stop : int

        Returns
        -------
        ndarray of shape (stop - start,)
        """
        return self._kept[start:stop]


def mark_of(manifest: Manifest) -> bytes:
    """Return what the lists of an index must carry, 32 bytes.

    Ids are never used twice, and an image's vector never changes; so lists of any state of an index serve it.

    Parameters
    ----------
    manifest : Manifest

    Returns
    -------
    bytes
    """
    return hashlib.sha256(b"lists " + manifest.as_bytes()).digest()


def open_lists(path: Path, manifest: Manifest, dimension: int, ids: IdVector) -> InvertedLists | None:
    """Open the inverted lists of an index.

    Parameters
    ----------
    path : Path
    manifest : Manifest
    dimension : int
        D, of the vectors.
    ids : ndarray of shape (N,), int64
        Of the images there are, ascending.

    Returns
    -------
    InvertedLists or None
        None if there are none, or none that can be used.
    """
    if not len(ids):
        return None
    return open_usable(
        lambda: open_any_lists(path, ids), mark_of(manifest), lambda file: InvertedLists(file, dimension)
    )


def open_any_lists(path: Path, ids: IdVector) -> PagedFile:
    """Open a file of inverted lists, of whatever index.

    Parameters
    ----------
    path : Path
    ids : ndarray of shape (N,), int64
        Of the images there are, ascending: they bound how many there can have been.

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
    bounds = dict.fromkeys(("images", "lists", "probed", "trained"), most_images(ids))
    return PagedFile(path, LISTS_KIND, bounds | {"dimension": 2**20, "recall": MILLION})


def missing_in(lists: InvertedLists, ids: IdVector) -> IndexVector:
    """Return the positions of the images that inverted lists do not have.

    Parameters
    ----------
    lists : InvertedLists
    ids : ndarray of shape (N,), int64

    Returns
    -------
    ndarray of intp
        Ascending.

    Raises
    ------
    IndexCorruptError
        If the ids of the lists are damaged.
    """
    missing = np.ones(len(ids), dtype=bool)
    for start in range(0, lists.images, _BLOCK):
        listed = lists.records(start, min(start + _BLOCK, lists.images))["id"]
        rows = np.searchsorted(ids, listed)
        rows = rows[(rows < len(ids)) & (ids[np.minimum(rows, len(ids) - 1)] == listed)] if len(ids) else rows[:0]
        missing[rows] = False
    return np.flatnonzero(missing)
