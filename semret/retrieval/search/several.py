"""Several pictures as one question, and pictures to avoid: every candidate is compared with each of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import chain
from typing import NamedTuple

import numpy as np

from semret.arrays import Float64Array, IdVector, require_number
from semret.errors import ArgumentError
from semret.index.collection import Collection
from semret.progress import Progress
from semret.retrieval.search.answers import Compared
from semret.retrieval.search.candidates import Reranked
from semret.retrieval.search.comparing import Clock, Comparer
from semret.retrieval.search.options import SearchOptions
from semret.retrieval.search.query_pictures import ImageLike, Seen
from semret.retrieval.search.results import Part, SearchResult
from semret.retrieval.similarity.names import check_name

COMBINATIONS = ("scores", "ranks")
AVOID_WEIGHT = 0.75


@dataclass(frozen=True, kw_only=True)
class Combining:
    """How the scores of a candidate with several pictures become one.

    Attributes
    ----------
    how : {"scores", "ranks"}
        ``scores`` takes the mean of the scores with the wanted pictures. ``ranks`` takes the mean of the places that
        the candidate has in the order of each: 1 for the first of the candidates, 0 for the last.
    avoid_weight : float
        So many times the score, or place, with the most similar of the avoided pictures is taken away; from 0.

    Raises
    ------
    ArgumentError, UnknownNameError
        If there is no such way, or the weight is negative or no number.
    """

    how: str = "scores"
    avoid_weight: float = AVOID_WEIGHT

    def __post_init__(self) -> None:
        check_name("combine", self.how, COMBINATIONS)
        require_number(self.avoid_weight, "avoid_weight", "a number of at least 0", lambda weight: weight >= 0)


class Asked(NamedTuple):
    """The pictures of one question.

    Attributes
    ----------
    wanted, avoided : list of Seen
    """

    wanted: list[Seen]
    avoided: list[Seen]

    def check(self) -> None:
        """Refuse a picture that is wanted and avoided.

        Raises
        ------
        ArgumentError
            If there is one.
        """
        contents = {seen.content for seen in self.wanted if seen.content is not None}
        for seen in self.avoided:
            if seen.content in contents:
                raise ArgumentError(f"{seen.name} is to be avoided, but the same picture is searched with")

    @property
    def name(self) -> str:
        """What the question is called."""
        return " + ".join(seen.name for seen in self.wanted) + "".join(f" - {seen.name}" for seen in self.avoided)


def check_together(pictures: Sequence[ImageLike], options: SearchOptions) -> None:
    """Refuse what one question of these pictures cannot be asked with.

    Parameters
    ----------
    pictures : sequence of ImageLike
        Those that are wanted.
    options : SearchOptions

    Raises
    ------
    ArgumentError
        If there is no picture, a region for several, or explanations are asked for.
    """
    if not pictures:
        raise ArgumentError("there is no picture to search with; give at least one")
    if options.box is not None and len(pictures) > 1:
        raise ArgumentError(f"region {options.box} is a part of one picture, but {len(pictures)} are searched with")
    if options.explain:
        raise ArgumentError(
            "explanations are of the score with one picture, and hits of several have many: "
            "ask for one picture, or explain them one by one"
        )


def combined(wanted: Float64Array, avoided: Float64Array, combining: Combining) -> Float64Array:
    """Make one score of several.

    Parameters
    ----------
    wanted : ndarray of shape (Q, K), float64
        Scores of K candidates with each wanted picture; Q is at least 1.
    avoided : ndarray of shape (A, K), float64
        Scores with each picture to avoid; A may be 0.
    combining : Combining

    Returns
    -------
    ndarray of shape (K,), float64

    Examples
    --------
    >>> two = np.array([[0.9, 0.5, 0.1], [0.2, 0.6, 0.1]])
    >>> combined(two, np.zeros((0, 3)), Combining()).round(2).tolist()
    [0.55, 0.55, 0.1]
    >>> combined(two, np.array([[0.0, 0.0, 0.8]]), Combining(avoid_weight=0.5)).round(2).tolist()
    [0.55, 0.55, -0.3]
    >>> combined(two, np.zeros((0, 3)), Combining(how="ranks")).tolist()
    [0.75, 0.75, 0.0]
    """
    if combining.how == "ranks":
        wanted, avoided = _places(wanted), _places(avoided)
    mean: Float64Array = wanted.sum(axis=0) / len(wanted)
    return mean - combining.avoid_weight * avoided.max(axis=0) if len(avoided) else mean


def _places(scores: Float64Array) -> Float64Array:
    """Return 1 for the first of each row, 0 for the last; equal scores share the best place."""
    order = np.sort(scores, axis=1)
    larger = [scores.shape[1] - np.searchsorted(*pair, side="right") for pair in zip(order, scores, strict=True)]
    behind = np.array(larger, dtype=np.float64).reshape(scores.shape)
    return np.asarray(1.0 - behind / max(scores.shape[1] - 1, 1))


def search_together(
    collection: Collection,
    comparer: Comparer,
    asked: Asked,
    options: SearchOptions,
    combining: Combining,
    *,
    length: int,
    excluded: IdVector,
    among: IdVector | None,
    clock: Clock,
    progress: Progress | None = None,
) -> SearchResult:
    """Answer one question of several pictures.

    Candidates are those of all wanted pictures together. Every one is matched with every picture, so hits, scores and
    ties are those of brute force over them.

    Parameters
    ----------
    collection : Collection
    comparer : Comparer
        Of the collection.
    asked : Asked
    options : SearchOptions
    combining : Combining
    length : int
        Of the shortlist of each picture.
    excluded : ndarray of int64
        Ids that may be no hits.
    among : ndarray of int64, ascending, or None
        The only ids that may be.
    clock : Clock
        Says how long the stages before took.
    progress : callable or None
        Called with the number of pairs compared and their total.

    Returns
    -------
    SearchResult
    """
    found = [comparer.candidates(seen, options, length, excluded, among, clock) for seen in asked.wanted]
    compared = _together(collection, asked, found)
    whole = replace(options, region=None, score="query" if options.scores_query else options.score)
    each = [*((seen, options) for seen in asked.wanted), *((seen, whole) for seen in asked.avoided)]
    ranked = [
        comparer.rank(seen, compared.ids, _all_of(chosen, compared.ids), _shifted(progress, number, len(each)))
        for number, (seen, chosen) in enumerate(each)
    ]
    scores = np.stack([_by_row(one, len(compared.ids)) for one in ranked])
    count = len(asked.wanted)
    one = combined(scores[:count], scores[count:], combining)
    best = np.lexsort((compared.ids, -one))[: options.k]
    seconds = {name: sum(one.seconds[name] for one in ranked) for name in ("read", "match")}
    solved, exact = sum(one.solved for one in ranked), all(one.exact for one in ranked)
    order = Reranked(rows=best, scores=one[best], solved=solved, pruned=0, exact=exact, seconds=seconds)
    result = comparer.answer(Seen(*asked.wanted[0])._replace(name=asked.name), compared, order, options, clock)
    return _with_parts(result, asked, scores[:, best], combining)


def _together(collection: Collection, asked: Asked, found: Sequence[Compared]) -> Compared:
    """Put the candidates of all pictures together."""
    ids = reduce(np.union1d, [one.ids for one in found])
    pooled = sum(collection.pooled_scores(seen.pooled, ids) for seen in asked.wanted) / len(found)
    tried = [one.shortlist for one in found if one.shortlist is not None]
    shortlist = reduce(np.union1d, tried) if tried else None
    return found[0]._replace(ids=ids, pooled_scores=np.asarray(pooled), shortlist=shortlist)


def _all_of(options: SearchOptions, ids: IdVector) -> SearchOptions:
    # With as many hits as candidates nothing is ruled out: each gets its score.
    return replace(options, k=max(len(ids), 1), shortlist=None)


def _by_row(ranked: Reranked, count: int) -> Float64Array:
    scores = np.empty(count)
    scores[ranked.rows] = ranked.scores
    return scores


def _shifted(progress: Progress | None, number: int, pictures: int) -> Progress | None:
    if progress is None:
        return None

    def tell(done: int, total: int) -> None:
        progress(number * total + done, pictures * total)

    return tell


def _with_parts(result: SearchResult, asked: Asked, scores: Float64Array, combining: Combining) -> SearchResult:
    """Tell what the question was made of, and how each hit scored with each part."""
    hits = tuple(replace(hit, parts=tuple(column)) for hit, column in zip(result.hits, scores.T.tolist(), strict=False))
    parts = tuple(
        Part(seen.name, seen.picture, avoided=avoided)
        for seen, avoided in chain(((seen, False) for seen in asked.wanted), ((seen, True) for seen in asked.avoided))
    )
    weight = combining.avoid_weight if asked.avoided else None
    stats = replace(result.stats, combine=combining.how, avoid_weight=weight)
    return replace(result, hits=hits, parts=parts, stats=stats)
