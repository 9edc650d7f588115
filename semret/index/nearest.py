"""The images of an index that are nearest to pooled embeddings: through inverted lists, or one by one."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from semret.arrays import Float32Array, Float64Array, FloatArray, IdVector, IndexVector
from semret.errors import IndexCorruptError
from semret.index.features import Features
from semret.index.indexed_images import positions
from semret.index.open_table import OpenTable
from semret.index.shortlist.list_index import ListIndex
from semret.index.shortlist.lists import LEAST_LISTED, InvertedLists, missing_in, open_lists
from semret.index.store.directory_file import NO_LISTS
from semret.index.store.lists_file import LISTS_NAME
from semret.index.store.manifest import Manifest
from semret.index.store.shortlist_file import SHORTLIST_NAME, fingerprint, read_shortlist
from semret.index.vectors import Shortlist, VectorIndex, normalise, products


class Nearest:
    """Pooled embeddings of an index as the shortlist compares them: centred, scaled to length 1.

    Parameters
    ----------
    path : Path
        Index directory.
    ids : ndarray of shape (N,), int64
        Of the images, ascending.
    manifest : Manifest
    features : Features
        Of the images, by position.
    table : OpenTable
        What knows the images.
    derived : bool
        Whether inverted lists are used, where they are sound.
    """

    def __init__(
        self, path: Path, ids: IdVector, manifest: Manifest, features: Features, table: OpenTable, *, derived: bool
    ) -> None:
        self.path = path
        self.ids = ids
        self._manifest = manifest
        self._features = features
        self._opened = table
        self._derived = derived

    def search(self, pooled: FloatArray, length: int) -> Shortlist:
        """Find the images nearest to pooled embeddings: inner product of centred vectors scaled to length 1.

        Parameters
        ----------
        pooled : ndarray of shape (Q, D) or (D,)
        length : int
            K, from 1; where there are fewer images, all are taken.

        Returns
        -------
        Shortlist
            Best first; equal scores in the order of ids. Empty for an empty collection.

        Raises
        ------
        ArgumentError
            If `length` is less than 1.
        ShapeError
            If the embeddings have another length than those of the index.
        IndexCorruptError
            If what is read is damaged.
        """
        queries = normalise(np.atleast_2d(np.asarray(pooled)), self._features.pooled_mean)
        if self.lists is not None:
            # What they cannot answer, for they are damaged, is answered without them.
            with contextlib.suppress(IndexCorruptError):
                return self.lists.search(queries, length)
        return self.vectors.search(queries, length)

    def scores(self, pooled: FloatArray, ids: IdVector | Sequence[int]) -> Float64Array:
        """Return the scores that `search` gives one pooled embedding with some images.

        Parameters
        ----------
        pooled : ndarray of shape (D,)
        ids : sequence of int
            n of them, in any order.

        Returns
        -------
        ndarray of shape (n,), float64

        Raises
        ------
        ArgumentError
            If an id is not in the collection.
        IndexCorruptError
            If what is read is damaged.
        """
        query = normalise(np.asarray(pooled)[None], self._features.pooled_mean)[0]
        rows = positions(self.path, self.ids, ids)
        out = np.empty(len(rows))
        for start in range(0, len(rows), 4096):
            part = slice(start, start + 4096)
            out[part] = products(query, self.unit_vectors(rows[part]))
        return out

    def unit_vectors(self, rows: IndexVector) -> Float32Array:
        """Return pooled embeddings as the shortlist compares them.

        Parameters
        ----------
        rows : ndarray of shape (n,), integer
            Positions.

        Returns
        -------
        ndarray of shape (n, D), float32
            The mean subtracted, scaled to length 1; zeros where an embedding is the mean itself.

        Raises
        ------
        IndexCorruptError
            If what is read is damaged.
        """
        return _unit_vectors(self._features, rows)

    @cached_property
    def vectors(self) -> VectorIndex:
        """The shortlist's vectors: from ``shortlist.faiss`` where that is sound and up to date, else made anew."""
        shape = (len(self.ids), self._manifest.pooled_length)
        stored = None
        if self._manifest.codec_file is None:
            stored = read_shortlist(self.path / SHORTLIST_NAME, shape, self.mark)
        return VectorIndex(self.ids, self._features.unit_pooled() if stored is None else stored)

    @cached_property
    def lists(self) -> ListIndex | None:
        """The collection's inverted lists; None where it is searched as a whole."""
        if not self._derived or self._manifest.codec_file is None or len(self.ids) < LEAST_LISTED:
            return None
        path = self.path / LISTS_NAME
        lists = open_lists(path, self._manifest, self._manifest.pooled_length, self.ids)
        if lists is None:
            return None
        try:
            if self._opened.lists == lists.token:
                tail = self._opened.ask(lambda table: table.tail)
            else:
                tail = missing_in(lists, self.ids)
        except IndexCorruptError:
            return None
        return ListIndex(lists, self.ids, tail, partial(_unit_vectors, self._features))

    @cached_property
    def mark(self) -> bytes:
        """What ``shortlist.faiss`` must carry to belong to this state of the index, 32 bytes."""
        if self._opened.state is not None:
            return fingerprint(np.frombuffer(self._opened.state.encode(), dtype=np.uint8))
        table = self._opened.table
        digests = "".join(table.segments[number].sha256 for number in sorted(table.segments))
        numbers, rows = table.numbers.astype(np.int64), table.rows.astype(np.intp)
        return fingerprint(self.ids, numbers, rows, np.frombuffer(digests.encode(), dtype=np.uint8))

    def save_directory(self, lists: InvertedLists | None = None) -> None:
        """Write ``directory.bin`` for this state, unless there is one that was sound when it was read.

        Parameters
        ----------
        lists : InvertedLists or None
            Those of the index, if it has any.

        Raises
        ------
        IndexCorruptError
            If means have to be computed, and what is read for them is damaged.
        StorageError
            If the disk is full, read-only, or refuses access.
        """
        token = NO_LISTS if lists is None else lists.token
        if self._opened.state is None or self._opened.lists == token:
            return
        others: dict[str, Any] = {}
        if self._manifest.codec_file is None:
            others = {"pooled_mean": self._features.pooled_mean, "channel_mean": self._features.channel_mean}
        if lists is not None:
            others["tail"] = missing_in(lists, self.ids)
        self._opened.save(token, others)


def _unit_vectors(features: Features, rows: IndexVector) -> Float32Array:
    return normalise(features.read("pooled", rows), features.pooled_mean)
