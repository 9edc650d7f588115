"""From a query's features to its answer: candidates are chosen, compared by their tokens, and shown as hits."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from semret.arrays import IdVector
from semret.index.collection import Collection
from semret.integer_tokens import IntegerTokens
from semret.progress import Progress
from semret.retrieval.search.answers import Compared, answer
from semret.retrieval.search.candidates import Query, Reranked
from semret.retrieval.search.copies import Copies
from semret.retrieval.search.device_search import DeviceSearch
from semret.retrieval.search.first_stage import FirstStage
from semret.retrieval.search.options import SearchOptions
from semret.retrieval.search.query_pictures import Seen
from semret.retrieval.search.query_scored import rerank_by_query
from semret.retrieval.search.rerank import rerank
from semret.retrieval.search.results import SearchResult
from semret.retrieval.search.stored import single


class Clock:
    """Wall seconds by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Add the time that a ``with`` block takes to that of its stage.

        Parameters
        ----------
        stage : str

        Yields
        ------
        None
        """
        start = time.perf_counter()
        yield
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start


class Comparer:
    """Compares queries with the images of a collection.

    Parameters
    ----------
    collection : Collection
    copies : Copies
        Of the collection.
    device : str or None
        Where searches over all images are narrowed, see `semret.retrieval.search.device_search`.
    """

    def __init__(self, collection: Collection, copies: Copies, device: str | None = None) -> None:
        self._collection, self._copies = collection, copies
        self.on_device = DeviceSearch(collection, device)
        self._first_stage = FirstStage(collection)

    def candidates(
        self, seen: Seen, options: SearchOptions, length: int, excluded: IdVector, among: IdVector | None, clock: Clock
    ) -> Compared:
        """Choose what a query is compared with: a shortlist, or everything.

        Parameters
        ----------
        seen : Seen
            The query.
        options : SearchOptions
        length : int
            Of the shortlist.
        excluded : ndarray of int64
            Ids that may be no candidates.
        among : ndarray of int64, ascending, or None
            The only ids that may be candidates; None allows all.
        clock : Clock
            Told how long it takes.

        Returns
        -------
        Compared
        """
        with clock("shortlist"):
            ids, pooled_scores = self._copies.nearest(seen.pooled, length, excluded, among)
            if not options.compares_all:
                return Compared(ids, pooled_scores, excluded=excluded, among=among)
            everything = self._copies.distinct(self._collection.ids if among is None else among, excluded)
            # On a device, comparing all of them is quicker than choosing.
            staged = None if self.on_device.is_ready else self._first_stage
            found = None if staged is None else staged.promising(seen.tokens, everything, options)
            if found is None or options.exhaustive:
                pooled_scores = self._collection.pooled_scores(seen.pooled, everything)
                tried = None if not options.exhaustive else ids if found is None else found.ids
                return Compared(everything, pooled_scores, "all", excluded, among, shortlist=tried)
            pooled_scores = self._collection.pooled_scores(seen.pooled, found.ids)
            return Compared(found.ids, pooled_scores, "patches", excluded, among, expected_recall=found.recall)

    def rank(self, seen: Seen, ids: IdVector, options: SearchOptions, progress: Progress | None = None) -> Reranked:
        """Find the best candidates by their tokens.

        Parameters
        ----------
        seen : Seen
            The query.
        ids : ndarray of shape (K,), int64
        options : SearchOptions
        progress : callable or None
            Called with the number of candidates compared and their total.

        Returns
        -------
        Reranked
            Rows are places in `ids`.
        """
        features, tokens = self._collection.features, seen.tokens
        if options.center == "none" and isinstance(tokens, IntegerTokens):
            tokens = single(features.uncentred(tokens))
        query = Query(tokens=tokens, pooled=seen.pooled)
        center, source = features.center(options.center), self._collection.source(ids, options.center)
        narrow = self.on_device.narrow(options, len(ids))
        if options.scores_query:
            cells = None if seen.region is None else seen.region.cells
            return rerank_by_query(query, source, options, center, cells=cells, progress=progress, narrow=narrow)
        return rerank(query, source, options, center=center, progress=progress, narrow=narrow)

    def answer(
        self, seen: Seen, compared: Compared, ranked: Reranked, options: SearchOptions, clock: Clock
    ) -> SearchResult:
        """Make hits of the best candidates.

        Parameters
        ----------
        seen : Seen
            The query.
        compared : Compared
        ranked : Reranked
            Of the candidates in `compared`.
        options : SearchOptions
        clock : Clock
            Says how long the stages before took.

        Returns
        -------
        SearchResult
        """
        timed = replace(ranked, seconds={**clock.seconds, **ranked.seconds})
        return answer(self._collection, self._copies, seen, compared, timed, options)
