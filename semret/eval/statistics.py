"""Means with intervals, paired tests and correlations of values of queries or pairs."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import pearsonr, spearmanr

from semret.arrays import Float64Array, IndexVector, require_finite
from semret.errors import ArgumentError, ShapeError


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean over queries with the 95 % bootstrap interval of its resampling; `n` queries in `groups` scenes."""

    mean: float
    low: float
    high: float
    n: int
    groups: int

    def as_json(self) -> dict[str, Any]:
        """Return the fields as a dict.

        Returns
        -------
        dict
        """
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
        """Return the fields as a dict.

        Returns
        -------
        dict
        """
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

    Returns
    -------
    Estimate

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

    Returns
    -------
    Difference

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
    """Correct p values for the number of tests by Holm's method.

    If all null hypotheses hold, the chance that any corrected value lies below a level is at most that level, however
    the tests depend on each other.

    Parameters
    ----------
    p_values : array_like of shape (m,)
        In 0..1; m may be 0.

    Returns
    -------
    list of float
        In the order given, in 0..1.
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
    """Return Pearson's correlation of two vectors.

    Parameters
    ----------
    x, y : array_like of shape (n,)
        n at least 2.

    Returns
    -------
    float
        In -1..1; NaN where one of the vectors is constant.

    Raises
    ------
    ShapeError, NonFiniteError
        If the lengths differ or are below 2, or a value is not finite.
    """
    return _correlate(pearsonr, x, y)


def spearman(x: ArrayLike, y: ArrayLike) -> float:
    """Return Spearman's rank correlation of two vectors, ties at their mean rank.

    Parameters
    ----------
    x, y : array_like of shape (n,)
        n at least 2.

    Returns
    -------
    float
        In -1..1; NaN where one of the vectors is constant.

    Raises
    ------
    ShapeError, NonFiniteError
        See `pearson`.
    """
    return _correlate(spearmanr, x, y)


def _correlate(measure: Any, x: ArrayLike, y: ArrayLike) -> float:
    one, other = _vector(x, "x"), _vector(y, "y")
    if len(one) != len(other) or len(one) < 2:
        raise ShapeError(f"x has {len(one)} values and y {len(other)}, expected the same number, at least 2")
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return math.nan
    return float(measure(one, other).statistic)
