"""From the tokens of an image to its pooled embedding."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from semret.arrays import Float32Array, require_ndim
from semret.errors import ShapeError


def pool(tokens: ArrayLike) -> Float32Array:
    """Average the tokens of each image.

    The mean is the pooling that goes with matching: over all permutations, the value of an assignment between two
    images is on average ``S * <mean a, mean b>``, so the inner product of mean-pooled tokens is, times S, a lower bound
    of the matched inner product. A shortlist ordered by it is ordered by a bound of what reranks it.

    Parameters
    ----------
    tokens : array_like of shape (N, S, C), float16, float32 or float64
        N may be 0; S and C at least 1. Sums are taken in float64, so the order of the positions changes nothing but
        the last bit.

    Returns
    -------
    ndarray of shape (N, C), float32

    Raises
    ------
    ShapeError
        If `tokens` has other than three axes, or no positions to average.
    """
    array = np.asarray(tokens)
    require_ndim(array, 3, "tokens", "(N, S, C)")
    if array.shape[1] == 0 or array.shape[2] == 0:
        raise ShapeError(f"tokens have shape {array.shape}; a mean needs at least one position and one channel")
    means: Float32Array = array.mean(axis=1, dtype=np.float64).astype(np.float32)
    return means
