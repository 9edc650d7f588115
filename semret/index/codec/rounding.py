"""Coordinates as small integers, and back: int8, int4 in pairs, and the centroids of a product quantiser."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semret.arrays import Float32Array, Float64Array

LARGEST = {"int8": 127, "int4": 7}
"""Largest integer of a coordinate."""

_PQ_BITS = 16
_PQ_REACH = 2.0**14


def round_tokens(coordinates: Float64Array, largest: int) -> tuple[NDArray[np.int8], Float32Array]:
    """Round each token to integers with a scale of its own.

    Parameters
    ----------
    coordinates : ndarray of shape (S, d), float64
        Finite in float32.
    largest : int
        The integer that the largest coordinate of a token becomes.

    Returns
    -------
    (ndarray of shape (S, d), int8, ndarray of shape (S,), float32)
        Halves are rounded to even. A token without length, or too short for float32, has scale 0 and zeros.
    """
    scales = (np.abs(coordinates).max(axis=1, initial=0) / largest).astype(np.float32)
    wide = scales.astype(np.float64)[:, None]
    quotients = np.divide(coordinates, wide, out=np.zeros_like(coordinates), where=wide > 0)
    # Beyond the largest only where the scale itself is so small that float32 holds few of its digits.
    return np.clip(np.rint(quotients), -largest, largest).astype(np.int8), scales


def pack_pairs(integers: NDArray[np.int8]) -> NDArray[np.uint8]:
    """Return integers of four bits two to a byte, the first in the lower half.

    Parameters
    ----------
    integers : ndarray of shape (..., d), int8
        From -8 to 7.

    Returns
    -------
    ndarray of shape (..., ceil(d / 2)), uint8
        With odd d, the last upper half is 0.
    """
    nibbles = integers.view(np.uint8) & np.uint8(15)
    packed = nibbles[..., ::2].copy()
    packed[..., : nibbles.shape[-1] // 2] |= nibbles[..., 1::2] << np.uint8(4)
    return packed


def unpack_pairs(packed: NDArray[np.uint8], dimension: int) -> NDArray[np.int8]:
    """Undo `pack_pairs`.

    Parameters
    ----------
    packed : ndarray of shape (..., ceil(d / 2)), uint8
    dimension : int
        d.

    Returns
    -------
    ndarray of shape (..., d), int8
    """
    integers = np.empty((*packed.shape[:-1], dimension), dtype=np.int8)
    integers[..., ::2] = (packed << np.uint8(4)).view(np.int8) >> np.int8(4)
    integers[..., 1::2] = (packed[..., : dimension // 2]).view(np.int8) >> np.int8(4)
    return integers


@dataclass(frozen=True, kw_only=True, eq=False)
class Centroids:
    """What the parts of a token may be in a product quantiser: part m of a token is ``scale * integers[m, code]``.

    Attributes
    ----------
    integers : ndarray of shape (M, 256, d / M), int8
        From -127 to 127.
    scale : float
        One for the whole codec, a float32; not negative.
    """

    integers: NDArray[np.int8]
    scale: float

    @functools.cached_property
    def _columns(self) -> Float64Array:
        return np.ascontiguousarray(self.integers.astype(np.float64).transpose(0, 2, 1))

    @functools.cached_property
    def _squares(self) -> Float64Array:
        """Half the squared length of each centroid, in the units of the products."""
        halves = np.ldexp(np.square(self._columns).sum(axis=1), _PQ_BITS - 1)
        return np.asarray(halves[:, None, :])

    def nearest(self, coordinates: Float64Array) -> NDArray[np.uint8]:
        """Return for each part of each token its nearest centroid, the first of equally near ones.

        Parameters
        ----------
        coordinates : ndarray of shape (S, d), float64

        Returns
        -------
        ndarray of shape (S, M), uint8
        """
        parts, _, width = self.integers.shape
        units = coordinates / self.scale if self.scale > 0 else np.zeros_like(coordinates)
        # On a grid and within reach, so that the products below are exact whatever their order.
        whole = np.rint(np.ldexp(np.clip(units, -_PQ_REACH, _PQ_REACH), _PQ_BITS))
        split = np.ascontiguousarray(whole.reshape(-1, parts, width).transpose(1, 0, 2))
        return np.asarray((self._squares - split @ self._columns).argmin(axis=2).T, dtype=np.uint8)

    def decode(self, codes: NDArray[np.uint8]) -> NDArray[np.int8]:
        """Return the integers that codes name.

        Parameters
        ----------
        codes : ndarray of shape (n, S, M), uint8

        Returns
        -------
        ndarray of shape (n, S, d), int8
        """
        parts = self.integers.shape[0]
        chosen = self.integers[np.arange(parts), codes]
        return chosen.reshape(*codes.shape[:2], parts * self.integers.shape[2])
