r"""Affinities in 16-bit integers, with a rigorous bound of their error: what rules candidates out.

Each token is scaled to a norm of at most 46,000 and rounded to int16. The products are then exact in int32 (by
Cauchy-Schwarz every inner product stays below :math:`46{,}341^2 < 2^{31}`, and wrap-around on the way cancels), and
processors add sixteen or thirty-two of them per instruction: about twice the speed of float32. Rounding moves a token
by at most :math:`\varepsilon = 0.506 \sqrt C` of its units, so for *every* matching ``P``

.. math:: \Big| \sum_s \langle q_s, d_{P(s)} \rangle - \langle \tilde q_s, \tilde d_{P(s)} \rangle \Big|
          \le \|\delta Q\| \|D\| + \|\tilde Q\| \|\delta D\|,

once more by Cauchy-Schwarz. With C = 768 that is less than 0.002 in units of the cosine.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numba.extending import overload
from numpy.typing import NDArray

from semret.arrays import Float32Array, Float64Array, FloatArray
from semret.errors import NonFiniteError
from semret.retrieval.microkernel import COLUMNS, ROWS, multiply_tile
from semret.retrieval.products import in_threads

_NORM = 46000.0
_ROUNDING = 0.506
_TINY = 1e-30
# What float32 adds: the conversion and scaling of products, and the rounding of float64 tokens to float32.
_FLOAT_ERROR = 2e-6


@dataclass(frozen=True, kw_only=True)
class CoarseQuery:
    """A query's tokens as integers.

    Attributes
    ----------
    panels : ndarray of shape (panels, C/2, columns, 2), int16
        Laid out for the product; padded with zeros.
    scales : ndarray of shape (Sq,), float32
        What a unit of each token is worth, relative to the norm of the map.
    squared_norm : float
        Squared Frobenius norm of the map.
    error : float
        Bound of the norm of all rounding, relative to the norm of the map.
    """

    panels: NDArray[np.int16]
    scales: Float32Array
    squared_norm: float
    error: float


@dataclass(frozen=True, kw_only=True)
class CoarseMaps:
    """The tokens of n candidates as integers.

    Attributes
    ----------
    integers : ndarray of shape (n, padded S, padded C), int16
    scales : ndarray of shape (n, S), float32
        What a unit of each token is worth, relative to the norm of its map.
    squared_norms, errors : ndarray of shape (n,), float64
        See `CoarseQuery`.
    """

    integers: NDArray[np.int16]
    scales: Float32Array
    squared_norms: Float64Array
    errors: Float64Array

    def __getitem__(self, rows: slice) -> CoarseMaps:
        return CoarseMaps(
            integers=self.integers[rows],
            scales=self.scales[rows],
            squared_norms=self.squared_norms[rows],
            errors=self.errors[rows],
        )


@dataclass(frozen=True, kw_only=True)
class CoarseAffinities:
    """Approximate affinities of one query with n candidates, in units of the product of the two maps' norms.

    Attributes
    ----------
    affinity : ndarray of shape (n, Sd, Sq), float32
        Rows are the candidate's tokens.
    squared_norms : ndarray of shape (n,), float64
        Squared Frobenius norms of the candidates.
    errors : ndarray of shape (n,), float64
        Bound of how far the value of any matching lies from the true one.
    """

    affinity: Float32Array
    squared_norms: Float64Array
    errors: Float64Array


def quantise_query(tokens: FloatArray) -> CoarseQuery:
    """Round a centred map (Sq, C) to integers."""
    positions, channels = tokens.shape
    raw = np.ascontiguousarray(tokens, dtype=np.float32)
    width = channels + channels % 2
    integers = np.zeros((-(-positions // COLUMNS) * COLUMNS, width), dtype=np.int16)
    scales = np.zeros(positions, dtype=np.float32)
    squared, error = _convert(raw, np.zeros((1, channels), dtype=np.float32), integers, scales)
    panels = integers.reshape(-1, COLUMNS, width // 2, 2).transpose(0, 2, 1, 3)
    return CoarseQuery(panels=np.ascontiguousarray(panels), scales=scales, squared_norm=squared, error=error)


def quantise_maps(tokens: FloatArray, center: FloatArray | None, *, threads: int | None = None) -> CoarseMaps:
    """Round raw candidates to integers once, for many queries.

    Parameters
    ----------
    tokens : ndarray of shape (n, Sd, C)
        float16, float32 or float64, not centred.
    center : ndarray of shape (C,) or (Sd, C), or None
    threads : int or None
        None takes all.

    Raises
    ------
    NonFiniteError
        If a token is NaN or infinite.
    """
    n, positions, channels = tokens.shape
    raw, middle = _raw(tokens, center)
    integers = np.empty((n, -(-positions // ROWS) * ROWS, channels + channels % 2), dtype=np.int16)
    scales = np.empty((n, positions), dtype=np.float32)
    squared, errors = np.empty(n), np.empty(n)

    def convert(start: int, stop: int) -> None:
        part = slice(start, stop)
        _convert_many(raw[part], middle, integers[part], scales[part], squared[part], errors[part])

    in_threads(convert, n, threads)
    _require_finite(squared)
    return CoarseMaps(integers=integers, scales=scales, squared_norms=squared, errors=errors)


def coarse_affinities(
    query: CoarseQuery,
    candidates: FloatArray | CoarseMaps,
    center: FloatArray | None = None,
    *,
    threads: int | None = None,
) -> CoarseAffinities:
    """Multiply a query with candidates.

    Parameters
    ----------
    query : CoarseQuery
        Of centred tokens.
    candidates : CoarseMaps, or ndarray of shape (n, Sd, C)
        Raw tokens are rounded on the way, which is the faster for a single query.
    center : ndarray of shape (C,) or (Sd, C), or None
        What to subtract from raw tokens.
    threads : int or None
        None takes all.

    Raises
    ------
    NonFiniteError
        If a token is NaN or infinite.
    """
    if isinstance(candidates, CoarseMaps):
        return _multiply_quantised(query, candidates, threads)
    n, positions, _ = candidates.shape
    raw, middle = _raw(candidates, center)
    affinity = np.empty((n, positions, len(query.scales)), dtype=np.float32)
    squared, errors = np.empty(n), np.empty(n)

    def fill(start: int, stop: int) -> None:
        part = slice(start, stop)
        _fill(raw[part], middle, query.panels, query.scales, affinity[part], squared[part], errors[part])

    in_threads(fill, n, threads)
    _require_finite(squared)
    return CoarseAffinities(affinity=affinity, squared_norms=squared, errors=_total_error(query, errors))


def _multiply_quantised(query: CoarseQuery, maps: CoarseMaps, threads: int | None) -> CoarseAffinities:
    affinity = np.empty((*maps.scales.shape, len(query.scales)), dtype=np.float32)

    def multiply(start: int, stop: int) -> None:
        part = slice(start, stop)
        _multiply_many(maps.integers[part], maps.scales[part], query.panels, query.scales, affinity[part])

    in_threads(multiply, len(affinity), threads)
    errors = _total_error(query, maps.errors)
    return CoarseAffinities(affinity=affinity, squared_norms=maps.squared_norms, errors=errors)


def _total_error(query: CoarseQuery, errors: Float64Array) -> Float64Array:
    own = query.error
    return own + (1 + own) * errors + _FLOAT_ERROR * (1 + own) * (1 + errors)


def _require_finite(squared_norms: Float64Array) -> None:
    bad = int((~np.isfinite(squared_norms)).sum())
    if bad:
        raise NonFiniteError(
            f"{bad} of {len(squared_norms)} token maps hold NaN or infinite values; all must be finite"
        )


def _raw(tokens: FloatArray, center: FloatArray | None) -> tuple[NDArray[Any], Float32Array]:
    """Return the tokens as float32 or as the bits of float16, and a centre of shape (1, C) or (S, C)."""
    if tokens.dtype not in (np.float16, np.float32):
        tokens = np.asarray(tokens if center is None else tokens - center, dtype=np.float32)
        center = None
    positions, channels = tokens.shape[1:]
    raw: NDArray[Any] = np.ascontiguousarray(tokens)
    if raw.dtype == np.float16:
        raw = raw.view(np.uint16)
    middle = np.zeros(channels, dtype=np.float32) if center is None else np.asarray(center, dtype=np.float32)
    rows = 1 if middle.ndim == 1 else positions
    return raw, np.ascontiguousarray(np.broadcast_to(middle, (rows, channels)))


def _widen(row, bits):  # type: ignore[no-untyped-def]
    """Write a row of halves (as uint16) or singles into `bits`, a uint32 view of float32; return its factor."""


@overload(_widen)
def _widen_for_type(row, bits):  # type: ignore[no-untyped-def]  # noqa: ARG001 - numba compares signatures
    if row.dtype == numba.uint16:

        def widen_half(row, bits):  # type: ignore[no-untyped-def]
            # A half's bits, moved to where float32 has them, are the number times 2^-112; subnormals too.
            largest = np.uint32(0)
            for channel in range(row.shape[0]):
                half = np.uint32(row[channel])
                size = half & np.uint32(0x7FFF)
                bits[channel] = ((half & np.uint32(0x8000)) << np.uint32(16)) | (size << np.uint32(13))
                largest = max(largest, size)
            return np.float32(2.0**112) if largest < 0x7C00 else np.float32(np.nan)

        return widen_half

    def widen_single(row, bits):  # type: ignore[no-untyped-def]
        values = bits.view(np.float32)
        for channel in range(row.shape[0]):
            values[channel] = row[channel]
        return np.float32(1.0)

    return widen_single


@numba.njit(nogil=True, cache=True, fastmath={"reassoc", "contract", "nsz"})
def _squares(values):  # type: ignore[no-untyped-def]
    total = 0.0
    for channel in range(values.shape[0]):
        total += np.float64(values[channel]) * np.float64(values[channel])
    return total


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _convert(raw, center, integers, scales):  # type: ignore[no-untyped-def]
    """Centre, scale and round one map; return its squared norm and the relative bound of all rounding."""
    positions, channels = raw.shape
    bits = np.empty(channels, dtype=np.uint32)
    values = bits.view(np.float32)
    units = np.zeros(positions)
    total, error = 0.0, 0.0
    for row in range(positions):
        factor = _widen(raw[row], bits)  # type: ignore[no-untyped-call]
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
            continue
        scale = np.float32(min(_NORM / norm, 32767.0 / _as_float(np.uint32(largest))))
        for channel in range(channels):
            # Truncation of a positive number rounds to nearest without a call.
            target[channel] = np.int32(values[channel] * scale + np.float32(32768.5)) - 32768
        units[row] = 1.0 / scale
        error += _ROUNDING * _ROUNDING * channels * units[row] * units[row]
    norm = math.sqrt(total)
    for row in range(positions):
        scales[row] = units[row] / norm if norm > 0 else 0.0
    return total, math.sqrt(error) / norm if norm > 0 else 0.0


@numba.njit(nogil=True, cache=True)
def _as_float(bits):  # type: ignore[no-untyped-def]
    """Return the float32 of these bits."""
    one = np.empty(1, dtype=np.uint32)
    one[0] = bits
    return one.view(np.float32)[0]


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _convert_many(raw, center, integers, scales, squared, errors):  # type: ignore[no-untyped-def]
    positions, channels = raw.shape[1:]
    integers[:, positions:] = 0
    if integers.shape[2] > channels:
        integers[:, :, channels] = 0
    for item in range(raw.shape[0]):
        squared[item], errors[item] = _convert(raw[item], center, integers[item], scales[item])


@numba.njit(nogil=True, cache=True)
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


@numba.njit(nogil=True, cache=True)
def _multiply_many(integers, scales, panels, column_scales, out):  # type: ignore[no-untyped-def]
    tile = np.empty((ROWS, COLUMNS), dtype=np.int32)
    for item in range(out.shape[0]):
        _multiply_map(integers[item], scales[item], panels, column_scales, out[item], tile)


@numba.njit(nogil=True, cache=True)
def _fill(raw, center, panels, column_scales, out, squared, errors):  # type: ignore[no-untyped-def]
    """Convert and multiply map by map, so that a map's integers stay in the cache."""
    maps, rows, _ = out.shape
    integers = np.zeros((-(-rows // ROWS) * ROWS, 2 * panels.shape[1]), dtype=np.int16)
    scales = np.zeros(rows, dtype=np.float32)
    tile = np.empty((ROWS, COLUMNS), dtype=np.int32)
    for item in range(maps):
        squared[item], errors[item] = _convert(raw[item], center, integers, scales)
        _multiply_map(integers, scales, panels, column_scales, out[item], tile)
