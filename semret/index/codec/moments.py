"""Second moments of tokens, exact and therefore the same in whatever order, and on however many threads, they come.

Every block of rows is rounded to integers times a power of two of its own, of which there are few: sums are kept for
each. Sums of products of integers are exact in float64 as long as they stay below 2^53; before they might not, their
upper digits are put aside.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np

from semret.arrays import Float64Array, FloatArray

_BITS = 20
_COARSENESS = 3
"""Exponents are multiples of this: so maps have one or two of them in common, for up to two bits less."""

_UPPER = 30
_ROOM = 2 ** (53 - 2 * _BITS) - 1
"""Rows whose products are exact in a sum that begins below 2^30."""

_TILE = 32
_TILE_ROWS = 256
"""OpenBLAS multiplies up to 2^18 pairs of numbers on one thread: here, two tiles."""


class Moments:
    """Sums of rows and of their products. Several threads may add to them at a time.

    Parameters
    ----------
    channels : int
        C.

    Attributes
    ----------
    count : int
        Rows.
    """

    def __init__(self, channels: int) -> None:
        self.count = 0
        self._channels = channels
        self._sums: dict[int, _Sums] = {}
        self._lock = threading.Lock()

    def add(self, rows: FloatArray) -> None:
        """Add rows, rounded to 18 to 20 bits of the largest number among them.

        Parameters
        ----------
        rows : ndarray of shape (n, C)
            Finite.
        """
        wide = rows.astype(np.float64)
        exponent = int(np.frexp(np.abs(wide).max(initial=0))[1]) - _BITS
        exponent += -exponent % _COARSENESS
        integers = np.rint(np.ldexp(wide, -exponent, out=wide), out=wide)
        for start in range(0, len(integers), _TILE_ROWS):
            self._add(integers[start : start + _TILE_ROWS], exponent)

    def _add(self, integers: Float64Array, exponent: int) -> None:
        """Add up to `_TILE_ROWS` rows; the lock is held only while their products are added."""
        total, tiles = integers.sum(axis=0), _tiles(integers)
        products = [tile.T @ tiles[number:] for number, tile in enumerate(tiles)]
        with self._lock:
            if exponent not in self._sums:
                self._sums[exponent] = _Sums.zeros(self._channels)
            self._sums[exponent].add(total, products, len(integers))
            self.count += len(integers)

    def mean(self) -> Float64Array:
        """Return the mean row.

        Returns
        -------
        ndarray of shape (C,), float64
        """
        return self._total() / self.count

    def _total(self) -> Float64Array:
        total = np.zeros(self._channels)
        for exponent in sorted(self._sums):
            total += np.ldexp(self._sums[exponent].rows, exponent)
        return total

    def scatter(self) -> Float64Array:
        """Return the sum over rows of the outer products of what differs from the mean.

        Returns
        -------
        ndarray of shape (C, C), float64
        """
        products, total = np.zeros((self._channels, self._channels)), self._total()
        for exponent in sorted(self._sums):
            products += np.ldexp(self._sums[exponent].products(self._channels), 2 * exponent)
        return np.asarray(products - np.outer(total, total) / self.count)


@dataclass
class _Sums:
    """Sums over the rows of one exponent.

    Attributes
    ----------
    rows : ndarray of shape (C,)
    lower, upper : list of ndarray of shape (tiles, 32, 32)
        The sum of products is ``lower + upper * 2^30``, in tiles: at place i those of the channels of tile i with the
        channels of tile i and all after it. `upper` is empty as long as it would be 0.
    room : int
        Rows that may still be added before `lower` might not be exact.
    """

    rows: Float64Array
    lower: list[Float64Array]
    upper: list[Float64Array]
    room: int

    @classmethod
    def zeros(cls, channels: int) -> _Sums:
        count = -(-channels // _TILE)
        lower = [np.zeros((count - number, _TILE, _TILE)) for number in range(count)]
        return cls(np.zeros(channels), lower, [], _ROOM)

    def add(self, total: Float64Array, products: list[Float64Array], rows: int) -> None:
        """Add the sum of so many rows, and their products, after making room for them if there is too little."""
        if self.room < rows:
            self._settle()
        self.room -= rows
        self.rows += total
        for lower, part in zip(self.lower, products, strict=True):
            lower += part

    def _settle(self) -> None:
        if not self.upper:
            self.upper = [np.zeros_like(part) for part in self.lower]
        for lower, upper in zip(self.lower, self.upper, strict=True):
            digits = np.rint(np.ldexp(lower, -_UPPER))
            upper += digits
            lower -= np.ldexp(digits, _UPPER)
        self.room = _ROOM

    def products(self, channels: int) -> Float64Array:
        """Return the whole symmetric matrix, each number rounded once."""
        size = len(self.lower) * _TILE
        found = np.empty((size, size))
        for number, lower in enumerate(self.lower):
            exact = lower + np.ldexp(self.upper[number], _UPPER) if self.upper else lower
            top = slice(number * _TILE, (number + 1) * _TILE)
            found[top, top.start :] = exact.transpose(1, 0, 2).reshape(_TILE, -1)
            found[top.start :, top] = found[top, top.start :].T
        return found[:channels, :channels]


def _tiles(rows: Float64Array) -> Float64Array:
    """Return the columns of rows in groups of 32, the last filled up with zeros: (groups, n, 32)."""
    count = -(-rows.shape[1] // _TILE)
    padded = np.zeros((len(rows), count * _TILE))
    padded[:, : rows.shape[1]] = rows
    return np.ascontiguousarray(padded.reshape(len(rows), count, _TILE).transpose(1, 0, 2))
