"""Compiled loops of `semret.retrieval.similarity.coarse`.

They take their scratch arrays as arguments: what neither allocates nor raises is machine code that stands alone, see
`semret.retrieval.native`.
"""

from __future__ import annotations

import math

import numpy as np

from semret.retrieval.native.compiler import compiled, numba
from semret.retrieval.native.tile_products import multiply_tile
from semret.retrieval.native.tiles import COLUMNS, ROWS

_NORM = 46000.0
_ROUNDING = 0.506
_TINY = 1e-30


def _widen(row, values, bits):  # type: ignore[no-untyped-def]
    """Write a row of halves (as uint16) or singles into float32 `values`, whose bits are `bits`; return its factor."""


@numba.extending.overload(_widen)
def _widen_for_type(row, values, bits):  # type: ignore[no-untyped-def]  # noqa: ARG001 - numba compares signatures
    if row.dtype == numba.uint16:

        def widen_half(row, values, bits):  # type: ignore[no-untyped-def]  # noqa: ARG001
            # A half's bits, moved to where float32 has them, are the number times 2^-112; subnormals too.
            largest = np.uint32(0)
            for channel in range(row.shape[0]):
                half = np.uint32(row[channel])
                size = half & np.uint32(0x7FFF)
                bits[channel] = ((half & np.uint32(0x8000)) << np.uint32(16)) | (size << np.uint32(13))
                largest = max(largest, size)
            return np.float32(2.0**112) if largest < 0x7C00 else np.float32(np.nan)

        return widen_half

    def widen_single(row, values, bits):  # type: ignore[no-untyped-def]  # noqa: ARG001
        for channel in range(row.shape[0]):
            values[channel] = row[channel]
        return np.float32(1.0)

    return widen_single


@numba.njit(nogil=True, error_model="numpy", _nrt=False, fastmath={"reassoc", "contract", "nsz"})
def _squares(values):  # type: ignore[no-untyped-def]
    total = 0.0
    for channel in range(values.shape[0]):
        total += np.float64(values[channel]) * np.float64(values[channel])
    return total


@compiled
def _convert(raw, center, integers, scales, values, bits, units):  # type: ignore[no-untyped-def]
    """Centre, scale and round one map; return its squared norm and the relative bound of all rounding."""
    positions, channels = raw.shape
    total, error = 0.0, 0.0
    for row in range(positions):
        factor = _widen(raw[row], values, bits)  # type: ignore[no-untyped-call]
        middle = center[row if center.shape[0] > 1 else 0]
        for channel in range(channels):
            values[channel] = values[channel] * factor - middle[channel]
        # Without their sign, floats are ordered as their bits are; LLVM vectorises the maximum of integers only.
        largest = np.uint32(0)
        for channel in range(channels):
            largest = max(largest, bits[channel] & np.uint32(0x7FFFFFFF))
        square = _squares(values)
        total += square
        norm = math.sqrt(square)
        target = integers[row]
        if not _TINY <= norm < np.inf:
            error += square
            target[:] = 0
            units[row] = 0.0
            continue
        scale = np.float32(min(_NORM / norm, 32767.0 / np.uint32(largest).view(np.float32)))  # type: ignore[arg-type]
        for channel in range(channels):
            # Truncation of a positive number rounds to nearest without a call.
            target[channel] = np.int32(values[channel] * scale + np.float32(32768.5)) - 32768
        units[row] = 1.0 / scale
        error += _ROUNDING * _ROUNDING * channels * units[row] * units[row]
    norm = math.sqrt(total)
    for row in range(positions):
        scales[row] = units[row] / norm if norm > 0 else 0.0
    return total, math.sqrt(error) / norm if norm > 0 else 0.0


@compiled
def convert_many(raw, center, integers, scales, squared, errors, values, bits, units):  # type: ignore[no-untyped-def]
    """Centre maps and round them to integers.

    Parameters
    ----------
    raw : array of shape (n, S, C), float32, or float16 as uint16
    center : array of shape (1 or S, C), float32
    integers : array of shape (n, padded S, padded C), int16
        Written.
    scales : array of shape (n, S), float32
        Written: what a unit of each token is worth, relative to the norm of its map.
    squared, errors : array of shape (n,), float64
        Written: squared norms, and bounds of all rounding relative to the norm.
    values, bits : array of shape (C,), float32, and the same memory as uint32
        Scratch.
    units : array of shape (S,), float64
        Scratch.
    """
    positions, channels = raw.shape[1:]
    integers[:, positions:] = 0
    if integers.shape[2] > channels:
        integers[:, :, channels] = 0
    for item in range(raw.shape[0]):
        squared[item], errors[item] = _convert(raw[item], center, integers[item], scales[item], values, bits, units)  # type: ignore[no-untyped-call]


@compiled
def _multiply_map(integers, scales, panels, column_scales, out, tile):  # type: ignore[no-untyped-def]
    rows, columns = out.shape
    pairs = panels.shape[1]
    for top in range(0, rows, ROWS):
        for panel in range(panels.shape[0]):
            left = panel * COLUMNS
            multiply_tile(integers[top : top + ROWS], panels[panel], pairs, tile)
            width = min(COLUMNS, columns - left)
            for row in range(min(ROWS, rows - top)):
                scale = scales[top + row]
                target = out[top + row, left : left + width]
                for column in range(width):
                    target[column] = np.float32(tile[row, column]) * column_scales[left + column] * scale


@compiled
def multiply_many(integers, scales, panels, column_scales, out, tile):  # type: ignore[no-untyped-def]
    """Multiply rounded maps with a query.

    Parameters
    ----------
    integers, scales : array of shape (n, padded S, padded C), int16, and (n, S), float32
        The maps.
    panels, column_scales : array of shape (panels, C/2, COLUMNS, 2), int16, and (Sq,), float32
        The query.
    out : array of shape (n, S, Sq), float32
        Written.
    tile : array of shape (ROWS, COLUMNS), int32
        Scratch.
    """
    for item in range(out.shape[0]):
        _multiply_map(integers[item], scales[item], panels, column_scales, out[item], tile)  # type: ignore[no-untyped-call]


@compiled
def fill(  # type: ignore[no-untyped-def]
    raw, center, panels, column_scales, out, squared, errors, values, bits, units, integers, scales, tile
):
    """Convert and multiply map by map, so that a map's integers stay in the cache.

    Parameters
    ----------
    raw : array of shape (n, S, C), float32, or float16 as uint16
    center : array of shape (1 or S, C), float32
    panels, column_scales : array of shape (panels, C/2, COLUMNS, 2), int16, and (Sq,), float32
        The query.
    out : array of shape (n, S, Sq), float32
        Written: the products.
    squared, errors : array of shape (n,), float64
        Written, see `convert_many`.
    values, bits : array of shape (C,), float32, and the same memory as uint32
        Scratch.
    units : array of shape (S,), float64
        Scratch.
    integers, scales, tile : array of shape (padded S, padded C), int16, (S,), float32, and (ROWS, COLUMNS), int32
        Scratch.
    """
    for item in range(out.shape[0]):
        squared[item], errors[item] = _convert(raw[item], center, integers, scales, values, bits, units)  # type: ignore[no-untyped-call]
        _multiply_map(integers, scales, panels, column_scales, out[item], tile)  # type: ignore[no-untyped-call]
