"""A query in integers, against candidates in integers: bounds in whole steps, and solving what they leave."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semret.arrays import Float64Array, IndexVector
from semret.integer_tokens import IntegerTokens
from semret.retrieval.matching.solvers import SOLVERS
from semret.retrieval.search.contest import Contest
from semret.retrieval.search.integer_field import IntegerBounds, IntegerField
from semret.retrieval.search.options import RerankOptions
from semret.retrieval.similarity.integer_bounds import PHASES, Levelled, level
from semret.retrieval.similarity.integer_maps import IntegerMaps, match_integers, prepare_integers, usual
from semret.retrieval.similarity.integer_pairs import unmatched_integer_scores
from semret.retrieval.similarity.pairs import matched_scores

_AT_ONCE = 16
"""Candidates that are solved at a time at least, before what they are worth rules others out."""


class IntegerSide:
    """A query in integers, and what is done with candidates in integers.

    Parameters
    ----------
    tokens : IntegerTokens of length 1
        The query.
    options : RerankOptions

    Attributes
    ----------
    query : IntegerMaps of length 1
    """

    def __init__(self, tokens: IntegerTokens, options: RerankOptions) -> None:
        self.options, self._optimal = options, SOLVERS[options.solver].exact
        self.query = prepare_integers(tokens, "the query's tokens")
        self.shape: tuple[int, ...] = self.query.shape[1:]

    @cached_property
    def levelled_query(self) -> Levelled:
        """The query in steps of its longest token."""
        return level(self.query)

    def maps(self, tokens: IntegerTokens | IntegerMaps) -> IntegerMaps:
        """Return candidates made ready for comparison, unless they are.

        Parameters
        ----------
        tokens : IntegerTokens or IntegerMaps

        Returns
        -------
        IntegerMaps
        """
        if isinstance(tokens, IntegerMaps):
            return tokens
        return prepare_integers(tokens, "the candidates' tokens", threads=self.options.threads)

    def score(self, tokens: IntegerTokens, sigma: float | None) -> Float64Array:
        """Score candidates under an invariance that needs no matching.

        Parameters
        ----------
        tokens : IntegerTokens of length n
        sigma : float or None
            RBF bandwidth.

        Returns
        -------
        ndarray of shape (n,), float64
        """
        kernel, invariance, threads = self.options.kernel, self.options.invariance, self.options.threads
        modes = {"kernel": kernel, "invariance": invariance}
        return unmatched_integer_scores(self.query, self.maps(tokens), **modes, sigma=sigma, threads=threads)

    def solve(self, tokens: IntegerTokens | IntegerMaps, sigma: float | None) -> tuple[Float64Array, bool]:
        """Match candidates.

        Parameters
        ----------
        tokens : IntegerTokens or IntegerMaps of length n
        sigma : float or None
            RBF bandwidth.

        Returns
        -------
        scores : ndarray of shape (n,), float64
        exact : bool
            Whether the matchings are optimal.
        """
        maps = self.maps(tokens)
        found = match_integers(self.query, maps, solver=self.options.solver, threads=self.options.threads)
        return matched_scores(self.query, maps, found.matched, kernel=self.options.kernel, sigma=sigma), found.exact

    def extent(self, tokens: IntegerTokens) -> float:
        """Return what `can_bound` asks of candidates; of candidates in several parts it is the largest of theirs.

        Parameters
        ----------
        tokens : IntegerTokens of length n

        Returns
        -------
        float
            Infinity for monstrous scales, else 1.
        """
        return 1.0 if usual(tokens.scales) else np.inf

    def can_bound(self, extent: float) -> bool:
        """Tell whether bounds can be had of the units of candidates: of all but monstrous ones.

        Parameters
        ----------
        extent : float
            Of the candidates, see `extent`.

        Returns
        -------
        bool
        """
        return not self.query.exponents.any() and extent == 1.0

    def field(
        self, tokens: IntegerTokens, allowed: IndexVector, shared: Levelled | None, sigma: float | None
    ) -> tuple[IntegerBounds, Any]:
        """Return what is known of the scores of candidates, nothing yet, and what `solve` takes in their place.

        Parameters
        ----------
        tokens : IntegerTokens of length n
        allowed : ndarray of intp, ascending
            Those that may be among the best.
        shared : Levelled or None
            The same tokens, levelled.
        sigma : float or None
            RBF bandwidth.

        Returns
        -------
        IntegerBounds
        IntegerMaps of length n
        """
        levelled = level(self.maps(tokens)) if shared is None else shared
        return IntegerField(self.levelled_query, levelled, allowed, self.options, sigma), levelled.maps

    def narrow(
        self,
        contest: Contest,
        rows: IndexVector,
        ids: NDArray[np.int64],
        tokens: IntegerTokens,
        allowed: IndexVector,
        shared: Levelled | None,
    ) -> None:
        """Solve those candidates that bounds do not rule out, and enter them.

        Parameters
        ----------
        contest : Contest
        rows, ids, tokens
            See `semret.retrieval.search.best_k.BestK.compare`.
        allowed : ndarray of intp, ascending
            Those that may be among the best.
        shared : Levelled or None
            The same tokens, levelled.
        """
        field, maps = self.field(tokens, allowed, shared, contest.sigma)
        field.sweep()
        # What the most promising are worth at least is what all others must reach.
        field.sharpen(field.best(2 * (self.options.k - len(contest.rows))), 1, contest.threshold)
        goal = self._goal(contest, field)
        field.sharpen(field.alive(goal), len(PHASES), goal)
        goal = self._goal(contest, field)
        # Those that reach it for certain are solved anyway; of the others, a closer look rules out many.
        alive = field.alive(goal)
        field.sharpen(alive[field.lowers[alive] < goal], len(PHASES), goal)
        while len(alive := field.alive(self._goal(contest, field))):
            chosen = alive[np.argsort(-field.uppers[alive], kind="stable")[: max(_AT_ONCE, self.options.k)]]
            field.open[chosen] = False
            contest.solve(rows[chosen], ids[chosen], maps[chosen])
        contest.pruned += int(field.open.sum())

    def _goal(self, contest: Contest, field: IntegerBounds) -> float:
        """Return a score that `k` candidates reach; an approximate solver may find less than a bound promises."""
        return max(contest.threshold, field.reached(contest.scores)) if self._optimal else contest.threshold
