"""Inner products of token maps, in an order that does not depend on how work is batched or on any library's threads."""

from __future__ import annotations

import math

import numpy as np

from semret.arrays import Float32Array, Float64Array, FloatArray, IndexVector
from semret.retrieval.native import Native
from semret.retrieval.native.threads import in_threads
from semret.retrieval.native.tiles import COLUMNS, ROWS

_LOOPS = "semret.retrieval.similarity.product_loops"
_row_products = Native(_LOOPS, "row_products")
_multiply_floats = Native(_LOOPS, "multiply_floats")


def row_products(a: FloatArray, b: FloatArray, assignment: IndexVector) -> Float64Array:
    """Return the float64 inner product of each row of `a` with its row of `b`.

    Parameters
    ----------
    a, b : ndarray of shape (Sq, C) and (Sd, C), float32 or float64, C-contiguous
    assignment : ndarray of shape (Sq,), intp
        Row of `b` for each row of `a`; -1 gives 0.

    Returns
    -------
    ndarray of shape (Sq,), float64
    """
    dots: Float64Array = np.empty(len(a))
    _row_products(a, b, assignment, dots)
    return dots


def matched_product(a: FloatArray, b: FloatArray, assignment: IndexVector) -> float:
    """Return ``sum_s <a[s], b[assignment[s]]>``, the sum correctly rounded and so the same in any order of positions.

    Parameters
    ----------
    a, b : ndarray of shape (Sq, C) and (Sd, C), float32 or float64, C-contiguous
    assignment : ndarray of shape (Sq,), intp
        Row of `b` for each row of `a`; -1 adds nothing.

    Returns
    -------
    float
    """
    return math.fsum(row_products(a, b, assignment))


def squares(maps: FloatArray) -> Float64Array:
    """Return the squared Euclidean norm of each token of maps (n, S, C), as (n, S) float64.

    Equal, bit for bit, to `row_products` of a map with itself.

    Parameters
    ----------
    maps : ndarray of shape (n, S, C), float32 or float64, C-contiguous

    Returns
    -------
    ndarray of shape (n, S), float64
    """
    flat = maps.reshape(-1, maps.shape[2])
    return row_products(flat, flat, np.arange(len(flat))).reshape(maps.shape[:2])


def float_affinities(one: Float32Array, many: Float32Array, *, threads: int | None = None) -> Float32Array:
    """Return the inner products of the tokens of one map (Sq, C) with those of many (n, Sd, C), as (n, Sq, Sd).

    Each is summed over the channels in order, whatever stands beside it. Threads share out the maps: a BLAS would
    share out each product, and its threads would wait for each other more than they work.

    Parameters
    ----------
    one : ndarray of shape (Sq, C), float32
    many : ndarray of shape (n, Sd, C), float32
    threads : int or None
        None takes all processors.

    Returns
    -------
    ndarray of shape (n, Sq, Sd), float32
    """
    positions, channels = one.shape
    padded = np.zeros((-(-positions // COLUMNS) * COLUMNS, channels), dtype=np.float32)
    padded[:positions] = one
    panels = np.ascontiguousarray(padded.reshape(-1, COLUMNS, channels).transpose(0, 2, 1))
    out = np.empty((len(many), positions, many.shape[1]), dtype=np.float32)

    def multiply(start: int, stop: int) -> None:
        tile, rest = np.empty((ROWS, COLUMNS), dtype=np.float32), np.zeros((ROWS, channels), dtype=np.float32)
        _multiply_floats(many[start:stop], panels, out[start:stop], tile, rest)

    in_threads(multiply, len(many), threads)
    return out
