"""Token maps as small integers with a scale for each token: what a codec stores, and what is matched exactly.

Products of int8 are exact in int32, in whatever order they are added. So the affinity of two such tokens is one
float64 expression of three numbers, the same on any processor and on any number of threads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semret.arrays import Float32Array, IndexVector, as_array, require_finite, require_ndim
from semret.errors import ShapeError


@dataclass(frozen=True, kw_only=True)
class IntegerTokens:
    """The tokens of n images: token s of image i is ``scales[i, s] * integers[i, s]``.

    Attributes
    ----------
    integers : ndarray of shape (n, S, D), int8
        From -127 to 127.
    scales : ndarray of shape (n, S), float32 or float64
        Not negative, finite.

    Raises
    ------
    ShapeError
        If shapes or dtypes are others.
    NonFiniteError
        If a scale is NaN or infinite.
    """

    integers: NDArray[np.int8]
    scales: NDArray[np.floating[Any]]

    def __post_init__(self) -> None:
        integers, scales = as_array(self.integers, "the integers"), as_array(self.scales, "the scales")
        require_ndim(integers, 3, "the integers", "(n, S, D)")
        if integers.dtype != np.int8 or scales.dtype not in (np.float32, np.float64):
            raise ShapeError(
                f"the integers have dtype {integers.dtype} and the scales {scales.dtype}, "
                "expected int8, and float32 or float64"
            )
        if scales.shape != integers.shape[:2]:
            raise ShapeError(f"the scales have shape {scales.shape}, expected {integers.shape[:2]}: one for each token")
        require_finite(scales, "the scales")

    def __len__(self) -> int:
        return len(self.integers)

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(n, S, D)``."""
        n, positions, dimension = self.integers.shape
        return n, positions, dimension

    def __getitem__(self, rows: slice | IndexVector) -> IntegerTokens:
        """Return some of the images, by anything that indexes the first axis and keeps it."""
        return IntegerTokens(integers=self.integers[rows], scales=self.scales[rows])

    def as_floats(self) -> Float32Array:
        """Return the tokens as numbers.

        Returns
        -------
        ndarray of shape (n, S, D), float32
            Each rounded once.
        """
        return np.asarray(self.scales[:, :, None] * self.integers, dtype=np.float32)
