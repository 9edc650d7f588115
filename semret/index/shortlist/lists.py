"""Search of inverted lists: the lists whose centres are nearest to a query, then exact scores of what may be best."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semret.arrays import Float32Array, Float64Array, FloatArray, IdVector, IndexVector, require_ndim
from semret.errors import ArgumentError, IndexCorruptError, ShapeError
from semret.index.store.lists_file import LISTS_KIND, MILLION, record
from semret.index.store.manifest import Manifest
from semret.index.store.members import damaged
from semret.index.store.paged_file import PagedFile
from semret.index.vectors import Shortlist, products

_BLOCK = 2**14
LEAST_LISTED = 10_000
"""Images from which a collection has inverted lists; fewer are searched as a whole."""

UnitVectors = Callable[[IndexVector], Float32Array]
"""Gives the vectors of images at positions, scaled to length 1."""


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


class ListIndex:
    """Searches a collection through inverted lists, and through all that these do not have.

    Parameters
    ----------
    lists : InvertedLists
    ids : ndarray of shape (N,), int64
        Of the images there are, ascending. What the lists have besides is passed over.
    tail : ndarray of integer
        Positions of the images that the lists do not have.
    vectors : callable
        See `UnitVectors`.
    """

    def __init__(self, lists: InvertedLists, ids: IdVector, tail: IndexVector, vectors: UnitVectors) -> None:
        self.lists = lists
        self.ids = ids
        self._tail = tail
        self._tail_vectors: Float32Array | None = None
        self._vectors = vectors

    def __len__(self) -> int:
        return len(self.ids)

    def search(self, queries: FloatArray, length: int) -> Shortlist:
        """Find the best images of each query among those in the lists nearest to it.

        Parameters
        ----------
        queries : ndarray of shape (Q, D), float32 or float64
            Of length 1; Q may be 0.
        length : int
            K, from 1; where there are fewer images, all are taken. More lists are searched where those that are
            searched usually hold fewer.

        Returns
        -------
        Shortlist
            Best first; equal scores in the order of ids. Scores are exact.

        Raises
        ------
        ArgumentError
            If `length` is less than 1.
        ShapeError
            If the queries have another dimension.
        IndexCorruptError
            If what is read is damaged, or the lists and the tail lack images.
        """
        require_ndim(queries, 2, "queries", "(Q, D)")
        if length < 1:
            raise ArgumentError(f"a shortlist of {length} was asked for; it needs at least 1")
        dimension = self.lists.centroids.shape[1]
        if queries.shape[1] != dimension:
            raise ShapeError(f"the query has {queries.shape[1]} dimensions, the index {dimension}")
        length = min(length, len(self))
        ids, scores = np.empty((len(queries), length), dtype=np.int64), np.empty((len(queries), length))
        for number, query in enumerate(np.ascontiguousarray(queries, dtype=np.float32)):
            rows, exact = self._best(query, length, *self._candidates(query, length))
            ids[number], scores[number] = self.ids[rows], exact
        return Shortlist(ids, scores)

    def search_in(self, query: Float32Array, length: int, probed: int) -> tuple[Shortlist, int]:
        """Find the best images of a query among those in its nearest lists and in the tail: no more lists are searched.

        Parameters
        ----------
        query : ndarray of shape (D,), float32
        length : int
            K, from 1; where there are fewer such images, all are taken.
        probed : int
            How many lists.

        Returns
        -------
        Shortlist
            As `search` gives it for one query.
        int
            How many such images there are, if fewer than `length`; else some number that is not less.

        Raises
        ------
        IndexCorruptError
            If what is read is damaged.
        """
        ids, scores, errors = self._near(query, 0, probed)
        rows, places = self._promising(ids, scores, errors, length)
        found, exact = self._best(query, length, rows, scores[places], errors[places])
        return Shortlist(self.ids[found][None], exact[None]), len(rows) + len(self._tail)

    def _best(
        self, query: Float32Array, length: int, rows: IndexVector, scores: Float32Array, errors: Float32Array
    ) -> tuple[IndexVector, Float64Array]:
        keep = min(max(length - len(self._tail), 0), len(rows))
        first = np.argpartition(-scores, keep - 1)[:keep] if keep else np.zeros(0, dtype=np.intp)
        exact = np.concatenate([products(query, self._vectors(rows[first])), self._tail_scores(query)])
        found = np.concatenate([rows[first], self._tail])
        if len(found) >= length and len(rows) > keep:
            # The `length`-th best is at least this good: what cannot reach it need not be read.
            floor = -np.partition(-exact, length - 1)[length - 1]
            others = np.setdiff1d(np.flatnonzero(scores + errors >= floor), first)
            exact = np.concatenate([exact, products(query, self._vectors(rows[others]))])
            found = np.concatenate([found, rows[others]])
        order = np.lexsort((found, -exact))[:length]
        return found[order], exact[order]

    def _candidates(self, query: Float32Array, length: int) -> tuple[IndexVector, Float32Array, Float32Array]:
        """Return positions of images near the query, about their scores, and by how much these may err."""
        ids = np.zeros(0, dtype=np.int64)
        scores = errors = np.zeros(0, dtype=np.float32)
        first, last = 0, self.lists.probed
        while True:
            more, found, lost = self._near(query, first, last)
            ids, scores = np.concatenate([ids, more]), np.concatenate([scores, found])
            errors = np.concatenate([errors, lost])
            rows, places = self._promising(ids, scores, errors, length)
            if len(rows) + len(self._tail) >= length:
                return rows, scores[places], errors[places]
            if last >= self.lists.lists:
                raise damaged(self.lists.file.path, f"it and the tail do not have all {len(self)} images")
            first, last = last, min(2 * last, self.lists.lists)

    def _near(self, query: Float32Array, first: int, last: int) -> tuple[IdVector, Float32Array, Float32Array]:
        """Return what lies in some of the nearest lists, about its scores, and by how much these may err."""
        # In float32, and summed in any order, a product of vectors of about length 1 errs by less than this.
        slack = 2 * len(query) * float(np.finfo(np.float32).eps)
        ids, scores, errors = self.lists.near(query, first, last)
        # What is no number could be anything.
        scores, errors = (
            np.nan_to_num(values, nan=big, posinf=big, neginf=low)
            for values, big, low in ((scores, 2.0, -2.0), (errors, 4.0, 4.0))
        )
        return ids, scores, errors + np.float32(slack)

    def _promising(
        self, ids: IdVector, scores: Float32Array, errors: Float32Array, length: int
    ) -> tuple[IndexVector, IndexVector]:
        """Return the positions, and places among `ids`, of all images that may be among the `length` best."""
        places = np.arange(len(ids))
        some = 4 * length + 256
        if len(ids) > 2 * some:
            lowest = scores - errors
            best = np.argpartition(-lowest, some)[:some]
            _, there = self._positions(ids[best])
            if len(there) >= length:
                floor = np.sort(lowest[best[there]])[-length]
                places = np.flatnonzero(scores + errors >= floor)
        rows, there = self._positions(ids[places])
        return rows, places[there]

    def _positions(self, ids: IdVector) -> tuple[IndexVector, IndexVector]:
        """Return the positions of images that there are and that are not in the tail, and where each is in `ids`."""
        rows = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        there = np.flatnonzero(self.ids[rows] == ids)
        there = there[~np.isin(rows[there], self._tail)]
        # One id may come twice in a file that semret did not write.
        found, first = np.unique(rows[there], return_index=True)
        return found, there[first]

    def _tail_scores(self, query: Float32Array) -> Float64Array:
        if self._tail_vectors is None:
            self._tail_vectors = self._vectors(self._tail)
        return products(query, self._tail_vectors)


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
    # Where a file that is held open cannot be replaced, a reader would keep the next writer from it.
    if os.name != "posix" or not len(ids):
        return None
    try:
        file = open_any_lists(path, ids)
        return InvertedLists(file, dimension) if file.mark == mark_of(manifest) else None
    except (OSError, IndexCorruptError):
        return None


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
    most = 4 * int(ids[-1] if len(ids) else 0) + 2**20
    bounds = dict.fromkeys(("images", "lists", "probed", "trained"), most)
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
