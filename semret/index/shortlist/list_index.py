"""Search of inverted lists: the lists whose centres are nearest to a query, then exact scores of what may be best."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from semret.arrays import Float32Array, Float64Array, FloatArray, IdVector, IndexVector, require_ndim
from semret.errors import ArgumentError, ShapeError
from semret.index.shortlist.lists import InvertedLists
from semret.index.store.members import damaged
from semret.index.vectors import Shortlist, products

UnitVectors = Callable[[IndexVector], Float32Array]
"""Gives the vectors of images at positions, scaled to length 1."""


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
