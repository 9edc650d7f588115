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


def matched_product(a: FloatArray, b: FloatArray, assignment: IndexVector) -> float:
    """Return ``sum_s <a[s], b[assignment[s]]>``, accurate to float64 and independent of the order of positions.

    Parameters
    ----------
    a, b : ndarray of shape (Sq, C) and (Sd, C), float32 or float64, C-contiguous
    assignment : ndarray of shape (Sq,), intp
        Row of `b` for each row of `a`; -1 leaves the row out.
    """
    return math.fsum(row_products(a, b, assignment))


def squared_norms(maps: FloatArray) -> Float64Array:
    """Return the squared Frobenius norm of each map of shape (n, S, C).

    Equal, bit for bit, to `matched_product` of the map with itself.
    """
    positions = np.arange(maps.shape[1])
    return np.array([matched_product(tokens, tokens, positions) for tokens in maps], dtype=np.float64)


def row_products(a: FloatArray, b: FloatArray, assignment: IndexVector) -> Float64Array:
    """Return the float64 inner product of each row of `a` with its row of `b`, 0 where the assignment is -1."""
    dots: Float64Array = np.empty(len(a))
    _row_products(a, b, assignment, dots)
    return dots


def token_norms(tokens: FloatArray) -> Float64Array:
    """Return the Euclidean norm of each row, float64."""
    return np.sqrt(row_products(tokens, tokens, np.arange(len(tokens))))
