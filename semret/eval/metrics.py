"""What single answers and similarities are judged by: arrays in, numbers out."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import rel_entr

from semret.arrays import Float64Array, require_finite
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
    # Not SciPy's jensenshannon: it is the root of this, scaled to a sum of 1, and NaN where rounding goes below zero.
    divergence = (rel_entr(one, middle).sum(axis=-1) + rel_entr(other, middle).sum(axis=-1)) / 2
    return np.asarray(np.clip(divergence, 0.0, math.log(2)))


def _distribution(values: ArrayLike, name: str) -> Float64Array:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim == 0:
        raise ShapeError(f"{name} is a single number, expected probabilities of shape (..., classes)")
    require_finite(array, name)
    if (array < 0).any() or not np.allclose(array.sum(axis=-1), 1.0, atol=1e-4):
        raise ArgumentError(f"{name} is no distribution: expected probabilities that sum to 1; pass logits to softmax")
    return array


def softmax(logits: ArrayLike) -> Float64Array:
    """Turn logits into class probabilities.

    Parameters
    ----------
    logits : array_like of shape (..., classes)

    Returns
    -------
    ndarray of the same shape, float64
        Each row along the last axis sums to 1.
    """
    values = np.asarray(logits, dtype=np.float64)
    powers = np.exp(values - values.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def average_precision(scores: ArrayLike, relevant: ArrayLike) -> float:
    """Return the mean, over the relevant items, of the share of relevant ones among all down to each.

    Parameters
    ----------
    scores : array_like of shape (N,)
        Of equal scores the earlier item comes first.
    relevant : array_like of shape (N,), bool
        At least one.

    Returns
    -------
    float
        In 0..1; 1 where all relevant items come first.

    Raises
    ------
    ShapeError
        If the shapes differ, or nothing is relevant.
    NonFiniteError
        If a score is NaN or infinite.

    Examples
    --------
    The relevant items come second and third: (1 / 2 + 2 / 3) / 2.

    >>> round(average_precision([0.1, 0.9, 0.5, 0.4], [False, False, True, True]), 4)
    0.5833
    """
    values, wanted = np.asarray(scores, dtype=np.float64), np.asarray(relevant, dtype=bool)
    if values.ndim != 1 or values.shape != wanted.shape or not wanted.any():
        raise ShapeError(
            f"scores has shape {values.shape} and relevant {wanted.shape}, of which {int(wanted.sum())} are true; "
            "expected one axis of the same length, and at least one relevant item"
        )
    require_finite(values, "scores")
    places = np.flatnonzero(wanted[np.argsort(-values, kind="stable")]) + 1
    return float((np.arange(1, len(places) + 1) / places).mean())
