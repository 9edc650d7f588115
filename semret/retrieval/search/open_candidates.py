"""Which candidates of one chunk may still be among the best, by upper bounds of their scores."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from semret.arrays import IndexVector


class OpenCandidates:
    """The candidates of one chunk, and which of them are neither solved nor ruled out: the open ones.

    Parameters
    ----------
    count : int
        n, of the candidates.
    allowed : ndarray of intp
        Those that may be among the best.

    Attributes
    ----------
    open : ndarray of shape (n,), bool
    uppers : ndarray of shape (n,), float64
        What the scores are at most; infinity until that is known.
    """

    def __init__(self, count: int, allowed: IndexVector) -> None:
        self.open: NDArray[np.bool_] = np.zeros(count, dtype=bool)
        self.open[allowed] = True
        self.uppers = np.full(count, np.inf)

    def best_of(self, places: IndexVector, count: int) -> IndexVector:
        """Return the `count` candidates of largest upper bound, the largest first; of equal ones the first.

        Parameters
        ----------
        places : ndarray of intp
            Those that are looked at.
        count : int

        Returns
        -------
        ndarray of intp
        """
        return places[np.argsort(-self.uppers[places], kind="stable")[:count]]

    def alive(self, threshold: float) -> IndexVector:
        """Return the open candidates whose score may still reach the threshold; equal scores are decided by id.

        Parameters
        ----------
        threshold : float

        Returns
        -------
        ndarray of intp, ascending
        """
        return np.flatnonzero(self.open & (self.uppers >= threshold))
