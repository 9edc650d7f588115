"""Array types and the checks at the package's boundary.

Shapes are written with one alphabet: ``N`` images, ``S = H * W`` spatial positions, ``C`` channels, ``D`` length of a
pooled embedding, ``Q`` queries, ``K`` length of a shortlist, ``k`` results kept. Aliases carry the dtype, docstrings
the shape.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from semret.errors import NonFiniteError, ShapeError

FloatArray: TypeAlias = NDArray[np.floating[Any]]
Float16Array: TypeAlias = NDArray[np.float16]
Float32Array: TypeAlias = NDArray[np.float32]
Float64Array: TypeAlias = NDArray[np.float64]
IndexVector: TypeAlias = NDArray[np.intp]
IdVector: TypeAlias = NDArray[np.int64]


def require_ndim(array: NDArray[Any], ndim: int, name: str, meaning: str) -> None:
    """Raise ShapeError unless `array` has `ndim` axes; `meaning` is the expected shape in words, ``(S, C)``."""
    if array.ndim != ndim:
        raise ShapeError(f"{name} has shape {array.shape}, expected {ndim} axes {meaning}")


def require_finite(array: NDArray[Any], name: str) -> None:
    """Raise NonFiniteError if `array` holds NaN or infinity, telling which and how many."""
    # A sum is finite only if every term is: one pass and no temporary in the common case.
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(np.add.reduce(array, axis=None, dtype=np.float64)):
            return
    nan, infinite = int(np.isnan(array).sum()), int(np.isinf(array).sum())
    if nan or infinite:
        raise NonFiniteError(
            f"{name} holds {nan} NaN and {infinite} infinite values out of {array.size}; all must be finite"
        )


def as_tokens(tokens: ArrayLike, name: str = "tokens") -> FloatArray:
    """Return `tokens` as a float array of shape (S, C), S and C at least 1, all finite.

    float16, float32 and float64 keep their dtype; integers and booleans become float32.

    Raises
    ------
    ShapeError
        If `tokens` is not two-dimensional or has an empty axis.
    NonFiniteError
        If a value is NaN or infinite.
    """
    array = np.asarray(tokens)
    require_ndim(array, 2, name, "(S, C)")
    if 0 in array.shape:
        raise ShapeError(f"{name} is empty: shape {array.shape}, expected at least one position and one channel")
    if array.dtype not in (np.float16, np.float32, np.float64):
        if array.dtype.kind not in "iub":
            raise ShapeError(f"{name} has dtype {array.dtype}, expected float16, float32 or float64")
        array = array.astype(np.float32)
    require_finite(array, name)
    return array
