"""CKA of mini-batches with an interval: how much it would change with other pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from semret.arrays import Float64Array
from semret.retrieval.similarity.cka import minibatch_cka

Batches = Sequence[Float64Array]
"""Similarity matrices of the mini-batches."""


@dataclass(frozen=True)
class Alignment:
    """A CKA and its values without each picture in turn, (N,); NaN where a matrix has nothing to align."""

    value: float
    without: Float64Array

    def interval(self) -> tuple[float, float]:
        """Return the 95 % interval of the jackknife over pictures.

        Returns
        -------
        (float, float)
            Cut to -1..1.
        """
        return _limits(self.value, self.without, (-1.0, 1.0))


def align(one: Batches, other: Batches, *, estimator: str) -> Alignment:
    """Compare two representations of the same pictures in mini-batches of at least 5; see `minibatch_cka`.

    Parameters
    ----------
    one, other : sequence of ndarray of shape (n, n)
        Of the same batches in the same order.
    estimator : {"biased", "unbiased"}

    Returns
    -------
    Alignment

    Raises
    ------
    ShapeError, ArgumentError, NonFiniteError, UnknownNameError
        See `semret.retrieval.similarity.cka.minibatch_cka`.
    """
    value = minibatch_cka(zip(one, other, strict=True), estimator=estimator)
    sums = np.array([_weighted(k, l, estimator) for k, l in zip(one, other, strict=True)]).sum(axis=0)  # noqa: E741
    parts = []
    for k, l in zip(one, other, strict=True):  # noqa: E741
        changed = sums - _weighted(k, l, estimator) + _without_each(k, l, estimator)
        parts.append(_ratio(changed))
    return Alignment(value=value, without=np.concatenate(parts))


def difference(one: Alignment, other: Alignment) -> tuple[float, float, float]:
    """Return the difference of two alignments of the same pictures and its 95 % interval.

    Parameters
    ----------
    one, other : Alignment
        Of the same pictures.

    Returns
    -------
    (float, float, float)
        `one` minus `other`, and the ends of the interval, cut to -2..2.
    """
    value = one.value - other.value
    return (value, *_limits(value, one.without - other.without, (-2.0, 2.0)))


def _limits(value: float, without: Float64Array, ends: tuple[float, float]) -> tuple[float, float]:
    n = len(without)
    reach = 1.96 * math.sqrt((n - 1) / n * float(((without - without.mean()) ** 2).sum()))
    return max(ends[0], value - reach), min(ends[1], value + reach)


def _weighted(k: Float64Array, l: Float64Array, estimator: str) -> Float64Array:  # noqa: E741
    """Return HSIC of the pair and of each with itself, times the number of pictures: what batches add up to."""
    n = len(k)
    return n * np.array([_hsic(*_moments(a, b, estimator), n, estimator) for a, b in ((k, l), (k, k), (l, l))])


def _without_each(k: Float64Array, l: Float64Array, estimator: str) -> Float64Array:  # noqa: E741
    """Return `_weighted` of the matrices without each picture, (n, 3)."""
    n = len(k)
    columns = [_hsic(*_left(a, b, estimator), n - 1, estimator) for a, b in ((k, l), (k, k), (l, l))]
    return (n - 1) * np.stack(columns, axis=1)


def _ratio(sums: Float64Array) -> Float64Array:
    cross, one, other = sums.T
    usable = (one > 0) & (other > 0)
    scale = np.sqrt(np.where(usable, one, 1.0)) * np.sqrt(np.where(usable, other, 1.0))
    return np.where(usable, cross / scale, np.nan)


def _prepare(matrix: Float64Array, estimator: str) -> Float64Array:
    """Return the matrix as an estimator takes it, less its mean, which changes rounding errors only."""
    if estimator == "biased":
        return np.asarray(matrix - matrix.mean())
    n = len(matrix)
    hollow = matrix - (matrix.sum() - np.trace(matrix)) / (n * (n - 1))
    np.fill_diagonal(hollow, 0.0)
    return np.asarray(hollow)


def _moments(k: Float64Array, l: Float64Array, estimator: str) -> tuple[float, float, float]:  # noqa: E741
    """Return what HSIC is made of: sum of products, product of sums, product of the sums of rows."""
    one, other = _prepare(k, estimator), _prepare(l, estimator)
    rows = one.sum(axis=1), other.sum(axis=1)
    return float((one * other).sum()), float(rows[0].sum() * rows[1].sum()), float(rows[0] @ rows[1])


def _left(k: Float64Array, l: Float64Array, estimator: str) -> tuple[Float64Array, Float64Array, Float64Array]:  # noqa: E741
    """Return `_moments` without each picture in turn, (n,) each, from sums of rows alone."""
    one, other = _prepare(k, estimator), _prepare(l, estimator)
    rows, others = one.sum(axis=1), other.sum(axis=1)
    diagonal, last = np.diagonal(one), np.diagonal(other)
    products = (one * other).sum() - 2 * (one * other).sum(axis=1) + diagonal * last
    totals = (rows.sum() - 2 * rows + diagonal) * (others.sum() - 2 * others + last)
    # Of the sums of rows that are left, each lacks its entry in the column that goes, and the row itself goes.
    crossed = rows @ others - other @ rows - one @ others + (one * other).sum(axis=1)
    crossed -= (rows - diagonal) * (others - last)
    return products, totals, crossed


def _hsic(products: Any, totals: Any, crossed: Any, n: int, estimator: str) -> Any:
    """Return HSIC of numbers, or of arrays of them."""
    if estimator == "biased":
        return (products - 2 * crossed / n + totals / n**2) / (n - 1) ** 2
    return (products + totals / ((n - 1) * (n - 2)) - 2 * crossed / (n - 2)) / (n * (n - 3))
