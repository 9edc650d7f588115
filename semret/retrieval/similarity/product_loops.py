"""Compiled loops of `semret.retrieval.similarity.products`; they neither allocate nor raise."""

from __future__ import annotations

import numpy as np

from semret.retrieval.native.compiler import compiled, numba
from semret.retrieval.native.tile_products import multiply_float_tile
from semret.retrieval.native.tiles import COLUMNS, ROWS


@numba.njit(nogil=True, error_model="numpy", _nrt=False, fastmath={"reassoc", "contract", "nsz"})
def row_products(a, b, pairs, out):  # type: ignore[no-untyped-def]  # numba compiles by the types it is called with
    """Multiply each row of `a` with its row of `b`, in float64.

    Parameters
    ----------
    a, b : array of shape (m, C) and (n, C), float32 or float64
    pairs : array of shape (m,)
        Row of `b` for each row of `a`; -1 gives 0.
    out : array of shape (m,), float64
        Written.
    """
    channels = a.shape[1]
    for row in range(a.shape[0]):
        total = 0.0
        column = pairs[row]
        if column >= 0:
            for channel in range(channels):
                total += np.float64(a[row, channel]) * np.float64(b[column, channel])
        out[row] = total


@compiled
def multiply_floats(many, panels, out, tile, rest):  # type: ignore[no-untyped-def]
    """Multiply the tokens of many maps with those of one, in float32.

    Parameters
    ----------
    many : array of shape (n, Sd, C), float32
    panels : array of shape (panels, C, COLUMNS), float32
        The tokens of one map, filled up with zeros.
    out : array of shape (n, Sq, Sd), float32
        Written.
    tile, rest : array of shape (ROWS, COLUMNS) and (ROWS, C), float32
        Scratch.
    """
    maps, rows, channels = many.shape
    columns = out.shape[1]
    for item in range(maps):
        for top in range(0, rows, ROWS):
            height = min(ROWS, rows - top)
            if height < ROWS:
                for row in range(height):
                    for channel in range(channels):
                        rest[row, channel] = many[item, top + row, channel]
            for panel in range(panels.shape[0]):
                left = panel * COLUMNS
                if height < ROWS:
                    multiply_float_tile(rest, panels[panel], channels, tile)
                else:
                    multiply_float_tile(many[item, top : top + ROWS], panels[panel], channels, tile)
                for column in range(min(COLUMNS, columns - left)):
                    for row in range(height):
                        out[item, left + column, top + row] = tile[row, column]
