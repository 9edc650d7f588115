"""The k best candidates of one query, found by bounds and few matchings.

Every candidate gets an upper bound of its score, the cheap bound first. The candidates of the largest bounds are
matched exactly. A candidate whose bound lies below the k-th best score so far cannot be among the best and is dropped.
"""

from __future__ import annotations

import time
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from semret.arrays import Float64Array, FloatArray, IdVector, IndexVector, as_array, require_finite
from semret.retrieval.matching.auction import EFFORTS, AuctionBatch
from semret.retrieval.search.options import RerankOptions
from semret.retrieval.similarity.coarse import CoarseMaps, CoarseQuery, coarse_affinities, quantise_query
from semret.retrieval.similarity.kernels import kernel_score, median_bandwidth
from semret.retrieval.similarity.maps import match_maps, prepare
from semret.retrieval.similarity.pairs import check_shapes, matched_scores, pooled_scores, unmatched_scores

AFFINITY_BYTES = 128 << 20
"""Approximate affinities held at once."""

_FIRST = EFFORTS.index("sweep")
"""The effort that every candidate is bounded with: row maxima alone rule out too few."""

_MARGIN = 1e-12
# float64 roundings of scores, norms and bounds are a thousand times smaller than this.


class BestK:
    """The k best candidates of one query among those that it has been compared with.

    Candidates come in chunks, in any order; the outcome does not depend on how they are cut. A candidate is dropped
    only when a rigorous upper bound of its score lies below the k-th best score found so far, so the k best are those
    of solving every candidate, with the same scores.

    Parameters
    ----------
    tokens : ndarray of shape (Sq, C)
        The query, not centred.
    options : RerankOptions
    center : ndarray of shape (C,) or (S, C), or None
    sigma : float or None
        RBF bandwidth; may be set later, but before the first candidate.
    excluded : ndarray of int64 or None
        Ids that may not be among the best.

    Attributes
    ----------
    rows, ids, scores : ndarray of shape (up to k,)
        The best candidates so far: larger score first, then smaller id.
    solved, pruned, seen : int
        Candidates matched, ruled out, and entered.
    exact : bool
        Whether every matching so far was optimal.
    seconds : float
        Time spent comparing.
    """

    def __init__(
        self,
        tokens: FloatArray,
        options: RerankOptions,
        center: FloatArray | None,
        sigma: float | None,
        excluded: IdVector | None = None,
    ) -> None:
        self.options, self.center, self.sigma, self.excluded = options, center, sigma, excluded
        self.query = prepare(as_array(tokens, "the query's tokens")[None], center, "the query's tokens")
        self.rows: IndexVector = np.zeros(0, dtype=np.intp)
        self.ids: IdVector = np.zeros(0, dtype=np.int64)
        self.scores: Float64Array = np.zeros(0)
        self.seen = self.solved = self.pruned = 0
        self.exact = True
        self.seconds = 0.0

    @cached_property
    def coarse_query(self) -> CoarseQuery:
        """The query in integers."""
        return quantise_query(self.query.tokens[0])

    @property
    def threshold(self) -> float:
        """The k-th best score, minus infinity while there are fewer."""
        return float(self.scores[-1]) if len(self.scores) == self.options.k else -np.inf

    def compare_pooled(self, rows: IndexVector, ids: IdVector, query: Float64Array, candidates: Float64Array) -> None:
        """Compare the query with candidates by pooled embeddings.

        Parameters
        ----------
        rows : ndarray of shape (n,), intp
            Places of the candidates, by which they are returned.
        ids : ndarray of shape (n,), int64
            Of equal scores the smaller id comes first.
        query : ndarray of shape (D,), float64
            Centred.
        candidates : ndarray of shape (n, D), float64
            Centred.

        Raises
        ------
        NonFiniteError
            If an embedding holds NaN or infinity.
        ArgumentError
            If sigma is out of range.
        """
        start = time.perf_counter()
        require_finite(query, "the query's pooled embedding")
        require_finite(candidates, "the candidates' pooled embeddings")
        if self.options.kernel == "rbf" and self.sigma is None:
            self.sigma = median_bandwidth(((candidates - query) ** 2).sum(axis=1))
        self._enter(rows, ids, pooled_scores(query, candidates, kernel=self.options.kernel, sigma=self.sigma))
        self.seconds += time.perf_counter() - start

    def compare(self, rows: IndexVector, ids: IdVector, tokens: FloatArray, integers: CoarseMaps | None = None) -> None:
        """Compare the query with candidates by their tokens.

        Parameters
        ----------
        rows : ndarray of shape (n,), intp
            Places of the candidates, by which they are returned.
        ids : ndarray of shape (n,), int64
            Of equal scores the smaller id comes first.
        tokens : ndarray of shape (n, S, C)
            Not centred.
        integers : CoarseMaps or None
            The same tokens as `semret.retrieval.similarity.coarse.quantise_maps` rounds them, with the same centre;
            many queries can share them. None rounds them where that is needed.

        Raises
        ------
        ShapeError
            If the maps do not fit each other or the centre.
        NonFiniteError
            If a token is NaN or infinite.
        ArgumentError
            If sigma is out of range.
        """
        begun = time.perf_counter()
        tokens = as_array(tokens, "the candidates' tokens")
        check_shapes(self.query.tokens.shape[1:], tokens.shape[1:], self.options.invariance)
        allowed = np.arange(len(ids)) if self.excluded is None else np.flatnonzero(~np.isin(ids, self.excluded))
        self.seen += len(allowed)
        if len(allowed) == 0:
            pass
        elif self.options.invariance != "permutation":
            self._score(rows[allowed], ids[allowed], tokens[allowed])
        elif not self._can_prune(tokens, len(allowed)):
            self._solve(rows[allowed], ids[allowed], tokens[allowed])
        else:
            step = max(1, AFFINITY_BYTES // (4 * len(self.query.tokens[0]) * tokens.shape[1]))
            for first in range(0, len(ids), step):
                part = slice(first, first + step)
                inside = allowed[(allowed >= first) & (allowed < first + step)] - first
                shared = None if integers is None else integers[part]
                self._narrow(rows[part], ids[part], tokens[part], inside, shared)
        self.seconds += time.perf_counter() - begun

    def _can_prune(self, tokens: FloatArray, count: int) -> bool:
        """Tell whether bounds may save a solve: some candidate will not be among the best, and float32 holds all."""
        if not self.options.prune or count + len(self.rows) <= self.options.k:
            return False
        return _fits_float32(tokens) and _fits_float32(self.query.tokens) and not self.query.exponents.any()

    def _score(self, rows: IndexVector, ids: IdVector, tokens: FloatArray) -> None:
        maps = prepare(tokens, self.center, "the candidates' tokens", threads=self.options.threads)
        kernel, invariance = self.options.kernel, self.options.invariance
        scores = unmatched_scores(self.query, maps, kernel=kernel, invariance=invariance, sigma=self.sigma)
        self._enter(rows, ids, scores)

    def _solve(self, rows: IndexVector, ids: IdVector, tokens: FloatArray) -> None:
        maps = prepare(tokens, self.center, "the candidates' tokens", threads=self.options.threads)
        found = match_maps(self.query, maps, solver=self.options.solver, threads=self.options.threads)
        self.solved += len(rows)
        self.exact = self.exact and found.exact
        kernel, sigma = self.options.kernel, self.sigma
        self._enter(rows, ids, matched_scores(self.query, maps, found.matched, kernel=kernel, sigma=sigma))

    def _narrow(
        self,
        rows: IndexVector,
        ids: IdVector,
        tokens: FloatArray,
        allowed: IndexVector,
        integers: CoarseMaps | None,
    ) -> None:
        """Bound all candidates, then alternate between sharper bounds and solving until nothing is left to prove."""
        if len(allowed) == 0:
            return
        field = _Bounded(self, tokens, allowed, integers)
        field.sharpen(allowed, _FIRST)
        missing = self.options.k - len(self.rows)
        if missing > 0:
            # The bounds order candidates well only once they are sharp; a wrong choice costs no more than a solve.
            field.sharpen(field.best(3 * missing, _FIRST), _FIRST + 1)
            self._take(field, field.best(missing, _FIRST + 1), rows, ids, tokens)
        for level in range(_FIRST + 1, len(EFFORTS)):
            alive = field.alive(self.threshold)
            field.sharpen(alive[field.levels[alive] < level], level)
        step = max(4, 2 * (self.options.threads or 2))
        while len(alive := field.alive(self.threshold)):
            order = np.argsort(-field.uppers[alive], kind="stable")
            self._take(field, alive[order[:step]], rows, ids, tokens)
        self.pruned += int(field.open.sum())

    def _take(self, field: _Bounded, chosen: IndexVector, rows: IndexVector, ids: IdVector, tokens: FloatArray) -> None:
        field.open[chosen] = False
        self._solve(rows[chosen], ids[chosen], tokens[chosen])

    def _enter(self, rows: IndexVector, ids: IdVector, scores: Float64Array) -> None:
        """Merge scored candidates into the k best."""
        rows, ids = np.concatenate([self.rows, rows]), np.concatenate([self.ids, ids])
        scores = np.concatenate([self.scores, scores])
        best = np.lexsort((ids, -scores))[: self.options.k]
        self.rows, self.ids, self.scores = rows[best], ids[best], scores[best]


def _fits_float32(tokens: FloatArray) -> bool:
    """Tell whether float64 tokens keep their worth as float32, in which the bounds are computed; others always do."""
    if tokens.dtype != np.float64 or tokens.size == 0:
        return True
    return bool(2.0**-60 < max(float(tokens.max()), -float(tokens.min())) < 2.0**60)


class _Bounded:
    """Upper bounds of the candidates of one chunk, and which of them are neither solved nor ruled out: the open ones.

    One `AuctionBatch` lives as long as this: a sharper bound goes on from the prices that the looser one found.
    """

    def __init__(self, search: BestK, tokens: FloatArray, allowed: IndexVector, integers: CoarseMaps | None) -> None:
        self._search = search
        query, threads = search.coarse_query, search.options.threads
        if integers is None:
            self._products = coarse_affinities(query, tokens, search.center, threads=threads)
        else:
            self._products = coarse_affinities(query, integers, threads=threads)
        self._auctions = AuctionBatch(self._products.affinity, threads=threads)
        self.open: NDArray[np.bool_] = np.zeros(len(tokens), dtype=bool)
        self.open[allowed] = True
        self.levels = np.full(len(tokens), -1)
        self.uppers = np.full(len(tokens), np.inf)

    def best(self, count: int, level: int) -> IndexVector:
        """Return the `count` open candidates of largest upper bound, of those bounded with this effort or a greater."""
        places = np.flatnonzero(self.open & (self.levels >= level))
        return places[np.argsort(-self.uppers[places], kind="stable")[:count]]

    def alive(self, threshold: float) -> IndexVector:
        """Return the open candidates whose score may still reach the threshold; equal scores are decided by id."""
        return np.flatnonzero(self.open & (self.uppers >= threshold))

    def sharpen(self, places: IndexVector, level: int) -> None:
        """Lower the upper bounds of these candidates with the effort of this place in `EFFORTS`."""
        if len(places) == 0:
            return
        places = np.sort(places)
        options, products = self._search.options, self._products
        bounds = self._auctions.tighten(EFFORTS[level], places)
        own, other = self._search.query.squared_norms[0], products.squared_norms[places]
        matched = (bounds + products.errors[places]) * np.sqrt(own * other) + _MARGIN * (own + other)
        scores = kernel_score(options.kernel, matched, own, other, sigma=self._search.sigma)
        self.uppers[places] = np.minimum(self.uppers[places], scores + _MARGIN * np.abs(scores))
        self.levels[places] = level
