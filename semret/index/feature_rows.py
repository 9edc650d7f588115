"""Features of all images as an array whose rows stay on disk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semret.arrays import IndexVector


class FeatureRows:
    """A two-dimensional array whose rows stay on disk: indexing reads them, ``numpy.asarray`` reads them all.

    Parameters
    ----------
    read : callable
        Takes positions (n,) and returns the rows (n, D).
    shape : (int, int)
        ``(N, D)``.
    dtype : str
        Of the rows.
    """

    def __init__(self, read: Callable[[IndexVector], NDArray[Any]], shape: tuple[int, int], dtype: str) -> None:
        self._read = read
        self.shape = shape
        self.dtype = np.dtype(dtype)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> NDArray[Any]:
        """Return rows by anything that indexes the first axis of an array."""
        if isinstance(rows, (int, np.integer)) and 0 <= rows < len(self):
            return np.asarray(self._read(np.array([rows]))[0])
        chosen = np.arange(len(self))[rows]
        found = self._read(np.atleast_1d(chosen))
        return found[0] if chosen.ndim == 0 else found

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("rows on disk cannot become an array without being copied")
        found = self._read(np.arange(len(self)))
        return found if dtype is None else found.astype(dtype, copy=False)
