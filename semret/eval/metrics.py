"""What retrieval and similarity are judged by: arrays in, numbers out."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from semret.arrays import Float64Array, IndexVector, require_finite
from semret.errors import ArgumentError, ShapeError


def f1_scores(query: ArrayLike, retrieved: ArrayLike) -> Float64Array:
    r"""Compare the objects of images by their counts per class (equations 9 to 12).

    :math:`TP = \sum_c \min(q_c, d_c)`, :math:`FN = \sum_c \max(0, q_c - d_c)`, :math:`FP = \sum_c \max(0, d_c - q_c)`,
    :math:`F_1 = 2TP / (2TP + FP + FN)`, which is :math:`2TP / (\sum_c q_c + \sum_c d_c)`.

    Parameters
    ----------
    query, retrieved : array_like of shape (..., classes)
        Counts, not negative; leading axes broadcast against each other.

    Returns
    -------
    ndarray, float64
        In 0..1. Two images without objects agree: 1.

    Raises
    ------
    ShapeError
        If the numbers of classes differ.
    ArgumentError
        If a count is negative.
    """
    q, d = _counts(query, "query"), _counts(retrieved, "retrieved")
    if q.shape[-1] != d.shape[-1]:
        raise ShapeError(f"query counts {q.shape[-1]} classes and retrieved {d.shape[-1]}, expected the same classes")
    hits = np.minimum(q, d).sum(axis=-1)
    total = q.sum(axis=-1) + d.sum(axis=-1)
    return np.asarray(np.divide(2 * hits, total, out=np.ones(np.shape(total)), where=total > 0))


def _counts(values: ArrayLike, name: str) -> Float64Array:
    counts = np.asarray(values, dtype=np.float64)
    if counts.ndim == 0:
        raise ShapeError(f"{name} is a single number, expected counts of shape (..., classes)")
    if (counts < 0).any():
        raise ArgumentError(f"{name} holds a negative count")
    return counts


def set_iou(query: ArrayLike, retrieved: ArrayLike) -> Float64Array:
    """Compare the sets of classes present in images: size of the intersection over size of the union.

    Parameters
    ----------
    query, retrieved : array_like of bool, shape (..., classes)
        Which classes are present; leading axes broadcast against each other.

    Returns
    -------
    ndarray, float64
        In 0..1. Two empty sets agree: 1.

    Raises
    ------
    ShapeError
        If the numbers of classes differ.
    """
    q, d = np.asarray(query, dtype=bool), np.asarray(retrieved, dtype=bool)
    if q.ndim == 0 or d.ndim == 0 or q.shape[-1] != d.shape[-1]:
        raise ShapeError(f"query has shape {q.shape} and retrieved {d.shape}, expected (..., classes) of one length")
    union = (q | d).sum(axis=-1)
    both = (q & d).sum(axis=-1).astype(np.float64)
    return np.asarray(np.divide(both, union, out=np.ones(np.shape(union)), where=union > 0))


def jensen_shannon(p: ArrayLike, q: ArrayLike) -> Float64Array:
    r"""Measure the Jensen-Shannon divergence of distributions, in nats (equations 13 to 15).

    :math:`\mathrm{JSD}(p, q) = \mathrm{KL}(p \| m) / 2 + \mathrm{KL}(q \| m) / 2` with :math:`m = (p + q) / 2` and
    :math:`\mathrm{KL}(p \| q) = \sum_c p_c \log(p_c / q_c)`, where :math:`0 \log 0 = 0`.

    Parameters
    ----------
    p, q : array_like of shape (..., classes)
        Not negative, each summing to 1 to within 1e-4; leading axes broadcast.

    Returns
    -------
    ndarray, float64
        In 0..log 2, 0 for equal distributions.

    Raises
    ------
    ShapeError
        If the numbers of classes differ.
    NonFiniteError, ArgumentError
        If values are not those of a distribution.
    """
    one, other = _distribution(p, "p"), _distribution(q, "q")
    if one.shape[-1] != other.shape[-1]:
        raise ShapeError(f"p has {one.shape[-1]} classes and q {other.shape[-1]}, expected the same number")
    middle = (one + other) / 2
    divergence = _kl(one, middle) / 2 + _kl(other, middle) / 2
    return np.asarray(np.clip(divergence, 0.0, math.log(2)))


def _distribution(values: ArrayLike, name: str) -> Float64Array:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim == 0:
        raise ShapeError(f"{name} is a single number, expected probabilities of shape (..., classes)")
    require_finite(array, name)
    if (array < 0).any() or not np.allclose(array.sum(axis=-1), 1.0, atol=1e-4):
        raise ArgumentError(f"{name} is no distribution: expected probabilities that sum to 1; pass logits to softmax")
    return array


def _kl(p: Float64Array, q: Float64Array) -> Float64Array:
    ratio = np.divide(p, q, out=np.ones(np.broadcast_shapes(p.shape, q.shape)), where=p > 0)
    return np.asarray((p * np.log(ratio)).sum(axis=-1))


def softmax(logits: ArrayLike) -> Float64Array:
    """Return class probabilities, float64, along the last axis."""
    values = np.asarray(logits, dtype=np.float64)
    powers = np.exp(values - values.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean over queries with the 95 % bootstrap interval of its resampling; `n` queries in `groups` scenes."""

    mean: float
    low: float
    high: float
    n: int
    groups: int

    def as_json(self) -> dict[str, Any]:
        """Return the fields as a dict."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A paired difference of two means over the same queries, its interval, and the p value of a sign-flip test.

    `p_least` is the smallest p that so many resamples can give: a `p` as small as that is an upper limit.
    """

    mean: float
    low: float
    high: float
    p: float
    p_least: float
    n: int
    groups: int

    def as_json(self) -> dict[str, Any]:
        """Return the fields as a dict."""
        return asdict(self)


def estimate_mean(
    values: ArrayLike, *, seed: int = 0, resamples: int = 2000, groups: ArrayLike | None = None
) -> Estimate:
    """Estimate a mean and its 95 % interval by the percentile bootstrap over queries.

    Parameters
    ----------
    values : array_like of shape (Q,)
        One value per query, Q at least 1.
    seed, resamples : int
        The same seed gives the same interval.
    groups : array_like of shape (Q,), or None
        Queries of one group (one scene) are resampled together: they are not independent.

    Raises
    ------
    ShapeError, NonFiniteError, ArgumentError
        If `values` is empty, has other than one axis or holds NaN, or `resamples` is below 1.
    """
    vector = _vector(values, "values")
    means = _resampled_means(vector, groups, seed, resamples)
    low, high = np.quantile(means, [0.025, 0.975])
    number = len(vector) if groups is None else len(np.unique(np.asarray(groups)))
    return Estimate(mean=float(vector.mean()), low=float(low), high=float(high), n=len(vector), groups=number)


def compare_means(
    values: ArrayLike,
    reference: ArrayLike,
    *,
    seed: int = 0,
    resamples: int = 2000,
    groups: ArrayLike | None = None,
) -> Difference:
    """Test whether two methods differ on the same queries.

    The interval is the bootstrap's over paired differences. The p value is that of the two-sided sign-flip
    (permutation) test of the mean difference, signs flipped group by group; it is at least ``1 / (resamples + 1)``.

    Parameters
    ----------
    values, reference : array_like of shape (Q,)
        Values of the same queries in the same order.
    seed, resamples, groups
        See `estimate_mean`.

    Raises
    ------
    ShapeError, NonFiniteError, ArgumentError
        See `estimate_mean`; also if lengths differ.
    """
    one, other = _vector(values, "values"), _vector(reference, "reference")
    if len(one) != len(other):
        raise ShapeError(f"{len(one)} values are compared with {len(other)}, expected the same queries")
    differences = one - other
    sums, _ = _group_sums(differences, groups)
    interval = estimate_mean(differences, seed=seed, resamples=resamples, groups=groups)
    rng = np.random.default_rng([seed, 1])
    observed, at_least = abs(float(sums.sum())), 0
    for start in range(0, resamples, 256):
        signs = rng.integers(0, 2, size=(min(256, resamples - start), len(sums))) * 2 - 1
        at_least += int((np.abs(signs @ sums) >= observed - 1e-9 * max(observed, 1.0)).sum())
    return Difference(
        mean=interval.mean,
        low=interval.low,
        high=interval.high,
        p=(at_least + 1) / (resamples + 1),
        p_least=1 / (resamples + 1),
        n=len(differences),
        groups=interval.groups,
    )


def correct_by_holm(p_values: ArrayLike) -> list[float]:
    """Return p values corrected for the number of tests by Holm's method, in the order given.

    If all null hypotheses hold, the chance that any corrected value lies below a level is at most that level, whatever
    depends on what.

    Parameters
    ----------
    p_values : array_like of shape (m,)
        In 0..1; none gives none.
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    corrected = np.empty(len(p))
    corrected[order] = np.maximum.accumulate(np.minimum(1.0, p[order] * np.arange(len(p), 0, -1)))
    return [float(value) for value in corrected]


def _vector(values: ArrayLike, name: str) -> Float64Array:
    vector = np.asarray(values, dtype=np.float64)
    if vector.ndim != 1 or len(vector) == 0:
        raise ShapeError(f"{name} has shape {vector.shape}, expected (Q,) with at least one query")
    require_finite(vector, name)
    return vector


def _group_sums(vector: Float64Array, groups: ArrayLike | None) -> tuple[Float64Array, Float64Array]:
    """Return the sum and the number of values of each group."""
    if groups is None:
        return vector, np.ones(len(vector))
    names = np.asarray(groups)
    if names.shape != vector.shape:
        raise ShapeError(f"groups has shape {names.shape}, expected one for each of {len(vector)} values")
    _, member = np.unique(names, return_inverse=True)
    return np.bincount(member, weights=vector).astype(np.float64), np.bincount(member).astype(np.float64)


def _resampled_means(vector: Float64Array, groups: ArrayLike | None, seed: int, resamples: int) -> Float64Array:
    if resamples < 1:
        raise ArgumentError(f"resamples is {resamples}, expected at least 1")
    sums, sizes = _group_sums(vector, groups)
    rng = np.random.default_rng([seed, 0])
    means = np.empty(resamples)
    for index in range(resamples):
        drawn: IndexVector = rng.integers(0, len(sums), size=len(sums))
        means[index] = sums[drawn].sum() / sizes[drawn].sum()
    return means


def pearson(x: ArrayLike, y: ArrayLike) -> float:
    """Return Pearson's correlation of two vectors; NaN where one of them is constant."""
    from scipy.stats import pearsonr

    return _correlate(pearsonr, x, y)


def spearman(x: ArrayLike, y: ArrayLike) -> float:
    """Return Spearman's rank correlation of two vectors, ties at their mean rank; NaN where one is constant."""
    from scipy.stats import spearmanr

    return _correlate(spearmanr, x, y)


def _correlate(measure: Any, x: ArrayLike, y: ArrayLike) -> float:
    one, other = _vector(x, "x"), _vector(y, "y")
    if len(one) != len(other) or len(one) < 2:
        raise ShapeError(f"x has {len(one)} values and y {len(other)}, expected the same number, at least 2")
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return math.nan
    return float(measure(one, other).statistic)


def auc(positive: ArrayLike, negative: ArrayLike) -> float:
    """Return the probability that a positive scores above a negative (area under the ROC curve), ties counting half.

    Parameters
    ----------
    positive, negative : array_like of shape (n,) and (m,)
        Scores, at least one each.
    """
    from scipy.stats import rankdata

    one, other = _vector(positive, "positive"), _vector(negative, "negative")
    ranks: NDArray[np.float64] = rankdata(np.concatenate([one, other]))
    wins = ranks[: len(one)].sum() - len(one) * (len(one) + 1) / 2
    return float(wins / (len(one) * len(other)))
