"""The compiled loop of the greedy solvers; it neither allocates nor raises, see `semret.retrieval.native`."""

from __future__ import annotations

import numpy as np

from semret.arrays import Float64Array, FloatArray
from semret.retrieval.matching.float_keys import IntArray, key, row_max
from semret.retrieval.native.compiler import compiled


@compiled
def greedy_many(As: FloatArray, orders: IntArray, used: Float64Array, assignments: IntArray) -> None:
    """Let rows of each `As` (K, m, n), in the order of `orders` (K or fewer columns), take their best free column.

    Of equal columns the first is taken.

    Parameters
    ----------
    As : array of shape (K, m, n), float32 or float64
    orders : array of shape (K, up to m)
        Which rows choose, and when.
    used : array of shape (K, n), float64
        Infinity for columns that are taken, else 0; overwritten.
    assignments : array of shape (K, m)
        Written; rows that find no free column stay as they are.
    """
    n = As.shape[2]
    for t in range(As.shape[0]):
        A, taken = As[t], used[t]
        for i in orders[t]:
            best = row_max(A, taken, i)
            if best <= key(-np.inf):
                break
            column = np.int64(n)
            for j in range(n):
                column = min(column, np.int64(j) if key(np.float64(A[i, j]) - taken[j]) == best else np.int64(n))
            assignments[t, i] = column
            taken[column] = np.inf
