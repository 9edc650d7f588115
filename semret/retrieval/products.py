"""Inner products of token maps, in an order that does not depend on how work is batched or on any library's threads."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np

from semret.arrays import Float32Array, Float64Array, FloatArray, IndexVector
from semret.retrieval.matching.batching import announce_compilation, available_threads
from semret.retrieval.microkernel import COLUMNS, ROWS, multiply_float_tile


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


def float_affinities(one: Float32Array, many: Float32Array, *, threads: int | None = None) -> Float32Array:
    """Return the inner products of the tokens of one map (Sq, C) with those of many (n, Sd, C), as (n, Sq, Sd).

    Each is summed over the channels in order, whatever stands beside it. Threads share out the maps: a BLAS would
    share out each product, and its threads would wait for each other more than they work.
    """
    positions, channels = one.shape
    padded = np.zeros((-(-positions // COLUMNS) * COLUMNS, channels), dtype=np.float32)
    padded[:positions] = one
    panels = np.ascontiguousarray(padded.reshape(-1, COLUMNS, channels).transpose(0, 2, 1))
    out = np.empty((len(many), positions, many.shape[1]), dtype=np.float32)

    def multiply(start: int, stop: int) -> None:
        _multiply_floats(many[start:stop], panels, out[start:stop])

    in_threads(multiply, len(many), threads)
    return out


def in_threads(work: Callable[[int, int], None], items: int, threads: int | None) -> None:
    """Call ``work(start, stop)`` for slices of ``range(items)``, on several threads at a time."""
    announce_compilation()
    count = min(available_threads(threads), items)
    if count <= 1:
        work(0, items)
        return
    edges = np.linspace(0, items, 4 * count + 1 if items >= 8 * count else count + 1).astype(int)
    with ThreadPoolExecutor(count) as pool:
        for done in [pool.submit(work, int(a), int(b)) for a, b in itertools.pairwise(edges) if a < b]:
            done.result()


@numba.njit(nogil=True, cache=True)
def _multiply_floats(many, panels, out):  # type: ignore[no-untyped-def]
    maps, rows, channels = many.shape
    columns = out.shape[1]
    tile = np.empty((ROWS, COLUMNS), dtype=np.float32)
    rest = np.zeros((ROWS, channels), dtype=np.float32)
    for item in range(maps):
        for top in range(0, rows, ROWS):
            height = min(ROWS, rows - top)
            if height < ROWS:
                rest[:height] = many[item, top:rows]
            for panel in range(panels.shape[0]):
                left = panel * COLUMNS
                if height < ROWS:
                    multiply_float_tile(rest, panels[panel], channels, tile)
                else:
                    multiply_float_tile(many[item, top : top + ROWS], panels[panel], channels, tile)
                for column in range(min(COLUMNS, columns - left)):
                    for row in range(height):
                        out[item, left + column, top + row] = tile[row, column]
