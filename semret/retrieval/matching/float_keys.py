"""What compiled loops over affinities share: floats that are compared as integers.

LLVM vectorises maxima of integers but not of floats; floats are therefore compared by `key`, an integer in the same
order. Recomputing ``affinity - price`` in each pass is cheaper than storing it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from semret.arrays import Float64Array, FloatArray
from semret.retrieval.native.compiler import Function, compiled, numba

IntArray = NDArray[np.signedinteger[Any]]

LOWEST = np.int64(-(2**63) + 1)
HIGHEST = np.int64(2**63 - 1)
"""Keys below and above those of all floats."""

UNIT = 2.0**-53
"""What rounding to float64 changes at most, relative to the result."""

_MASK = np.int64(0x7FFFFFFFFFFFFFFF)


def _inlined(function: Function) -> Function:
    """Put the source into its callers: loops over calls are not vectorised."""
    inlined: Function = numba.njit(nogil=True, inline="always")(function)
    return inlined


@_inlined
def key(x: float) -> Any:
    """Return the integer that takes the place of a float in the order of all floats.

    Parameters
    ----------
    x : float32 or float64

    Returns
    -------
    int64
        Those of NaN lie outside those of the infinities.
    """
    bits = np.float64(x).view(np.int64)
    return bits ^ ((bits >> np.int64(63)) & _MASK)


@_inlined
def float_of(integer: Any) -> Any:
    """Return the float64 whose `key` this is.

    Parameters
    ----------
    integer : int64

    Returns
    -------
    float64
    """
    bits = integer ^ ((integer >> np.int64(63)) & _MASK)
    return np.int64(bits).view(np.float64)


@_inlined
def row_max(A: FloatArray, v: Float64Array, i: int) -> Any:
    """Return the key of ``max_j(A[i, j] - v[j])``.

    Parameters
    ----------
    A : array of shape (m, n), float32 or float64
    v : array of shape (n,), float64
    i : int

    Returns
    -------
    int64
    """
    best = LOWEST
    for j in range(v.shape[0]):
        best = max(best, key(np.float64(A[i, j]) - v[j]))
    return best


@compiled
def least(v: Float64Array, n: int) -> float:
    """Return the smallest of the first `n` values.

    Parameters
    ----------
    v : array of shape (at least n,), float64
    n : int
        At least 1.

    Returns
    -------
    float64
    """
    lowest: float = v[0]
    for j in range(1, n):
        if v[j] < lowest:
            lowest = v[j]
    return lowest


@compiled
def value_range(A: FloatArray) -> tuple[float, float]:
    """Return the smallest and the largest value.

    Parameters
    ----------
    A : array of shape (m, n), float32 or float64

    Returns
    -------
    (float64, float64)
        Both NaN if a value is not finite.
    """
    low, high = HIGHEST, LOWEST
    for i in range(A.shape[0]):
        for j in range(A.shape[1]):
            x = key(np.float64(A[i, j]))
            low = min(low, x)
            high = max(high, x)
    if high >= key(np.inf) or low <= key(-np.inf):
        return np.nan, np.nan
    return float_of(low), float_of(high)
