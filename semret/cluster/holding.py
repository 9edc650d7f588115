"""One part of an index, open in a shard."""

from __future__ import annotations

import weakref
from functools import cached_property

import numpy as np

from semret.arrays import Float32Array, Float64Array, IdVector, IndexVector
from semret.centers import Center
from semret.cluster.parts import Asked, Part
from semret.errors import IndexCorruptError
from semret.index.features import Features
from semret.index.segment_rows import SegmentRows
from semret.index.shortlist.list_index import ListIndex
from semret.index.shortlist.lists import InvertedLists, ListsOfSome, mark_of, missing_in, open_any_lists
from semret.index.store.lists_file import LISTS_NAME
from semret.index.store.lock import ReaderLock
from semret.index.store.manifest import MANIFEST_NAME
from semret.index.stored_tokens import StoredTokens, UncentredTokens
from semret.index.vectors import VectorIndex, normalise, products
from semret.retrieval.search.best_k import BestK
from semret.retrieval.search.candidates import TokenSource
from semret.retrieval.search.query_scored import LevelledTokens

_AT_ONCE = 4096


class Holding:
    """The images of a part, to be searched; safe for several threads.

    Parameters
    ----------
    part : Part
    threads : int
        Threads that a comparison may use.

    Raises
    ------
    IndexCorruptError
        If the manifest is not a regular file.
    OSError
        If the index cannot be read.
    """

    def __init__(self, part: Part, threads: int) -> None:
        self.part, self.threads = part, threads
        # Segments that this state names cannot be gone while whoever asks holds it open; nor as long as this is.
        lock = ReaderLock(part.path / MANIFEST_NAME)
        self.features = Features(SegmentRows(part.path, part.manifest, part.segments, part.numbers, part.rows))
        self.features.know(part.pooled_mean, None)
        weakref.finalize(self, lock.release)

    def __len__(self) -> int:
        return len(self.part.ids)

    def warm(self) -> None:
        """Read what every search needs."""
        if self.part.lists is None or self.lists is None:
            len(self.vectors)

    @cached_property
    def vectors(self) -> VectorIndex:
        """The pooled embeddings, all of them."""
        return VectorIndex(self.part.ids, self.features.unit_pooled())

    @cached_property
    def lists(self) -> ListIndex | None:
        """The part's inverted lists; None where those of the state are gone or damaged."""
        path, manifest = self.part.path / LISTS_NAME, self.part.manifest
        try:
            file = open_any_lists(path, np.array([self.part.newest], dtype=np.int64))
            whole = InvertedLists(file, manifest.pooled_length)
            if whole.token != self.part.lists or file.mark != mark_of(manifest):
                return None
            own = ListsOfSome(whole, self.part.ids)
            return ListIndex(own, self.part.ids, missing_in(own, self.part.ids), self._unit_vectors)
        except (OSError, IndexCorruptError):
            return None

    def _unit_vectors(self, rows: IndexVector) -> Float32Array:
        return normalise(self.features.read("pooled", rows), self.features.pooled_mean)

    def nearest(
        self, queries: Float32Array, length: int, probed: int | None
    ) -> tuple[IdVector, Float64Array, int] | None:
        """Find the images nearest to queries.

        Parameters
        ----------
        queries : ndarray of shape (Q, D), float32
            Of length 1; a single one where lists are searched.
        length : int
            K, from 1; where there are fewer images, all are taken.
        probed : int or None
            Inverted lists that are searched; None searches everything.

        Returns
        -------
        (ids, scores, found) or None
            (Q, K) int64 and float64, best first, and how many images lie in the lists that were searched, see
            `ListIndex.search_in`. None where the lists cannot be had.
        """
        if probed is None:
            found = self.vectors.search(queries, length)
            return found.ids, found.scores, len(self)
        if self.lists is None:
            return None
        try:
            best, count = self.lists.search_in(queries[0], min(length, len(self)), probed)
        except IndexCorruptError:
            return None
        return best.ids, best.scores, count

    def scores(self, query: Float32Array, places: IndexVector) -> Float64Array:
        """Return the scores that `nearest` gives some images.

        Parameters
        ----------
        query : ndarray of shape (D,), float32
            Of length 1.
        places : ndarray of shape (n,), intp
            Positions in the part.

        Returns
        -------
        ndarray of shape (n,), float64
        """
        out = np.empty(len(places))
        for start in range(0, len(places), _AT_ONCE):
            chosen = slice(start, start + _AT_ONCE)
            out[chosen] = products(query, self._unit_vectors(places[chosen]))
        return out

    def source(self, asked: Asked, places: IndexVector) -> TokenSource:
        """Return candidates as a query is compared with them.

        Parameters
        ----------
        asked : Asked
        places : ndarray of shape (n,), intp
            Positions in the part.

        Returns
        -------
        TokenSource
        """
        ids, codec = self.part.ids[places], self.features.codec
        source: TokenSource = StoredTokens(self.features, ids, places)
        if asked.center.mode == "none" and codec is not None:
            source = UncentredTokens(self.features, codec, ids, places)
        return LevelledTokens(source, asked.center, threads=self.threads) if asked.levelled else source

    def pooled_distances(self, asked: Asked, places: IndexVector) -> Float64Array:
        """Return squared distances of pooled embeddings from the query's.

        Parameters
        ----------
        asked : Asked
        places : ndarray of shape (n,), intp

        Returns
        -------
        ndarray of shape (n,), float64
        """
        query, many = self._centred_pooled(asked, places)
        return np.asarray(((many - query) ** 2).sum(axis=1))

    def best_pooled(self, asked: Asked, places: IndexVector, sigma: float | None) -> tuple[IndexVector, Float64Array]:
        """Find the candidates of the best pooled embeddings.

        Parameters
        ----------
        asked : Asked
        places : ndarray of shape (n,), intp
        sigma : float or None
            RBF bandwidth.

        Returns
        -------
        places : ndarray of shape (up to k,), intp
            Among those given, best first; equal scores in the order of ids.
        scores : ndarray of shape (up to k,), float64
        """
        best = BestK(asked.query.tokens, asked.options, None, sigma)
        best.compare_pooled(np.arange(len(places)), self.part.ids[places], *self._centred_pooled(asked, places))
        return best.rows, best.scores

    def _centred_pooled(self, asked: Asked, places: IndexVector) -> tuple[Float64Array, Float64Array]:
        center: Center = asked.center
        middle = 0.0 if center.pooled is None else center.pooled.astype(np.float64)
        assert asked.query.pooled is not None
        many = self.features.read("pooled", places).astype(np.float64) - middle
        return asked.query.pooled.astype(np.float64) - middle, many
