"""From the order of candidates to the hits that are shown."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from semret.arrays import Float64Array, IdVector
from semret.index.collection import Collection
from semret.retrieval.search.candidates import Reranked
from semret.retrieval.search.copies import NOBODY, Copies
from semret.retrieval.search.options import SearchOptions
from semret.retrieval.search.originals import original_of
from semret.retrieval.search.query_pictures import Seen
from semret.retrieval.search.results import Hit, SearchResult, Stats


class Compared(NamedTuple):
    """The images that a query was compared with.

    Attributes
    ----------
    ids : ndarray of shape (K,), int64
        One for each content.
    pooled_scores : ndarray of shape (K,)
    source : {"shortlist", "given", "all", "patches"}
        See `Stats`.
    excluded : ndarray of int64
        Ids that may not be shown, not even as copies of a hit.
    among : ndarray of int64, ascending, or None
        The only ids that may be shown as copies; None allows all.
    shortlist : ndarray of int64 or None
        After an exhaustive search, the ids that a shortlist would have held.
    counted : bool
        Whether the caller chose `k`; if not, it is the number of candidates.
    expected_recall : float or None
        Of a first stage by patches; see `Stats`.
    """

    ids: IdVector
    pooled_scores: Float64Array
    source: str = "shortlist"
    excluded: IdVector = NOBODY
    among: IdVector | None = None
    shortlist: IdVector | None = None
    counted: bool = True
    expected_recall: float | None = None


def answer(
    collection: Collection, copies: Copies, seen: Seen, compared: Compared, ranked: Reranked, options: SearchOptions
) -> SearchResult:
    """Make hits of the best candidates, with all their copies, and tell how they came about.

    Parameters
    ----------
    collection : Collection
    copies : Copies
        Of the collection.
    seen : Seen
        The query.
    compared : Compared
    ranked : Reranked
        Of the candidates in `compared`.
    options : SearchOptions

    Returns
    -------
    SearchResult
    """
    enough = len(ranked.rows) if (least := options.min_score) is None else int((ranked.scores >= least).sum())
    best = zip(ranked.rows[:enough].tolist(), ranked.scores[:enough].tolist(), strict=True)
    hits = tuple(
        _hit(collection, copies, compared, rank, row, score) for rank, (row, score) in enumerate(best, start=1)
    )
    short = compared.shortlist
    stats = Stats(
        database=len(collection),
        shortlist=len(compared.ids),
        solved=ranked.solved,
        pruned=ranked.pruned,
        exact_among_candidates=ranked.exact,
        seconds=ranked.seconds,
        shortlist_recall=None if short is None else float(np.mean([hit.in_shortlist for hit in hits] or [True])),
        wanted=options.k if compared.counted else None,
        shortlist_wanted=None if options.compares_all else options.shortlist,
        candidates=compared.source,
        shortlist_tried=None if short is None else len(short),
        expected_recall=compared.expected_recall,
        score="query" if options.scores_query else "symmetric",
        allowed=_allowed(compared, options),
        min_score=least,
    )
    return SearchResult(seen.name, hits, stats, seen.picture, seen.region)


def _hit(collection: Collection, copies: Copies, compared: Compared, rank: int, row: int, score: float) -> Hit:
    id_ = int(compared.ids[row])
    ids = copies.of(id_)
    ids = ids[~np.isin(ids, compared.excluded)]
    if (among := compared.among) is not None:
        ids = ids[among[np.minimum(np.searchsorted(among, ids), len(among) - 1)] == ids]
    paths = collection.paths(ids)
    # The product of two float32 vectors of length 1 may exceed 1 in the last digits.
    pooled = float(np.clip(compared.pooled_scores[row], -1.0, 1.0))
    found = None if compared.shortlist is None else bool(np.isin(id_, compared.shortlist))
    original = original_of(paths, collection.hashes([id_])[0])
    return Hit(rank, id_, paths[0], score, pooled, tuple(ids.tolist()), tuple(paths), found, original)


def _allowed(compared: Compared, options: SearchOptions) -> int | None:
    """Return how many images may be hits, if not all may: candidates that were given are no filter."""
    among = compared.among
    return None if among is None or (compared.source == "given" and not options.images) else len(among)
