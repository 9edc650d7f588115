r"""Lower and upper bounds of the matched inner product, each with the reason why it holds.

Throughout, ``m`` is the value of the best matching of an affinity ``A`` of shape (Sq, Sd), and a matching pairs
``n = min(Sq, Sd)`` rows with as many columns. Sums are float64; the inequalities hold for real numbers, so compare
with a tolerance of a few units of float64 rounding. Certified reranking works with the compiled
`semret.retrieval.matching.upper_bounds` and the integer products of `semret.retrieval.similarity.coarse`; the
functions here are the definitions they are tested against.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from semret.arrays import Float64Array, require_finite, require_ndim
from semret.errors import ShapeError


def pooled_lower_bound(mean_a: ArrayLike, mean_b: ArrayLike, pairs: int) -> Float64Array:
    r"""Bound ``m`` from below by the mean tokens alone: :math:`n \langle \bar a, \bar b \rangle \le m`.

    *Proof.* Draw a matching uniformly at random. Each of its ``n`` pairs is then a uniformly random pair of tokens, of
    mean inner product :math:`\langle \bar a, \bar b \rangle`. The best matching is no worse than the average one. So a
    shortlist by mean tokens is ordered by a lower bound of what reranks it.

    Parameters
    ----------
    mean_a, mean_b : array_like of shape (..., C)
        Mean tokens; they broadcast.
    pairs : int
        ``n``.

    Returns
    -------
    ndarray of shape (...), float64
    """
    product = np.asarray(mean_a, dtype=np.float64) * np.asarray(mean_b, dtype=np.float64)
    return np.asarray(pairs * product.sum(axis=-1))


def norm_bound(norms_a: ArrayLike, norms_b: ArrayLike) -> float:
    r"""Bound ``m`` by the token norms alone: sort both, multiply largest with largest, sum ``n`` products.

    *Proof.* By Cauchy-Schwarz a matching is worth at most :math:`\sum \|a_s\| \|b_{P(s)}\|`; by the rearrangement
    inequality no choice of ``n`` pairs makes that larger than pairing in sorted order.

    Parameters
    ----------
    norms_a, norms_b : array_like of shape (Sq,) and (Sd,)
        Euclidean norms, at least 0.

    Raises
    ------
    ShapeError
        If an array is not one-dimensional.
    """
    a, b = np.asarray(norms_a, dtype=np.float64), np.asarray(norms_b, dtype=np.float64)
    require_ndim(a, 1, "norms_a", "(Sq,)")
    require_ndim(b, 1, "norms_b", "(Sd,)")
    pairs = min(len(a), len(b))
    return float(np.sort(a)[::-1][:pairs] @ np.sort(b)[::-1][:pairs])


def maxima_bound(affinity: ArrayLike) -> float:
    """Bound ``m`` by row maxima and by column maxima, whichever sum of the ``n`` largest is smaller.

    *Proof.* Every pair is worth at most the maximum of its row, and a matching uses ``n`` different rows; the same for
    columns. In a square affinity the sum of row maxima is MaxSim: what late interaction would claim.

    Parameters
    ----------
    affinity : array_like of shape (Sq, Sd)

    Raises
    ------
    ShapeError, NonFiniteError
        If the affinity has not two axes, is empty, or holds NaN or infinity.
    """
    array = _checked(affinity)
    pairs = min(array.shape)
    return min(_largest(array.max(axis=1), pairs), _largest(array.max(axis=0), pairs))


def dual_bound(affinity: ArrayLike, prices: ArrayLike) -> float:
    r"""Bound ``m`` by any prices ``p`` of the columns, however they were found.

    .. math:: m \le \sum^{(n)} p_j + \sum^{(n)} \max_j (A_{ij} - p_j)

    where :math:`\sum^{(n)}` adds the ``n`` largest terms; in a square affinity, all.

    *Proof.* Write the value of a matching as :math:`\sum p_{P(i)} + \sum (A_{i P(i)} - p_{P(i)})`. The first sum has
    ``n`` different prices, the second at most the largest profit of each of ``n`` different rows. Linear programming
    duality says that the best prices of a square affinity reach ``m``; those of an unfinished auction come close.

    Parameters
    ----------
    affinity : array_like of shape (Sq, Sd)
    prices : array_like of shape (Sd,)

    Raises
    ------
    ShapeError, NonFiniteError
        If shapes do not fit, or a value is NaN or infinite.
    """
    array = _checked(affinity)
    p = np.asarray(prices, dtype=np.float64)
    if p.shape != (array.shape[1],):
        raise ShapeError(f"prices have shape {p.shape}, expected {(array.shape[1],)}: one for each column")
    require_finite(p, "prices")
    pairs = min(array.shape)
    return _largest(p, pairs) + _largest((array - p).max(axis=1), pairs)


def sweep_bound(affinity: ArrayLike) -> float:
    r"""Bound ``m`` by one dual sweep: row maxima, then each column's price from what they leave.

    Prices :math:`p_j = \max_i (A_{ij} - \max_k A_{ik}) \le 0` make every column worth to some row what its best is;
    `dual_bound` of them is never above the sum of row maxima. The sweep is made from both sides, the smaller counts.

    Parameters
    ----------
    affinity : array_like of shape (Sq, Sd)

    Raises
    ------
    ShapeError, NonFiniteError
        See `maxima_bound`.
    """
    array = _checked(affinity)
    sides = (array, array.T)
    return min(dual_bound(side, (side - side.max(axis=1, keepdims=True)).max(axis=0)) for side in sides)


def _checked(affinity: ArrayLike) -> Float64Array:
    array = np.asarray(affinity, dtype=np.float64)
    require_ndim(array, 2, "affinity", "(Sq, Sd)")
    if 0 in array.shape:
        raise ShapeError(f"affinity has shape {array.shape}, expected at least one row and one column")
    require_finite(array, "affinity")
    return array


def _largest(values: Float64Array, count: int) -> float:
    """Return the sum of the `count` largest values."""
    return float(np.sort(values)[len(values) - count :].sum())
