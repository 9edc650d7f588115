r"""The score of a query's parts: how much of the query a candidate shows, whatever else it shows.

With the query's tokens :math:`q_i` and a candidate's tokens :math:`d_j`, both centred, and a matching :math:`\pi`,

.. math:: \sum_i w_i \cos(q_i, d_{\pi(i)}), \qquad w_i = |q_i|^2 / \sum_k |q_k|^2 .

It is 1 where every token of the query has its equal, or a multiple of it, in the candidate. It is linear in the
matching: the matched inner product of the tokens :math:`w_i q_i / |q_i|` with the tokens :math:`d_j / |d_j|`. So maps
that are changed in this way are compared by the kernel ``linear``, and every bound and solver stays as it is. A token
of norm 0 has the cosine 0 with all.
"""

from __future__ import annotations

from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from semret.arrays import Float64Array, FloatArray
from semret.integer_tokens import IntegerTokens
from semret.retrieval.native.threads import in_threads
from semret.retrieval.similarity.integer_maps import prepare_integers
from semret.retrieval.similarity.maps import prepare

_USUAL = 2.0**-100, 2.0**100
"""Norms of tokens that float32 can be multiplied by the reciprocals of."""


@overload
def weigh_query(tokens: FloatArray, center: ArrayLike | None = None) -> FloatArray: ...
@overload
def weigh_query(tokens: IntegerTokens, center: ArrayLike | None = None) -> IntegerTokens: ...
def weigh_query(tokens: FloatArray | IntegerTokens, center: ArrayLike | None = None) -> FloatArray | IntegerTokens:
    r"""Turn a query's tokens into :math:`w_i q_i / |q_i|`.

    Parameters
    ----------
    tokens : ndarray of shape (Sq, C), or IntegerTokens of length 1
        Integer tokens keep their integers: their scales alone change.
    center : array_like of shape (C,) or (Sq, C), or None
        Subtracted first; integer tokens, which are stored centred, become floats for it.

    Returns
    -------
    ndarray of shape (Sq, C), float32 or float64, or IntegerTokens with scales in float64
        All zero for a query of zeros.

    Raises
    ------
    ShapeError, ArgumentError, NonFiniteError
        See `semret.retrieval.similarity.maps.prepare`.

    Examples
    --------
    Weights are 16 / 20 and 4 / 20.

    >>> weigh_query(np.array([[4.0, 0.0], [0.0, 2.0]])).tolist()
    [[0.8, 0.0], [0.0, 0.2]]
    """
    if isinstance(tokens, IntegerTokens) and center is not None:
        tokens = tokens.as_floats()[0]
    if isinstance(tokens, IntegerTokens):
        lengths = _integer_lengths(tokens, 1)
        squared = (tokens.scales.astype(np.float64) * lengths) ** 2
        scales = _divided(_divided(squared, squared.sum(axis=1, keepdims=True)), lengths)
        return IntegerTokens(integers=tokens.integers, scales=scales)
    maps = prepare(np.asarray(tokens)[None], center, "the query's tokens")
    squared = maps.token_squares
    shares = _divided(np.sqrt(squared), squared.sum(axis=1, keepdims=True))
    return np.asarray(maps.tokens[0] * shares[0, :, None], dtype=maps.tokens.dtype)


@overload
def level_maps(tokens: FloatArray, center: ArrayLike | None = None, *, threads: int | None = 1) -> FloatArray: ...
@overload
def level_maps(tokens: IntegerTokens, center: ArrayLike | None = None, *, threads: int | None = 1) -> IntegerTokens: ...
def level_maps(
    tokens: FloatArray | IntegerTokens,
    center: ArrayLike | None = None,
    *,
    threads: int | None = 1,
) -> FloatArray | IntegerTokens:
    r"""Turn candidates' tokens into :math:`d_j / |d_j|`.

    Parameters
    ----------
    tokens : ndarray of shape (n, S, C), or IntegerTokens of length n
        Integer tokens keep their integers: their scales alone change.
    center : array_like of shape (C,) or (S, C), or None
        Subtracted first; integer tokens, which are stored centred, become floats for it.
    threads : int or None
        None takes all processors.

    Returns
    -------
    ndarray of shape (n, S, C), float32 or float64, or IntegerTokens with scales in float64
        Tokens of norm 0 stay zero.

    Raises
    ------
    ShapeError, ArgumentError, NonFiniteError
        See `semret.retrieval.similarity.maps.prepare`.

    Examples
    --------
    >>> level_maps(np.array([[[3.0, 4.0], [0.0, 0.0]]])).tolist()
    [[[0.6, 0.8], [0.0, 0.0]]]
    """
    if isinstance(tokens, IntegerTokens) and center is not None:
        tokens = tokens.as_floats()
    if isinstance(tokens, IntegerTokens):
        inverse = _divided(np.ones(tokens.scales.shape), _integer_lengths(tokens, threads))
        return IntegerTokens(integers=tokens.integers, scales=np.where(tokens.scales > 0, inverse, 0.0))
    maps = prepare(tokens, center, "the candidates' tokens", threads=threads)
    lengths = np.sqrt(maps.token_squares)

    def divide(start: int, stop: int) -> None:
        for values, norms in zip(maps.tokens[start:stop], lengths[start:stop], strict=True):
            if values.dtype == np.float32 and _USUAL[0] < norms.min() and norms.max() < _USUAL[1]:
                # A quarter of the time: a map's reciprocals are within float32.
                values *= (1 / norms).astype(np.float32)[:, None]
            else:
                values[:] = _divided(values, norms[:, None])

    in_threads(divide, len(maps), threads)
    return maps.tokens


def _integer_lengths(tokens: IntegerTokens, threads: int | None) -> Float64Array:
    """Return the norm of each token's integers; the squares are exact."""
    return np.asarray(np.sqrt(prepare_integers(tokens, threads=threads).squares))


def _divided(values: NDArray[np.floating[Any]], by: Float64Array) -> Float64Array:
    """Divide in float64, and give 0 where the divisor is 0."""
    quotients: Float64Array = np.zeros(np.broadcast_shapes(values.shape, by.shape))
    np.divide(values, by, out=quotients, where=by > 0)
    return quotients
