r"""Integer tokens made ready for comparison, their exact affinities, and the matching of one map with many.

The affinity of two tokens is ``dot * (scale * scale)`` in float64, where the inner product of their integers is exact.
Norms are formed alike, ``square * (scale * scale)``, and sums are correctly rounded (`math.fsum`). So every score is a
function of the two maps alone, to the last bit, on any processor and on any number of threads.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semret.arrays import Float64Array, IndexVector
from semret.errors import ShapeError
from semret.integer_tokens import IntegerTokens
from semret.retrieval.matching import match_batch
from semret.retrieval.matching.auction import schedule
from semret.retrieval.matching.results import relative_gaps
from semret.retrieval.native import Native
from semret.retrieval.native.panels import LONGEST, byte_panels, byte_scratch
from semret.retrieval.native.threads import in_threads, in_turns
from semret.retrieval.native.tiles import COLUMNS, ROWS
from semret.retrieval.similarity.maps import AFFINITY_BYTES, MatchedMaps

_LOOPS = "semret.retrieval.similarity.integer_loops"
_square_many = Native(_LOOPS, "square_many")
_solve_many = Native(_LOOPS, "solve_many")
_multiply_exactly = Native(_LOOPS, "multiply_exactly")

_SHARED = 1 << 23
"""Numbers from which measuring them, half a millisecond, is shared out."""

_USUAL = 200
"""Scales up to this power of two, or its inverse, are used as they are; only those in float64 can leave that range."""


@dataclass(frozen=True, kw_only=True)
class IntegerMaps:
    """Integer token maps made ready for comparison.

    Attributes
    ----------
    integers : ndarray of shape (n, S, D), int8, C-contiguous
    scales : ndarray of shape (n, S), float64
        In units of ``2 ** exponents``.
    squares : ndarray of shape (n, S), int32
        Sum of the squares of each token's integers.
    exponents : ndarray of shape (n,), intp
        0, but for maps so large or small that products would leave float64, see `semret.retrieval.similarity.maps`.
    """

    integers: NDArray[np.int8]
    scales: Float64Array
    squares: NDArray[np.int32]
    exponents: IndexVector

    def __len__(self) -> int:
        return len(self.integers)

    def __getitem__(self, rows: slice | IndexVector) -> IntegerMaps:
        return IntegerMaps(
            integers=self.integers[rows],
            scales=self.scales[rows],
            squares=self.squares[rows],
            exponents=self.exponents[rows],
        )

    @property
    def shape(self) -> tuple[int, ...]:
        """``(n, S, D)``."""
        return self.integers.shape

    @cached_property
    def token_squares(self) -> Float64Array:
        """Squared norm of each token, (n, S)."""
        return self.squares * (self.scales * self.scales)

    @cached_property
    def squared_norms(self) -> Float64Array:
        """Squared Frobenius norm of each map, (n,), correctly rounded."""
        return fsums(self.token_squares)

    @property
    def means(self) -> Float64Array:
        """Mean token of each map, (n, D)."""
        sums = np.einsum("ns,nsd->nd", self.scales, self.integers, dtype=np.float64, casting="unsafe")
        return np.asarray(sums / self.integers.shape[1])

    @cached_property
    def panels(self) -> tuple[NDArray[Any], NDArray[np.int32]]:
        """The tokens of the first map as columns of a product, see `semret.retrieval.native.panels.byte_panels`."""
        return byte_panels(self.integers[0])


def prepare_integers(tokens: IntegerTokens, name: str = "tokens", *, threads: int | None = 1) -> IntegerMaps:
    """Check and measure integer token maps.

    Parameters
    ----------
    tokens : IntegerTokens
    name : str
        Names the maps in messages.
    threads : int or None
        None takes all processors.

    Returns
    -------
    IntegerMaps

    Raises
    ------
    ShapeError
        If a map has no position or no number, or tokens are too long for sums in int32.
    """
    if 0 in tokens.shape[1:]:
        raise ShapeError(f"{name} is empty: shape {tokens.shape}, expected at least one position and one channel")
    if tokens.shape[2] > LONGEST:
        raise ShapeError(f"{name} has tokens of {tokens.shape[2]} numbers, integer tokens may have {LONGEST}")
    integers = np.ascontiguousarray(tokens.integers)
    squares: NDArray[np.int32] = np.empty(integers.shape[:2], dtype=np.int32)

    def square(start: int, stop: int) -> None:
        _square_many(integers[start:stop], squares[start:stop])

    in_threads(square, len(integers), threads if integers.size >= _SHARED else 1)
    scales, exponents = _scaled(tokens.scales)
    return IntegerMaps(integers=integers, scales=scales, squares=squares, exponents=exponents)


def usual(scales: NDArray[np.floating[Any]]) -> bool:
    """Tell whether all maps of these scales are used as they are, their exponents being 0.

    Parameters
    ----------
    scales : ndarray of shape (n, S), float32 or float64

    Returns
    -------
    bool
    """
    return scales.dtype != np.float64 or not _scaled(scales)[1].any()


def _scaled(scales: NDArray[np.floating[Any]]) -> tuple[Float64Array, IndexVector]:
    """Return scales in float64 in units of powers of two that keep products within float64, and their exponents."""
    wide, exponents = scales.astype(np.float64), np.zeros(len(scales), dtype=np.intp)
    if scales.dtype != np.float64 or wide.size == 0:
        return wide, exponents
    powers = np.frexp(np.abs(wide).max(axis=1))[1].astype(np.intp)
    exponents = np.where(np.abs(powers) > _USUAL, powers, 0)
    return np.ldexp(wide, -exponents[:, None]), exponents


def exact_affinities(query: IntegerMaps, candidates: IntegerMaps, *, threads: int | None = None) -> Float64Array:
    """Return the affinities of one map with many, each rounded as `semret.integer_tokens` says.

    Parameters
    ----------
    query : IntegerMaps of length 1
    candidates : IntegerMaps of length n
    threads : int or None
        None takes all processors.

    Returns
    -------
    ndarray of shape (n, Sq, Sd), float64
    """
    positions, dimension = query.shape[1:]
    panels, offsets = query.panels
    out = np.empty((len(candidates), positions, candidates.shape[1]))

    def multiply(start: int, stop: int) -> None:
        part, scratch = slice(start, stop), (np.empty((ROWS, COLUMNS)), *byte_scratch(dimension))
        many = candidates.integers[part], candidates.scales[part]
        _multiply_exactly(*many, panels, offsets, query.scales[0], out[part], *scratch)

    in_threads(multiply, len(candidates), threads)
    return out


def affinity_parts(
    query: IntegerMaps, candidates: IntegerMaps, *, threads: int | None = None
) -> Iterator[tuple[slice, Float64Array]]:
    """Form the affinities of one map with a few candidates at a time.

    Parameters
    ----------
    query : IntegerMaps of length 1
    candidates : IntegerMaps
    threads : int or None
        None takes all processors.

    Yields
    ------
    rows : slice
        Of the candidates.
    affinity : ndarray of shape (n, Sq, Sd), float64
    """
    step = max(1, AFFINITY_BYTES // (8 * query.shape[1] * candidates.shape[1]))
    for start in range(0, len(candidates), step):
        rows = slice(start, min(start + step, len(candidates)))
        yield rows, exact_affinities(query, candidates[rows], threads=threads)


def match_integers(
    query: IntegerMaps, candidates: IntegerMaps, *, solver: str = "auction", threads: int | None = None, **options: Any
) -> MatchedMaps:
    """Match one map with each of many.

    Every pair is solved afresh, so the outcome depends on the two maps alone, bit for bit.

    Parameters
    ----------
    query : IntegerMaps of length 1
    candidates : IntegerMaps of length n
    solver, threads, **options
        See `semret.retrieval.matching.match_batch`.

    Returns
    -------
    MatchedMaps
        `matched` is the correctly rounded sum of the matched affinities.

    Raises
    ------
    ArgumentError, UnknownNameError
        If there is no such solver, or it has no such option.
    """
    if solver == "auction" and not options:
        return _solve(query, candidates, threads)
    matched, bounds = np.empty(len(candidates)), np.empty(len(candidates))
    assignments = np.empty((len(candidates), query.shape[1]), dtype=np.intp)
    exact = True
    for rows, affinity in affinity_parts(query, candidates, threads=threads):
        found = match_batch(
            affinity,
            row_norms=np.sqrt(query.token_squares[0]),
            column_norms=np.sqrt(candidates.token_squares[rows]),
            solver=solver,
            threads=threads,
            **options,
        )
        assignments[rows] = found.assignments
        matched[rows] = fsums(contributions(affinity, found.assignments))
        bounds[rows] = np.maximum(found.bounds, matched[rows])
        exact = found.exact
    return MatchedMaps(matched=matched, bounds=bounds, assignments=assignments, exact=exact)


def _solve(query: IntegerMaps, candidates: IntegerMaps, threads: int | None) -> MatchedMaps:
    """Match by auctions, each affinity formed and solved while it is in the cache."""
    count, sides = len(candidates), (query.shape[1], candidates.shape[1])
    short, long = sorted(sides)
    width = -(-long // 16) * 16
    found = np.empty((count, short), dtype=np.intp)
    worths, (values, bounds, slack) = np.empty((count, short)), np.empty((3, count))
    epsilons, (panels, offsets) = np.array(schedule(long)), query.panels

    def solve(counter: NDArray[np.int64]) -> None:
        many, one = (candidates.integers, candidates.scales), (panels, offsets, query.scales[0])
        scratch = (
            np.empty((1, short, width)),
            np.empty((short + (short < long), width), dtype=np.int32),
            np.empty((1, width), dtype=np.int32),
            np.empty((4, width)),
            np.empty((5, width), dtype=np.int64),
            np.empty((ROWS, COLUMNS)),
            *byte_scratch(query.shape[2]),
        )
        _solve_many(counter, *many, *one, epsilons, found, worths, values, bounds, slack, *scratch)

    in_turns(solve, count, threads)
    assignments = found if sides[0] < sides[1] else _inverted(found, sides[0])
    matched = fsums(worths)
    bounds = np.maximum(bounds, np.maximum(values, matched))
    return MatchedMaps(
        matched=matched,
        bounds=bounds,
        assignments=assignments,
        exact=not relative_gaps(values, bounds, slack).any(),
    )


def _inverted(assignments: IndexVector, positions: int) -> IndexVector:
    """Turn the partners of the candidates' tokens, (n, Sd), to those of the query's tokens, (n, Sq); -1 for none."""
    inverted: IndexVector = np.full((len(assignments), positions), -1, dtype=np.intp)
    numbers = np.broadcast_to(np.arange(assignments.shape[1]), assignments.shape)
    np.put_along_axis(inverted, assignments, numbers, axis=1)
    return inverted


def contributions(affinity: Float64Array, assignments: IndexVector) -> Float64Array:
    """Return what the pair of each token of the query is worth, 0 where it has no partner.

    Parameters
    ----------
    affinity : ndarray of shape (n, Sq, Sd), float64
    assignments : ndarray of shape (n, Sq), intp
        -1 for none.

    Returns
    -------
    ndarray of shape (n, Sq), float64
    """
    worth = np.take_along_axis(affinity, np.maximum(assignments, 0)[:, :, None], axis=2)[:, :, 0]
    return np.where(assignments >= 0, worth, 0.0)


def fsums(values: Float64Array) -> Float64Array:
    """Sum rows, each sum correctly rounded.

    Parameters
    ----------
    values : ndarray of shape (n, m), float64

    Returns
    -------
    ndarray of shape (n,), float64
    """
    return np.array([math.fsum(row) for row in values.tolist()], dtype=np.float64)
