"""How a query is answered, and the check that it can be."""

from __future__ import annotations

from dataclasses import dataclass

from semret.errors import ArgumentError
from semret.retrieval.kernels import check_modes

SHORTLIST = 100
"""Candidates drawn by the pooled embedding unless asked otherwise (or `k`, when that is larger)."""


@dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """How a query is answered; every field has the meaning of the command-line option of its name.

    Attributes
    ----------
    k : int
        Hits returned, from 1 to the number of images.
    shortlist : int or None
        Candidates that are reranked; None stands for 100, or `k` where that is larger.
    kernel : {"cosine", "linear", "rbf"}
    invariance : {"permutation", "none", "maxsim", "pooled"}
    solver : str
        A name of `semret.retrieval.matching.SOLVERS`.
    center : {"channel", "position", "none"}
        What is subtracted from all tokens: the database's channel mean, its mean at each position, or nothing.
    exhaustive : bool
        Rerank the whole database instead of a shortlist, and report how many hits a shortlist would have held.
    """

    k: int = 5
    shortlist: int | None = None
    kernel: str = "cosine"
    invariance: str = "permutation"
    solver: str = "auction"
    center: str = "channel"
    exhaustive: bool = False

    def check(self, database: int) -> int:
        """Return the length of the shortlist for a database of this many images.

        Raises
        ------
        ArgumentError
            If `k` or `shortlist` does not fit.
        UnknownNameError
            If a mode or solver has no such name.
        """
        check_modes(self.kernel, self.invariance, self.center, self.solver)
        if not 1 <= self.k <= database:
            raise ArgumentError(f"k is {self.k}, expected 1 to {database}, the number of images in the index")
        shortlist = max(SHORTLIST, self.k) if self.shortlist is None else self.shortlist
        if shortlist < self.k:
            raise ArgumentError(
                f"the shortlist has {shortlist} candidates but k is {self.k}; ask for a shortlist of at least k"
            )
        return min(shortlist, database)
