"""Values of pairs of pictures, and their correlation with an interval from resampling pictures."""

from __future__ import annotations

import numpy as np

from semret.arrays import Float64Array


def upper_triangle(matrix: Float64Array) -> Float64Array:
    """Return the entries above the diagonal: every pair once.

    Parameters
    ----------
    matrix : ndarray of shape (N, N)

    Returns
    -------
    ndarray of shape (N (N - 1) / 2,)
        Row by row.
    """
    return np.asarray(matrix[np.triu_indices(len(matrix), 1)])


def resampled_correlation(
    similarity: Float64Array, divergence: Float64Array, *, seed: int, resamples: int
) -> tuple[float, float]:
    """Return the 95 % percentile interval of Pearson's correlation, resampling pictures and not pairs.

    Pairs of a picture with its own copy are left out of a resample.

    Parameters
    ----------
    similarity, divergence : ndarray of shape (N, N)
        Symmetric, of the same pictures.
    seed, resamples : int

    Returns
    -------
    (float, float)
        NaN where every resample is constant.
    """
    n = len(similarity)
    rng = np.random.default_rng([seed, 6])
    found = []
    for _ in range(resamples):
        counts = np.bincount(rng.integers(0, n, size=n), minlength=n).astype(np.float64)
        weights = np.outer(counts, counts)
        np.fill_diagonal(weights, 0.0)
        found.append(_weighted_pearson(similarity, divergence, weights))
    usable = [value for value in found if np.isfinite(value)]
    if not usable:
        return float("nan"), float("nan")
    low, high = np.quantile(usable, [0.025, 0.975])
    return float(low), float(high)


def _weighted_pearson(x: Float64Array, y: Float64Array, weights: Float64Array) -> float:
    total = weights.sum()
    if total == 0:
        return float("nan")
    dx, dy = x - (weights * x).sum() / total, y - (weights * y).sum() / total
    spread = np.sqrt((weights * dx**2).sum() * (weights * dy**2).sum())
    return float((weights * dx * dy).sum() / spread) if spread > 0 else float("nan")
