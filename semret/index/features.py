"""What a collection gives out: its features row by row, and candidates for a rerank."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from semret.arrays import Float32Array, Float64Array, IndexVector
from semret.index.store.segments import columns

if TYPE_CHECKING:
    from semret.index.collection import Collection


class FeatureRows:
    """A two-dimensional array whose rows stay on disk: indexing reads them, ``numpy.asarray`` reads them all."""

    def __init__(self, collection: Collection, name: str) -> None:
        self._collection = collection
        self._name = name
        column = columns(collection.manifest, 1)[name]
        self.shape: tuple[int, int] = (len(collection), column.shape[1])
        self.dtype = np.dtype(column.dtype)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> Float32Array:
        """Return rows by anything that indexes the first axis of an array."""
        chosen = np.arange(len(self))[rows]
        found = self._collection.read(self._name, np.atleast_1d(chosen))
        return found[0] if chosen.ndim == 0 else found

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("rows on disk cannot become an array without being copied")
        found = self._collection.read(self._name, np.arange(len(self)))
        return found if dtype is None else found.astype(dtype, copy=False)


class StoredTokens:
    """Candidates of a rerank: small features at once, tokens when they are read.

    Attributes
    ----------
    ids : ndarray of shape (K,), int64
    shape : (int, int)
        ``(S, C)``.
    """

    def __init__(self, collection: Collection, rows: IndexVector) -> None:
        self._collection = collection
        self._rows = rows
        self.ids = collection.ids[rows]
        self.shape = collection.shape

    @cached_property
    def norms(self) -> Float64Array:
        """Frobenius norms, (K,) float64."""
        return self._collection.read_norms(self._rows)

    @cached_property
    def means(self) -> Float32Array:
        """Mean tokens, (K, C) float32."""
        return self._collection.read("means", self._rows)

    @cached_property
    def pooled(self) -> Float32Array:
        """Pooled embeddings, (K, D) float32."""
        return self._collection.read("pooled", self._rows)

    def read(self, rows: IndexVector) -> NDArray[Any]:
        """Return the tokens of these candidates, (n, S, C) as stored."""
        return self._collection.read("tokens", self._rows[rows])
