"""One batch of affinities: checked, matched by one solver, valued and bounded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from semret.arrays import Float64Array, FloatArray, IndexVector, as_array, require_finite
from semret.errors import ArgumentError, ShapeError
from semret.retrieval.matching.approximate import Norms
from semret.retrieval.matching.auction import AuctionBatch
from semret.retrieval.matching.results import BatchMatching, relative_gaps
from semret.retrieval.matching.solvers import Solver
from semret.retrieval.native import Native

if TYPE_CHECKING:
    from torch import Tensor

_matched_sums = Native("semret.retrieval.matching.auction_loops", "matched_sums")


@dataclass(frozen=True)
class Batch:
    """How a batch is matched.

    Attributes
    ----------
    solver : Solver
    settings : mapping of str to int
        A value for every option of the solver.
    row_norms, column_norms : array_like of shape (Sq,) and (K, Sd), or None
        For solvers that sort by them.
    threads : int or None
        None takes all processors.
    """

    solver: Solver
    settings: Mapping[str, int]
    row_norms: ArrayLike | None
    column_norms: ArrayLike | None
    threads: int | None

    def match(self, affinities: NDArray[Any], sizes: IndexVector | None, *, cost: bool) -> BatchMatching:
        """Match each affinity, or the part of it that counts.

        Parameters
        ----------
        affinities : ndarray of shape (K, Sq, Sd)
        sizes : ndarray of shape (K, 2), intp, or None
            Rows and columns that count.
        cost : bool
            Whether the smallest sum is wanted.

        Returns
        -------
        BatchMatching

        Raises
        ------
        ShapeError, NonFiniteError, ArgumentError
            See `semret.retrieval.matching.match_batch`.
        """
        array = checked_affinities(affinities, may_be_empty=True)
        norms = self._norms(array)
        if 0 in array.shape[1:]:
            sizes = np.zeros((len(array), 2), dtype=np.intp)
        found = self._whole(_signed(array, cost), norms) if sizes is None else self._parts(array, sizes, norms, cost)
        if not cost:
            return found
        return BatchMatching(
            assignments=found.assignments,
            # Not -found.values: of nothing matched that would be -0.0.
            values=0.0 - found.values,
            bounds=0.0 - found.bounds,
            gaps=found.gaps,
            exact=found.exact,
            solver=found.solver,
        )

    def _parts(self, array: FloatArray, sizes: IndexVector, norms: Norms | None, cost: bool) -> BatchMatching:
        """Match what counts, all affinities of one size together."""
        assignments: IndexVector = np.full(array.shape[:2], -1, dtype=np.intp)
        values, bounds, gaps = np.zeros((3, len(array)))
        exact = self.solver.exact
        for rows, columns in np.unique(sizes, axis=0).tolist():
            if not rows or not columns:
                continue
            chosen = np.flatnonzero((sizes == (rows, columns)).all(axis=1))
            part = _signed(array[chosen, :rows, :columns], cost)
            few = None if norms is None else Norms(rows=norms.rows[:rows], columns=norms.columns[chosen, :columns])
            found = self._whole(part, few)
            assignments[chosen, :rows] = found.assignments
            values[chosen], bounds[chosen], gaps[chosen] = found.values, found.bounds, found.gaps
            exact &= found.exact
        return BatchMatching(
            assignments=assignments, values=values, bounds=bounds, gaps=gaps, exact=exact, solver=self.solver.name
        )

    def _whole(self, array: FloatArray, norms: Norms | None) -> BatchMatching:
        _refuse_overflow(array)
        if self.solver.name == "auction":
            return AuctionBatch(array, threads=self.threads).solve()
        require_finite(array, "the affinity")
        run = self.solver.run
        found = run(array, **self.settings) if norms is None else run(array, norms, **self.settings)
        return _certified(array, found, self.solver)

    def _norms(self, array: FloatArray) -> Norms | None:
        if not self.solver.needs_norms:
            return None
        return _checked_norms(self.row_norms, self.column_norms, array, self.solver.name)


def _signed(array: FloatArray, cost: bool) -> FloatArray:
    return -array if cost else array


def check_shape(shape: tuple[int, ...], *, may_be_empty: bool = False) -> None:
    """Refuse what is no batch of affinities.

    Parameters
    ----------
    shape : tuple of int
    may_be_empty : bool
        Whether affinities without a row or a column are some, of which nothing is matched.

    Raises
    ------
    ShapeError
        If there are not three axes, or no row or column.
    """
    if len(shape) != 3:
        one = "; of a single one, affinity[None]" if len(shape) == 2 else ""
        raise ShapeError(f"affinities has shape {shape}, expected 3 axes (K, Sq, Sd){one}")
    if 0 in shape[1:] and not may_be_empty:
        raise ShapeError(f"the affinity is empty: shape {shape[1:]}, expected at least one row and one column")


def checked_sizes(sizes: ArrayLike | Tensor | None, shape: tuple[int, ...]) -> IndexVector | None:
    """Return how many rows and columns of each affinity count.

    Parameters
    ----------
    sizes : array_like or tensor of shape (K, 2), or None
    shape : tuple of int
        Of the affinities.

    Returns
    -------
    ndarray of shape (K, 2), intp, or None

    Raises
    ------
    ShapeError
        If they are no whole numbers, not two for each affinity, or out of its range.
    """
    if sizes is None:
        return None
    check_shape(shape, may_be_empty=True)
    array = as_array(sizes.tolist() if hasattr(sizes, "tolist") else sizes, "sizes")
    if array.size == 0 and shape[0] == 0:
        return np.zeros((0, 2), dtype=np.intp)
    if array.shape != (shape[0], 2) or array.dtype.kind not in "iu":
        raise ShapeError(
            f"sizes have shape {array.shape} and dtype {array.dtype}, expected whole numbers of shape "
            f"({shape[0]}, 2): rows and columns of each affinity"
        )
    if (array < 0).any() or (array > shape[1:]).any():
        worst = array[((array < 0) | (array > shape[1:])).any(axis=1)][0].tolist()
        raise ShapeError(f"sizes hold {worst}, expected from 0 to {list(shape[1:])}")
    return array.astype(np.intp)


def checked_affinities(affinities: ArrayLike, *, may_be_empty: bool = False) -> FloatArray:
    """Return affinities as float32 or float64, once their shape and dtype are found to be fit.

    Parameters
    ----------
    affinities : array_like of shape (K, Sq, Sd)
    may_be_empty : bool
        See `check_shape`.

    Returns
    -------
    ndarray of shape (K, Sq, Sd), float32 or float64

    Raises
    ------
    ShapeError, ArgumentError
        See `semret.retrieval.matching.match`.
    """
    array = as_array(affinities, "affinities")
    check_shape(array.shape, may_be_empty=may_be_empty)
    if array.dtype.kind not in "fiub" or array.dtype.itemsize > 8:
        raise ShapeError(f"the affinity has dtype {array.dtype}, expected float16, float32 or float64")
    if array.dtype == np.float32:
        return array
    if array.dtype == np.float16:
        return array.astype(np.float32)
    return array.astype(np.float64, copy=False)


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
