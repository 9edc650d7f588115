"""Matchings with their values, and the bounds that say how good they are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from semret.arrays import Float64Array, IndexVector

_TINY = float(np.finfo(np.float64).tiny)


@dataclass(frozen=True, kw_only=True)
class Matching:
    """A one-to-one matching of the rows of one affinity with its columns.

    Attributes
    ----------
    assignment : ndarray of shape (Sq,), intp
        The column of each row; -1 where a row stays unmatched, which happens only if there are more rows than columns.
    value : float
        Sum of the matched affinities, accumulated in float64 from the affinity as given.
    bound : float
        An upper bound of the value of every matching, from dual prices; rounding included. Never below `value`.
    gap : float
        ``(bound - value) / |bound|``: by what share of the bound the optimum may at most exceed `value`. 0.0 where the
        two agree within the rounding of float64: the matching is proven optimal.
    exact : bool
        Whether the matching is optimal, up to the rounding of float64.
    solver : str
        Name of the solver that found it.
    """

    assignment: IndexVector
    value: float
    bound: float
    gap: float
    exact: bool
    solver: str


@dataclass(frozen=True, kw_only=True)
class BatchMatching:
    """Matchings of K affinities of one shape.

    Attributes
    ----------
    assignments : ndarray of shape (K, Sq), intp
        See `Matching`.
    values, bounds, gaps : ndarray of shape (K,), float64
        See `Matching`.
    exact : bool
        Whether all K matchings are optimal. True for an empty batch of an exact solver.
    solver : str
        Name of the solver that found them.
    """

    assignments: IndexVector
    values: Float64Array
    bounds: Float64Array
    gaps: Float64Array
    exact: bool
    solver: str

    def pairs(self, index: int) -> tuple[IndexVector, IndexVector]:
        """Return the matched rows, ascending, and their columns, as `scipy.optimize.linear_sum_assignment` does.

        Parameters
        ----------
        index : int
            Which of the K.

        Returns
        -------
        rows, columns : ndarray of shape (matched,), intp
        """
        chosen = self.assignments[index]
        rows = np.flatnonzero(chosen >= 0)
        return rows, chosen[rows]


def relative_gaps(values: Float64Array, bounds: Float64Array, slack: Float64Array) -> Float64Array:
    """Return by what share of the bounds the values lie below them.

    Parameters
    ----------
    values, bounds : ndarray of shape (K,), float64
    slack : ndarray of shape (K,), float64
        What the rounding of sums may come to.

    Returns
    -------
    ndarray of shape (K,), float64
        ``(bounds - values) / |bounds|``; 0 where the difference is within `slack`.
    """
    difference = bounds - values
    scale = np.maximum(np.abs(bounds), _TINY)
    with np.errstate(over="ignore"):
        return np.asarray(np.where(difference <= slack, 0.0, difference / scale))
