"""Matchings that are cheaper than the optimum, by the definitions of the paper's appendix F.

None of them guarantees a share of the optimum on arbitrary input. Sizes may differ; the smaller side is always fully
matched. Equal norms keep the order of positions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from semret.arrays import Float64Array, FloatArray, IndexVector
from semret.retrieval.matching.auction import solve_exactly
from semret.retrieval.native import Native

_greedy_many = Native("semret.retrieval.matching.greedy_loops", "greedy_many")


@dataclass(frozen=True, kw_only=True)
class Norms:
    """Token norms of both sides: `rows` (Sq,), `columns` (K, Sd); float64."""

    rows: Float64Array
    columns: Float64Array


def match_identity(affinities: FloatArray) -> IndexVector:
    """Match equal positions: row ``i`` with column ``i``, as far as both go.

    Parameters
    ----------
    affinities : ndarray of shape (K, Sq, Sd)
        Larger is more alike.

    Returns
    -------
    ndarray of shape (K, Sq), intp
        The column of each row, -1 for rows without one.

    Examples
    --------
    >>> match_identity(np.zeros((1, 3, 2))).tolist()
    [[0, 1, -1]]
    """
    count, rows, columns = affinities.shape
    positions = np.arange(rows, dtype=np.intp)
    return np.tile(np.where(positions < columns, positions, -1), (count, 1))


def match_greedy(affinities: FloatArray, norms: Norms) -> IndexVector:
    """Let rows, in descending norm, take their best free column; of equal ones the first.

    Parameters
    ----------
    affinities : ndarray of shape (K, Sq, Sd)
        Larger is more alike.
    norms : Norms

    Returns
    -------
    ndarray of shape (K, Sq), intp
        The column of each row, -1 for rows without one.

    Examples
    --------
    The second row has the larger norm and takes the first column; the first row is left with the other. The optimum
    is 8 + 9 = 17, this is 0 + 9.

    >>> affinity = np.array([[[8.0, 0.0], [9.0, 9.0]]])
    >>> match_greedy(affinity, Norms(rows=np.array([1.0, 2.0]), columns=np.array([[1.0, 1.0]]))).tolist()
    [[1, 0]]
    """
    return match_topk_greedy(affinities, norms, top=0)


def match_topk_greedy(affinities: FloatArray, norms: Norms, *, top: int) -> IndexVector:
    """Match the `top` largest-norm rows and columns optimally with each other, the other rows greedily.

    Parameters
    ----------
    affinities : ndarray of shape (K, Sq, Sd)
        Larger is more alike.
    norms : Norms
    top : int
        At least 0; more than there are rows or columns are all of them.

    Returns
    -------
    ndarray of shape (K, Sq), intp
        The column of each row, -1 for rows without one.

    Examples
    --------
    With the two largest of each side matched optimally, 8 + 9, the example of `match_greedy` is solved.

    >>> affinity = np.array([[[8.0, 0.0], [9.0, 9.0]]])
    >>> norms = Norms(rows=np.array([1.0, 2.0]), columns=np.array([[1.0, 1.0]]))
    >>> match_topk_greedy(affinity, norms, top=2).tolist()
    [[0, 1]]
    """
    count, rows, columns = affinities.shape
    top = min(top, rows, columns)
    assignments: IndexVector = np.full((count, rows), -1, dtype=np.intp)
    used = np.zeros((count, columns))
    row_order = _descending(norms.rows[None])[0]
    if top:
        head = row_order[:top]
        column_heads = _descending(norms.columns)[:, :top]
        inner = np.take_along_axis(affinities[:, head], column_heads[:, None, :], axis=2)
        found = solve_exactly(inner, threads=1).assignments
        matched = np.take_along_axis(column_heads, found, axis=1)
        assignments[:, head] = matched
        np.put_along_axis(used, matched, np.inf, axis=1)
    order = np.ascontiguousarray(np.broadcast_to(row_order[top:], (count, rows - top)))
    _greedy_many(np.ascontiguousarray(affinities), order, used, assignments)
    return assignments


def match_batch_optimal(affinities: FloatArray, norms: Norms, *, window: int) -> IndexVector:
    """Sort both sides by norm, cut them into batches of `window`, and match optimally within each batch.

    If the sides differ in size, the smaller one is cut into batches of `window` and the larger one in proportion.

    Parameters
    ----------
    affinities : ndarray of shape (K, Sq, Sd)
        Larger is more alike.
    norms : Norms
    window : int
        At least 1.

    Returns
    -------
    ndarray of shape (K, Sq), intp
        The column of each row, -1 for rows without one.

    Examples
    --------
    In batches of one, the largest norms of both sides are matched, then the next: row 1 with column 1, row 0 with
    column 0.

    >>> affinity = np.array([[[8.0, 0.0], [9.0, 9.0]]])
    >>> norms = Norms(rows=np.array([1.0, 2.0]), columns=np.array([[1.0, 2.0]]))
    >>> match_batch_optimal(affinity, norms, window=1).tolist()
    [[0, 1]]
    """
    count, rows, columns = affinities.shape
    row_order, column_orders = _descending(norms.rows[None])[0], _descending(norms.columns)
    assignments: IndexVector = np.full((count, rows), -1, dtype=np.intp)
    small = min(rows, columns)
    cuts = np.unique([*range(0, small, window), small])
    row_cuts, column_cuts = (cuts + (size - small) * cuts // small for size in (rows, columns))
    for index in range(len(cuts) - 1):
        own_rows = row_order[row_cuts[index] : row_cuts[index + 1]]
        own_columns = column_orders[:, column_cuts[index] : column_cuts[index + 1]]
        for affinity, own, assignment in zip(affinities, own_columns, assignments, strict=True):
            found = solve_exactly(affinity[np.ix_(own_rows, own)][None], threads=1).assignments[0]
            assignment[own_rows] = np.where(found >= 0, own[found], -1)
    return assignments


def _descending(norms: Float64Array) -> IndexVector:
    return np.asarray(np.argsort(-norms, axis=1, kind="stable"))
