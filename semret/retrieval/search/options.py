"""How a query is answered, and the check that it can be."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from semret.arrays import require_flag, require_number, require_whole
from semret.centers import CENTERINGS
from semret.errors import ArgumentError
from semret.retrieval.search.dates import DateLike
from semret.retrieval.search.filters import Folders, ImageFilter
from semret.retrieval.search.regions import Region, RegionLike, as_region
from semret.retrieval.similarity.names import SCORES, check_modes, check_name
from semret.retrieval.similarity.shares import require_shares

SHORTLIST = 100
"""Candidates drawn by the pooled embedding unless asked otherwise (or `k`, when that is larger)."""


@dataclass(frozen=True, kw_only=True)
class RerankOptions:
    """How candidates are compared with a query, and how many are wanted.

    Attributes
    ----------
    k : int
        The best candidates wanted, at least 1; where there are fewer candidates, all of them are returned.
    kernel : {"cosine", "linear", "rbf"}
    invariance : {"permutation", "none", "maxsim", "pooled"}
        See `semret.retrieval.similarity.pairs.matched_similarity`.
    solver : str
        A name of `semret.retrieval.matching.solvers.SOLVERS`.
    threads : int or None
        Threads of bounds and solver; None takes all processors.
    prune : bool
        False solves every candidate: for measurements.

    Raises
    ------
    ArgumentError
        If `k` is no whole number of at least 1, or `prune` neither True nor False.
    UnknownNameError
        If a mode or the solver has no such name.
    """

    k: int
    kernel: str = "cosine"
    invariance: str = "permutation"
    solver: str = "auction"
    threads: int | None = None
    prune: bool = True

    def __post_init__(self) -> None:
        check_modes(self.kernel, self.invariance, solver=self.solver)
        require_flag(self.prune, "prune")
        require_whole(self.k, "k")


@dataclass(frozen=True, kw_only=True)
class SearchOptions(RerankOptions):
    """How a query is answered: how candidates are found, compared, and shown.

    Fields that the command line offers have the meaning of its options.

    Attributes
    ----------
    k : int
        Hits wanted, at least 1; where there are fewer pictures, all of them are returned.
    kernel, invariance, solver, threads, prune
        See `RerankOptions`.
    shortlist : int or None
        Candidates that are reranked, at least `k`; None stands for 100, or `k` where that is larger. Where there are
        fewer pictures, all of them are candidates.
    center : {"channel", "position", "none"}
        What is subtracted from all tokens: the database's channel mean, its mean at each position, or nothing.
    exhaustive : bool
        Rerank the whole database, not a shortlist or what a first stage finds, and report which hits that would have
        missed.
    exclude_self : bool or int
        True leaves out the query itself: the image at its path, and every image with the content of its file. A number
        leaves out the image with that id, and its copies.
    region : Region, str, four numbers of pixels, or None
        Search with the patches in this part of the picture; see `semret.retrieval.search.regions.as_region`. Unless a
        shortlist is asked for, the whole index is compared, or of a large one what a first stage by patches finds: a
        picture that shows one thing of the query need not look like it.
    score : {"symmetric", "query"} or None
        ``query`` asks how much of the query a picture shows, whatever else it shows; see
        `semret.retrieval.similarity.query_score`. None is ``query`` for a region and ``symmetric`` for a whole picture.
    explain : bool
        Explain each hit, see `semret.retrieval.search.explain.Explanation`.
    folder : path, sequence of path, or None
        Only images below one of these folders are candidates, and hits: relative to the current directory or to the
        root of the index, or absolute, with ``*``, ``?``, ``[]`` and ``**`` as wildcards.
    since, until : str, date, datetime or None
        Only images whose files were last changed in this time: a day, month or year, both ends included, or a moment,
        in ISO 8601, and in this computer's time zone where none is said.
    min_score : float or None
        Only hits that score at least this.

    Raises
    ------
    ArgumentError, UnknownNameError
        See `RerankOptions`; also if a centre or a score has no such name, the shortlist is no whole number, the region
        is none, the score does not go with the other choices, or is none that can be explained; if a filter is none, or
        what is True or False is neither.
    """

    k: int = 5
    shortlist: int | None = None
    center: str = "channel"
    exhaustive: bool = False
    exclude_self: bool | int = False
    region: RegionLike | None = None
    score: str | None = None
    explain: bool = False
    folder: Folders = None
    since: DateLike | None = None
    until: DateLike | None = None
    min_score: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        require_flag(self.exhaustive, "exhaustive")
        require_flag(self.explain, "explain")
        excluded: object = self.exclude_self
        if isinstance(excluded, np.bool_):
            object.__setattr__(self, "exclude_self", bool(excluded))
        check_name("center", self.center, CENTERINGS)
        if self.shortlist is not None:
            require_whole(self.shortlist, "shortlist")
        if self.region is not None:
            object.__setattr__(self, "region", as_region(self.region))
        if self.score is not None:
            check_name("score", self.score, SCORES)
        self._check_score()
        ImageFilter.read(self.folder, self.since, self.until)
        if self.min_score is not None:
            object.__setattr__(self, "min_score", require_number(self.min_score, "min_score"))
        if self.explain:
            require_shares(self.kernel, self.invariance)

    def _check_score(self) -> None:
        """Refuse choices that the score knows nothing of."""
        if self.box is not None and self.score == "symmetric":
            raise ArgumentError(
                "score symmetric compares whole pictures, but a region is given; leave the score out, or the region"
            )
        if not self.scores_query:
            return
        name = "a region" if self.box is not None else "score query"
        if self.kernel != "cosine":
            raise ArgumentError(f"{name} is scored by cosines of patches, kernel {self.kernel} does not apply to it")
        if self.invariance not in ("permutation", "maxsim"):
            raise ArgumentError(
                f"{name} is scored by invariance permutation or maxsim; {self.invariance} does not apply to it"
            )

    @property
    def images(self) -> ImageFilter:
        """Which images may be hits."""
        return ImageFilter.read(self.folder, self.since, self.until)

    @property
    def box(self) -> Region | None:
        """The region, read."""
        return self.region if isinstance(self.region, Region) else None

    @property
    def scores_query(self) -> bool:
        """Whether the score is ``query``."""
        return self.region is not None or self.score == "query"

    @property
    def compares_all(self) -> bool:
        """Whether the whole index is compared: asked for, or because a region was given without a shortlist.

        In a large index, all that a first stage by patches finds; see `semret.retrieval.search.first_stage`.
        """
        return self.exhaustive or (self.region is not None and self.shortlist is None)

    def check(self, database: int) -> int:
        """Fit the options to a database.

        Parameters
        ----------
        database : int
            Images it holds, at least 1.

        Returns
        -------
        int
            The length of the shortlist, at most `database`.

        Raises
        ------
        ArgumentError
            If the shortlist is too short for `k`.
        """
        shortlist = max(SHORTLIST, self.k) if self.shortlist is None else self.shortlist
        if min(shortlist, database) < min(self.k, database):
            raise ArgumentError(
                f"the shortlist has {shortlist} candidates but k is {self.k}; ask for a shortlist of at least k"
            )
        return min(shortlist, database)
