r"""How much of a matching keeps the arrangement: what tells a copy from the same things somewhere else.

A one-to-one matching is blind to where things are. In a copy of a picture, however, all patches went the same way: in a
resized, recompressed or recoloured one they stayed, in a cropped one :math:`y' = a_y y + b_y` and
:math:`x' = a_x x + b_x` with one scale and one shift an axis, and in a mirrored one :math:`a_x` is negative. So of all
such maps the one is looked for that most of the matching follows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semret.arrays import Float64Array, IndexVector
from semret.errors import ShapeError

SCALES = tuple(1.1**power for power in range(-5, 6))
"""Scales along an axis that are tried, from 0.62 to 1.61: half of a picture's area may be cut away."""

TOLERANCE = 1 / 12
"""How far from its place a patch may be, in widths or heights of the picture; at least one patch."""

Way = tuple[float, float, float, float]
"""Scale and shift from top to bottom, then from left to right: from a picture's middle, in shares of its size."""

STILL: Way = (1.0, 0.0, 1.0, 0.0)
"""Where everything stays in its place."""

_BINS = 4
"""Steps of a shift within the tolerance."""


@dataclass(frozen=True, kw_only=True)
class Arrangement:
    """How a matching keeps the arrangement of a picture.

    Attributes
    ----------
    share : float
        Of what the matching is worth, what goes one way; 0 to 1. Pairs that are worth nothing or less do not count.
    mirrored : bool
        Whether the way is that of a picture mirrored left to right.
    way : Way
        Where the first picture, mirrored if need be, lies in the second; fitted to the pairs that follow it.
    """

    share: float
    mirrored: bool
    way: Way = STILL


def kept_arrangement(partners: IndexVector, worths: Float64Array, grid: tuple[int, int]) -> Arrangement:
    """Find the scale and shift along each axis, mirrored or not, that most of a matching follows.

    Parameters
    ----------
    partners : ndarray of shape (S,), intp
        The patch of the other picture that each patch was matched with, -1 for none; cells row by row.
    worths : ndarray of shape (S,), float64
        What each pair is worth.
    grid : (int, int)
        ``(H, W)`` of both maps.

    Returns
    -------
    Arrangement
        Of equal shares that which is not mirrored. Share 0 where no pair is worth anything.

    Raises
    ------
    ShapeError
        If there are not as many partners and worths as cells.

    Examples
    --------
    A row of six patches, and the same mirrored.

    >>> found = kept_arrangement(np.arange(6), np.ones(6), (1, 6))
    >>> found.share, found.mirrored
    (1.0, False)
    >>> found = kept_arrangement(np.arange(6)[::-1], np.ones(6), (1, 6))
    >>> found.share, found.mirrored
    (1.0, True)
    """
    height, width = grid
    if len(partners) != height * width or len(worths) != len(partners):
        raise ShapeError(f"{len(partners)} partners and {len(worths)} worths, expected {height * width}: grid {grid}")
    chosen = np.flatnonzero((partners >= 0) & (worths > 0))
    total = float(worths[chosen].sum())
    if total == 0:
        return Arrangement(share=0.0, mirrored=False)
    weights = worths[chosen]
    (y, x), (to_y, to_x) = divmod(chosen, width), divmod(partners[chosen], width)
    rows = _following(y, to_y, weights, height)
    found = []
    for mirrored, across in ((False, x), (True, width - 1 - x)):
        both = rows & _following(across, to_x, weights, width)
        share = min(float(weights[both].sum()) / total, 1.0)
        fits = [_fit(*pair, weights, both) for pair in ((y, to_y, height), (across, to_x, width))]
        found.append(Arrangement(share=share, mirrored=mirrored, way=(*fits[0], *fits[1])))
    return found[found[1].share > found[0].share]


def _fit(
    places: IndexVector, partners: IndexVector, length: int, weights: Float64Array, chosen: NDArray[np.bool_]
) -> tuple[float, float]:
    """Return scale and shift along an axis by least squares, in shares of its length from the middle."""
    weight = weights[chosen] / max(float(weights[chosen].sum()), 1e-300)
    start, end = (((cells[chosen] + 0.5) / length - 0.5) for cells in (places, partners))
    middle, aim = float(weight @ start), float(weight @ end)
    spread = float(weight @ (start - middle) ** 2)
    # Pairs of one row or column tell nothing of the scale.
    scale = float(weight @ ((start - middle) * (end - aim))) / spread if spread > 1e-3 else 1.0
    scale = min(max(scale, SCALES[0]), SCALES[-1])
    return scale, aim - scale * middle


def _following(places: IndexVector, partners: IndexVector, weights: Float64Array, length: int) -> NDArray[np.bool_]:
    """Tell which pairs follow the scale and shift along one axis that most of the weight does."""
    tolerance = max(1.0, TOLERANCE * length)
    middle = (length - 1) / 2
    shifts = (partners - middle) - np.array(SCALES)[:, None] * (places - middle)
    # Shifts are counted in small steps; a window of as many steps as the tolerance is wide slides over the counts.
    step = tolerance / _BINS
    bins = np.rint(shifts / step).astype(np.intp)
    bins -= bins.min()
    width = int(bins.max()) + 2 * _BINS + 1
    flat = bins + np.arange(len(SCALES))[:, None] * width
    counts = np.bincount(flat.ravel(), np.broadcast_to(weights, shifts.shape).ravel(), len(SCALES) * width)
    sums = np.cumsum(np.pad(counts.reshape(len(SCALES), width), ((0, 0), (1, 0))), axis=1)
    windows = sums[:, 2 * _BINS + 1 :] - sums[:, : -2 * _BINS - 1]
    # A scale farther from 1 must follow more: of equal ones the nearest to 1 is taken.
    order = np.argsort(np.abs(np.log(SCALES)), kind="stable")
    scale, start = np.unravel_index(int(windows[order].argmax()), windows.shape)
    chosen = bins[order[scale]]
    return np.asarray((chosen >= start) & (chosen <= start + 2 * _BINS))
