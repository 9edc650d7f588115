"""Compiled loops that bound all matchings of an affinity from above.

Affinities come with at least as many columns as rows, and padded to a multiple of 16 columns by repetition of the last
one; `n` counts the real columns.
"""

from __future__ import annotations

import numpy as np

from semret.arrays import Float64Array, FloatArray
from semret.retrieval.matching.float_keys import LOWEST, UNIT, IntArray, float_of, key, least, row_max, value_range
from semret.retrieval.native.compiler import compiled


@compiled
def dual_bound(A: FloatArray, n: int, v: Float64Array) -> tuple[float, float]:
    r"""Bound every matching from above by prices of the columns, whatever they are.

    With ``m <= n``, a matching uses ``m`` columns, so its value is at most
    ``sum_i max_j(A_ij - v_j) + sum(v) - (n - m) min(v)``. Each term errs by half a unit in the last place, the
    compensated sums by one of their result: four units of the summed magnitudes cover both.

    Parameters
    ----------
    A : array of shape (m, width), float32 or float64
    n : int
        Real columns, at least m.
    v : array of shape (width,), float64
        Prices; infinite beyond `n`.

    Returns
    -------
    (float64, float64)
        The bound, rounding included, and the sum of the magnitudes of all terms.
    """
    m = A.shape[0]
    lowest = least(v, n)
    total, lost, size = 0.0, 0.0, 0.0
    for i in range(m + n + 1):
        if i < m:
            x = float_of(row_max(A, v, i))
        elif i < m + n:
            x = v[i - m]
        else:
            x = -(n - m) * lowest
        y = total + x
        lost += (total - y) + x if abs(total) >= abs(x) else (x - y) + total
        total = y
        size += abs(x)
    return total + lost + 8 * UNIT * size, size


@compiled
def _sweep(A: FloatArray, n: int, v: Float64Array, prices: IntArray, columns: IntArray) -> tuple[float, float]:
    """Write prices ``v_j = max_i(A_ij - max_k A_ik)``; return the sums of row and, if square, of column maxima."""
    m, width = A.shape
    prices[:] = LOWEST
    columns[:] = LOWEST
    rows, rows_size = 0.0, 0.0
    for i in range(m):
        best = LOWEST
        for j in range(width):
            x = key(np.float64(A[i, j]))
            best = max(best, x)
            columns[j] = max(columns[j], x)
        u = float_of(best)
        rows += u
        rows_size += abs(u)
        for j in range(width):
            prices[j] = max(prices[j], key(np.float64(A[i, j]) - u))
    v[:] = np.inf
    total, columns_size = 0.0, 0.0
    for j in range(n):
        v[j] = float_of(prices[j])
        total += float_of(columns[j])
        columns_size += abs(float_of(columns[j]))
    # A plain sum of n terms errs by at most n units of the summed magnitudes.
    rows += (m + 2) * 2 * UNIT * rows_size
    total += (n + 2) * 2 * UNIT * columns_size
    return rows, total if m == n else np.inf


@compiled
def bound_many(
    As: FloatArray,
    n: int,
    rows: IntArray,
    sweep: bool,
    bounds: Float64Array,
    floats: Float64Array,
    integers: IntArray,
) -> bool:
    """Bound affinities by row and column maxima, or also by one dual sweep.

    Parameters
    ----------
    As : array of shape (K, m, width), float32 or float64
    n : int
        Real columns, at least m.
    rows : array of shape (any,)
        The affinities to bound.
    sweep : bool
        Whether to make the dual sweep too.
    bounds : array of shape (K,), float64
        Written at `rows`.
    floats : array of shape (at least 1, width), float64
        Scratch.
    integers : array of shape (at least 2, width), int64
        Scratch.

    Returns
    -------
    bool
        False, with `bounds` unfinished, if a value is not finite.
    """
    for t in rows:
        A = As[t]
        if np.isnan(value_range(A)[0]):
            return False
        v = floats[0]
        row_sum, column_sum = _sweep(A, n, v, integers[0], integers[1])
        bounds[t] = min(row_sum, column_sum)
        if sweep:
            bounds[t] = min(bounds[t], dual_bound(A, n, v)[0])
    return True
