"""From the tokens of an image to its pooled embedding: their mean, or their generalised mean."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from semret.arrays import Float32Array, as_array, require_ndim
from semret.errors import ArgumentError, ShapeError

POOLINGS = ("mean", "gem")
"""Ways to pool tokens; networks know others (a class token, an embedding of their own)."""


def pool(tokens: ArrayLike, how: str = "mean") -> Float32Array:
    r"""Average the tokens of each image, channel by channel.

    ``gem`` is the generalised mean :math:`(\frac{1}{S}\sum_s \max(x_s, 0)^3)^{1/3}` (GeM with p = 3, [1]_): strong
    responses count for more than many weak ones. It is for maps that are never negative; what is below 0 counts as 0.

    The mean is the pooling that goes with matching: over all permutations, the value of an assignment between two
    images is on average ``S * <mean a, mean b>``, so the inner product of mean-pooled tokens is, times S, a lower bound
    of the matched inner product. A shortlist ordered by it is ordered by a bound of what reranks it.

    Parameters
    ----------
    tokens : array_like of shape (N, S, C), float16, float32 or float64
        N may be 0; S and C at least 1. Sums are taken in float64, so the order of the positions changes nothing but
        the last bit.
    how : {"mean", "gem"}

    Returns
    -------
    ndarray of shape (N, C), float32

    Raises
    ------
    ShapeError
        If `tokens` has other than three axes, or no positions to average.
    ArgumentError
        If `how` is neither.

    References
    ----------
    .. [1] Radenovic, Tolias, Chum: Fine-tuning CNN Image Retrieval with No Human Annotation, TPAMI 2019.

    Examples
    --------
    >>> pool([[[1.0, 0.0], [0.0, 2.0]]])
    array([[0.5, 1. ]], dtype=float32)
    >>> pool([[[2.0, 0.0], [0.0, 2.0]]], "gem").round(3)  # 2 / 2 ** (1 / 3)
    array([[1.587, 1.587]], dtype=float32)
    """
    array = as_array(tokens, "tokens")
    require_ndim(array, 3, "tokens", "(N, S, C)")
    if array.shape[1] == 0 or array.shape[2] == 0:
        raise ShapeError(f"tokens have shape {array.shape}; a mean needs at least one position and one channel")
    if how not in POOLINGS:
        raise ArgumentError(f"tokens cannot be pooled by {how!r}; choose one of {', '.join(POOLINGS)}")
    if how == "mean":
        return np.asarray(array.mean(axis=1, dtype=np.float64), dtype=np.float32)
    positive = np.maximum(array, 0, dtype=np.float64)
    return np.asarray(np.cbrt((positive * positive * positive).mean(axis=1)), dtype=np.float32)


def pool_sums(sums: NDArray[Any], positions: int, how: str) -> Float32Array:
    """Finish what `pool` does, from sums over the positions.

    Parameters
    ----------
    sums : ndarray of shape (N, C), float32 or float64
        Of the tokens, or for ``gem`` of the third powers of what is positive of them.
    positions : int
        S, at least 1.
    how : {"mean", "gem"}

    Returns
    -------
    ndarray of shape (N, C), float32
    """
    means = sums.astype(np.float64) / positions
    return np.asarray(means if how == "mean" else np.cbrt(means), dtype=np.float32)
