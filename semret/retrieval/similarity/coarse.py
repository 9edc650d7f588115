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

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semret.arrays import Float32Array, Float64Array, FloatArray
from semret.errors import NonFiniteError
from semret.retrieval.native import Native
from semret.retrieval.native.threads import in_threads
from semret.retrieval.native.tiles import COLUMNS, ROWS

_LOOPS = "semret.retrieval.similarity.coarse_loops"
_convert_many = Native(_LOOPS, "convert_many")
_multiply_many = Native(_LOOPS, "multiply_many")
_fill = Native(_LOOPS, "fill")

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
    """Round a query to integers.

    Parameters
    ----------
    tokens : ndarray of shape (Sq, C)
        Centred.

    Returns
    -------
    CoarseQuery
    """
    positions, channels = tokens.shape
    raw = np.ascontiguousarray(tokens, dtype=np.float32)
    width = channels + channels % 2
    integers = np.zeros((-(-positions // COLUMNS) * COLUMNS, width), dtype=np.int16)
    scales = np.zeros(positions, dtype=np.float32)
    squared, errors = np.empty(1), np.empty(1)
    center = np.zeros((1, channels), dtype=np.float32)
    _convert_many(raw[None], center, integers[None], scales[None], squared, errors, *_row_scratch(raw.shape))
    panels = integers.reshape(-1, COLUMNS, width // 2, 2).transpose(0, 2, 1, 3)
    return CoarseQuery(
        panels=np.ascontiguousarray(panels), scales=scales, squared_norm=float(squared[0]), error=float(errors[0])
    )


def quantise_maps(tokens: FloatArray, center: FloatArray | None, *, threads: int | None = None) -> CoarseMaps:
    """Round raw candidates to integers once, for many queries.

    Parameters
    ----------
    tokens : ndarray of shape (n, Sd, C)
        float16, float32 or float64, not centred.
    center : ndarray of shape (C,) or (Sd, C), or None
    threads : int or None
        None takes all.

    Returns
    -------
    CoarseMaps

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
        scratch = _row_scratch((positions, channels))
        _convert_many(raw[part], middle, integers[part], scales[part], squared[part], errors[part], *scratch)

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
        Raw tokens are rounded on the way, which is faster for a single query.
    center : ndarray of shape (C,) or (Sd, C), or None
        What to subtract from raw tokens.
    threads : int or None
        None takes all.

    Returns
    -------
    CoarseAffinities

    Raises
    ------
    NonFiniteError
        If a token is NaN or infinite.
    """
    if isinstance(candidates, CoarseMaps):
        return _multiply_quantised(query, candidates, threads)
    n, positions, channels = candidates.shape
    raw, middle = _raw(candidates, center)
    affinity = np.empty((n, positions, len(query.scales)), dtype=np.float32)
    squared, errors = np.empty(n), np.empty(n)

    def fill(start: int, stop: int) -> None:
        part = slice(start, stop)
        outcome = affinity[part], squared[part], errors[part]
        scratch = _map_scratch(positions, query.panels.shape[1])
        _fill(raw[part], middle, query.panels, query.scales, *outcome, *_row_scratch((positions, channels)), *scratch)

    in_threads(fill, n, threads)
    _require_finite(squared)
    return CoarseAffinities(affinity=affinity, squared_norms=squared, errors=_total_error(query, errors))


def _multiply_quantised(query: CoarseQuery, maps: CoarseMaps, threads: int | None) -> CoarseAffinities:
    affinity = np.empty((*maps.scales.shape, len(query.scales)), dtype=np.float32)

    def multiply(start: int, stop: int) -> None:
        part = slice(start, stop)
        tile = np.empty((ROWS, COLUMNS), dtype=np.int32)
        _multiply_many(maps.integers[part], maps.scales[part], query.panels, query.scales, affinity[part], tile)

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


def _row_scratch(shape: tuple[int, ...]) -> tuple[NDArray[Any], NDArray[Any], Float64Array]:
    """Return room for a token, as float32 and as its bits, and for the unit of each of a map's tokens."""
    positions, channels = shape
    values = np.empty(channels, dtype=np.float32)
    return values, values.view(np.uint32), np.empty(positions)


def _map_scratch(positions: int, pairs: int) -> tuple[NDArray[Any], ...]:
    """Return room for a map's integers and scales, and for a tile of products."""
    integers = np.zeros((-(-positions // ROWS) * ROWS, 2 * pairs), dtype=np.int16)
    return integers, np.zeros(positions, dtype=np.float32), np.empty((ROWS, COLUMNS), dtype=np.int32)
