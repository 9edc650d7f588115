r"""Whether two small grey pictures show the same, once one is laid over the other: what tells a copy from a next frame.

Tokens are too coarse for that: the camera a step aside, or one thing moved, hardly changes them. So pictures whose
tokens match in one arrangement are laid over each other, at a scale and a shift for each axis, and compared block by
block by the correlation of their grey levels, which brightness and contrast do not change.

The scale and shift that the tokens give are refined by Gauss-Newton steps, coarse to fine, that minimise the difference
of the pictures up to gain and bias; large differences, as of a line of text, weigh less.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from semret.arrays import Float64Array
from semret.retrieval.similarity.arrangement import STILL, Way

BLOCK = 8
"""Side of a block in pixels."""

ALIKE = 0.95
"""Correlation from which a block is the same in both."""

SAME = 0.65
"""Share of blocks that are the same in copies: some text over a picture leaves as many, a step aside often less."""

_FLAT = 0.015
"""Deviation of grey levels, of 0 to 1, below which a block shows nothing that could be compared."""

_FEWEST_BLOCKS, _LEAST_OVERLAP = 4, 0.35
_STAGES = ((2, 2, 10), (1, 1, 5))
"""Of the refinement: every how many pixels are used, the blur in pixels, and the most steps."""

_LARGEST_STEP = np.array([0.05, 3.0, 0.05, 3.0])
_STILL_PIXELS = 0.02


def same_share(one: Float64Array, other: Float64Array, way: Way, *, enough: float) -> float:
    """Return the share of blocks that look the same in two pictures, laid over each other as well as is found.

    Parameters
    ----------
    one, other : ndarray of shape (H, W), float64
        Grey levels from 0 to 1; H and W multiples of `BLOCK`.
    way : Way
        Where `one` lies in `other`, as far as is known.
    enough : float
        The search ends at a way with so large a share.

    Returns
    -------
    float
        1 where neither shows anything.
    """
    best = 0.0
    for tried in _ways(one, other, way):
        best = max(best, _compare(one, other, tried))
        if best >= enough:
            break
    return best


def _ways(one: Float64Array, other: Float64Array, way: Way) -> Iterator[Float64Array]:
    """Give scales and shifts, in pixels, the cheapest first."""
    height, width = one.shape
    units = np.array([1.0, height, 1.0, width])
    still, found = np.array(STILL) * units, np.array(way) * units
    yield still
    yield found
    yield _refined(one, other, found)


def _compare(one: Float64Array, other: Float64Array, way: Float64Array) -> float:
    """Return the share of the blocks with something in them that correlate."""
    rows, columns = _sampling(one.shape[0], 1, way[0], way[1]), _sampling(one.shape[1], 1, way[2], way[3])
    laid = rows @ _blurred(other, 1) @ columns.T
    inside = _blocks(np.outer(rows.any(axis=1), columns.any(axis=1))).all(axis=1)
    if inside.mean() < _LEAST_OVERLAP:
        return 0.0
    a, b = _blocks(_blurred(one, 1))[inside], _blocks(laid)[inside]
    a, b = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
    lengths = np.sqrt((a**2).mean(axis=1)), np.sqrt((b**2).mean(axis=1))
    filled = np.maximum(*lengths) > _FLAT
    if filled.sum() < _FEWEST_BLOCKS:
        return 1.0
    correlations = (a * b).mean(axis=1) / np.maximum(lengths[0] * lengths[1], 1e-12)
    return float((correlations[filled] >= ALIKE).mean())


def _refined(one: Float64Array, other: Float64Array, way: Float64Array) -> Float64Array:
    for step, blur, most in _STAGES:
        a, b = _blurred(one, blur)[::step, ::step], _blurred(other, blur)
        down, right = (np.asarray(slope) for slope in np.gradient(b))
        for _ in range(most):
            change = _step(a, b, (down, right), way, step)
            if change is None:
                return way
            way = way + np.clip(change, -_LARGEST_STEP, _LARGEST_STEP)
            reach = np.array([one.shape[0] / 2, 1, one.shape[1] / 2, 1])
            if np.abs(change * reach).max() < _STILL_PIXELS:
                break
    return way


def _step(
    a: Float64Array, b: Float64Array, slopes: tuple[Float64Array, Float64Array], way: Float64Array, step: int
) -> Float64Array | None:
    """Return the change of scales and shifts that makes the pictures most alike, to first order; None where none is."""
    (height, width), (down, right) = b.shape, slopes
    rows, columns = _sampling(height, step, way[0], way[1]), _sampling(width, step, way[2], way[3])
    inside = np.outer(rows.any(axis=1), columns.any(axis=1))
    if inside.mean() < _LEAST_OVERLAP:
        return None
    laid, by_y, by_x = ((rows @ picture @ columns.T)[inside] for picture in (b, down, right))
    y = np.broadcast_to((np.arange(0, height, step) - (height - 1) / 2)[:, None], inside.shape)[inside]
    x = np.broadcast_to(np.arange(0, width, step) - (width - 1) / 2, inside.shape)[inside]
    wanted = a[inside]
    spread = float(laid.var())
    gain = max(float(np.cov(laid, wanted, bias=True)[0, 1]) / spread, 0.1) if spread > 0 else 1.0
    missing = wanted - wanted.mean() - gain * (laid - laid.mean())
    effects = np.stack([gain * by_y * y, gain * by_y, gain * by_x * x, gain * by_x, laid, np.ones_like(laid)], axis=1)
    # Where the pictures differ much, by a line of text say, they say little of how they lie.
    usual = 1.5 * float(np.median(np.abs(missing))) + 1e-4
    weighted = effects / np.maximum(1.0, np.abs(missing) / usual)[:, None]
    square = weighted.T @ effects
    square[np.diag_indices(6)] = square[np.diag_indices(6)] * 1.001 + 1e-9
    return np.asarray(np.linalg.solve(square, weighted.T @ missing)[:4])


def _sampling(length: int, step: int, scale: float, shift: float) -> Float64Array:
    """Return the matrix that takes every so many samples of a line at scaled and shifted places; zeros outside."""
    middle = (length - 1) / 2
    places = middle + scale * (np.arange(0, length, step) - middle) + shift
    low = np.floor(places + 1e-9).astype(np.intp)
    rest = np.maximum(places - low, 0.0)
    found = np.zeros((len(places), length))
    inside = np.flatnonzero((low >= 0) & (low < length) & ((low < length - 1) | (rest < 1e-6)))
    found[inside, low[inside]] = 1 - rest[inside]
    found[inside, np.minimum(low[inside] + 1, length - 1)] += rest[inside]
    return found


def _blurred(picture: Float64Array, sigma: int) -> Float64Array:
    return np.asarray(_blur(picture.shape[0], sigma) @ picture @ _blur(picture.shape[1], sigma).T)


@lru_cache(maxsize=16)
def _blur(length: int, sigma: int) -> Float64Array:
    """Return the matrix of a Gaussian blur of a line whose ends go on for ever."""
    reach = np.arange(-3 * sigma, 3 * sigma + 1)
    weights = np.exp(-0.5 * (reach / sigma) ** 2)
    found = np.zeros((length, length))
    places = np.clip(np.arange(length)[:, None] + reach, 0, length - 1)
    np.add.at(found, (np.arange(length)[:, None], places), weights / weights.sum())
    return found


def _blocks(picture: NDArray[np.generic]) -> NDArray[np.generic]:
    """Cut a picture into blocks, one a row."""
    height, width = picture.shape
    cut = picture.reshape(height // BLOCK, BLOCK, width // BLOCK, BLOCK)
    return cut.transpose(0, 2, 1, 3).reshape(-1, BLOCK * BLOCK)
