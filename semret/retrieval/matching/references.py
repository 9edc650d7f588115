"""Exact solvers of other packages, kept as references."""

from __future__ import annotations

import numpy as np

from semret.arrays import FloatArray, IndexVector
from semret.errors import SolverError
from semret.optional import need

_INT64_BITS = 62


def solve_scipy(affinity: FloatArray) -> IndexVector:
    """Match one affinity with `scipy.optimize.linear_sum_assignment`.

    Parameters
    ----------
    affinity : ndarray of shape (Sq, Sd)
        Larger is more alike.

    Returns
    -------
    ndarray of shape (Sq,), intp
        The column of each row, -1 for rows without one.

    Examples
    --------
    >>> solve_scipy(np.array([[3.0, 2.0], [2.0, 0.0]])).tolist()
    [1, 0]
    """
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(affinity, maximize=True)
    assignment: IndexVector = np.full(affinity.shape[0], -1, dtype=np.intp)
    assignment[rows] = columns
    return assignment


def solve_ortools(affinity: FloatArray) -> IndexVector:
    """Match one affinity with OR-Tools' linear sum assignment.

    OR-Tools takes integer costs and square problems. The affinity is scaled to integers as fine as its sums allow,
    2^40 steps and more for a thousand positions, and padded with constant rows or columns.

    Parameters
    ----------
    affinity : ndarray of shape (Sq, Sd)
        Larger is more alike.

    Returns
    -------
    ndarray of shape (Sq,), intp
        The column of each row, -1 for rows without one.

    Raises
    ------
    MissingDependencyError
        If OR-Tools is not installed.
    SolverError
        If it finds no optimum.
    """
    library = need(
        "ortools.graph.python.linear_sum_assignment",
        "solver ortools",
        "ortools",
        "run pip install ortools, or choose solver auction",
    )
    rows, columns = affinity.shape
    size = max(rows, columns)
    costs = np.zeros((size, size), dtype=np.int64)
    costs[:rows, :columns] = _integer_costs(affinity.astype(np.float64), size)
    problem = library.SimpleLinearSumAssignment()
    left, right = np.divmod(np.arange(size * size, dtype=np.int32), np.int32(size))
    problem.add_arcs_with_cost(left, right, costs.ravel())
    status = problem.solve()
    if status != problem.OPTIMAL:
        raise SolverError(f"OR-Tools gave up on an affinity of shape {affinity.shape}: status {status}; try auction")
    # Integer costs of the solver are at most 2^53 in size; their order is that of the scaled affinity.
    assignment: IndexVector = np.array([problem.right_mate(row) for row in range(rows)], dtype=np.intp)
    assignment[assignment >= columns] = -1
    return assignment


def _integer_costs(affinity: FloatArray, size: int) -> FloatArray:
    """Scale to integers from 0 (largest affinity), so that the sums OR-Tools forms, ``size`` squared, fit int64."""
    highest = affinity.max()
    spread = highest - affinity.min()
    if spread == 0:
        return np.zeros(affinity.shape)
    # OR-Tools multiplies costs by size + 1 and adds up to size of them.
    bits = min(40, _INT64_BITS - 2 * int(np.ceil(np.log2(size + 2))))
    scaled: FloatArray = np.rint((highest - affinity) * (2.0**bits / spread))
    return scaled
