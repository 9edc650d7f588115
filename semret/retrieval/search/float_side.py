"""A query in floats, against candidates in floats: bounds from rounded products, and solving what they leave."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from semret.arrays import Float64Array, FloatArray, IndexVector
from semret.retrieval.matching.auction import EFFORTS, AuctionBatch
from semret.retrieval.search.contest import Contest
from semret.retrieval.search.open_candidates import OpenCandidates
from semret.retrieval.search.options import RerankOptions
from semret.retrieval.similarity.coarse import CoarseMaps, CoarseQuery, coarse_affinities, quantise_query
from semret.retrieval.similarity.kernels import kernel_score
from semret.retrieval.similarity.maps import match_maps, prepare
from semret.retrieval.similarity.pairs import matched_scores, unmatched_scores

AFFINITY_BYTES = 128 << 20
"""Approximate affinities held at once."""

FIRST_EFFORT = EFFORTS.index("sweep")
"""The effort that every candidate is bounded with: row maxima alone rule out too few."""

_MARGIN = 1e-12
# float64 roundings of scores, norms and bounds are a thousand times smaller than this.


class FloatSide:
    """A query in floats, and what is done with candidates in floats.

    Parameters
    ----------
    tokens : ndarray of shape (Sq, C)
        The query, not centred.
    options : RerankOptions
    center : ndarray of shape (C,) or (S, C), or None

    Attributes
    ----------
    query : Maps of length 1
    """

    def __init__(self, tokens: FloatArray, options: RerankOptions, center: FloatArray | None) -> None:
        self.options, self.center = options, center
        self.query = prepare(tokens[None], center, "the query's tokens")
        self.shape: tuple[int, ...] = self.query.tokens.shape[1:]

    @cached_property
    def coarse_query(self) -> CoarseQuery:
        """The query rounded to integers."""
        return quantise_query(self.query.tokens[0])

    def score(self, tokens: FloatArray, sigma: float | None) -> Float64Array:
        """Score candidates under an invariance that needs no matching.

        Parameters
        ----------
        tokens : ndarray of shape (n, S, C)
        sigma : float or None
            RBF bandwidth.

        Returns
        -------
        ndarray of shape (n,), float64
        """
        maps = prepare(tokens, self.center, "the candidates' tokens", threads=self.options.threads)
        kernel, invariance = self.options.kernel, self.options.invariance
        return unmatched_scores(self.query, maps, kernel=kernel, invariance=invariance, sigma=sigma)

    def solve(self, tokens: FloatArray, sigma: float | None) -> tuple[Float64Array, bool]:
        """Match candidates.

        Parameters
        ----------
        tokens : ndarray of shape (n, S, C)
        sigma : float or None
            RBF bandwidth.

        Returns
        -------
        scores : ndarray of shape (n,), float64
        exact : bool
            Whether the matchings are optimal.
        """
        maps = prepare(tokens, self.center, "the candidates' tokens", threads=self.options.threads)
        found = match_maps(self.query, maps, solver=self.options.solver, threads=self.options.threads)
        return matched_scores(self.query, maps, found.matched, kernel=self.options.kernel, sigma=sigma), found.exact

    def extent(self, tokens: FloatArray) -> float:
        """Return what `can_bound` asks of candidates; of candidates in several parts it is the largest of theirs.

        Parameters
        ----------
        tokens : ndarray of shape (n, S, C)

        Returns
        -------
        float
            Magnitude of the largest entry in float64; 1 for what is float32 already.
        """
        return _magnitude(tokens)

    def can_bound(self, extent: float) -> bool:
        """Tell whether float32, in which bounds are computed, holds candidates and the query.

        Parameters
        ----------
        extent : float
            Of the candidates, see `extent`.

        Returns
        -------
        bool
        """
        return _fits_float32(extent) and _fits_float32(_magnitude(self.query.tokens)) and not self.query.exponents.any()

    def field(
        self, tokens: FloatArray, allowed: IndexVector, integers: CoarseMaps | None, sigma: float | None
    ) -> FloatBounds:
        """Return what is known of the scores of candidates: nothing yet.

        Parameters
        ----------
        tokens : ndarray of shape (n, S, C)
        allowed : ndarray of intp, ascending
            Those that may be among the best.
        integers : CoarseMaps or None
            The same tokens as `quantise_maps` rounds them.
        sigma : float or None
            RBF bandwidth.

        Returns
        -------
        FloatBounds
        """
        return FloatField(self, tokens, allowed, integers, sigma)

    def narrow(
        self,
        contest: Contest,
        rows: IndexVector,
        ids: NDArray[np.int64],
        tokens: FloatArray,
        allowed: IndexVector,
        integers: CoarseMaps | None,
    ) -> None:
        """Solve those candidates that bounds do not rule out, and enter them.

        Parameters
        ----------
        contest : Contest
        rows, ids, tokens
            See `semret.retrieval.search.best_k.BestK.compare`.
        allowed : ndarray of intp, ascending
            Those that may be among the best.
        integers : CoarseMaps or None
            The same tokens as `quantise_maps` rounds them.
        """
        step = max(1, AFFINITY_BYTES // (4 * self.shape[0] * tokens.shape[1]))
        for first in range(0, len(ids), step):
            part = slice(first, first + step)
            inside = allowed[(allowed >= first) & (allowed < first + step)] - first
            shared = None if integers is None else integers[part]
            if len(inside):
                self._narrow(contest, rows[part], ids[part], tokens[part], inside, shared)

    def _narrow(
        self,
        contest: Contest,
        rows: IndexVector,
        ids: NDArray[np.int64],
        tokens: FloatArray,
        allowed: IndexVector,
        integers: CoarseMaps | None,
    ) -> None:
        """Bound all candidates, then alternate between sharper bounds and solving until nothing is left to prove."""
        field = self.field(tokens, allowed, integers, contest.sigma)

        def take(chosen: IndexVector) -> None:
            field.open[chosen] = False
            contest.solve(rows[chosen], ids[chosen], tokens[chosen])

        field.sharpen(allowed, FIRST_EFFORT)
        missing = self.options.k - len(contest.rows)
        if missing > 0:
            # The bounds order candidates well only once they are sharp; a wrong choice costs no more than a solve.
            field.sharpen(field.best(3 * missing, FIRST_EFFORT), FIRST_EFFORT + 1)
            take(field.best(missing, FIRST_EFFORT + 1))
        for effort in range(FIRST_EFFORT + 1, len(EFFORTS)):
            alive = field.alive(contest.threshold)
            field.sharpen(alive[field.levels[alive] < effort], effort)
        step = max(4, 2 * (self.options.threads or 2))
        while len(alive := field.alive(contest.threshold)):
            order = np.argsort(-field.uppers[alive], kind="stable")
            take(alive[order[:step]])
        contest.pruned += int(field.open.sum())


def _magnitude(tokens: FloatArray) -> float:
    if tokens.dtype != np.float64 or tokens.size == 0:
        return 1.0
    return max(float(tokens.max()), -float(tokens.min()))


def _fits_float32(extent: float) -> bool:
    """Tell whether float64 tokens keep their worth as float32, in which the bounds are computed; others always do."""
    return 2.0**-60 < extent < 2.0**60


class FloatBounds(OpenCandidates, ABC):
    """Upper bounds of the candidates of one chunk, in floating point.

    Parameters
    ----------
    count : int
        n, of the candidates.
    allowed : ndarray of intp
        Those that may be among the best.

    Attributes
    ----------
    levels : ndarray of shape (n,), intp
        The place in `EFFORTS` of the effort that each was bounded with; -1 for none.
    """

    def __init__(self, count: int, allowed: IndexVector) -> None:
        super().__init__(count, allowed)
        self.levels = np.full(count, -1)

    def best(self, count: int, level: int) -> IndexVector:
        """Return the `count` open candidates of largest upper bound, of those bounded with this effort or a greater.

        Parameters
        ----------
        count, level : int

        Returns
        -------
        ndarray of intp
        """
        return self.best_of(np.flatnonzero(self.open & (self.levels >= level)), count)

    def sharpen(self, places: IndexVector, level: int) -> None:
        """Lower the upper bounds of some candidates.

        Parameters
        ----------
        places : ndarray of intp
        level : int
            The place of the effort in `EFFORTS`.
        """
        if len(places) == 0:
            return
        places = np.sort(places)
        self.uppers[places] = np.minimum(self.uppers[places], self._bounds(places, level))
        self.levels[places] = level

    @abstractmethod
    def _bounds(self, places: IndexVector, level: int) -> Float64Array:
        """Return upper bounds that this effort gives; places are ascending."""


class FloatField(FloatBounds):
    """The bounds of candidates whose tokens are at hand.

    One `AuctionBatch` lives as long as this: a sharper bound goes on from the prices that the looser one found.

    Parameters
    ----------
    side : FloatSide
    tokens, allowed, integers, sigma
        See `FloatSide.field`.
    """

    def __init__(
        self,
        side: FloatSide,
        tokens: FloatArray,
        allowed: IndexVector,
        integers: CoarseMaps | None,
        sigma: float | None,
    ) -> None:
        super().__init__(len(tokens), allowed)
        self._side, self._sigma = side, sigma
        query, threads = side.coarse_query, side.options.threads
        if integers is None:
            self._products = coarse_affinities(query, tokens, side.center, threads=threads)
        else:
            self._products = coarse_affinities(query, integers, threads=threads)
        self._auctions = AuctionBatch(self._products.affinity, threads=threads)

    def _bounds(self, places: IndexVector, level: int) -> Float64Array:
        products, kernel = self._products, self._side.options.kernel
        bounds = self._auctions.tighten(EFFORTS[level], places)
        own, other = self._side.query.squared_norms[0], products.squared_norms[places]
        matched = (bounds + products.errors[places]) * np.sqrt(own * other) + _MARGIN * (own + other)
        scores = kernel_score(kernel, matched, own, other, sigma=self._sigma)
        return np.asarray(scores + _MARGIN * np.abs(scores))
