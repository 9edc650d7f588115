"""What is known of the scores of candidates in integers before they are solved."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from semret.arrays import Float64Array, IndexVector
from semret.retrieval.search.open_candidates import OpenCandidates
from semret.retrieval.search.options import RerankOptions
from semret.retrieval.similarity.integer_bounds import Levelled, StepBounds
from semret.retrieval.similarity.kernels import farthest_of_score, kernel_score

_MARGIN = 1e-12
# float64 roundings of scores, norms and bounds are a hundred times smaller than this, but for sums over positions.


class IntegerBounds(OpenCandidates, ABC):
    """Bounds of the candidates of one chunk, in integers.

    Parameters
    ----------
    count : int
        n, of the candidates.
    allowed : ndarray of intp
        Those that may be among the best.
    k : int
        How many are wanted.

    Attributes
    ----------
    lowers : ndarray of shape (n,), float64
        What the scores are at least.
    """

    def __init__(self, count: int, allowed: IndexVector, k: int) -> None:
        super().__init__(count, allowed)
        self._k = k
        self._phases = np.zeros(count, dtype=np.intp)
        self.lowers = np.full(count, -np.inf)

    def best(self, count: int) -> IndexVector:
        """Return the `count` open candidates of largest upper bound, the largest first.

        Parameters
        ----------
        count : int

        Returns
        -------
        ndarray of intp
        """
        return self.best_of(np.flatnonzero(self.open), count)

    def reached(self, scores: Float64Array) -> float:
        """Return a score that `k` candidates reach at least, of those with these scores and the open ones.

        Parameters
        ----------
        scores : ndarray of float64
            Of candidates that were solved.

        Returns
        -------
        float
            Minus infinity while there are fewer than `k`.
        """
        known = np.concatenate([scores, self.lowers[self.open]])
        k = self._k
        return float(np.partition(known, len(known) - k)[len(known) - k]) if len(known) >= k else -np.inf

    def sweep(self) -> None:
        """Bound the open candidates from above, cheaply."""
        self._tighten(np.flatnonzero(self.open), 0, -np.inf)

    def sharpen(self, places: IndexVector, phases: int, threshold: float) -> None:
        """Bound candidates from above and below with auction phases, until they are below the threshold.

        Parameters
        ----------
        places : ndarray of intp
            Those that have seen as many phases are left as they are.
        phases : int
            How many of `semret.retrieval.similarity.integer_bounds.PHASES` may be run.
        threshold : float
        """
        due = np.sort(places[self._phases[places] < phases])
        if len(due):
            self._phases[due] = phases
            self._tighten(due, phases, threshold)

    @abstractmethod
    def _tighten(self, places: IndexVector, phases: int, threshold: float) -> None:
        """Bound some candidates, ascending, with so many phases; 0 stands for the cheap bound from above."""


class IntegerField(IntegerBounds):
    """The bounds of candidates whose tokens are at hand.

    Parameters
    ----------
    query : Levelled of length 1
    candidates : Levelled of length n
    allowed : ndarray of intp
        Those that may be among the best.
    options : RerankOptions
    sigma : float or None
        RBF bandwidth.
    """

    def __init__(
        self, query: Levelled, candidates: Levelled, allowed: IndexVector, options: RerankOptions, sigma: float | None
    ) -> None:
        super().__init__(len(candidates), allowed, options.k)
        self._options, self._sigma = options, sigma
        self._own, self._other = float(query.squared_norms[0]), candidates.squared_norms
        self._margin = _MARGIN + 2.0**-51 * max(query.steps.shape[1], candidates.steps.shape[1])
        self._bounds = StepBounds(query, candidates, threads=options.threads)

    def _tighten(self, places: IndexVector, phases: int, threshold: float) -> None:
        if len(places) == 0:
            return
        self._bounds.tighten(places, phases, self._wanted(threshold) if phases else None)
        uppers, lowers = self._bounds.values(places)
        own, other = self._own, self._other[places]
        slack = self._margin * (own + other if self._options.kernel == "rbf" else np.sqrt(own * other))
        for values, sign in ((uppers, 1.0), (lowers, -1.0)):
            values += sign * slack
        self.uppers[places] = self._scores(uppers, other, 1.0)
        if phases:
            # A lower bound far below any matching stands for none.
            known = lowers > -2 * np.sqrt(own * other) - slack
            self.lowers[places[known]] = self._scores(lowers[known], other[known], -1.0)

    def _scores(self, matched: Float64Array, other: Float64Array, sign: float) -> Float64Array:
        scores = kernel_score(self._options.kernel, matched, self._own, other, sigma=self._sigma)
        return np.asarray(scores + sign * self._margin * np.abs(scores))

    def _wanted(self, threshold: float) -> Float64Array | None:
        """Return the matched value of each candidate that reaches the threshold: to save effort, not to prove."""
        kernel, sigma = self._options.kernel, self._sigma
        if not np.isfinite(threshold):
            return None
        if kernel == "linear":
            return np.full(len(self._other), threshold)
        if kernel == "cosine":
            return np.asarray(threshold * np.sqrt(self._own * self._other))
        farthest = farthest_of_score(threshold, sigma or 0.0)
        return np.asarray((self._own + self._other - farthest) / 2) if np.isfinite(farthest) else None
