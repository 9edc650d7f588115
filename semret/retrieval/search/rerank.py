"""The best k of a set of candidates, with proof: what is not solved is ruled out by an upper bound."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from semret.arrays import Float64Array, IdVector, IndexVector, as_array
from semret.centers import Center
from semret.errors import ArgumentError, ShapeError
from semret.integer_tokens import IntegerTokens
from semret.progress import Progress
from semret.retrieval.search.best_k import BestK, Tokens, as_compared, shared_among
from semret.retrieval.search.candidates import Query, Reranked, TokenSource
from semret.retrieval.search.options import RerankOptions
from semret.retrieval.similarity.integer_maps import IntegerMaps
from semret.retrieval.similarity.kernels import centred_squared_norms, median_bandwidth

if TYPE_CHECKING:
    from semret.retrieval.search.device_stream import StreamOnDevice

CHUNK_BYTES = 128 << 20
"""Tokens held at once, and affinities, each as float32."""

INTEGER_CHUNK_BYTES = 32 << 20
"""Integer tokens held at once. Their affinities are formed one at a time."""

_STATISTICS_AT_ONCE = 1 << 16


class Narrow(Protocol):
    """Tells which candidates may be among the best, by bounds that are computed elsewhere."""

    def __call__(self, query: IntegerMaps, ids: IdVector, *, k: int, kernel: str, sigma: float | None) -> IndexVector:
        """Return places among `ids`, ascending: every other candidate's score is certainly below that of k of these."""


def rerank(
    query: Query,
    source: TokenSource,
    options: RerankOptions,
    *,
    center: Center | None = None,
    sigma: float | None = None,
    progress: Progress | None = None,
    narrow: Narrow | None = None,
) -> Reranked:
    r"""Find the `k` candidates most similar to a query, solving as few matchings as possible.

    A candidate is dropped only if a rigorous upper bound of its score, roundings included, lies below the k-th best
    score found; what remains is solved. The result is *identical* to solving every candidate, scores and ties
    included. Candidates are visited in the order of their mean tokens' similarity and in chunks of bounded memory.

    Parameters
    ----------
    query : Query
    source : TokenSource
    options : RerankOptions
    center : Center or None
        Subtracted from query and candidates; None subtracts nothing.
    sigma : float or None
        RBF bandwidth; by default that of `semret.retrieval.similarity.kernels.median_bandwidth`, of the squared
        distances' means over all matchings. The order depends on it only where scores become one number.
    progress : callable or None
        Called with the number of candidates visited and their total, first with 0.
    narrow : callable or None
        Rules out beforehand, of integer tokens, see `Narrow`: `semret.retrieval.search.device_maps` does it on a GPU.

    Returns
    -------
    Reranked

    Raises
    ------
    ArgumentError
        If sigma is out of range, or invariance pooled is chosen and the query has no pooled embedding.
    ShapeError
        If query, candidates and centre do not fit each other.
    NonFiniteError
        If the query, or a candidate that is read, holds NaN or infinity.

    Examples
    --------
    The second candidate is the query with its tokens exchanged. Of the first, the best matching is worth
    0 * 2 + 1 * 3 = 3 and the norms are sqrt(1 + 4) and sqrt(9 + 4).

    >>> from semret.retrieval.search.candidates import InMemoryTokens
    >>> source = InMemoryTokens(np.array([[[0.0, 2.0], [3.0, 0.0]], [[0.0, 2.0], [1.0, 0.0]]]))
    >>> found = rerank(Query(tokens=np.array([[1.0, 0.0], [0.0, 2.0]])), source, RerankOptions(k=2))
    >>> found.rows.tolist(), found.scores.round(4).tolist(), found.exact
    ([1, 0], [1.0, 0.8682], True)
    """
    own = tuple(query.tokens.shape[-2:])
    if len(own) != 2 or own[1] != source.shape[1]:
        raise ShapeError(
            f"the query's tokens have shape {own}, the candidates' {tuple(source.shape)}: "
            "expected two axes and the same number of channels"
        )
    middle = Center() if center is None else center
    best = BestK(query.tokens, options, middle.tokens, sigma)
    rows = _admitted(query, source.ids)
    if options.invariance == "pooled":
        one, many = _centred_pooled(query, source, rows, middle)
        best.compare_pooled(rows, source.ids[rows], one, many)
        return outcome(best, 0.0)
    if options.kernel == "rbf" and sigma is None:
        statistics = centred_statistics(best.query.means[0], source, rows, middle)
        best.sigma = bandwidth(best, source.shape[0], *statistics)
    reading, total = 0.0, len(rows)
    if progress is not None:
        progress(0, total)
    query_maps = best.query
    if narrow is not None and isinstance(query_maps, IntegerMaps) and best.can_rule_out(len(rows)):
        start = time.perf_counter()
        rows = rows[narrow(query_maps, source.ids[rows], k=options.k, kernel=options.kernel, sigma=best.sigma)]
        best.rule_out(total - len(rows), time.perf_counter() - start)
    for chunk in _chunks(best, source, rows, middle):
        start = time.perf_counter()
        tokens = source.read(chunk)
        reading += time.perf_counter() - start
        best.compare(chunk, source.ids[chunk], tokens)
        if progress is not None:
            progress(best.seen, total)
    return outcome(best, reading)


def rerank_stream(
    queries: Sequence[Query],
    chunks: Iterable[tuple[IdVector, Tokens]],
    options: RerankOptions,
    *,
    center: Center | None = None,
    sigma: float | Sequence[float] | None = None,
    progress: Progress | None = None,
    device: str | None = None,
) -> list[Reranked]:
    """Find the `k` best candidates of each of many queries in one pass over a stream.

    Parameters
    ----------
    queries : sequence of Query
    chunks : iterable of (ids, tokens)
        Ids (n,) int64 and tokens (n, S, C), in floats or as `IntegerTokens`, like the queries'; only one chunk is held
        at a time. Rows of the results count candidates from the start of the stream.
    options : RerankOptions
        Invariance pooled needs no stream of tokens and is refused.
    center : Center or None
        See `rerank`.
    sigma : float, sequence of float, or None
        RBF bandwidth of all queries or of each; required by kernel rbf, for a stream's median is not known in advance.
    progress : callable or None
        Called with the number of candidates seen, and 0 for their unknown total.
    device : str or None
        ``cuda`` or ``cuda:N`` rules out there what cannot be among the best; the answer is the same.

    Returns
    -------
    list of Reranked
        One for each query.

    Raises
    ------
    ArgumentError, ShapeError, NonFiniteError, UnknownNameError
        See `rerank`.
    """
    if options.invariance == "pooled":
        raise ArgumentError("a stream of tokens has no pooled embeddings; choose another invariance or use rerank")
    if options.kernel == "rbf" and sigma is None:
        raise ArgumentError("the rbf kernel over a stream needs its bandwidth: pass sigma")
    sigmas = list(sigma) if isinstance(sigma, Sequence) else [sigma] * len(queries)
    if len(sigmas) != len(queries):
        raise ArgumentError(f"sigma holds {len(sigmas)} bandwidths for {len(queries)} queries, expected one for each")
    middle = None if center is None else center.tokens
    searches = [
        BestK(query.tokens, options, middle, own, query.excluded) for query, own in zip(queries, sigmas, strict=True)
    ]
    seen = 0
    narrowing = None if device is None else _narrowing(device, searches, options)
    for ids, tokens in chunks:
        tokens = tokens if isinstance(tokens, IntegerTokens) else as_array(tokens, "the candidates' tokens")
        rows = np.arange(seen, seen + len(ids))
        if narrowing is not None and len(ids):
            narrowing.compare(rows, ids, tokens)
        else:
            many = len(ids) > 0 and len(queries) > 1
            shared = shared_among(as_compared(tokens, middle), middle, options) if many else None
            for best in searches:
                best.compare(rows, ids, tokens, shared)
        seen += len(ids)
        if progress is not None:
            progress(seen, 0)
    return [outcome(best, 0.0) for best in searches]


def _narrowing(device: str, searches: list[BestK], options: RerankOptions) -> StreamOnDevice | None:
    """Return what rules out on a device, where that is of use."""
    if not searches or not all(best.can_rule_out(options.k + 1) for best in searches):
        return None
    from semret.retrieval.search.device_stream import StreamOnDevice

    return StreamOnDevice(searches, device)


def outcome(best: BestK, reading: float) -> Reranked:
    """Return what a comparison has found.

    Parameters
    ----------
    best : BestK
    reading : float
        Seconds that candidates took to be read.

    Returns
    -------
    Reranked
    """
    return Reranked(
        rows=best.rows,
        scores=best.scores,
        solved=best.solved,
        pruned=best.pruned,
        exact=best.exact,
        seconds={"read": reading, "match": best.seconds},
    )


def _admitted(query: Query, ids: IdVector) -> IndexVector:
    """Return the places of the candidates that the query does not exclude."""
    if query.excluded is None:
        return np.arange(len(ids))
    return np.flatnonzero(~np.isin(ids, query.excluded))


def _centred_pooled(
    query: Query, source: TokenSource, rows: IndexVector, center: Center
) -> tuple[Float64Array, Float64Array]:
    if query.pooled is None:
        raise ArgumentError("invariance pooled needs the query's pooled embedding, and the query has none")
    middle = 0.0 if center.pooled is None else center.pooled.astype(np.float64)
    return query.pooled.astype(np.float64) - middle, source.pooled[rows].astype(np.float64) - middle


def bandwidth(best: BestK, positions: int, squared: Float64Array, inner: Float64Array) -> float:
    """Return the default bandwidth of kernel rbf, of what `centred_statistics` gives.

    Parameters
    ----------
    best : BestK
    positions : int
        S, of the candidates.
    squared, inner : ndarray of shape (K,), float64

    Returns
    -------
    float
    """
    pairs = min(best.shape[0], positions)
    return median_bandwidth(np.maximum(best.query.squared_norms + squared - 2 * pairs * inner, 0.0))


def visiting_order(squared: Float64Array, inner: Float64Array) -> IndexVector:
    """Order candidates by the cosine of their mean token with the query's, most promising first.

    Parameters
    ----------
    squared, inner : ndarray of shape (K,), float64
        See `centred_statistics`.

    Returns
    -------
    ndarray of shape (K,), intp
    """
    norms = np.sqrt(squared)
    with np.errstate(invalid="ignore"):
        promise = np.divide(inner, norms, out=np.zeros_like(norms), where=norms > 0)
    return np.asarray(np.argsort(-promise, kind="stable"))


def centred_statistics(
    mean: Float64Array, source: TokenSource, rows: IndexVector, center: Center
) -> tuple[Float64Array, Float64Array]:
    """Return the candidates' squared norms and their mean tokens' inner products with the query's, centred.

    Statistics of maps that are not finite are left to the check that refuses their tokens.

    A position-wise centre leaves no closed form for the norms; its mean over positions stands in for it.

    Parameters
    ----------
    mean : ndarray of shape (C,), float64
        The query's mean token, centred.
    source : TokenSource
    rows : ndarray of shape (K,), intp
        Which of its candidates.
    center : Center

    Returns
    -------
    squared, inner : ndarray of shape (K,), float64
        Each depends on its candidate alone.
    """
    channel = center.channel if center.position is None else center.position.mean(axis=0, dtype=np.float64)
    squared, inner = np.empty(len(rows)), np.empty(len(rows))
    for start in range(0, len(rows), _STATISTICS_AT_ONCE):
        part = slice(start, start + _STATISTICS_AT_ONCE)
        means = source.means[rows[part]].astype(np.float64)
        with np.errstate(invalid="ignore"):
            norms = np.asarray(source.norms[rows[part]], dtype=np.float64) ** 2
            squared[part] = centred_squared_norms(norms, means, source.shape[0], channel)
            inner[part] = np.einsum("kc,c->k", means if channel is None else means - channel, mean)
    return squared, inner


def chunk_length(best: BestK, shape: tuple[int, int], center: Center) -> int:
    """Return how many candidates are compared at a time.

    Parameters
    ----------
    best : BestK
    shape : (int, int)
        ``(S, C)`` of the candidates.
    center : Center

    Returns
    -------
    int
        At least 1.
    """
    positions, channels = shape
    if best.integer and center.tokens is None:
        return max(1, INTEGER_CHUNK_BYTES // (positions * channels))
    return max(1, CHUNK_BYTES // (4 * positions * max(channels, best.shape[0])))


def _chunks(best: BestK, source: TokenSource, rows: IndexVector, center: Center) -> Iterator[IndexVector]:
    """Cut candidates so that neither their tokens nor their affinities are too large, promising ones first.

    Within a chunk, candidates are read in the order in which they are stored.
    """
    step = chunk_length(best, source.shape, center)
    if len(rows) > step:
        rows = rows[visiting_order(*centred_statistics(best.query.means[0], source, rows, center))]
    for start in range(0, len(rows), step):
        yield np.sort(rows[start : start + step])
