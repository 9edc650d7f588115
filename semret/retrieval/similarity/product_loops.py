"""Compiled loops of `semret.retrieval.similarity.products`, as `semret.retrieval.native` wants them."""

from __future__ import annotations

import numpy as np

from semret.retrieval.native.compiler import compiled, numba
from semret.retrieval.native.tile_products import multiply_float_tile
from semret.retrieval.native.tiles import COLUMNS, ROWS


@numba.njit(nogil=True, error_model="numpy", _nrt=False, fastmath={"reassoc", "contract", "nsz"})
def row_products(a, b, pairs, out):  # type: ignore[no-untyped-def]  # numba compiles by the types it is called with
    """Write the float64 inner product of each row of `a` with its row of `b`; 0 where that is -1."""
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
    """Multiply maps with the panels of one; `tile` and `rest` are scratch."""
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
