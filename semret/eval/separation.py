"""How well similarity tells overlapping crops from different pictures, with intervals from resampling pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semret.arrays import Float64Array, IndexVector
from semret.eval.pairs import upper_triangle

_CHUNK = 1 << 22
"""Weights of pairs that are held at once."""


def split_pairs(matrix: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Return the similarities of overlapping crops and of crops of different pictures.

    Parameters
    ----------
    matrix : ndarray of shape (2n, 2n)
        Crops of n pictures, then the other crops of the same pictures.

    Returns
    -------
    same : ndarray of shape (n,), float64
        Of the two crops of each picture.
    different : ndarray of shape (2n (n - 1),), float64
        Of crops of different pictures, every pair once.
    """
    same, different, _ = _split(matrix)
    return same, different


def _split(matrix: Float64Array) -> tuple[Float64Array, Float64Array, NDArray[np.intp]]:
    """Return also which two pictures each similarity of different pictures is of, (m, 2)."""
    n = len(matrix) // 2
    same = matrix[np.arange(n), np.arange(n) + n]
    picture = np.arange(2 * n) % n
    rows, columns = np.triu_indices(2 * n, 1)
    apart = picture[rows] != picture[columns]
    pairs = np.stack([picture[rows], picture[columns]], axis=1)[apart]
    return same, np.asarray(upper_triangle(matrix)[apart]), pairs


@dataclass(frozen=True)
class Separation:
    """The area under the ROC curve, by picture and under resampling.

    Attributes
    ----------
    placements : ndarray of shape (pictures,)
        For each picture the share of different pairs of its batch that its overlapping pair exceeds, ties counting
        half. Their mean is the area under the ROC curve.
    resampled : ndarray of shape (resamples,)
        The area when the pictures of each batch are drawn again with replacement; NaN where a draw left no pair of
        different pictures.
    """

    placements: Float64Array
    resampled: Float64Array

    @property
    def area(self) -> float:
        """Area under the ROC curve within batches: 1 always told apart, 0.5 chance."""
        return float(self.placements.mean())

    def interval(self) -> tuple[float, float]:
        """Return the 95 % percentile interval over pictures.

        Returns
        -------
        (float, float)
            NaN where no resample could be used.
        """
        return _ends(self.resampled)

    def minus(self, other: Separation) -> tuple[float, float, float]:
        """Compare with another separation of the same pictures.

        Parameters
        ----------
        other : Separation
            From the same draws: the same batches and seed.

        Returns
        -------
        (float, float, float)
            The difference of the areas and its 95 % interval.
        """
        return (self.area - other.area, *_ends(self.resampled - other.resampled))


def separate(matrices: Sequence[Float64Array], *, seed: int = 0, resamples: int = 2000) -> Separation:
    """Measure the area under the ROC curve of overlapping against different pairs, batch by batch.

    Parameters
    ----------
    matrices : sequence of ndarray of shape (2n, 2n)
        One for each batch of at least two pictures, as `split_pairs` takes them.
    seed, resamples : int
        The same seed draws the same pictures.

    Returns
    -------
    Separation
    """
    placements, areas = [], []
    rng = np.random.default_rng([seed, 9])
    for matrix in matrices:
        same, different, pairs = _split(matrix)
        order = np.argsort(different, kind="stable")
        ends = [np.searchsorted(different[order], same, side=side) for side in ("left", "right")]
        n = len(same)
        counts = np.stack([np.bincount(row, minlength=n) for row in rng.integers(0, n, size=(resamples, n))])
        placements.append((ends[0] + ends[1]) / (2 * len(different)))
        areas.append(_areas(counts.astype(np.float64), pairs[order], ends))
    weights = np.array([len(part) for part in placements], dtype=np.float64)
    return Separation(np.concatenate(placements), np.asarray(weights / weights.sum() @ np.stack(areas)))


def _areas(counts: Float64Array, pairs: NDArray[np.intp], ends: list[IndexVector]) -> Float64Array:
    """Return the area for each row of counts of pictures; pairs of different pictures are in rising order."""
    found = np.full(len(counts), np.nan)
    step = max(1, _CHUNK // len(pairs))
    for start in range(0, len(counts), step):
        drawn = counts[start : start + step]
        weights = np.zeros((len(drawn), len(pairs) + 1))
        np.cumsum(drawn[:, pairs[:, 0]] * drawn[:, pairs[:, 1]], axis=1, out=weights[:, 1:])
        below = (weights[:, ends[0]] + weights[:, ends[1]]) / 2
        total = drawn.sum(axis=1) * weights[:, -1]
        wins = (drawn * below).sum(axis=1)
        found[start : start + step] = np.divide(wins, total, out=np.full(len(drawn), np.nan), where=total > 0)
    return found


def _ends(values: Float64Array) -> tuple[float, float]:
    usable = values[np.isfinite(values)]
    if not len(usable):
        return float("nan"), float("nan")
    low, high = np.quantile(usable, [0.025, 0.975])
    return float(low), float(high)
