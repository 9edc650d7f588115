"""The best k found so far, as the rooms that bound and solve candidates see it."""

from __future__ import annotations

from typing import Any, Protocol

from semret.arrays import Float64Array, IdVector, IndexVector


class Contest(Protocol):
    """Candidates enter it solved or scored; its threshold rules others out."""

    rows: IndexVector
    scores: Float64Array
    sigma: float | None
    pruned: int

    @property
    def threshold(self) -> float:
        """The k-th best score, minus infinity while there are fewer."""

    def solve(self, rows: IndexVector, ids: IdVector, tokens: Any) -> None:
        """Match candidates and enter them.

        Parameters
        ----------
        rows, ids : ndarray of shape (n,)
        tokens : Any
            Of n candidates, in the kind that the query's side solves.
        """
