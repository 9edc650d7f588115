"""How a query is answered, and the check that it can be."""

from __future__ import annotations

import operator
from dataclasses import dataclass

from semret.errors import ArgumentError
from semret.retrieval.similarity.kernels import check_modes

SHORTLIST = 100
"""Candidates drawn by the pooled embedding unless asked otherwise (or `k`, when that is larger)."""


@dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """How a query is answered; every field has the meaning of the command-line option of its name.

    Attributes
    ----------
    k : int
        Hits wanted, at least 1; where there are fewer pictures, all of them are returned.
    shortlist : int or None
        Candidates that are reranked, at least `k`; None stands for 100, or `k` where that is larger. Where there are
        fewer pictures, all of them are candidates.
    kernel : {"cosine", "linear", "rbf"}
    invariance : {"permutation", "none", "maxsim", "pooled"}
    solver : str
        A name of `semret.retrieval.matching.SOLVERS`.
    center : {"channel", "position", "none"}
        What is subtracted from all tokens: the database's channel mean, its mean at each position, or nothing.
    exhaustive : bool
        Rerank the whole database instead of a shortlist, and report which hits the shortlist would have missed.
    exclude_self : bool or int
        True leaves out the query itself: the image at its path, and every image with the content of its file. A number
        leaves out the image with that id, and its copies.
    """

    k: int = 5
    shortlist: int | None = None
    kernel: str = "cosine"
    invariance: str = "permutation"
    solver: str = "auction"
    center: str = "channel"
    exhaustive: bool = False
    exclude_self: bool | int = False

    def check(self, database: int) -> int:
        """Return the length of the shortlist for a database of this many images, at least 1.

        Raises
        ------
        ArgumentError
            If `k` is no whole number of at least 1, or the shortlist is too short for it.
        UnknownNameError
            If a mode or solver has no such name.
        """
        check_modes(self.kernel, self.invariance, self.center, self.solver)
        k = _whole("k", self.k)
        if k < 1:
            raise ArgumentError(f"k is {k}, expected at least 1")
        shortlist = max(SHORTLIST, k) if self.shortlist is None else _whole("shortlist", self.shortlist)
        if min(shortlist, database) < min(k, database):
            raise ArgumentError(
                f"the shortlist has {shortlist} candidates but k is {k}; ask for a shortlist of at least k"
            )
        return min(shortlist, database)


def _whole(name: str, value: int) -> int:
    try:
        return operator.index(value)
    except TypeError as error:
        raise ArgumentError(f"{name} is {value!r}, expected a whole number") from error
