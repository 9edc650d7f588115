"""The best k of candidates that lie in shards; what `semret.retrieval.search.rerank.rerank` does on one machine."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np

from semret.arrays import Float64Array, IdVector, IndexVector
from semret.centers import Center
from semret.cluster.elsewhere import BestElsewhere, Chunk, Elsewhere
from semret.cluster.parts import Asked
from semret.cluster.spread import Spread, put
from semret.errors import ShapeError
from semret.progress import Progress
from semret.retrieval.search.candidates import Reranked
from semret.retrieval.search.rerank import bandwidth, chunk_length, outcome, visiting_order
from semret.retrieval.similarity.kernels import median_bandwidth

_AHEAD = 2
"""Chunks that are begun before the one that is dealt with is done."""


class Ranking:
    """A rerank of one query over shards.

    Parameters
    ----------
    spread : Spread
    asked : Asked
    shape : (int, int)
        ``(S, C)`` of the candidates, as they are compared.
    ids : ndarray of shape (K,), int64
        Of the candidates.
    positions : ndarray of shape (K,), intp
        Where they are in the collection.
    """

    def __init__(
        self, spread: Spread, asked: Asked, shape: tuple[int, int], ids: IdVector, positions: IndexVector
    ) -> None:
        own = tuple(asked.query.tokens.shape[-2:])
        if own[1] != shape[1]:
            raise ShapeError(f"the query's tokens have shape {own}, the candidates' {shape}: expected as many channels")
        self._spread, self._asked, self._shape = spread, asked, shape
        self._ids, self._positions = ids, positions
        self._laid, self._turn = put(asked), spread.turn()
        self._center = Center() if asked.levelled else asked.center

    def run(self, progress: Progress | None = None) -> Reranked:
        """Find the best candidates.

        Parameters
        ----------
        progress : callable or None
            Called with the number of candidates visited and their total, first with 0.

        Returns
        -------
        Reranked
            Rows are places in the ids; all of it, but the seconds, is what one machine gives.
        """
        if self._asked.options.invariance == "pooled":
            return self._pooled()
        best = BestElsewhere(self._asked.query.tokens, self._asked.options, self._center.tokens, None)
        total = len(self._ids)
        statistics = None
        if self._asked.options.kernel == "rbf":
            statistics = self._statistics(best)
            best.sigma = bandwidth(best, self._shape[0], *statistics)
        if progress is not None:
            progress(0, total)
        reading = 0.0
        for rows, chunk in self._chunks(best, statistics):
            start = time.perf_counter()
            tokens: Any = Elsewhere(chunk, np.arange(len(rows)), self._shape)
            _ = chunk.extent
            reading += time.perf_counter() - start
            best.compare(rows, self._ids[rows], tokens)
            if progress is not None:
                progress(best.seen, total)
        return outcome(best, reading)

    def _statistics(self, best: BestElsewhere) -> tuple[Float64Array, Float64Array]:
        squared, inner = self._spread.gather(
            self._positions, "statistics", (self._laid.ref, np.asarray(best.query.means[0])), width=2
        )
        return squared, inner

    def _chunks(
        self, best: BestElsewhere, statistics: tuple[Float64Array, Float64Array] | None
    ) -> Iterator[tuple[IndexVector, Chunk]]:
        """Give the chunks of one machine, begun ahead of time."""
        rows, step = np.arange(len(self._ids)), chunk_length(best, self._shape, self._center)
        if len(rows) > step:
            rows = visiting_order(*(self._statistics(best) if statistics is None else statistics))
        options = best.options
        bounds = options.invariance == "permutation" and options.prune and len(rows) > options.k
        begun: deque[tuple[IndexVector, Chunk]] = deque()
        starts = iter(range(0, len(rows), step))
        try:
            while True:
                for start in starts:
                    chosen = np.sort(rows[start : start + step])
                    where = self._positions[chosen]
                    begun.append(
                        (chosen, Chunk(self._spread, self._laid, where, best.sigma, bounds=bounds, turn=self._turn))
                    )
                    if len(begun) > _AHEAD:
                        break
                if not begun:
                    return
                yield begun[0]
                begun.popleft()[1].drop()
        finally:
            for _, chunk in begun:
                chunk.drop()

    def _pooled(self) -> Reranked:
        """Compare by pooled embeddings alone."""
        start, sigma, options = time.perf_counter(), None, self._asked.options
        if options.kernel == "rbf":
            sigma = median_bandwidth(self._spread.gather(self._positions, "pooled_distances", (self._laid.ref,))[0])
        parts = self._spread.split(self._positions)
        asked = [
            self._spread.ask(
                shard,
                "best_pooled",
                self._laid.ref,
                self._spread.places[self._positions[which]],
                sigma,
                first=self._turn,
            )
            for shard, which in parts
        ]
        rows, scores = np.zeros(0, dtype=np.intp), np.zeros(0)
        for (_, which), answer in zip(parts, asked, strict=True):
            found, values = answer.get()
            rows, scores = np.concatenate([rows, which[found]]), np.concatenate([scores, values])
        order = np.lexsort((self._ids[rows], -scores))[: options.k]
        seconds = {"read": 0.0, "match": time.perf_counter() - start}
        return Reranked(rows=rows[order], scores=scores[order], solved=0, pruned=0, exact=True, seconds=seconds)
