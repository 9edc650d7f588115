"""The k best candidates of one query, found by bounds and few matchings.

Every candidate gets an upper bound of its score, the cheap bound first. The candidates of the largest bounds are
matched exactly. A candidate whose bound lies below the k-th best score so far cannot be among the best and is dropped.
"""

from __future__ import annotations

import time
from typing import Any, TypeAlias

import numpy as np

from semret.arrays import Float64Array, FloatArray, IdVector, IndexVector, as_array, require_finite
from semret.errors import ArgumentError, ShapeError
from semret.integer_tokens import IntegerTokens
from semret.retrieval.matching.solvers import SOLVERS
from semret.retrieval.search.float_side import FloatSide
from semret.retrieval.search.integer_side import IntegerSide
from semret.retrieval.search.options import RerankOptions
from semret.retrieval.similarity.coarse import CoarseMaps, quantise_maps
from semret.retrieval.similarity.integer_bounds import Levelled, level
from semret.retrieval.similarity.integer_maps import IntegerMaps, prepare_integers
from semret.retrieval.similarity.kernels import median_bandwidth
from semret.retrieval.similarity.maps import Maps
from semret.retrieval.similarity.pairs import check_shapes, pooled_scores

Tokens: TypeAlias = FloatArray | IntegerTokens
"""Token maps as floats, or as integers with scales."""

Shared: TypeAlias = CoarseMaps | Levelled
"""What bounding needs of candidates, made once for many queries."""


class BestK:
    """The k best candidates of one query among those that it has been compared with.

    Candidates come in chunks, in any order; the outcome does not depend on how they are cut. A candidate is dropped
    only when a rigorous upper bound of its score lies below the k-th best score found so far, so the k best are those
    of solving every candidate, with the same scores.

    Parameters
    ----------
    tokens : ndarray of shape (Sq, C), or IntegerTokens of length 1
        The query, not centred.
    options : RerankOptions
    center : ndarray of shape (C,) or (S, C), or None
        Without a centre, integer tokens are compared as integers; with one, as the floats that they stand for.
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
        tokens: Tokens,
        options: RerankOptions,
        center: FloatArray | None,
        sigma: float | None,
        excluded: IdVector | None = None,
    ) -> None:
        self.options, self.center, self.sigma, self.excluded = options, center, sigma, excluded
        self.integer = isinstance(tokens, IntegerTokens)
        self._side: Any = self._make_side(tokens, options, center)
        self.rows: IndexVector = np.zeros(0, dtype=np.intp)
        self.ids: IdVector = np.zeros(0, dtype=np.int64)
        self.scores: Float64Array = np.zeros(0)
        self.seen = self.solved = self.pruned = 0
        self.exact = True
        self.seconds = 0.0

    @property
    def query(self) -> Maps | IntegerMaps:
        """The query made ready for comparison, of length 1."""
        query: Maps | IntegerMaps = self._side.query
        return query

    @property
    def shape(self) -> tuple[int, int]:
        """``(Sq, C)``."""
        positions, channels = self._side.shape
        return positions, channels

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

    def compare(self, rows: IndexVector, ids: IdVector, tokens: Tokens, shared: Shared | None = None) -> None:
        """Compare the query with candidates by their tokens.

        Parameters
        ----------
        rows : ndarray of shape (n,), intp
            Places of the candidates, by which they are returned.
        ids : ndarray of shape (n,), int64
            Of equal scores the smaller id comes first.
        tokens : ndarray of shape (n, S, C), or IntegerTokens of length n
            Not centred; integers if the query is.
        shared : CoarseMaps or Levelled or None
            What `shared_among` makes of these tokens. None makes it where it is needed.

        Raises
        ------
        ArgumentError
            If sigma is out of range; if one side has integer tokens and the other floats.
        ShapeError
            If the maps do not fit each other or the centre.
        NonFiniteError
            If a token is NaN or infinite.
        """
        begun = time.perf_counter()
        tokens = self.admitted(tokens)
        allowed = np.arange(len(ids)) if self.excluded is None else np.flatnonzero(~np.isin(ids, self.excluded))
        self.seen += len(allowed)
        if len(allowed) == 0:
            pass
        elif self.options.invariance != "permutation":
            self._enter(rows[allowed], ids[allowed], self._side.score(tokens[allowed], self.sigma))
        elif (
            not self.options.prune
            or len(allowed) + len(self.rows) <= self.options.k
            or not self._side.can_bound(self._side.extent(tokens))
        ):
            self.solve(rows[allowed], ids[allowed], tokens[allowed])
        else:
            self._side.narrow(self, rows, ids, tokens, allowed, shared)
        self.seconds += time.perf_counter() - begun

    def solve(self, rows: IndexVector, ids: IdVector, tokens: Any) -> None:
        """Match candidates and enter them.

        Parameters
        ----------
        rows, ids, tokens
            See `compare`; integer tokens may be `IntegerMaps`.
        """
        scores, exact = self._side.solve(tokens, self.sigma)
        self.solved += len(rows)
        self.exact = self.exact and exact
        self._enter(rows, ids, scores)

    def can_rule_out(self, count: int) -> bool:
        """Tell whether bounds may save a solve among so many candidates in integers.

        Parameters
        ----------
        count : int

        Returns
        -------
        bool
            Not if all are among the best, or without an exact matching, or for a query of monstrous scales.
        """
        options = self.options
        wanted = options.invariance == "permutation" and options.prune and SOLVERS[options.solver].exact
        return wanted and count > options.k and not self.query.exponents.any()

    def rule_out(self, count: int, seconds: float) -> None:
        """Count candidates that bounds computed elsewhere have ruled out.

        Parameters
        ----------
        count : int
        seconds : float
            How long that took.
        """
        self.seen += count
        self.pruned += count
        self.seconds += seconds

    def admitted(self, tokens: Tokens) -> Tokens:
        """Return candidates in the kind of numbers that the query is compared in, if they fit it.

        Parameters
        ----------
        tokens : ndarray of shape (n, S, C), or IntegerTokens

        Returns
        -------
        ndarray of shape (n, S, C), or IntegerTokens

        Raises
        ------
        ArgumentError, ShapeError
            If they do not.
        """
        integer = isinstance(tokens, IntegerTokens)
        if integer != self.integer:
            kinds = ("integer", "float") if self.integer else ("float", "integer")
            raise ArgumentError(
                f"the query has {kinds[0]} tokens and the candidates have {kinds[1]} tokens; "
                "encode both with one codec, or pass both as floats"
            )
        values = tokens if isinstance(tokens, IntegerTokens) else as_array(tokens, "the candidates' tokens")
        check_shapes(self._side.shape, values.shape[1:], self.options.invariance)
        return as_compared(values, self.center)

    def _make_side(self, tokens: Tokens, options: RerankOptions, center: FloatArray | None) -> Any:
        return side_of(tokens, options, center)

    def _enter(self, rows: IndexVector, ids: IdVector, scores: Float64Array) -> None:
        """Merge scored candidates into the k best."""
        rows, ids = np.concatenate([self.rows, rows]), np.concatenate([self.ids, ids])
        scores = np.concatenate([self.scores, scores])
        best = np.lexsort((ids, -scores))[: self.options.k]
        self.rows, self.ids, self.scores = rows[best], ids[best], scores[best]


def as_compared(tokens: Tokens, center: FloatArray | None) -> Tokens:
    """Return tokens in the kind of numbers that they are compared in: integers only where no centre is subtracted.

    Parameters
    ----------
    tokens : ndarray of shape (n, S, C), or IntegerTokens
    center : ndarray or None

    Returns
    -------
    ndarray of shape (n, S, C), or IntegerTokens
    """
    return tokens.as_floats() if isinstance(tokens, IntegerTokens) and center is not None else tokens


def shared_among(tokens: Tokens, center: FloatArray | None, options: RerankOptions) -> Shared | None:
    """Make what bounding needs of candidates once for many queries.

    Parameters
    ----------
    tokens : ndarray of shape (n, S, C), or IntegerTokens
        As `as_compared` returns them.
    center : ndarray of shape (C,) or (S, C), or None
    options : RerankOptions

    Returns
    -------
    CoarseMaps or Levelled or None
        None where nothing will be bounded.

    Raises
    ------
    NonFiniteError
        If a token is NaN or infinite.
    """
    if options.invariance != "permutation" or not options.prune:
        return None
    if isinstance(tokens, IntegerTokens):
        return level(prepare_integers(tokens, "the candidates' tokens", threads=options.threads))
    return quantise_maps(tokens, center, threads=options.threads)


def side_of(tokens: Tokens, options: RerankOptions, center: FloatArray | None) -> FloatSide | IntegerSide:
    """Return what compares a query with candidates.

    Parameters
    ----------
    tokens : ndarray of shape (Sq, C), or IntegerTokens of length 1
        The query, not centred.
    options : RerankOptions
    center : ndarray of shape (C,) or (S, C), or None

    Returns
    -------
    FloatSide or IntegerSide
        In integers only without a centre.

    Raises
    ------
    ShapeError, NonFiniteError
        If the tokens are none, or not of one picture.
    """
    if not isinstance(tokens, IntegerTokens):
        return FloatSide(as_array(tokens, "the query's tokens"), options, center)
    if len(tokens) != 1:
        raise ShapeError(f"the query's tokens are those of {len(tokens)} images, expected 1")
    return IntegerSide(tokens, options) if center is None else FloatSide(tokens.as_floats()[0], options, center)
