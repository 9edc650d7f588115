"""Inner products of token maps in float64, in an order that does not depend on how work is batched."""

from __future__ import annotations

import math

import numba
import numpy as np

from semret.arrays import Float64Array, FloatArray, IndexVector


@numba.njit(nogil=True, cache=True, fastmath={"reassoc", "contract", "nsz"})
def _row_products(a, b, pairs, out):  # type: ignore[no-untyped-def]  # numba compiles by the types it is called with
    channels = a.shape[1]
    for row in range(a.shape[0]):
        total = 0.0
        column = pairs[row]
        if column >= 0:
            for channel in range(channels):
                total += np.float64(a[row, channel]) * np.float64(b[column, channel])
        out[row] = total


def row_products(a: FloatArray, b: FloatArray, assignment: IndexVector) -> Float64Array:
    """Return the float64 inner product of each row of `a` with its row of `b`.

    Parameters
    ----------
    a, b : ndarray of shape (Sq, C) and (Sd, C), float32 or float64, C-contiguous
    assignment : ndarray of shape (Sq,), intp
        Row of `b` for each row of `a`; -1 gives 0.
    """
    dots: Float64Array = np.empty(len(a))
    _row_products(a, b, assignment, dots)
    return dots


def matched_product(a: FloatArray, b: FloatArray, assignment: IndexVector) -> float:
    """Return ``sum_s <a[s], b[assignment[s]]>``, the sum correctly rounded and so the same in any order of positions.

    Parameters are those of `row_products`.
    """
    return math.fsum(row_products(a, b, assignment))


def squares(maps: FloatArray) -> Float64Array:
    """Return the squared Euclidean norm of each token of maps (n, S, C), as (n, S) float64.

    Equal, bit for bit, to `row_products` of a map with itself.
    """
    flat = maps.reshape(-1, maps.shape[2])
    return row_products(flat, flat, np.arange(len(flat))).reshape(maps.shape[:2])
