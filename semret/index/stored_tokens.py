"""The features of some images of an index as the candidates of a rerank: read when they are taken."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from semret.arrays import Float32Array, Float64Array, FloatArray, IdVector, IndexVector
from semret.index.codec.codec import Codec
from semret.index.features import Features
from semret.integer_tokens import IntegerTokens


class StoredTokens:
    """Candidates of a rerank: small features at once, tokens when they are read.

    Parameters
    ----------
    features : Features
        Of all images.
    ids : ndarray of shape (K,), int64
        Of the candidates.
    rows : ndarray of shape (K,), integer
        Their positions among all images.

    Attributes
    ----------
    ids : ndarray of shape (K,), int64
    shape : (int, int)
        ``(S, C)``.
    """

    def __init__(self, features: Features, ids: IdVector, rows: IndexVector) -> None:
        self._features = features
        self._rows = rows
        self.ids = ids
        self.shape = features.shape

    @cached_property
    def norms(self) -> Float64Array:
        """Frobenius norms, (K,) float64."""
        return self._features.read_norms(self._rows)

    @cached_property
    def means(self) -> Float32Array:
        """Mean tokens, (K, C) float32."""
        return self._features.read_means(self._rows)

    @cached_property
    def pooled(self) -> FloatArray:
        """Pooled embeddings as stored, (K, D)."""
        return self._features.read("pooled", self._rows)

    def read(self, rows: IndexVector) -> FloatArray | IntegerTokens:
        """Read tokens of candidates.

        Parameters
        ----------
        rows : ndarray of shape (n,), integer
            Which of the candidates, from 0 to K - 1.

        Returns
        -------
        ndarray of shape (n, S, C), or IntegerTokens
            In the stored dtype; integers with a codec.

        Raises
        ------
        IndexCorruptError
            If what is read is damaged.
        """
        return self._features.read_tokens(self._rows[rows])


class UncentredTokens(StoredTokens):
    """Candidates stored with a codec, with the mean that it subtracted: see `semret.index.codec.Codec.with_mean`.

    Parameters
    ----------
    features : Features
        Of all images; with a codec.
    codec : Codec
        The features'.
    ids, rows
        As for `StoredTokens`.
    """

    def __init__(self, features: Features, codec: Codec, ids: IdVector, rows: IndexVector) -> None:
        super().__init__(features, ids, rows)
        self._codec = codec
        self.shape = (features.shape[0], features.shape[1] + 1)

    @cached_property
    def norms(self) -> Float64Array:
        """Frobenius norms, (K,) float64, within the rounding of the stored means."""
        origin, positions = self._codec.origin.astype(np.float64), self.shape[0]
        norms, means = self._features.read_norms(self._rows), self._features.read_means(self._rows)
        squared = norms**2 + positions * float(origin @ origin)
        # Not by BLAS: what an image gives must not depend on those beside it.
        inner = np.einsum("kc,c->k", means.astype(np.float64), origin[:-1])
        return np.asarray(np.sqrt(np.maximum(squared + 2 * positions * inner, 0.0)))

    @cached_property
    def means(self) -> Float32Array:
        """Mean tokens, (K, C) float32."""
        inside = self._features.read_means(self._rows) + self._codec.origin[:-1]
        return np.column_stack([inside, np.full(len(inside), self._codec.origin[-1])]).astype(np.float32)

    def read(self, rows: IndexVector) -> FloatArray:
        """Read tokens of candidates.

        Parameters
        ----------
        rows : ndarray of shape (n,), integer
            Which of the candidates, from 0 to K - 1.

        Returns
        -------
        ndarray of shape (n, S, C), float32

        Raises
        ------
        IndexCorruptError
            If what is read is damaged.
        """
        found = super().read(rows)
        return self._codec.with_mean(found) if isinstance(found, IntegerTokens) else found
