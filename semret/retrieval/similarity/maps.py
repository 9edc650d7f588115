"""Token maps made ready for comparison, their affinities, and the matching of one with many."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from semret.arrays import Float64Array, FloatArray, IndexVector, as_array, require_finite, require_ndim
from semret.errors import ArgumentError, NonFiniteError, ShapeError
from semret.retrieval.matching import match_batch
from semret.retrieval.native.threads import in_threads
from semret.retrieval.similarity.products import float_affinities, matched_product, squares

AFFINITY_BYTES = 64 << 20
"""Affinities held at once while one map is compared with many."""

_USUAL = 2.0**-600, 2.0**600
"""Squared norms of maps whose products are computed as they are; only maps in float64 can leave this range."""


class Measured(Protocol):
    """Maps of any kind whose sizes are known: what kernels need beside inner products."""

    @property
    def squared_norms(self) -> Float64Array:
        """Squared Frobenius norm of each map, (n,), in units of ``2 ** exponents``."""

    @property
    def exponents(self) -> IndexVector:
        """Power of two that each map was divided by, (n,)."""


@dataclass(frozen=True, kw_only=True)
class Maps:
    """Token maps made ready for comparison: centred, finite, contiguous, with their norms.

    Attributes
    ----------
    tokens : ndarray of shape (n, S, C), float32 or float64
        In units of ``2 ** exponents``.
    token_squares : ndarray of shape (n, S), float64
        Squared norm of each token.
    squared_norms : ndarray of shape (n,), float64
        Squared Frobenius norm of each map.
    exponents : ndarray of shape (n,), intp
        0, but for maps so large or small that their squares would leave float64: all numbers above are then those of
        the map divided by this power of two, which changes no cosine.
    """

    tokens: FloatArray
    token_squares: Float64Array
    squared_norms: Float64Array
    exponents: IndexVector

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, rows: slice | IndexVector) -> Maps:
        return Maps(
            tokens=self.tokens[rows],
            token_squares=self.token_squares[rows],
            squared_norms=self.squared_norms[rows],
            exponents=self.exponents[rows],
        )

    @property
    def means(self) -> Float64Array:
        """Mean token of each map, (n, C) float64."""
        return np.asarray(self.tokens.mean(axis=1, dtype=np.float64))


@dataclass(frozen=True, kw_only=True)
class MatchedMaps:
    """One map matched with many: `matched` and `bounds` (n,) float64, `assignments` (n, Sq), and whether optimal.

    Products are in the units of the two maps' `exponents`.
    """

    matched: Float64Array
    bounds: Float64Array
    assignments: NDArray[np.intp]
    exact: bool


def prepare(
    tokens: NDArray[Any], center: ArrayLike | None = None, name: str = "tokens", *, threads: int | None = 1
) -> Maps:
    """Check, centre and measure token maps of shape (n, S, C).

    Parameters
    ----------
    tokens : ndarray of shape (n, S, C)
        float16 and integers become float32; float64 stays.
    center : array_like of shape (C,) or (S, C), or None
        Subtracted in that precision.
    name : str
        Names the maps in messages.
    threads : int or None
        None takes all processors.

    Returns
    -------
    Maps

    Raises
    ------
    ShapeError
        If there are not three axes, an axis but the first is empty, or the centre does not fit.
    ArgumentError
        If entries are masked.
    NonFiniteError
        If a value is NaN or infinite, as given or once it is centred.
    """
    tokens = as_array(tokens, name)
    require_ndim(tokens, 3, name, "(n, S, C)")
    if 0 in tokens.shape[1:]:
        raise ShapeError(f"{name} is empty: shape {tokens.shape}, expected at least one position and one channel")
    if tokens.dtype.kind not in "fiub" or tokens.dtype.itemsize > 8:
        raise ShapeError(f"{name} has dtype {tokens.dtype}, expected float16, float32 or float64")
    dtype = np.float64 if tokens.dtype == np.float64 else np.float32
    middle = None if center is None else _fitting_center(center, tokens.shape[1:], dtype)
    values: FloatArray = np.empty(tokens.shape, dtype=dtype)
    token_squares = np.empty(tokens.shape[:2])

    def fill(start: int, stop: int) -> None:
        part = slice(start, stop)
        # Here and not around all: what NumPy ignores is a matter of each thread.
        with np.errstate(invalid="ignore", over="ignore"):
            if middle is None:
                values[part] = tokens[part]
            else:
                np.subtract(tokens[part], middle, out=values[part], dtype=dtype)
        token_squares[part] = squares(values[part])

    in_threads(fill, len(tokens), threads)
    if not np.isfinite(token_squares).all():
        _require_centred(tokens, values, name)
    exponents = _exponents(values, token_squares)
    for row in np.flatnonzero(exponents):
        values[row] = np.ldexp(values[row], -exponents[row])
        token_squares[row] = squares(values[row : row + 1])[0]
    norms = np.array([math.fsum(row) for row in token_squares], dtype=np.float64)
    return Maps(tokens=values, token_squares=token_squares, squared_norms=norms, exponents=exponents)


def _require_centred(tokens: NDArray[Any], values: FloatArray, name: str) -> None:
    """Raise NonFiniteError if tokens are not finite, and tell whether they were when they came."""
    if np.isfinite(values).all():
        return
    require_finite(tokens, name)
    raise NonFiniteError(
        f"{name} overflow {values.dtype} when the centre is subtracted; divide both by a power of two first"
    )


def _exponents(values: FloatArray, token_squares: Float64Array) -> IndexVector:
    """Return the power of two to divide each map by so that its squares stay within float64, (n,); mostly 0."""
    exponents = np.zeros(len(values), dtype=np.intp)
    if values.dtype == np.float32:
        return exponents
    with np.errstate(over="ignore"):
        sums = token_squares.sum(axis=1)
    for row in np.flatnonzero(~((sums > _USUAL[0]) & (sums < _USUAL[1]))):
        exponents[row] = np.frexp(max(values[row].max(), -values[row].min()))[1]
    return exponents


def check_kernel(kernel: str, *maps: Measured) -> None:
    """Refuse kernel rbf for maps whose squared distances leave float64.

    Parameters
    ----------
    kernel : str
    *maps : Maps or IntegerMaps

    Raises
    ------
    ArgumentError
        If the kernel is rbf and a map has an exponent.
    """
    if kernel == "rbf" and any(one.exponents.any() for one in maps):
        raise ArgumentError(
            "the maps' values are so large or so small that squared distances leave float64; "
            "divide maps and sigma by a power of two first, or choose kernel cosine"
        )


def in_units_of_input(products: ArrayLike, *exponents: ArrayLike) -> Float64Array:
    """Turn inner products of maps in units of their exponents into those of the maps as they were given.

    Parameters
    ----------
    products : array_like
    *exponents : array_like of int
        Of the two maps of each product; they broadcast against the products.

    Returns
    -------
    ndarray, float64
        Infinite, or 0, where float64 cannot hold a product.
    """
    power = sum((np.asarray(one) for one in exponents), np.zeros((), dtype=np.intp))
    with np.errstate(over="ignore", under="ignore"):
        return np.asarray(np.ldexp(np.asarray(products, dtype=np.float64), power))


def _fitting_center(center: ArrayLike, shape: tuple[int, ...], dtype: type[np.floating[Any]]) -> FloatArray:
    array = as_array(center, "center")
    if array.dtype.kind not in "fiub":
        raise ShapeError(f"the centre has dtype {array.dtype}, expected numbers")
    if array.shape not in (shape[1:], shape):
        raise ShapeError(
            f"the centre has shape {array.shape}, expected {shape[1:]} (one vector for all positions) or {shape}"
        )
    require_finite(array, "center")
    with np.errstate(over="ignore"):
        return array.astype(dtype)


def match_maps(
    query: Maps, candidates: Maps, *, solver: str = "auction", threads: int | None = None, **options: Any
) -> MatchedMaps:
    """Match one map with each of many.

    The outcome for a candidate depends on the two maps alone, bit for bit, not on the candidates beside it: each
    affinity is a product of its own, and the matched inner product is summed anew in float64.

    Parameters
    ----------
    query : Maps of length 1
    candidates : Maps of length n
    solver, threads, **options
        See `semret.retrieval.matching.match_batch`.

    Returns
    -------
    MatchedMaps

    Raises
    ------
    ArgumentError, UnknownNameError
        If there is no such solver, or it has no such option.
    """
    matched, bounds = np.empty(len(candidates)), np.empty(len(candidates))
    assignments = np.empty((len(candidates), query.tokens.shape[1]), dtype=np.intp)
    exact = True
    for rows, affinity, unit in affinities(query, candidates, threads=threads):
        found = match_batch(
            affinity,
            row_norms=np.sqrt(query.token_squares[0]),
            column_norms=np.sqrt(candidates.token_squares[rows]),
            solver=solver,
            threads=threads,
            **options,
        )
        assignments[rows] = found.assignments
        for row, assignment in enumerate(found.assignments, start=rows.start):
            matched[row] = matched_product(query.tokens[0], candidates.tokens[row], assignment)
        # The affinity is rounded: lift its bound by what products of this length may have lost.
        slack = affinity_error(query, candidates[rows])
        bounds[rows] = np.maximum(found.bounds * unit + slack, matched[rows])
        exact = found.exact
    return MatchedMaps(matched=matched, bounds=bounds, assignments=assignments, exact=exact)


def affinities(
    query: Maps, candidates: Maps, *, threads: int | None = None
) -> Iterator[tuple[slice, FloatArray, float]]:
    """Multiply one map with a few candidates at a time.

    Parameters
    ----------
    query : Maps of length 1
    candidates : Maps
    threads : int or None
        None takes all processors.

    Yields
    ------
    rows : slice
        Of the candidates.
    affinity : ndarray of shape (n, Sq, Sd), float32, or float64 if a map is
        In units of `unit`.
    unit : float
        A power of two: 1 unless the norms are so large or small that products would leave the range of float32.
    """
    positions, other = query.tokens.shape[1], candidates.tokens.shape[1]
    step = max(1, AFFINITY_BYTES // (positions * other * query.tokens.itemsize))
    for start in range(0, len(candidates), step):
        rows = slice(start, min(start + step, len(candidates)))
        part = candidates[rows]
        scale_query, scale_part = _scale(query.squared_norms), _scale(part.squared_norms)
        left = query.tokens[0] if scale_query == 1 else _rescaled(query.tokens[0], scale_query)
        right = part.tokens if scale_part == 1 else _rescaled(part.tokens, scale_part)
        if left.dtype == right.dtype == np.float32:
            products: FloatArray = float_affinities(left, right, threads=threads)
        else:
            products = np.matmul(left, right.transpose(0, 2, 1))
        yield rows, products, scale_query * scale_part


def unit_of(maps: Maps) -> float:
    """Return the power of two by which maps are divided so that their products keep within float32.

    Parameters
    ----------
    maps : Maps

    Returns
    -------
    float
        1.0 unless they are very large or very small.
    """
    return _scale(maps.squared_norms)


def _scale(squared_norms: Float64Array) -> float:
    largest = float(squared_norms.max(initial=0.0))
    exponent = int(np.frexp(largest)[1]) // 2
    return 1.0 if largest == 0 or abs(exponent) <= 40 else float(np.ldexp(1.0, exponent))


def _rescaled(tokens: FloatArray, scale: float) -> FloatArray:
    """Divide by a power of two that float32 itself may be unable to hold."""
    return np.ldexp(tokens, 1 - int(np.frexp(scale)[1]))


def affinity_error(query: Maps, candidates: Maps) -> Float64Array:
    r"""Bound what rounding may change in the value of any matching on a computed affinity; (n,) float64.

    A computed inner product of length ``C`` errs by at most :math:`\gamma_C |x|'|y|` with
    :math:`\gamma_C = C u / (1 - C u)` in whatever order it is summed; summed over a matching, Cauchy-Schwarz gives
    :math:`\gamma_C \|a\| \|b\|`.

    Parameters
    ----------
    query : Maps of length 1
    candidates : Maps of length n

    Returns
    -------
    ndarray of shape (n,), float64
    """
    unit = float(np.finfo(np.result_type(query.tokens, candidates.tokens)).eps) / 2
    length = query.tokens.shape[2] * unit
    return np.asarray(length / (1 - length) * np.sqrt(query.squared_norms * candidates.squared_norms) * (1 + 1e-6))
