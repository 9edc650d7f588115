"""One query's running k best: bound every candidate, solve the promising ones, prove the others worse."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from semret.arrays import Float64Array, FloatArray, IdVector, IndexVector, as_array, require_finite
from semret.errors import ArgumentError
from semret.retrieval.similarity.kernels import check_modes, kernel_score, median_bandwidth
from semret.retrieval.similarity.maps import match_maps, prepare
from semret.retrieval.similarity.pairs import check_shapes, matched_scores, pooled_scores, unmatched_scores

if TYPE_CHECKING:
    from semret.retrieval.similarity.coarse import CoarseMaps, CoarseQuery

EFFORTS = ("sweep", "coarse", "fine")
"""Bounds in the order in which they are tried, see `semret.retrieval.matching.upper_bounds`."""

AFFINITY_BYTES = 128 << 20
"""Approximate affinities held at once."""

_MARGIN = 1e-12
# float64 roundings of scores, norms and bounds are a thousand times smaller than this.


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What all queries of a search share; fields are the arguments of `semret.retrieval.search.rerank.rerank`."""

    k: int
    kernel: str = "cosine"
    invariance: str = "permutation"
    solver: str = "auction"
    threads: int | None = None
    prune: bool = True

    def __post_init__(self) -> None:
        check_modes(self.kernel, self.invariance, solver=self.solver)
        if self.k < 1:
            raise ArgumentError(f"k is {self.k}, expected at least 1")


class Contest:
    """One query's running k best.

    Candidates come in chunks, in any order; the outcome does not depend on how they are cut. A candidate is dropped
    only when a rigorous upper bound of its score lies below the k-th best score found so far, so the k best are those
    of solving every candidate, with the same scores.

    Parameters
    ----------
    tokens : ndarray of shape (Sq, C)
        The query, not centred.
    settings : Settings
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
        settings: Settings,
        center: FloatArray | None,
        sigma: float | None,
        excluded: IdVector | None = None,
    ) -> None:
        self.settings, self.center, self.sigma, self.excluded = settings, center, sigma, excluded
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
        from semret.retrieval.similarity.coarse import quantise_query

        return quantise_query(self.query.tokens[0])

    @property
    def threshold(self) -> float:
        """The k-th best score, minus infinity while there are fewer."""
        return float(self.scores[-1]) if len(self.scores) == self.settings.k else -np.inf

    def compare_pooled(self, rows: IndexVector, ids: IdVector, query: Float64Array, candidates: Float64Array) -> None:
        """Enter candidates by pooled embeddings, (D,) and (n, D), already centred."""
        start = time.perf_counter()
        require_finite(query, "the query's pooled embedding")
        require_finite(candidates, "the candidates' pooled embeddings")
        if self.settings.kernel == "rbf" and self.sigma is None:
            self.sigma = median_bandwidth(((candidates - query) ** 2).sum(axis=1))
        self._enter(rows, ids, pooled_scores(query, candidates, kernel=self.settings.kernel, sigma=self.sigma))
        self.seconds += time.perf_counter() - start

    def compare(self, rows: IndexVector, ids: IdVector, tokens: FloatArray, integers: CoarseMaps | None = None) -> None:
        """Enter candidates by their tokens (n, S, C), not centred.

        `integers` are the same tokens as `semret.retrieval.similarity.coarse.quantise_maps` rounds them, with this
        contest's centre: many queries share them.
        """
        begun = time.perf_counter()
        tokens = as_array(tokens, "the candidates' tokens")
        check_shapes(self.query.tokens.shape[1:], tokens.shape[1:], self.settings.invariance)
        allowed = np.arange(len(ids)) if self.excluded is None else np.flatnonzero(~np.isin(ids, self.excluded))
        self.seen += len(allowed)
        if len(allowed) == 0:
            pass
        elif self.settings.invariance != "permutation":
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
        if not self.settings.prune or count + len(self.rows) <= self.settings.k:
            return False
        return _fits_float32(tokens) and _fits_float32(self.query.tokens) and not self.query.exponents.any()

    def _score(self, rows: IndexVector, ids: IdVector, tokens: FloatArray) -> None:
        maps = prepare(tokens, self.center, "the candidates' tokens", threads=self.settings.threads)
        kernel, invariance = self.settings.kernel, self.settings.invariance
        scores = unmatched_scores(self.query, maps, kernel=kernel, invariance=invariance, sigma=self.sigma)
        self._enter(rows, ids, scores)

    def _solve(self, rows: IndexVector, ids: IdVector, tokens: FloatArray) -> None:
        maps = prepare(tokens, self.center, "the candidates' tokens", threads=self.settings.threads)
        found = match_maps(self.query, maps, solver=self.settings.solver, threads=self.settings.threads)
        self.solved += len(rows)
        self.exact = self.exact and found.exact
        kernel, sigma = self.settings.kernel, self.sigma
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
        field = _Field(self, tokens, allowed, integers)
        field.sharpen(allowed, 0)
        missing = self.settings.k - len(self.rows)
        if missing > 0:
            # The bounds order candidates well only once they are sharp; a wrong choice costs no more than a solve.
            field.sharpen(field.best(3 * missing), 1)
            self._take(field, field.best(missing, level=1), rows, ids, tokens)
        for level in range(1, len(EFFORTS)):
            alive = field.alive(self.threshold)
            field.sharpen(alive[field.levels[alive] < level], level)
        step = max(4, 2 * (self.settings.threads or 2))
        while len(alive := field.alive(self.threshold)):
            order = np.argsort(-field.uppers[alive], kind="stable")
            self._take(field, alive[order[:step]], rows, ids, tokens)
        self.pruned += int(field.open.sum())

    def _take(self, field: _Field, chosen: IndexVector, rows: IndexVector, ids: IdVector, tokens: FloatArray) -> None:
        field.open[chosen] = False
        self._solve(rows[chosen], ids[chosen], tokens[chosen])

    def _enter(self, rows: IndexVector, ids: IdVector, scores: Float64Array) -> None:
        """Merge scored candidates into the k best."""
        rows, ids = np.concatenate([self.rows, rows]), np.concatenate([self.ids, ids])
        scores = np.concatenate([self.scores, scores])
        best = np.lexsort((ids, -scores))[: self.settings.k]
        self.rows, self.ids, self.scores = rows[best], ids[best], scores[best]


def _fits_float32(tokens: FloatArray) -> bool:
    """Tell whether float64 tokens keep their worth as float32, in which the bounds are computed; others always do."""
    if tokens.dtype != np.float64 or tokens.size == 0:
        return True
    return bool(2.0**-60 < max(float(tokens.max()), -float(tokens.min())) < 2.0**60)


class _Field:
    """The candidates of one chunk that are neither solved nor ruled out, with ever sharper upper bounds."""

    def __init__(self, contest: Contest, tokens: FloatArray, allowed: IndexVector, integers: CoarseMaps | None) -> None:
        from semret.retrieval.similarity.coarse import coarse_affinities

        self._contest = contest
        query, threads = contest.coarse_query, contest.settings.threads
        if integers is None:
            self._products = coarse_affinities(query, tokens, contest.center, threads=threads)
        else:
            self._products = coarse_affinities(query, integers, threads=threads)
        self.open: NDArray[np.bool_] = np.zeros(len(tokens), dtype=bool)
        self.open[allowed] = True
        self.levels = np.full(len(tokens), -1)
        self.uppers = np.full(len(tokens), np.inf)

    def best(self, count: int, level: int = 0) -> IndexVector:
        """Return the open candidates of largest upper bound, among those bounded at least at this level."""
        places = np.flatnonzero(self.open & (self.levels >= level))
        return places[np.argsort(-self.uppers[places], kind="stable")[:count]]

    def alive(self, threshold: float) -> IndexVector:
        """Return the open candidates whose score may still reach the threshold; equal scores are decided by id."""
        return np.flatnonzero(self.open & (self.uppers >= threshold))

    def sharpen(self, places: IndexVector, level: int) -> None:
        """Lower the upper bounds of these candidates with the effort of this level."""
        if len(places) == 0:
            return
        from semret.retrieval.matching import upper_bounds

        places = np.sort(places)
        settings, products = self._contest.settings, self._products
        affinity = products.affinity if len(places) == len(self.uppers) else products.affinity[places]
        bounds = upper_bounds(affinity, effort=EFFORTS[level], threads=settings.threads)
        own, other = self._contest.query.squared_norms[0], products.squared_norms[places]
        matched = (bounds + products.errors[places]) * np.sqrt(own * other) + _MARGIN * (own + other)
        scores = kernel_score(settings.kernel, matched, own, other, sigma=self._contest.sigma)
        self.uppers[places] = np.minimum(self.uppers[places], scores + _MARGIN * np.abs(scores))
        self.levels[places] = level
