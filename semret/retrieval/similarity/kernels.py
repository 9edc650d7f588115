r"""Linear, cosine and RBF similarity as functions of the matched inner product and the norms.

Whatever kernel is applied, the assignment comes from the inner product (equation 4), so all three kernels of a pair
follow from three numbers: the matched inner product ``m`` and the squared Frobenius norms of the two maps.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from semret.arrays import Float64Array
from semret.errors import ArgumentError, NonFiniteError
from semret.retrieval.similarity.names import KERNELS, check_name


def kernel_score(
    kernel: str,
    matched: ArrayLike,
    squared_norm_a: ArrayLike,
    squared_norm_b: ArrayLike,
    *,
    sigma: float | None = None,
) -> Float64Array:
    r"""Turn matched inner products into similarities.

    ========  ==================================================  ========
    kernel    score                                               equation
    ========  ==================================================  ========
    linear    :math:`m`                                           7
    cosine    :math:`m / (\|a\| \|b\|)`                           8
    rbf       :math:`\exp(-(\|a\|^2 + \|b\|^2 - 2m) / 2\sigma^2)`  6
    ========  ==================================================  ========

    Every kernel grows with `matched` at fixed norms: the assignment of largest inner product has the largest score.

    Parameters
    ----------
    kernel : {"cosine", "linear", "rbf"}
    matched : array_like
        Matched inner products ``m``. All array arguments broadcast against each other.
    squared_norm_a, squared_norm_b : array_like
        Squared Frobenius norms of the two maps, over all their tokens, matched or not.
    sigma : float or None
        Bandwidth of the RBF kernel, at least 0; other kernels disregard it. With a bandwidth of 0, maps at distance 0
        score 1 and all others 0.

    Returns
    -------
    ndarray, float64
        The cosine with a map of norm zero is 0. A squared distance that rounding made negative counts as 0.

    Raises
    ------
    UnknownNameError
        If there is no such kernel.
    ArgumentError
        If the kernel is rbf and `sigma` is None, negative or not finite.
    NonFiniteError
        If a score is NaN or beyond float64.
    """
    check_name("kernel", kernel, KERNELS)
    m, a, b = (np.asarray(value, dtype=np.float64) for value in (matched, squared_norm_a, squared_norm_b))
    return checked_scores(_scores(kernel, m, a, b, sigma), kernel)


def checked_scores(scores: Float64Array, kernel: str) -> Float64Array:
    """Refuse scores that cannot be ranked.

    Parameters
    ----------
    scores : ndarray of any shape, float64
    kernel : str
        Names the scores in the message.

    Returns
    -------
    ndarray
        The scores as they came.

    Raises
    ------
    NonFiniteError
        If one is NaN or infinite.
    """
    if np.isfinite(scores).all():
        return scores
    advice = "" if kernel == "cosine" else "; divide them by a power of two first, or choose kernel cosine"
    raise NonFiniteError(f"the maps' values are too large or not finite: a {kernel} score leaves float64{advice}")


def _scores(kernel: str, m: Float64Array, a: Float64Array, b: Float64Array, sigma: float | None) -> Float64Array:
    if kernel == "linear":
        return np.array(np.broadcast_arrays(m, a, b)[0])
    if kernel == "cosine":
        # One root of the product makes a map exactly 1 to itself; at the ends of float64 the product gives out.
        with np.errstate(over="ignore", under="ignore"):
            product = a * b
        usual = (product > 1e-280) & (product < 1e300)
        product = np.where(usual, np.sqrt(np.where(usual, product, 1.0)), np.sqrt(a) * np.sqrt(b))
        return np.divide(m, product, out=np.zeros(np.broadcast_shapes(m.shape, product.shape)), where=product > 0)
    return rbf(np.maximum(a + b - 2 * m, 0.0), sigma)


def rbf(squared_distances: ArrayLike, sigma: float | None) -> Float64Array:
    """Return ``exp(-d2 / (2 sigma^2))`` (equation 6).

    Parameters
    ----------
    squared_distances : array_like of any shape
        Not negative.
    sigma : float or None
        At least 0; with 0, a distance of 0 gives 1 and every other 0.

    Returns
    -------
    ndarray of that shape, float64

    Raises
    ------
    ArgumentError
        If `sigma` is None, negative or not finite.
    """
    if sigma is None or not np.isfinite(sigma) or sigma < 0:
        raise ArgumentError(f"the rbf bandwidth sigma is {sigma}, expected a finite number of at least 0")
    d2 = np.asarray(squared_distances, dtype=np.float64)
    width = _width(sigma)
    if width == 0:
        return np.where(d2 > 0, 0.0, 1.0)
    with np.errstate(over="ignore"):
        return np.exp(-(d2 / width))


def farthest_of_score(score: float, sigma: float) -> float:
    """Return a squared distance beyond which every RBF score is certainly lower than this one.

    Many distances may have one score: 0 where the exponential is less than float64 holds, 1 where the bandwidth is far
    larger than all of them.

    Parameters
    ----------
    score : float
        At least 0.
    sigma : float
        The bandwidth, at least 0.

    Returns
    -------
    float
        Infinity if no distance is known to be far enough.
    """
    width = _width(sigma)
    least = score * (1 - _ROUNDING) - 4 * np.finfo(np.float64).smallest_subnormal
    if width == 0 or not np.isfinite(width) or least <= 0:
        return np.inf
    return max(0.0, float(-np.log(least) * width))


def _width(sigma: float) -> float:
    # Products where they overflow are infinity; a power would raise.
    return 2 * float(sigma) * float(sigma)


_ROUNDING = 1e-12
"""How far, in shares, two computations of one RBF score may lie apart: 745 roundings of its exponent, and a few."""

BANDWIDTH_OFFSET = 1e-3
"""What the paper's published code adds to the bandwidth, against a division by zero."""


def median_bandwidth(squared_distances: ArrayLike) -> float:
    r"""Return the bandwidth of the paper's published code.

    :math:`\sigma = \sqrt{\operatorname{median}(d^2)} + 10^{-3}`, the median over the squared distances that are not 0:
    a map's distance to itself, or to a copy, says nothing of how far apart maps are. Without any other distance sigma
    is the offset alone. The paper's text differs, see ADR 2.

    Parameters
    ----------
    squared_distances : array_like
        Of any shape, not negative.

    Returns
    -------
    float
        At least the offset, 0.001.
    """
    d2 = np.asarray(squared_distances, dtype=np.float64)
    apart = d2[d2 != 0]
    return (float(np.sqrt(np.median(apart))) if apart.size else 0.0) + BANDWIDTH_OFFSET


def centred_squared_norms(
    squared_norms: ArrayLike, means: ArrayLike, positions: int, channel: ArrayLike | None
) -> Float64Array:
    r"""Squared Frobenius norms after subtracting one channel vector from every token, without the tokens.

    :math:`\|Z - 1\mu'\|^2 = \|Z\|^2 - 2 S \langle \bar z, \mu \rangle + S \|\mu\|^2`, where :math:`\bar z` is the mean
    token.

    Parameters
    ----------
    squared_norms : array_like of shape (K,)
        Squared Frobenius norms of the raw maps.
    means : array_like of shape (K, C)
        Their mean tokens.
    positions : int
        ``S``.
    channel : array_like of shape (C,) or None
        The vector that is subtracted; None leaves the norms as they are.

    Returns
    -------
    ndarray of shape (K,), float64
        Never negative. The subtraction cancels: expect an absolute error of about 1e-7 of the raw squared norm when
        `means` are float32.
    """
    norms = np.asarray(squared_norms, dtype=np.float64)
    if channel is None:
        return norms
    mu = np.asarray(channel, dtype=np.float64)
    # Not by BLAS: what a map gives must not depend on those beside it, which may lie on another machine.
    inner = np.einsum("kc,c->k", np.asarray(means, dtype=np.float64), mu)
    centred = norms - 2 * positions * inner + positions * float(mu @ mu)
    return np.asarray(np.maximum(centred, 0.0))
