"""Pillow's resize pixel for pixel, several times faster, and the normalisation that follows it.

Pillow adds up one number after another. `semret.index.backbones.resampling_code` does the same sums in the same
integers, a vector at a time: coefficients of 22 bits after the point, and 8 bits between the two passes. A process that
prepares a few pictures uses Pillow; making the code pays from the thirtieth on.

That the pixels are Pillow's is not taken on trust. Which pass Pillow does first depends on the sizes and on its
release, so a pair of sizes is left to Pillow until one of the two orders gave Pillow's pixels for a picture where they
differ.
"""

from __future__ import annotations

import functools
import logging
import threading
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from semret.arrays import Float32Array
from semret.index.backbones.resampling_code import BITS, SPARE, Code, make_code

logger = logging.getLogger(__name__)

FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}

FEW = 30
"""Pictures that a process prepares before it makes machine code."""

_SUPPORT = {"bilinear": 1.0, "bicubic": 2.0}
"""Filters that there is code for, and how far they reach."""

_MOST = 4096
"""Pairs of sizes that are kept account of."""


class Change(NamedTuple):
    """What a resize does; how the sums are best done depends on nothing else."""

    before: tuple[int, int]
    after: tuple[int, int]
    interpolation: str


class Resizer:
    """Resizes and normalises pictures; safe in many threads at once.

    Parameters
    ----------
    few : int
        Pictures that are left to Pillow before machine code is made.
    """

    def __init__(self, few: int = FEW) -> None:
        self._few = few
        self._seen = 0
        self._code: Code | None = None
        self._making = threading.Lock()
        self._orders: dict[Change, str] = {}

    def resize(self, image: Image.Image, width: int, height: int, interpolation: str) -> NDArray[np.uint8]:
        """Resize a picture.

        Parameters
        ----------
        image : PIL.Image.Image
            Mode RGB.
        width, height : int
            At least 1.
        interpolation : str
            A name of `FILTERS`.

        Returns
        -------
        ndarray of shape (height, width, 3), uint8
            The pixels that Pillow gives.
        """
        if image.size == (width, height):
            return np.asarray(image)
        change = Change(image.size, (width, height), interpolation)
        order = self._orders.get(change)
        if self._code is not None and order in _ORDERS:
            return _ORDERS[order](self._code, image, change)
        resized = np.asarray(image.resize((width, height), FILTERS[interpolation]))
        if interpolation in _SUPPORT and order != "Pillow's":
            self._learn(image, change, resized)
        return resized

    def normalise(self, pixels: NDArray[np.uint8], mean: Float32Array, deviation: Float32Array) -> Float32Array:
        """Subtract the mean and divide by the deviation, in float32.

        Parameters
        ----------
        pixels : ndarray of shape (H, W, 3), uint8
        mean, deviation : ndarray of shape (3 * W,), float32
            For each number of a row.

        Returns
        -------
        ndarray of shape (H, W, 3), float32
        """
        height, width = pixels.shape[:2]
        # Whole rows, channel after channel: the inner loops are long, and nothing is put into another order.
        rows = np.ascontiguousarray(pixels).reshape(height, -1)
        if self._code is None:
            numbers = np.subtract(rows, mean, dtype=np.float32)
            np.divide(numbers, deviation, out=numbers)
        else:
            numbers = np.empty(rows.shape, np.float32)
            self._code.normalise(*_addresses(rows, numbers, mean, deviation), *rows.shape)
        return numbers.reshape(height, width, 3)

    def _learn(self, image: Image.Image, change: Change, resized: NDArray[np.uint8]) -> None:
        """Find out which order gives Pillow's pixels, once a pair of sizes comes again."""
        self._seen += 1
        if change not in self._orders:
            if len(self._orders) < _MOST:
                self._orders[change] = "unknown"
            return
        if self._code is None:
            self._make()
        if self._code is not None:
            self._orders[change] = _prove(self._code, image, change, resized)

    def _make(self) -> None:
        """Make the code in one thread, while others go on with Pillow."""
        if self._seen <= self._few or not self._making.acquire(blocking=False):
            return
        # The lock is kept: it is done once, and where it fails there is no use in trying again.
        try:
            self._code = make_code()
        except Exception:  # whatever a compiler may raise on a processor that it does not know
            logger.info("no machine code for resizing pictures; Pillow does it", exc_info=True)


def _prove(code: Code, image: Image.Image, change: Change, resized: NDArray[np.uint8]) -> str:
    """Return the order that gives Pillow's pixels; ``unknown`` if the picture is too plain to show it."""
    fitting = [name for name, resize in _ORDERS.items() if np.array_equal(resize(code, image, change), resized)]
    if not fitting:
        logger.info("Pillow resizes from %s to %s pixels in a way of its own", change.before, change.after)
        return "Pillow's"
    one_pass = any(before == after for before, after in zip(change.before, change.after, strict=True))
    is_shown = len(fitting) == 1 or (one_pass and resized.min() < resized.max())
    return fitting[0] if is_shown else "unknown"


def _rows_first(code: Code, image: Image.Image, change: Change) -> NDArray[np.uint8]:
    source = np.frombuffer(image.tobytes(), np.uint8)
    (width, height), (_, before) = change.after, change.before
    resized = _columns(code, _rows(code, source, change, before), change, width)
    return resized[:-SPARE].reshape(height, width, 3)


def _columns_first(code: Code, image: Image.Image, change: Change) -> NDArray[np.uint8]:
    source = np.frombuffer(image.tobytes() + bytes(SPARE), np.uint8)
    (width, height), (before, _) = change.after, change.before
    resized = _rows(code, _columns(code, source, change, before), change, height)
    return resized[:-SPARE].reshape(height, width, 3)


_ORDERS = {"rows first": _rows_first, "columns first": _columns_first}


def _rows(code: Code, source: NDArray[np.uint8], change: Change, height: int) -> NDArray[np.uint8]:
    """Resize along rows; bytes end with spare ones."""
    before, after = change.before[0], change.after[0]
    starts, weights = coefficients(before, after, change.interpolation)
    target = np.empty(height * after * 3 + SPARE, np.uint8)
    code.rows(*_addresses(source, target, starts, weights), height, before, after, weights.shape[1])
    return target


def _columns(code: Code, source: NDArray[np.uint8], change: Change, width: int) -> NDArray[np.uint8]:
    """Resize along columns; bytes end with spare ones."""
    height = change.after[1]
    starts, weights = coefficients(change.before[1], height, change.interpolation)
    target = np.empty(height * width * 3 + SPARE, np.uint8)
    code.columns(*_addresses(source, target, starts, weights), height, width * 3, weights.shape[1])
    return target


def _addresses(*arrays: NDArray[Any]) -> list[int]:
    return [array.__array_interface__["data"][0] for array in arrays]


@functools.lru_cache(maxsize=256)
def coefficients(before: int, after: int, interpolation: str) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Return which pixels are summed along one axis, and their weights.

    Parameters
    ----------
    before, after : int
        Lengths of the axis.
    interpolation : {"bilinear", "bicubic"}

    Returns
    -------
    starts : ndarray of shape (after,), int64
        The first pixel that is read for each one made.
    weights : ndarray of shape (after, taps), int32
        In units of ``2 ** -BITS``; of pixels beyond the filter's reach, 0.
    """
    scale = before / after
    stretch = max(scale, 1.0)
    reach = _SUPPORT[interpolation] * stretch
    centres = (np.arange(after) + 0.5) * scale
    first = np.maximum((centres - reach + 0.5).astype(np.int64), 0)
    end = np.minimum((centres + reach + 0.5).astype(np.int64), before)
    taps = int((end - first).max())
    starts = np.minimum(first, before - taps)
    places = starts[:, None] + np.arange(taps)
    weights = _weigh((places - centres[:, None] + 0.5) * (1.0 / stretch), interpolation)
    weights = np.where((places >= first[:, None]) & (places < end[:, None]), weights, 0.0)
    # One after another, as Pillow adds them up; np.sum would add them in pairs.
    weights /= np.cumsum(weights, axis=1)[:, -1:]
    return starts, np.trunc(weights * (1 << BITS) + np.where(weights < 0, -0.5, 0.5)).astype(np.int32)


def _weigh(distances: NDArray[np.float64], interpolation: str) -> NDArray[np.float64]:
    """Return the filter's value, in the order of operations that Pillow has."""
    x = np.abs(distances)
    if interpolation == "bilinear":
        return np.where(x < 1.0, 1.0 - x, 0.0)
    near = (1.5 * x - 2.5) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * -0.5
    return np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0))
