r"""One-to-one matching of two sets of tokens.

A matching pairs rows of an affinity ``A`` (Sq, Sd) with columns, each at most once and the smaller side completely;
its value is :math:`\sum_i A_{i,\pi(i)}` (equation 4 asks for the largest). Larger affinity is more alike.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from semret.arrays import Float64Array, FloatArray, IndexVector, as_array, require_finite, require_ndim
from semret.errors import ArgumentError, ShapeError, UnknownNameError
from semret.retrieval.matching.approximate import Norms
from semret.retrieval.matching.auction import EFFORTS, AuctionBatch
from semret.retrieval.matching.results import BatchMatching, Matching, relative_gaps
from semret.retrieval.matching.solvers import SOLVERS, Solver
from semret.retrieval.native import Native

__all__ = [
    "EFFORTS",
    "SOLVERS",
    "AuctionBatch",
    "BatchMatching",
    "Matching",
    "Norms",
    "Solver",
    "match",
    "match_batch",
    "upper_bounds",
]

_matched_sums = Native("semret.retrieval.matching.auction_loops", "matched_sums")


def match(
    affinity: ArrayLike,
    *,
    row_norms: ArrayLike | None = None,
    column_norms: ArrayLike | None = None,
    solver: str = "auction",
    **options: Any,
) -> Matching:
    r"""Match the rows of an affinity with its columns, one to one, for the largest sum.

    Solves :math:`\max_\pi \sum_i A_{i,\pi(i)}` (equation 4), or approximates it if the solver is not exact.

    Parameters
    ----------
    affinity : array_like of shape (Sq, Sd)
        Larger is more alike. float16, float32 and float64 count as given, integers as float64.
    row_norms, column_norms : array_like of shape (Sq,) and (Sd,), or None
        Norms of the tokens, for solvers that sort by them (greedy, topk-greedy, batch-optimal).
    solver : str
        A name of `SOLVERS`.
    **options
        Options of the solver: ``top`` of topk-greedy, ``window`` of batch-optimal.

    Returns
    -------
    Matching
        Of several optimal matchings, any.

    Raises
    ------
    ShapeError
        If the affinity is not two-dimensional, or empty, or the norms do not fit.
    NonFiniteError
        If the affinity or a norm holds NaN or infinity.
    UnknownNameError
        If there is no such solver.
    ArgumentError
        If the solver has no such option, or needs norms that are missing; if entries are masked, or so large that
        matched sums overflow float64.

    Examples
    --------
    >>> found = match([[3.0, 2.0], [2.0, 0.0]])
    >>> found.assignment.tolist(), found.value, found.exact
    ([1, 0], 4.0, True)
    """
    array = as_array(affinity, "the affinity")
    require_ndim(array, 2, "the affinity", "(Sq, Sd)")
    found = match_batch(
        array[None],
        row_norms=row_norms,
        column_norms=None if column_norms is None else as_array(column_norms, "column_norms")[None],
        solver=solver,
        threads=1,
        **options,
    )
    return Matching(
        assignment=found.assignments[0],
        value=float(found.values[0]),
        bound=float(found.bounds[0]),
        gap=float(found.gaps[0]),
        exact=found.exact,
        solver=found.solver,
    )


def match_batch(
    affinities: ArrayLike,
    *,
    row_norms: ArrayLike | None = None,
    column_norms: ArrayLike | None = None,
    solver: str = "auction",
    threads: int | None = None,
    **options: Any,
) -> BatchMatching:
    """Match each of many affinities of one shape.

    The result for an affinity does not depend on the others, nor on the number of threads.

    Parameters
    ----------
    affinities : array_like of shape (K, Sq, Sd)
        See `match`. K may be 0.
    row_norms, column_norms : array_like of shape (Sq,) and (K, Sd), or None
        See `match`.
    solver : str
        A name of `SOLVERS`.
    threads : int or None
        Threads of solver auction; None takes all processors. The other solvers run on one.
    **options
        See `match`.

    Returns
    -------
    BatchMatching

    Raises
    ------
    ShapeError, NonFiniteError, UnknownNameError, ArgumentError
        See `match`.

    Examples
    --------
    3 + 0 < 2 + 2 in the first affinity, and 3 + 3 > 2 + 2 in the second; equal positions are matched otherwise.

    >>> both = [[[3.0, 2.0], [2.0, 0.0]], [[3.0, 2.0], [2.0, 3.0]]]
    >>> found = match_batch(both)
    >>> found.assignments.tolist(), found.values.tolist()
    ([[1, 0], [0, 1]], [4.0, 6.0])
    >>> match_batch(both, solver="identity").values.tolist()
    [3.0, 6.0]
    """
    chosen = SOLVERS.get(solver)
    if chosen is None:
        raise UnknownNameError.among("solver", solver, list(SOLVERS))
    settings = chosen.settings(options)
    array = _checked(affinities)
    if chosen.name == "auction":
        return AuctionBatch(array, threads=threads).solve()
    require_finite(array, "the affinity")
    norms = _checked_norms(row_norms, column_norms, array, solver) if chosen.needs_norms else None
    found = chosen.run(array, **settings) if norms is None else chosen.run(array, norms, **settings)
    return _certified(array, found, chosen)


def upper_bounds(affinities: ArrayLike, *, effort: str, threads: int | None = None) -> Float64Array:
    """Bound the largest matching of each of many affinities from above, rounding included.

    Parameters
    ----------
    affinities : array_like of shape (K, Sq, Sd)
        See `match_batch`.
    effort : str
        One of `EFFORTS`, cheapest and loosest first; see `AuctionBatch.tighten`, which can also continue to a tighter
        bound or to the optimum where this function would start again.
    threads : int or None
        None takes all processors.

    Returns
    -------
    ndarray of shape (K,), float64

    Raises
    ------
    ShapeError, NonFiniteError, ArgumentError
        If the affinities or the effort are not as described.

    Examples
    --------
    The best matching of these two tokens is worth 4. Row maxima add up to 3 + 2, and so do column maxima; the sweep
    proves the optimum.

    >>> affinity = [[[3.0, 2.0], [2.0, 0.0]]]
    >>> [upper_bounds(affinity, effort=effort).round(9).tolist() for effort in ("maxima", "sweep")]
    [[5.0], [4.0]]
    """
    return AuctionBatch(_checked(affinities), threads=threads).tighten(effort)


def _checked(affinities: ArrayLike) -> FloatArray:
    array = as_array(affinities, "affinities")
    require_ndim(array, 3, "affinities", "(K, Sq, Sd)")
    if 0 in array.shape[1:]:
        raise ShapeError(f"the affinity is empty: shape {array.shape[1:]}, expected at least one row and one column")
    if array.dtype.kind not in "fiub" or array.dtype.itemsize > 8:
        raise ShapeError(f"the affinity has dtype {array.dtype}, expected float16, float32 or float64")
    if array.dtype == np.float32:
        return array
    if array.dtype == np.float16:
        return array.astype(np.float32)
    wide: FloatArray = array.astype(np.float64, copy=False)
    _refuse_overflow(wide)
    return wide


def _refuse_overflow(array: FloatArray) -> None:
    """Raise ArgumentError if a matched sum may exceed float64; float32 values cannot."""
    largest = np.abs(array).max(initial=0.0)
    if np.isfinite(largest) and largest > np.finfo(np.float64).max / (4 * min(array.shape[1:])):
        raise ArgumentError(
            f"the affinity has values up to {largest:.3g}; sums of {min(array.shape[1:])} of them overflow float64, "
            "divide it by a power of two first"
        )


def _checked_norms(rows: ArrayLike | None, columns: ArrayLike | None, array: FloatArray, solver: str) -> Norms:
    if rows is None or columns is None:
        raise ArgumentError(f"solver {solver} sorts tokens by norm: pass row_norms and column_norms")
    norms = Norms(rows=_as_norms(rows, "row_norms"), columns=_as_norms(columns, "column_norms"))
    for name, given, shape in (
        ("row_norms", norms.rows, array.shape[1:2]),
        ("column_norms", norms.columns, (array.shape[0], array.shape[2])),
    ):
        if given.shape != shape:
            raise ShapeError(f"{name} has shape {given.shape}, expected {shape}")
        require_finite(given, name)
    return norms


def _mean_magnitude(array: FloatArray) -> Float64Array:
    """Return the sum of all magnitudes of each affinity, divided by the longer side, (K,)."""
    longer = max(array.shape[1:])
    with np.errstate(over="ignore"):
        sums = np.abs(array).sum(axis=(1, 2), dtype=np.float64)
    if np.isfinite(sums).all():
        return np.asarray(sums / longer)
    # All entries together may exceed float64 where no matching does.
    return np.asarray((np.abs(array) / longer).sum(axis=(1, 2), dtype=np.float64))


def _as_norms(norms: ArrayLike, name: str) -> Float64Array:
    array = as_array(norms, name)
    if array.dtype.kind not in "fiub":
        raise ShapeError(f"{name} has dtype {array.dtype}, expected numbers")
    return array.astype(np.float64)


def _certified(array: FloatArray, assignments: IndexVector, solver: Solver) -> BatchMatching:
    """Value the assignments in float64 and bound the optimum: closely for exact solvers, else by one dual sweep."""
    values = np.empty(len(array))
    _matched_sums(np.ascontiguousarray(array), np.ascontiguousarray(assignments), values)
    auction = AuctionBatch(array, threads=1)
    bounds = auction.solve().bounds if solver.exact else auction.tighten("sweep")
    bounds = np.maximum(bounds, values)
    magnitude = _mean_magnitude(array)
    gaps = relative_gaps(values, bounds, 1e-13 * magnitude)
    return BatchMatching(
        assignments=assignments, values=values, bounds=bounds, gaps=gaps, exact=solver.exact, solver=solver.name
    )
