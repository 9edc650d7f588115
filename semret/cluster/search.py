"""A search engine over shards: the one of one machine, with other hands for what every image takes part in."""

from __future__ import annotations

import os
from dataclasses import fields
from pathlib import Path
from typing import Any, Self

import numpy as np

from semret.arrays import Float64Array, FloatArray, IdVector
from semret.cluster.parts import Asked, Owners
from semret.cluster.ranking import Ranking
from semret.cluster.shards import Shards
from semret.cluster.spread import Spread, fresh_name
from semret.errors import ArgumentError
from semret.index.collection import Collection, open_collection
from semret.index.indexed_images import positions
from semret.index.nearest import Nearest
from semret.index.vectors import Shortlist, normalise
from semret.integer_tokens import IntegerTokens
from semret.progress import Progress
from semret.retrieval.search.candidates import Query, Reranked
from semret.retrieval.search.comparing import Comparer
from semret.retrieval.search.copies import Copies
from semret.retrieval.search.engine import SearchEngine
from semret.retrieval.search.options import RerankOptions, SearchOptions
from semret.retrieval.search.query_pictures import Seen
from semret.retrieval.search.query_scored import as_linear, weighed
from semret.retrieval.search.stored import single


class NearestInShards:
    """Finds images by pooled embeddings that lie in shards; takes the place of a collection's `Nearest`.

    Parameters
    ----------
    own : Nearest
        The collection's.
    collection : Collection
    spread : Spread
        Of the collection.
    """

    def __init__(self, own: Nearest, collection: Collection, spread: Spread) -> None:
        self._own, self._collection, self._spread = own, collection, spread

    @property
    def mark(self) -> bytes:
        """See `Nearest.mark`."""
        return self._own.mark

    def search(self, pooled: FloatArray, length: int) -> Shortlist:
        """Find the images nearest to pooled embeddings; see `Nearest.search`.

        Parameters
        ----------
        pooled : ndarray of shape (Q, D) or (D,)
        length : int

        Returns
        -------
        Shortlist
            That of one machine.

        Raises
        ------
        ArgumentError, ShapeError, IndexCorruptError
            See `Nearest.search`.
        """
        if length < 1:
            raise ArgumentError(f"a shortlist of {length} was asked for; it needs at least 1")
        queries = normalise(np.atleast_2d(np.asarray(pooled)), self._collection.features.pooled_mean)
        length = min(length, len(self._collection))
        found = [self._one(query[None], length) for query in queries]
        ids = np.empty((len(found), length), dtype=np.int64)
        scores = np.empty((len(found), length))
        for number, (best, values) in enumerate(found):
            ids[number], scores[number] = best, values
        return Shortlist(ids, scores)

    def _one(self, query: FloatArray, length: int) -> tuple[IdVector, Float64Array]:
        lists = self._spread.lists
        probed = None if lists is None else lists.probed
        while True:
            parts = self._spread.ask_all("nearest", query, length, probed) if length else []
            if probed is None or lists is None:
                return _merged(parts, length)
            known = all(part is not None for part in parts)
            if known and sum(part[2] for part in parts) >= length:
                return _merged(parts, length)
            # More lists are searched where these hold too few; what damaged lists cannot answer is answered without.
            probed = min(2 * probed, lists.lists) if known and probed < lists.lists else None

    def scores(self, pooled: FloatArray, ids: IdVector) -> Float64Array:
        """Return the scores that `search` gives some images; see `Nearest.scores`.

        Parameters
        ----------
        pooled : ndarray of shape (D,)
        ids : sequence of int

        Returns
        -------
        ndarray of shape (n,), float64
        """
        query = normalise(np.asarray(pooled)[None], self._collection.features.pooled_mean)[0]
        rows = positions(self._collection.path, self._collection.ids, ids)
        return np.asarray(self._spread.gather(rows, "scores", (query,))[0])


def _merged(parts: list[Any], length: int) -> tuple[IdVector, Float64Array]:
    ids = np.concatenate([np.zeros(0, dtype=np.int64), *(part[0][0] for part in parts)])
    scores = np.concatenate([np.zeros(0), *(part[1][0] for part in parts)])
    order = np.lexsort((ids, -scores))[:length]
    return ids[order], scores[order]


class ComparerInShards(Comparer):
    """Compares queries with images that lie in shards.

    Parameters
    ----------
    collection : Collection
    copies : Copies
        Of the collection.
    spread : Spread
        The same.
    """

    def __init__(self, collection: Collection, copies: Copies, spread: Spread) -> None:
        super().__init__(collection, copies)
        self._spread = spread

    def rank(self, seen: Seen, ids: IdVector, options: SearchOptions, progress: Progress | None = None) -> Reranked:
        """Find the best candidates by their tokens; see `Comparer.rank`.

        Parameters
        ----------
        seen : Seen
        ids : ndarray of shape (K,), int64
        options : SearchOptions
        progress : callable or None

        Returns
        -------
        Reranked
            That of one machine.
        """
        features, tokens = self._collection.features, seen.tokens
        if options.center == "none" and isinstance(tokens, IntegerTokens):
            tokens = single(features.uncentred(tokens))
        center = features.center(options.center)
        source = self._collection.source(ids, options.center)
        query = Query(tokens=tokens, pooled=seen.pooled)
        chosen = {field.name: getattr(options, field.name) for field in fields(RerankOptions)}
        wanted = RerankOptions(**chosen)
        if options.scores_query:
            query = weighed(query, center, None if seen.region is None else seen.region.cells)
            wanted = as_linear(options)
        asked = Asked(key=fresh_name(), query=query, options=wanted, center=center, levelled=options.scores_query)
        return Ranking(self._spread, asked, source.shape, source.ids, self._collection.rows(ids)).run(progress)


class ShardedEngine(SearchEngine):
    """A `SearchEngine` over shards of an index: the same questions, and the same answers.

    It embeds the query, knows ids, paths, copies and filters, and chooses; pooled embeddings and tokens of the index
    are read, bounded and solved in the shards. Explanations read the maps of the hits from the index's directory.

    Parameters
    ----------
    collection : Collection
        The index, opened.
    shards : Shards
        Every one of their nodes has the index's directory under the same path.
    weights, device
        See `SearchEngine`.
    owners : ndarray of shape (N,), int32, or None
        See `Spread`.

    Raises
    ------
    IndexCorruptError, ClusterError
        If a shard cannot read its part.
    """

    def __init__(
        self,
        collection: Collection,
        shards: Shards,
        *,
        weights: str | os.PathLike[str] | None = None,
        device: str | None = None,
        owners: Owners | None = None,
    ) -> None:
        super().__init__(collection, weights=weights, device=device)
        self.shards = shards
        spread = Spread(collection, shards, owners)
        self._comparer: Comparer = ComparerInShards(collection, self._copies, spread)
        nearest: Any = NearestInShards(collection.nearest, collection, spread)
        collection.nearest = nearest

    def reopened(self) -> Self:
        """Return an engine over the index as it is now, in the same shards; see `EmbeddingReader.reopened`.

        Returns
        -------
        ShardedEngine
            This one goes on answering: the shards keep its parts beside the new ones.

        Raises
        ------
        IndexNotFoundError, IndexCorruptError, IncompatibleIndexError, ClusterError
            See `open_sharded`.
        """
        collection = open_collection(self.collection.path)
        fresh = type(self)(collection, self.shards, weights=self._weights, device=self._device)
        return self._handed_on(fresh)


def open_sharded(
    path: Path,
    shards: Shards,
    *,
    weights: str | os.PathLike[str] | None = None,
    device: str | None = None,
) -> ShardedEngine:
    """Open an index for searching in shards.

    Parameters
    ----------
    path : Path
        Index directory, on a disk that all nodes have under this path.
    shards : Shards
    weights, device
        See `SearchEngine`.

    Returns
    -------
    ShardedEngine

    Raises
    ------
    IndexNotFoundError, IndexCorruptError, IncompatibleIndexError
        See `semret.retrieval.search.engine.open_index`.
    ClusterError
        If a shard is lost.
    """
    return ShardedEngine(open_collection(path), shards, weights=weights, device=device)
