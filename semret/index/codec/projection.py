"""Projections whose results are exact, so that they depend on neither batches nor threads nor the processor.

A matrix product in floating point depends on the order of its sums, which a BLAS chooses by shape and threads. Here
the numbers of both sides are integers times a power of two, and so small that every partial sum is exact in float64.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semret.arrays import Float32Array, Float64Array, FloatArray, require_finite
from semret.errors import NonFiniteError, ShapeError

GRID = 18
"""Directions are multiples of 2^-18 (and float16)."""

_EXACT = 53
_MOST_BITS = 30
_PIECE = 2**18
_PIECE_ROWS = 64
"""OpenBLAS multiplies up to 2^18 pairs of numbers on one thread."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Projection:
    """Subtract a mean, and take coordinates along directions.

    The directions are orthonormal but for their rounding, which is not mended: the coordinates are *defined* as the
    products with the rounded directions, and they are what is compared.

    Attributes
    ----------
    mean : ndarray of shape (C,), float32
    directions : ndarray of shape (d, C), float16
        Multiples of 2^-`GRID`, from -1 to 1.
    """

    mean: Float32Array
    directions: NDArray[np.float16]

    @property
    def channels(self) -> int:
        """C."""
        return len(self.mean)

    @property
    def dimension(self) -> int:
        """The directions d."""
        return len(self.directions)

    @functools.cached_property
    def columns(self) -> Float64Array:
        """The directions times 2^`GRID`, (C, d): whole numbers."""
        return np.ascontiguousarray(np.ldexp(self.directions.T.astype(np.float64), GRID))

    @functools.cached_property
    def bits(self) -> int:
        """Bits that numbers may have beside the sign for all partial sums of products to be exact."""
        longest = int(np.abs(self.columns).sum(axis=0).max(initial=0))
        return min(_MOST_BITS, _EXACT - longest.bit_length())

    def centred(self, rows: FloatArray, name: str) -> Float64Array:
        """Return rows less the mean.

        Parameters
        ----------
        rows : ndarray of shape (n, C), float16, float32 or float64
        name : str
            Names them in a message.

        Returns
        -------
        ndarray of shape (n, C), float64

        Raises
        ------
        ShapeError
            If they have another number of channels.
        NonFiniteError
            If a value is NaN or infinite.
        """
        if rows.ndim != 2 or rows.shape[1] != self.channels:
            raise ShapeError(f"{name} has shape {rows.shape}, the codec expects {self.channels} channels in each row")
        require_finite(rows, name)
        return rows.astype(np.float64) - self.mean

    def coordinates(self, centred: Float64Array, name: str) -> Float64Array:
        """Return the coordinates of rows that `centred` gave, as if they were computed without rounding.

        The rows are first rounded to multiples of 2^-28 or so of the largest number among them.

        Parameters
        ----------
        centred : ndarray of shape (n, C), float64
        name : str
            Names them in a message.

        Returns
        -------
        ndarray of shape (n, d), float64

        Raises
        ------
        NonFiniteError
            If a coordinate is beyond float32.
        """
        integers, exponent = as_integers(centred, self.bits)
        with np.errstate(over="ignore"):
            found = np.ldexp(exact_product(integers, self.columns), exponent - GRID)
        if np.abs(found).max(initial=0) > np.finfo(np.float32).max:
            raise NonFiniteError(
                f"{name} is too large for float32 once it is projected; divide the features by a number"
            )
        return np.asarray(found)

    def energies(self, centred: Float64Array, coordinates: Float64Array) -> tuple[float, float]:
        """Return how much of rows a projection keeps: the sum of squares of their coordinates, and of themselves.

        Parameters
        ----------
        centred : ndarray of shape (n, C), float64
        coordinates : ndarray of shape (n, d), float64

        Returns
        -------
        (float, float)
            Kept and total; kept may exceed total by the rounding of the directions.
        """
        return float(np.einsum("sd,sd->", coordinates, coordinates)), float(np.einsum("sc,sc->", centred, centred))


def exact_product(rows: Float64Array, columns: Float64Array) -> Float64Array:
    """Multiply two matrices of integers so small that no sum is rounded, on the calling thread.

    It is cut into pieces for which a BLAS does not wake its threads: beside a network they cost more than they bring.
    No cut changes a bit.

    Parameters
    ----------
    rows : ndarray of shape (n, C), float64
    columns : ndarray of shape (C, d), float64

    Returns
    -------
    ndarray of shape (n, d), float64
    """
    (n, channels), dimension = rows.shape, columns.shape[1]
    if n == 1:
        return np.asarray(np.einsum("c,cd->d", rows[0], columns))[None]
    found = np.zeros((n, dimension))
    depth = max(8, _PIECE // (min(n, _PIECE_ROWS) * max(dimension, 1)))
    for top in range(0, n, _PIECE_ROWS):
        block = found[top : top + _PIECE_ROWS]
        for start in range(0, channels, depth):
            block += rows[top : top + _PIECE_ROWS, start : start + depth] @ columns[start : start + depth]
    return found


def on_grid(directions: Float64Array) -> NDArray[np.float16]:
    """Round unit vectors to what a `Projection` holds.

    Parameters
    ----------
    directions : ndarray of shape (d, C), float64

    Returns
    -------
    ndarray of shape (d, C), float16
    """
    return np.ldexp(np.rint(np.ldexp(directions, GRID)), -GRID).astype(np.float16)


def as_integers(values: Float64Array, bits: int) -> tuple[Float64Array, int]:
    """Round numbers to integers of so many bits, times one power of two for all of them.

    Parameters
    ----------
    values : ndarray of any shape, float64
        Finite.
    bits : int

    Returns
    -------
    (ndarray, int)
        Whole numbers in float64, and the exponent: value = integer * 2^exponent.
    """
    exponent = int(np.frexp(np.abs(values).max(initial=0))[1]) - bits
    return np.rint(np.ldexp(values, -exponent)), exponent
