"""The result types: what a query answers with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, SupportsIndex, overload


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
    after an exhaustive search only: the share of its hits that a shortlist would have held.
    """

    database: int
    shortlist: int
    solved: int
    pruned: int
    exact: bool
    seconds: dict[str, float] = field(default_factory=dict)
    shortlist_recall: float | None = None


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

    @overload
    def __getitem__(self, rank: SupportsIndex) -> Hit: ...
    @overload
    def __getitem__(self, rank: slice) -> tuple[Hit, ...]: ...
    def __getitem__(self, rank: SupportsIndex | slice) -> Hit | tuple[Hit, ...]:
        return self.hits[rank]

    def __repr__(self) -> str:
        stats = self.stats
        head = (
            f"{self.query!r}: {len(self)} of {stats.database} images, {stats.solved} matched, {stats.pruned} ruled out"
        )
        lines = [f"  {hit.rank:>3}  {hit.score:.4f}  {hit.path!r} (id {hit.id})" for hit in self.hits]
        return "\n".join([f"<SearchResult {head}", *lines]) + ">"

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the query beside its hits."""
        from semret.retrieval.page import render_fragment

        return render_fragment(self)

    def as_json(self) -> dict[str, Any]:
        """Return the JSON object of ``semret query --format json``."""
        return asdict(self)
