"""Words: directions fitted to the tokens of a sample of a collection, and which of them each token is nearest to."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semret.arrays import Float32Array, IndexVector
from semret.forked import inherited
from semret.index.shortlist.word_recall import unit_tokens
from semret.integer_tokens import IntegerTokens

ReadTokens = Callable[[IndexVector], IntegerTokens]
"""Gives the stored tokens of images at positions."""

_MOST_WORDS = 4096
_WORDS = 16.0
_SAMPLE = 40
_ROUNDS = 8
_AT_ONCE = 128
_FLAT = 256
_COARSE_PROBED = 4
_SEED = 20


def fit_directions(tokens: ReadTokens, images: int, chance: np.random.Generator) -> Float32Array:
    """Fit directions, the words, to the tokens of a sample of a collection by k-means.

    Parameters
    ----------
    tokens : callable
        See `ReadTokens`.
    images : int
        How many the collection has, at least 1.
    chance : Generator

    Returns
    -------
    ndarray of shape (words, D), float32
        Of length 1; one at least. The same collection gives the same.

    Raises
    ------
    IndexCorruptError
        If tokens cannot be read.
    """
    # Collections of ordinary size have no words, and need not wait for it.
    import faiss

    count = min(_MOST_WORDS, max(1, round(_WORDS * math.sqrt(images))))
    positions = tokens(np.zeros(1, dtype=np.intp)).shape[1]
    chosen = np.sort(chance.choice(images, min(images, -(-_SAMPLE * count // positions)), replace=False))
    sample = np.concatenate([_directions(found) for _, found in chunks(chosen, tokens)])
    if not len(sample):
        return np.eye(1, sample.shape[1], dtype=np.float32)
    if inherited("faiss"):
        faiss.omp_set_num_threads(1)
    means = faiss.Kmeans(
        sample.shape[1], min(count, len(sample)), niter=_ROUNDS, seed=_SEED, spherical=True, min_points_per_centroid=1,
        max_points_per_centroid=len(sample),
    )  # fmt: skip
    means.train(sample)
    return np.ascontiguousarray(means.centroids, dtype=np.float32)


def _directions(found: IntegerTokens) -> Float32Array:
    """Return the tokens that are not zero, at length 1, (n, D)."""
    unit, lengths = unit_tokens(found)
    return unit[lengths > 0]


class Assigner:
    """Finds the word of tokens: the nearest, or one that is about as near.

    Of many words those are looked at that lie around the few nearest of some coarse directions.

    Parameters
    ----------
    centroids : ndarray of shape (words, D), float32
    """

    def __init__(self, centroids: Float32Array) -> None:
        self._centroids = centroids
        self._coarse: Any = None
        if len(centroids) > _FLAT:
            import faiss

            if inherited("faiss"):
                faiss.omp_set_num_threads(1)
            dimension, lists = centroids.shape[1], round(math.sqrt(len(centroids)))
            # Held here, for FAISS holds no reference to it.
            self._quantiser = faiss.IndexFlatIP(dimension)
            self._coarse = faiss.IndexIVFFlat(self._quantiser, dimension, lists, faiss.METRIC_INNER_PRODUCT)
            self._coarse.cp.min_points_per_centroid = 1
            self._coarse.train(centroids)
            self._coarse.add(centroids)
            self._coarse.nprobe = _COARSE_PROBED

    def __call__(self, unit: Float32Array) -> NDArray[np.int64]:
        """Find words.

        Parameters
        ----------
        unit : ndarray of shape (n, S, D), float32
            Of length 1, or zero.

        Returns
        -------
        ndarray of shape (n, S), int64
            -1 for a token of zeros.
        """
        flat = np.ascontiguousarray(unit.reshape(-1, unit.shape[2]))
        if self._coarse is None:
            words: NDArray[np.int64] = np.argmax(flat @ self._centroids.T, axis=1)
        else:
            words = self._coarse.search(flat, 1)[1][:, 0]
            lost = np.flatnonzero(words < 0)
            words[lost] = np.argmax(flat[lost] @ self._centroids.T, axis=1)
        words[~flat.any(axis=1)] = -1
        return words.reshape(unit.shape[:2])


def chunks(rows: IndexVector, tokens: ReadTokens) -> Iterator[tuple[IndexVector, IntegerTokens]]:
    """Read tokens in chunks of bounded memory.

    Parameters
    ----------
    rows : ndarray of shape (n,), integer
        Positions.
    tokens : callable
        See `ReadTokens`.

    Yields
    ------
    (ndarray, IntegerTokens)
        Some of the positions, and the tokens of the images there.
    """
    for start in range(0, len(rows), _AT_ONCE):
        part = rows[start : start + _AT_ONCE]
        yield part, tokens(part)
