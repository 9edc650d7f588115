"""Texts that lie one behind the other in an array."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray


class JoinedTexts:
    """N texts, cut out when they are taken. Where an end is damaged, a text is too short, or empty.

    Parameters
    ----------
    blob : ndarray of uint8
        All of them.
    ends : ndarray of shape (N,), int64
        Where each ends in it.
    """

    def __init__(self, blob: NDArray[np.uint8], ends: NDArray[np.int64]) -> None:
        self._blob = blob
        self._ends = ends

    def __len__(self) -> int:
        return len(self._ends)

    def __iter__(self) -> Iterator[bytes]:
        return (self[place] for place in range(len(self)))

    def __getitem__(self, place: int) -> bytes:
        start = int(self._ends[place - 1]) if place else 0
        return self._blob[max(start, 0) : max(int(self._ends[place]), 0)].tobytes()
