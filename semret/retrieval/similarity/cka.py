"""Centred kernel alignment of two similarity matrices."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from semret.arrays import Float64Array, as_array, require_finite
from semret.errors import ArgumentError, NonFiniteError, ShapeError
from semret.retrieval.similarity.names import check_name

ESTIMATORS = ("biased", "unbiased")
"""Estimators of HSIC; the first is the default."""


def hsic(k: ArrayLike, l: ArrayLike, *, estimator: str = "biased") -> float:  # noqa: E741 - the paper's letter
    r"""Estimate the Hilbert-Schmidt independence criterion of two similarity matrices.

    biased (equation 1)
        :math:`\operatorname{tr}(K H L H) / (n-1)^2` with :math:`H = I - 11'/n`.
    unbiased (Song et al., 2012, equation 5)
        :math:`\frac{1}{n(n-3)} \left[\operatorname{tr}(\tilde K \tilde L) + \frac{1'\tilde K 1 \, 1'\tilde L 1}
        {(n-1)(n-2)} - \frac{2}{n-2} 1'\tilde K \tilde L 1\right]`, where a tilde sets the diagonal to zero. It may be
        negative.

    Parameters
    ----------
    k, l : array_like of shape (n, n)
        Symmetric similarity matrices of the same items in the same order.
    estimator : {"biased", "unbiased"}

    Returns
    -------
    float

    Raises
    ------
    ShapeError
        If the matrices are not square and of one shape, or have fewer than 2 items (unbiased: 4).
    ArgumentError
        If one is not symmetric.
    NonFiniteError
        If a value is NaN or infinite, or the criterion is beyond float64.
    UnknownNameError
        If there is no such estimator.
    """
    one, other = _checked_pair(k, l, estimator)
    with np.errstate(over="ignore"):
        found = float(np.ldexp(_hsic(one.values, other.values, estimator), one.exponent + other.exponent))
    if not math.isfinite(found):
        raise NonFiniteError("the HSIC of k and l overflows float64; divide them by a power of two first, or use cka")
    return found


def cka(k: ArrayLike, l: ArrayLike, *, estimator: str = "biased") -> float:  # noqa: E741
    r"""Compare two similarity matrices by centred kernel alignment (equation 2).

    :math:`\mathrm{HSIC}(K, L) / \sqrt{\mathrm{HSIC}(K, K) \, \mathrm{HSIC}(L, L)}`

    Parameters
    ----------
    k, l : array_like of shape (n, n)
        Symmetric similarity matrices of the same items in the same order, as `semret.rsm` makes them.
    estimator : {"biased", "unbiased"}
        See `hsic`. The biased one grows towards 1 with few items, whatever the matrices are.

    Returns
    -------
    float
        Within [0, 1] for the biased estimator and positive semi-definite matrices; 1 for a matrix and any positive
        multiple of itself plus a constant. NaN if the HSIC of a matrix with itself is not positive: a constant
        matrix has nothing to align.

    Raises
    ------
    ShapeError, ArgumentError, NonFiniteError, UnknownNameError
        See `hsic`.

    Examples
    --------
    `k` says that item 0 is apart from 1 and 2, `l` that item 2 is apart from 0 and 1. Less the means of rows and
    columns they are the products of (2, -1, -1) / 3 and of (1, 1, -2) / 3 with themselves. The inner product of these
    two vectors is 3 / 9, that of each with itself 6 / 9: the alignment is (3 / 6) squared.

    >>> k = [[1.0, 0.0, 0.0], [0.0, 1.0, 1.0], [0.0, 1.0, 1.0]]
    >>> l = [[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    >>> round(cka(k, l), 12), round(cka(k, k), 12)
    (0.25, 1.0)
    """
    return _alignment([_terms(k, l, estimator)])


def minibatch_cka(batches: Iterable[tuple[ArrayLike, ArrayLike]], *, estimator: str = "unbiased") -> float:
    """Compare two representations by the HSIC means of many small batches (Nguyen et al., 2021).

    A batch weighs as many times as it has items: a short last one cannot outweigh the rest. Batches of about the same
    size are best, above all with the biased estimator, whose bias grows as they shrink.

    Parameters
    ----------
    batches : iterable of (k, l)
        Similarity matrices of each batch, (n, n); `n` may differ between batches.
    estimator : {"biased", "unbiased"}
        With the unbiased one the result does not depend, in expectation, on the size of the batches.

    Returns
    -------
    float
        See `cka`.

    Raises
    ------
    ArgumentError
        If there is no batch.
    ShapeError, NonFiniteError, UnknownNameError
        See `hsic`.
    """
    terms = [_terms(k, l, estimator) for k, l in batches]  # noqa: E741
    if not terms:
        raise ArgumentError("minibatch_cka got no batch, expected at least one pair of matrices")
    return _alignment(terms)


class _Scaled(NamedTuple):
    """A matrix in units of ``2 ** exponent``, its largest entry within [0.5, 1): its squares stay within float64."""

    values: Float64Array
    exponent: int


class _Terms(NamedTuple):
    """The three HSIC of a pair of matrices in the units of the two, the exponents of these, and the matrices' side."""

    cross: float
    own_k: float
    own_l: float
    exponent_k: int
    exponent_l: int
    items: int


def _terms(k: ArrayLike, l: ArrayLike, estimator: str) -> _Terms:  # noqa: E741
    one, other = _checked_pair(k, l, estimator)
    pairs = (one, other), (one, one), (other, other)
    cross, own_k, own_l = (_hsic(a.values, b.values, estimator) for a, b in pairs)
    return _Terms(cross, own_k, own_l, one.exponent, other.exponent, len(one.values))


def _alignment(terms: Sequence[_Terms]) -> float:
    """Return the ratio of the means, weighted by items, in the units of the largest matrices (a ratio has none)."""
    top_k, top_l = max(term.exponent_k for term in terms), max(term.exponent_l for term in terms)
    sums = np.zeros(3)
    for term in terms:
        down_k, down_l = term.exponent_k - top_k, term.exponent_l - top_l
        sums += term.items * np.ldexp(term[:3], [down_k + down_l, 2 * down_k, 2 * down_l])
    cross, own_k, own_l = (sums / sum(term.items for term in terms)).tolist()
    if own_k <= 0 or own_l <= 0:
        return math.nan
    # By Cauchy and Schwarz it is no more than 1; what exceeds that is rounding.
    return min(1.0, max(-1.0, float(cross / (math.sqrt(own_k) * math.sqrt(own_l)))))


def _checked_pair(k: ArrayLike, l: ArrayLike, estimator: str) -> tuple[_Scaled, _Scaled]:  # noqa: E741
    check_name("estimator", estimator, ESTIMATORS)
    least = 2 if estimator == "biased" else 4
    one, other = _checked(k, "k", least), _checked(l, "l", least)
    if one.values.shape != other.values.shape:
        raise ShapeError(
            f"k has shape {one.values.shape} and l {other.values.shape}, expected matrices of the same items"
        )
    return one, other


def _checked(matrix: ArrayLike, name: str, least: int) -> _Scaled:
    """Return the matrix as float64 if it is finite, square and symmetric but for rounding."""
    given = as_array(matrix, name)
    if given.dtype.kind not in "fiub" or given.dtype.itemsize > 8:
        raise ShapeError(f"{name} has dtype {given.dtype}, expected float16, float32 or float64")
    array = given.astype(np.float64)
    if array.ndim != 2:
        raise ShapeError(f"{name} has shape {array.shape}, expected 2 axes (n, n){_from(array.ndim)}")
    if array.shape[0] != array.shape[1] or len(array) < least:
        raise ShapeError(
            f"{name} has shape {array.shape}, expected a square matrix of at least {least} items{_from(array.ndim)}"
        )
    require_finite(array, name)
    exponent = int(np.frexp(np.abs(array).max())[1])
    array = np.ldexp(array, -exponent)
    if not np.allclose(array, array.T, rtol=1e-5, atol=1e-6 * float(np.abs(array).max())):
        raise ArgumentError(f"{name} is not symmetric, expected the similarity matrix of one set with itself")
    return _Scaled(array, exponent)


def _from(axes: int) -> str:
    """Tell how features become such a matrix."""
    calls = {
        2: "; features (n, D) give one as x @ x.T: cka(x @ x.T, y @ y.T)",
        3: "; token maps (n, S, C) give one as semret.rsm: cka(rsm(x), rsm(y))",
        4: "; grids give one as semret.rsm: cka(rsm(x, layout='NHWC'), rsm(y, layout='NHWC'))",
    }
    return calls.get(axes, "")


def _hsic(k: Float64Array, l: Float64Array, estimator: str) -> float:  # noqa: E741
    return _biased(k, l) if estimator == "biased" else _unbiased(k, l)


def _biased(k: Float64Array, l: Float64Array) -> float:  # noqa: E741
    # tr(KHLH) is the inner product of the two centred matrices; the trace of a product of two needs no product.
    return float((_centred(k) * _centred(l)).sum() / (len(k) - 1) ** 2)


def _centred(matrix: Float64Array) -> Float64Array:
    """Return ``H K H``, exactly zero where only rounding is left."""
    mean = matrix.mean(axis=0)
    return _without_noise(matrix - mean - mean[:, None] + mean.mean(), matrix)


def _hollow(matrix: Float64Array) -> Float64Array:
    """Return the matrix with a zero diagonal, less the mean off it: the estimator disregards it, rounding does not."""
    n = len(matrix)
    mean = (matrix.sum() - np.trace(matrix)) / (n * (n - 1))
    hollow = _without_noise(matrix - mean, matrix)
    np.fill_diagonal(hollow, 0.0)
    return hollow


def _without_noise(residue: Float64Array, matrix: Float64Array) -> Float64Array:
    noise = 4 * len(matrix) * float(np.finfo(np.float64).eps) * float(np.abs(matrix).max())
    return np.where(np.abs(residue) > noise, residue, 0.0)


def _unbiased(k: Float64Array, l: Float64Array) -> float:  # noqa: E741
    n = len(k)
    one, other = _hollow(k), _hollow(l)
    sums_one, sums_other = one.sum(axis=0), other.sum(axis=0)
    trace = float((one * other).sum())
    constant = float(sums_one.sum() * sums_other.sum()) / ((n - 1) * (n - 2))
    cross = 2 * float(sums_one @ sums_other) / (n - 2)
    return (trace + constant - cross) / (n * (n - 3))
