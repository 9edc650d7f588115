"""Which images hold which words, gathered image by image and asked for word by word."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from semret.arrays import IndexVector

_MERGED = 1 << 14
"""Images after which what was gathered is sorted by words."""


class Postings:
    """Gathers which images hold which words.

    Parameters
    ----------
    words : int
        How many there are.
    """

    def __init__(self, words: int) -> None:
        self._words = words
        self._pieces: list[tuple[NDArray[np.uint32], NDArray[np.int64]]] = []
        self._loose: list[NDArray[np.int64]] = []
        self._loose_rows = 0

    def add(self, rows: IndexVector, words: NDArray[np.int64]) -> None:
        """Add images and the words of their tokens.

        Parameters
        ----------
        rows : ndarray of shape (n,), integer
            Positions, ascending, behind those that were added before.
        words : ndarray of shape (n, S), int64
            -1 for none.
        """
        pairs = words + np.asarray(rows, dtype=np.int64)[:, None] * self._words
        self._loose.append(np.unique(pairs[words >= 0]))
        self._loose_rows += len(rows)
        if self._loose_rows >= _MERGED:
            self.merge()

    def merge(self) -> None:
        """Sort what was added by words; to be called before anything is asked for."""
        keys = np.concatenate(self._loose) if self._loose else np.zeros(0, dtype=np.int64)
        places, words = np.divmod(keys, self._words)
        order = np.argsort(words.astype(np.uint16), kind="stable")
        ends = np.cumsum(np.bincount(words, minlength=self._words))
        self._pieces.append((places[order].astype(np.uint32), ends))
        self._loose, self._loose_rows = [], 0

    def add_sorted(self, holders: list[NDArray[np.uint32]]) -> None:
        """Add the images that hold each word.

        Parameters
        ----------
        holders : list of ndarray
            One for each word: positions, ascending.
        """
        ends = np.cumsum([len(places) for places in holders])
        self._pieces.append((np.concatenate(holders), ends))

    def holders(self, word: int) -> IndexVector:
        """Return the positions of the images that hold a word.

        Parameters
        ----------
        word : int

        Returns
        -------
        ndarray of shape (n,), intp
            Ascending.
        """
        parts = [places[ends[word - 1] if word else 0 : ends[word]] for places, ends in self._pieces]
        found = np.concatenate(parts).astype(np.intp)
        # Pieces that were added one behind the other are in order.
        return found if (np.diff(found) > 0).all() else np.sort(found)
