"""The answer to a query: hits, how they came about, and how they are shown."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple, SupportsIndex, overload

import numpy as np

from semret.arrays import Float64Array
from semret.names import amount
from semret.optional import need
from semret.progress import Progress
from semret.retrieval.search.explain import Explanation
from semret.retrieval.search.originals import Original
from semret.retrieval.search.page import DRAWING_WIDTH, Section, ShownHit, ShownPart, render_fragment
from semret.retrieval.search.regions import SearchedRegion

if TYPE_CHECKING:
    from PIL import Image


class Part(NamedTuple):
    """One of the pictures of a question that has several.

    Attributes
    ----------
    name : str
    picture : bytes or None
        Its content, if it came from no file.
    avoided : bool
        Whether hits should not be like it.
    """

    name: str
    picture: bytes | None = None
    avoided: bool = False


@dataclass(frozen=True)
class Hit:
    """One retrieved picture.

    Attributes
    ----------
    rank : int
        Counts from 1.
    id, path : int, str
        Of the picture; of the copy with the lowest id, where there are copies.
    score : float
        The similarity that ordered the list.
    pooled_score : float
        Cosine of the centred pooled embeddings that the shortlist was drawn by, from -1 to 1.
    ids, paths : tuple of int, tuple of str
        Of all images of the index with this very content, in the order of ids: `id` and `path` come first. A file and
        its copies are one hit.
    in_shortlist : bool or None
        Known after an exhaustive search only: whether a search of the shortlist would have seen it.
    original : Original or None
        What `image` opens; None for a hit that came from no index.
    parts : tuple of float
        The scores with each of several pictures, see `SearchResult.parts`; empty for a question of one.
    """

    rank: int
    id: int
    path: str
    score: float
    pooled_score: float
    ids: tuple[int, ...] = ()
    paths: tuple[str, ...] = ()
    in_shortlist: bool | None = None
    original: Original | None = field(default=None, repr=False, compare=False)
    parts: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not self.paths:
            object.__setattr__(self, "paths", (self.path,))
        if not self.ids:
            object.__setattr__(self, "ids", (self.id,))

    @property
    def image(self) -> Image.Image:
        """The picture, upright RGB at full size: its file, or a copy's, is read anew each time.

        Raises
        ------
        ImageDecodeError
            If no file is there that still is what was indexed.
        """
        return (self.original or Original((), "")).open()

    def as_json(self) -> dict[str, Any]:
        """Return the JSON object of this hit.

        Returns
        -------
        dict
            The attributes by name, but for `original`, and `parts` where there are none.
        """
        left_out = {"original"} if self.parts else {"original", "parts"}
        return {name: value for name, value in asdict(replace(self, original=None)).items() if name not in left_out}


@dataclass(frozen=True, kw_only=True)
class Stats:
    """How an answer came about.

    Attributes
    ----------
    database : int
        Images in the index.
    shortlist : int
        Candidates that were compared by their tokens; copies of one content count once.
    solved, pruned : int
        Candidates matched to the optimum, and ruled out by an upper bound.
    exact_among_candidates : bool
        Whether the hits are those, in that order, that solving *every candidate* would give. What the shortlist did
        not hold was never compared: unless `candidates` is ``all``, this says nothing of the rest of the index.
    seconds : dict
        Wall time by stage: ``embed``, ``shortlist``, ``read``, ``match``.
    shortlist_recall : float or None
        Known after an exhaustive search only: the share of its hits that the shortlist would have held.
    wanted, shortlist_wanted : int or None
        Hits and candidates that were asked for, None where that was left open: the answer holds what there is.
    candidates : {"shortlist", "given", "all", "patches"}
        What was compared: a shortlist drawn by the pooled embedding, the caller's own candidates, the whole index, or,
        with a region of a large index, what a first stage by patches found.
    shortlist_tried : int or None
        Known after an exhaustive search only: the length of the shortlist that its hits were looked for in.
    score : {"symmetric", "query"}
        What the scores say: how alike the pictures are, or how much of the query a picture shows.
    allowed : int or None
        Images that may be hits, where folders or times were asked for; None where all may.
    min_score : float or None
        What a hit had to reach.
    combine, avoid_weight
        Of a question of several pictures, see `semret.retrieval.search.several.Combining`; None for one.
    expected_recall : float or None
        Known where candidates are ``patches``: the share of the ten best images of a region that were among such
        candidates, as measured on regions of the index itself.
    """

    database: int
    shortlist: int
    solved: int
    pruned: int
    exact_among_candidates: bool
    seconds: dict[str, float] = field(default_factory=dict)
    shortlist_recall: float | None = None
    wanted: int | None = None
    shortlist_wanted: int | None = None
    candidates: str = "shortlist"
    shortlist_tried: int | None = None
    score: str = "symmetric"
    allowed: int | None = None
    min_score: float | None = None
    combine: str | None = None
    avoid_weight: float | None = None
    expected_recall: float | None = None

    @property
    def exact(self) -> bool:
        """The same as `exact_among_candidates`, by its former name."""
        return self.exact_among_candidates

    def __str__(self) -> str:
        """Return the counts and what they prove, as one line."""
        searched = amount(self.database, "image")
        if self.allowed is not None:
            searched = f"{self.allowed} of {searched}"
        parts = [f"{searched} searched", amount(self.shortlist, "candidate")]
        if self.solved or self.pruned:
            parts.append(f"{self.solved} matched, {self.pruned} ruled out by a bound")
        proven = _PROVEN[self.candidates if self.allowed is None else f"{self.candidates} allowed"]
        if self.combine is not None:
            less = "" if self.avoid_weight is None else f", less {self.avoid_weight:g} of what is avoided"
            parts.append(f"mean of {self.combine}{less}")
        parts.append(f"exact {proven}" if self.exact_among_candidates else f"not exact {proven}: approximate solver")
        return " · ".join(parts)


_PROVEN = {
    "shortlist": "among the shortlist's candidates",
    "given": "among the given candidates",
    "all": "over the whole index",
    "shortlist allowed": "among the shortlist's candidates",
    "given allowed": "among the given candidates that the filter allows",
    "all allowed": "over all images that the filter allows",
    "patches": "among the candidates of a first stage by patches",
    "patches allowed": "among those candidates of a first stage by patches that the filter allows",
}


@dataclass(frozen=True, repr=False)
class SearchResult:
    """The answer to one query: a sequence of hits, best first (ties: score, then id).

    In a notebook it shows itself as pictures. `picture` is the content of a query that came from no file, `region` the
    part of it that was searched with, None for the whole. `explanations` are those of the hits, in their order, if they
    were asked for. `parts` are the pictures of a question that has several, or some to avoid; empty for one.
    """

    query: str
    hits: tuple[Hit, ...]
    stats: Stats
    picture: bytes | None = field(default=None, compare=False)
    region: SearchedRegion | None = None
    explanations: tuple[Explanation, ...] = field(default=(), compare=False)
    parts: tuple[Part, ...] = ()

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
        lines = [f"  {hit.rank:>3}  {hit.score:.4f}  {hit.path!r} (id {hit.id}){_copies(hit)}" for hit in self.hits]
        return "\n".join([f"<SearchResult {head}", *lines]) + ">"

    @property
    def asked(self) -> tuple[Part, ...]:
        """The pictures of the question: `parts`, or the only one."""
        return self.parts or (Part(self.query, self.picture),)

    @property
    def ids(self) -> list[int]:
        """Ids of the hits, best first."""
        return [hit.id for hit in self.hits]

    @property
    def paths(self) -> list[str]:
        """Paths of the hits, best first; of copies the first path."""
        return [hit.path for hit in self.hits]

    @property
    def scores(self) -> Float64Array:
        """Scores of the hits, best first, (k,) float64."""
        return np.array([hit.score for hit in self.hits], dtype=np.float64)

    def to_pandas(self) -> Any:
        """Return the hits as a table, one a row, best first.

        Returns
        -------
        pandas.DataFrame
            Columns ``rank``, ``id``, ``path``, ``score``, ``pooled_score`` and ``copies``, the number of further files
            of the same content.

        Raises
        ------
        MissingDependencyError
            If pandas is not installed.
        """
        pandas = need("pandas", "a table", "pandas", "run pip install pandas")
        columns: dict[str, Any] = {
            "rank": np.array([hit.rank for hit in self.hits], dtype=np.int64),
            "id": np.array(self.ids, dtype=np.int64),
            "path": self.paths,
            "score": self.scores,
            "pooled_score": np.array([hit.pooled_score for hit in self.hits], dtype=np.float64),
            "copies": np.array([len(hit.paths) - 1 for hit in self.hits], dtype=np.int64),
        }
        return pandas.DataFrame(columns)

    @property
    def notes(self) -> list[str]:
        """In sentences, what was asked for and is not in the answer, as there is less; most often empty."""
        stats, found = self.stats, []
        if stats.allowed == 0:
            found.append("no image passes the filter")
        elif stats.min_score is not None and (stats.wanted is None or stats.wanted > len(self)):
            few = "no candidate reaches" if not len(self) else f"only {amount(len(self), 'candidate')} reached"
            found.append(f"{few} a score of {stats.min_score:g}")
        elif stats.wanted is not None and stats.wanted > len(self):
            folded = " (copies of a picture count once)" if any(len(hit.paths) > 1 for hit in self.hits) else ""
            found.append(f"{stats.wanted} hits were asked for, there {_be(len(self))} {len(self)}{folded}")
        if stats.shortlist_wanted is not None and stats.shortlist_wanted > stats.shortlist:
            there = f"there {_be(stats.shortlist)} {amount(stats.shortlist, 'candidate')}"
            found.append(f"a shortlist of {stats.shortlist_wanted} was asked for, {there}")
        if stats.expected_recall is not None:
            found.append(
                f"the region was compared with {amount(stats.shortlist, 'image')} that a first stage by patches found; "
                f"of the ten best it finds {_share(stats.expected_recall)}, an exhaustive search finds all"
            )
        return found

    @property
    def missed(self) -> str | None:
        """What the shortlist would have missed, in one sentence; known after an exhaustive search only."""
        if self.stats.shortlist_tried is None:
            return None
        ranks = [str(hit.rank) for hit in self.hits if hit.in_shortlist is False]
        which = (
            f"{len(ranks)} of the {amount(len(self), 'hit')}: rank {', '.join(ranks)}"
            if ranks
            else f"none of the {amount(len(self), 'hit')}"
        )
        return f"a shortlist of {self.stats.shortlist_tried} would have missed {which}"

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the query beside its hits."""
        return render_fragment(self.as_section())

    def as_section(self, *, progress: Progress | None = None) -> Section:
        """Return what an HTML page shows of this answer.

        Parameters
        ----------
        progress : callable or None
            Called with the number of explanations drawn and their total.

        Returns
        -------
        Section
        """
        drawings = self._drawings(progress)
        shown = [
            ShownHit(
                rank=hit.rank,
                score=hit.score,
                path=hit.path,
                copies=hit.paths[1:],
                missed=hit.in_shortlist is False,
                drawing=drawing,
            )
            for hit, drawing in zip(self.hits, drawings, strict=True)
        ]
        region = self.region
        remarks = [
            *([] if region is None else [str(region)]),
            str(self.stats),
            *filter(None, [self.missed]),
            *self.notes,
        ]
        asked = [
            ShownPart(one.name, one.name if one.picture is None else one.picture, one.avoided) for one in self.asked
        ]
        box = None if region is None else region.shares
        return Section(
            query=asked[0].name, picture=asked[0].picture, remarks=remarks, hits=shown, region=box, others=asked[1:]
        )

    def _drawings(self, progress: Progress | None) -> list[bytes]:
        """Return the drawing of each hit's explanation; empty where none was asked for."""
        if not self.explanations:
            return [b""] * len(self)
        drawn: list[bytes] = []
        for explanation in self.explanations:
            if progress is not None:
                progress(len(drawn), len(self))
            drawing = explanation.jpeg(width=DRAWING_WIDTH, names=False) if explanation.can_be_drawn else b""
            drawn.append(drawing)
        return drawn

    def as_json(self) -> dict[str, Any]:
        """Return the JSON object of ``semret query --format json``.

        Returns
        -------
        dict
            Of numbers, strings, lists and dicts alone. It has a ``region`` if the query had one, and each hit an
            ``explanation`` if that was asked for. A question of several pictures has ``pictures``.
        """
        stats = {**asdict(self.stats), "exact": self.stats.exact}
        region = {} if self.region is None else {"region": self.region.as_json()}
        hits = [hit.as_json() for hit in self.hits]
        for hit, explanation in zip(hits, self.explanations, strict=bool(self.explanations)):
            hit["explanation"] = explanation.as_json()
        pictures = [{"name": part.name, "avoided": part.avoided} for part in self.parts]
        several = {"pictures": pictures} if pictures else {}
        return {"query": self.query, **several, **region, "hits": hits, "stats": stats}


def _share(value: float) -> str:
    """Return a share in per cent, which is 100 only for all."""
    return f"{math.floor(value * 1000) / 10:.1f}%"


def _be(count: int) -> str:
    return "is" if count == 1 else "are"


def _copies(hit: Hit) -> str:
    return "".join(f", also {path!r}" for path in hit.paths[1:])
