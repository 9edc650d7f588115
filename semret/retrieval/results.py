"""The result types: what a query answers with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Hit:
    """One retrieved image.

    `rank` counts from 1. `score` is the similarity that ordered the list, `pooled_score` the cosine of the centred
    pooled embeddings that the shortlist was drawn by.
    """

    rank: int
    id: int
    path: str
    score: float
    pooled_score: float


@dataclass(frozen=True, kw_only=True)
class Stats:
    """How an answer came about.

    `database` images were searched, `shortlist` of them were candidates; `solved` were matched to the optimum and
    `pruned` ruled out by an upper bound. `exact` says that the order is the one that solving every candidate would
    give. `seconds` holds wall time by stage: ``embed``, ``shortlist``, ``read``, ``match``. `shortlist_recall` is known
    after an exhaustive search only: the share of its hits that a shortlist would have held. `wanted` hits were asked
    for, and `shortlist_wanted` candidates, None where that was left open: the answer holds what there is.
    """

    database: int
    shortlist: int
    solved: int
    pruned: int
    exact: bool
    seconds: dict[str, float] = field(default_factory=dict)
    shortlist_recall: float | None = None
    wanted: int | None = None
    shortlist_wanted: int | None = None


@dataclass(frozen=True, repr=False)
class SearchResult:
    """The answer to one query: a sequence of hits, best first (ties: score, then id).

    In a notebook it shows itself as pictures.
    """

    query: str
    hits: tuple[Hit, ...]
    stats: Stats

    def __iter__(self) -> Iterator[Hit]:
        return iter(self.hits)

    def __len__(self) -> int:
        return len(self.hits)

    def __getitem__(self, rank: int) -> Hit:
        return self.hits[rank]

    def __repr__(self) -> str:
        stats = self.stats
        head = (
            f"{self.query!r}: {len(self)} of {stats.database} images, {stats.solved} matched, {stats.pruned} ruled out"
        )
        lines = [f"  {hit.rank:>3}  {hit.score:.4f}  {hit.path!r} (id {hit.id})" for hit in self.hits]
        return "\n".join([f"<SearchResult {head}", *lines]) + ">"

    @property
    def notes(self) -> list[str]:
        """What the answer could not hold of what was asked for, in sentences; most often nothing."""
        stats, found = self.stats, []
        if stats.wanted is not None and stats.wanted > len(self):
            found.append(f"{stats.wanted} hits were asked for, there are {len(self)}")
        if stats.shortlist_wanted is not None and stats.shortlist_wanted > stats.shortlist:
            found.append(
                f"a shortlist of {stats.shortlist_wanted} was asked for, there are {stats.shortlist} candidates"
            )
        return found

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the query beside its hits."""
        from semret.retrieval.page import render_fragment

        return render_fragment(self)

    def as_json(self) -> dict[str, Any]:
        """Return the JSON object of ``semret query --format json``."""
        return asdict(self)
