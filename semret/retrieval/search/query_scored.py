"""A rerank by how much of the query a candidate shows: the usual one, on maps that are changed as they are read."""

from __future__ import annotations

from dataclasses import fields, replace
from functools import cached_property

import numpy as np

from semret.arrays import Float64Array, FloatArray, IdVector, IndexVector
from semret.centers import Center
from semret.integer_tokens import IntegerTokens
from semret.progress import Progress
from semret.retrieval.search.candidates import Query, Reranked, TokenSource
from semret.retrieval.search.options import RerankOptions
from semret.retrieval.search.rerank import Narrow, rerank
from semret.retrieval.similarity.kernels import centred_squared_norms
from semret.retrieval.similarity.query_score import level_maps, weigh_query


def rerank_by_query(
    query: Query,
    source: TokenSource,
    options: RerankOptions,
    center: Center | None = None,
    *,
    cells: IndexVector | None = None,
    progress: Progress | None = None,
    narrow: Narrow | None = None,
) -> Reranked:
    """Find the `k` candidates that show most of a query; see `semret.retrieval.similarity.query_score`.

    As with `semret.retrieval.search.rerank.rerank`, the result is identical to solving every candidate.

    Parameters
    ----------
    query : Query
        All tokens of a picture, or those of a part of it.
    source : TokenSource
    options : RerankOptions
        Invariance permutation or maxsim; the kernel does not count.
    center : Center or None
        Subtracted from query and candidates; None subtracts nothing.
    cells : ndarray of shape (Sq,), intp, or None
        The positions that the query's tokens have in its picture, which a centre with positions needs; None stands for
        a whole picture.
    progress : callable or None
        Called with the number of candidates visited and their total.
    narrow : callable or None
        See `semret.retrieval.search.rerank.rerank`; it has to compare by the tokens' directions.

    Returns
    -------
    Reranked

    Raises
    ------
    ShapeError, NonFiniteError
        See `semret.retrieval.search.rerank.rerank`.

    Examples
    --------
    The query's tokens are there, twice as long and among others.

    >>> from semret.retrieval.search.candidates import InMemoryTokens
    >>> source = InMemoryTokens(np.array([[[1.0, 1.0], [1.0, 1.0], [1.0, 1.0]], [[0.0, 4.0], [1.0, 1.0], [2.0, 0.0]]]))
    >>> found = rerank_by_query(Query(tokens=np.array([[1.0, 0.0], [0.0, 2.0]])), source, RerankOptions(k=2))
    >>> found.rows.tolist(), found.scores.round(4).tolist(), found.exact
    ([1, 0], [1.0, 0.7071], True)
    """
    middle = Center() if center is None else center
    levelled = LevelledTokens(source, middle, threads=options.threads)
    return rerank(weighed(query, middle, cells), levelled, as_linear(options), progress=progress, narrow=narrow)


def weighed(query: Query, center: Center, cells: IndexVector | None) -> Query:
    """Return a query whose inner products with levelled candidates are its score.

    Parameters
    ----------
    query : Query
    center : Center
    cells : ndarray of shape (Sq,), intp, or None
        See `rerank_by_query`.

    Returns
    -------
    Query
        Centred.
    """
    own = center.tokens
    if own is not None and own.ndim == 2 and cells is not None:
        own = own[cells]
    return replace(query, tokens=weigh_query(query.tokens, own))


def as_linear(options: RerankOptions) -> RerankOptions:
    """Return the options of the rerank that `rerank_by_query` is.

    Parameters
    ----------
    options : RerankOptions

    Returns
    -------
    RerankOptions
        Of a search's options, only these: the others are checked against the kernel that was chosen.
    """
    chosen = {field.name: getattr(options, field.name) for field in fields(RerankOptions)}
    return RerankOptions(**{**chosen, "kernel": "linear"})


class LevelledTokens:
    """Candidates whose tokens are centred and brought to length 1 when they are read.

    Means and norms are those of the centred maps before: they only decide in which order candidates are visited.

    Parameters
    ----------
    source : TokenSource
    center : Center
        Subtracted from the tokens.
    threads : int or None
        None takes all processors.

    Attributes
    ----------
    shape : (int, int)
        ``(S, C)``.
    ids : ndarray of shape (K,), int64
    """

    def __init__(self, source: TokenSource, center: Center, *, threads: int | None = None) -> None:
        self._source, self._center, self._threads = source, center, threads
        position = center.position
        self._channel = center.channel if position is None else position.mean(axis=0, dtype=np.float64)
        self.shape: tuple[int, int] = source.shape
        self.ids: IdVector = source.ids

    @cached_property
    def norms(self) -> Float64Array:
        """Frobenius norms of the centred maps, (K,)."""
        squared = np.asarray(self._source.norms) ** 2
        return np.sqrt(centred_squared_norms(squared, self._source.means, self.shape[0], self._channel))

    @cached_property
    def means(self) -> FloatArray:
        """Mean tokens of the centred maps, (K, C)."""
        means: FloatArray = np.asarray(self._source.means)
        return means if self._channel is None else means - self._channel

    @property
    def pooled(self) -> FloatArray:
        """Pooled embeddings as stored, (K, D)."""
        return self._source.pooled

    def read(self, rows: IndexVector) -> FloatArray | IntegerTokens:
        """Return the centred tokens of some candidates, brought to length 1.

        Parameters
        ----------
        rows : ndarray of shape (n,), intp
            Places of candidates, from 0.

        Returns
        -------
        ndarray of shape (n, S, C), float32 or float64, or IntegerTokens
        """
        tokens: FloatArray | IntegerTokens = self._source.read(rows)
        return level_maps(tokens, self._center.tokens, threads=self._threads)
