"""The shortlist: pooled embeddings nearest to a query.

FAISS scans the vectors where there is much to scan. A single query of a small collection takes less time than importing
FAISS does, so its products are then taken directly. Either way only preselects: what may belong to the shortlist is
scored again in float64, so the shortlist is the same, ties included.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semret.arrays import Float32Array, Float64Array, FloatArray, IdVector, require_ndim
from semret.errors import ArgumentError, ShapeError
from semret.forked import inherited

FAISS_PRODUCTS = 2**20
"""Query-image pairs from which FAISS is used."""


@dataclass(frozen=True)
class Shortlist:
    """The images nearest to each query by pooled embedding.

    Attributes
    ----------
    ids : ndarray of shape (Q, K), int64
        Best first; equal scores in the order of ids.
    scores : ndarray of shape (Q, K), float64
        Cosine of the centred pooled embeddings; 0 where either is the mean itself.
    """

    ids: IdVector
    scores: Float64Array


class VectorIndex:
    """Normalised pooled embeddings, searched exhaustively by inner product.

    Parameters
    ----------
    ids : ndarray of shape (N,), int64
        Ascending.
    vectors : ndarray of shape (N, D), float32
        As `normalise` gives them.
    """

    def __init__(self, ids: IdVector, vectors: Float32Array) -> None:
        require_ndim(vectors, 2, "vectors", "(N, D)")
        if len(ids) != len(vectors):
            raise ShapeError(f"there are {len(ids)} ids but {len(vectors)} vectors")
        self.ids = ids
        self.vectors = np.ascontiguousarray(vectors, dtype=np.float32)
        self._faiss: Any = None

    def __len__(self) -> int:
        return len(self.ids)

    def search(self, queries: FloatArray, length: int) -> Shortlist:
        """Find the best images of each query.

        Parameters
        ----------
        queries : ndarray of shape (Q, D), float32 or float64
            As `normalise` gives them; Q may be 0.
        length : int
            K, from 1; where there are fewer images, all are taken.

        Returns
        -------
        Shortlist
            Best first; equal scores in the order of ids.

        Raises
        ------
        ArgumentError
            If `length` is less than 1.
        ShapeError
            If the queries have another dimension.
        """
        require_ndim(queries, 2, "queries", "(Q, D)")
        if length < 1:
            raise ArgumentError(f"a shortlist of {length} was asked for; it needs at least 1")
        if queries.shape[1] != self.vectors.shape[1]:
            raise ShapeError(f"the query has {queries.shape[1]} dimensions, the index {self.vectors.shape[1]}")
        length = min(length, len(self))
        ids = np.empty((len(queries), length), dtype=np.int64)
        scores = np.empty((len(queries), length))
        if length:
            single = np.ascontiguousarray(queries, dtype=np.float32)
            rows = self._preselect(single, length)
            for number, candidates in enumerate(rows):
                exact = products(single[number], self.vectors[candidates])
                order = np.lexsort((candidates, -exact))[:length]
                ids[number], scores[number] = self.ids[candidates[order]], exact[order]
        return Shortlist(ids, scores)

    def _preselect(self, queries: Float32Array, length: int) -> list[NDArray[np.intp]]:
        """Return for each query rows that certainly hold the `length` best."""
        # A float32 product of unit vectors errs by at most D u in whatever order it is summed; two may err apart.
        slack = 2 * queries.shape[1] * float(np.finfo(np.float32).eps)
        if len(queries) * len(self) >= FAISS_PRODUCTS:
            return [self._by_faiss(query, length, slack) for query in self._first_round(queries, length)]
        rough = queries @ self.vectors.T
        floors = -np.partition(-rough, length - 1, axis=1)[:, length - 1]
        return [np.flatnonzero(row >= floor - slack) for row, floor in zip(rough, floors, strict=True)]

    def _first_round(self, queries: Float32Array, length: int) -> list[_Round]:
        wanted = min(2 * length + 16, len(self))
        scores, rows = self.faiss().search(queries, wanted)
        return [_Round(query, *found) for query, *found in zip(queries, scores, rows, strict=True)]

    def _by_faiss(self, found: _Round, length: int, slack: float) -> NDArray[np.intp]:
        """Ask FAISS for more until what it leaves out is certainly worse than the `length` best."""
        scores, rows = found.scores, found.rows
        while len(rows) < len(self) and scores[-1] >= scores[length - 1] - slack:
            more = min(4 * len(rows), len(self))
            scores, rows = (array[0] for array in self.faiss().search(found.query[None], more))
        return np.sort(rows[scores >= scores[length - 1] - slack]).astype(np.intp)

    def faiss(self) -> Any:
        """Return the vectors as a FAISS index, made at the first call.

        Returns
        -------
        faiss.IndexFlatIP
            Its rows are those of `vectors`.
        """
        # Small collections are searched by NumPy, which starts faster.
        import faiss

        if inherited("faiss"):
            faiss.omp_set_num_threads(1)
        if self._faiss is None:
            self._faiss = faiss.IndexFlatIP(self.vectors.shape[1])
            self._faiss.add(self.vectors)
        return self._faiss


@dataclass(frozen=True)
class _Round:
    query: Float32Array
    scores: Float32Array
    rows: IdVector


def normalise(pooled: FloatArray, mean: Float64Array) -> Float32Array:
    """Subtract the mean from pooled embeddings and scale them to length 1.

    Parameters
    ----------
    pooled : ndarray of shape (n, D), float32 or float64
    mean : ndarray of shape (D,), float64

    Returns
    -------
    ndarray of shape (n, D), float32
        Zeros where an embedding is the mean itself. Computed in float64.
    """
    centred = np.asarray(pooled, dtype=np.float64) - mean
    lengths = np.sqrt(np.einsum("nd,nd->n", centred, centred))[:, None]
    unit = np.divide(centred, lengths, out=np.zeros_like(centred), where=lengths > 0)
    return np.asarray(unit, dtype=np.float32)


def products(query: Float32Array, vectors: Float32Array) -> Float64Array:
    """Return the inner products of one vector with many, each independent of the others.

    Parameters
    ----------
    query : ndarray of shape (D,), float32
    vectors : ndarray of shape (n, D), float32

    Returns
    -------
    ndarray of shape (n,), float64
    """
    return np.asarray(np.einsum("nd,d->n", vectors.astype(np.float64), query.astype(np.float64)))
