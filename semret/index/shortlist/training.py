"""Making inverted lists: centres fitted to a sample of a collection, and how many lists a query has to look at."""

from __future__ import annotations

import math
import os
import tempfile
import weakref
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semret.arrays import Float32Array, IdVector, IndexVector
from semret.forked import inherited
from semret.index.shortlist.list_index import UnitVectors
from semret.index.shortlist.lists import InvertedLists, mark_of
from semret.index.store import durable
from semret.index.store.lists_file import LISTS_KIND, MILLION, record
from semret.index.store.manifest import Manifest
from semret.index.store.paged_file import write_paged

NEIGHBOURS = 100
"""Recall is the share of this many nearest images that are found."""

LEAST_RECALL = 0.99

_LISTS = 4.0
_SAMPLE = 32
_ROUNDS = 10
_QUERIES = 256
_BLOCK = 8192
_SEED = 20


class _Records:
    """Records of images, one behind the other in a temporary file: some hundred bytes of each, which are taken once.

    Parameters
    ----------
    dtype : dtype
        See `record`.
    """

    def __init__(self, dtype: np.dtype[np.void]) -> None:
        self.dtype = dtype
        with durable.storage("make a temporary file"):
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed with this object
        weakref.finalize(self, self._file.close)

    def add(self, records: NDArray[np.void]) -> None:
        """Put records behind the others."""
        with durable.storage("write a temporary file"):
            self._file.write(records.tobytes())
            self._file.flush()

    def take(self, places: NDArray[np.integer[Any]]) -> NDArray[np.void]:
        """Return the records at some places."""
        size, handle = self.dtype.itemsize, self._file.fileno()
        with durable.storage("read a temporary file"):
            raw = b"".join(os.pread(handle, size, place * size) for place in places.tolist())
        return np.frombuffer(raw, dtype=self.dtype)


@dataclass(frozen=True)
class _Contents:
    """What goes into the lists: for each image its list, and its `record`."""

    lists: NDArray[np.int32]
    records: _Records


def write_trained(path: Path, manifest: Manifest, ids: IdVector, vectors: UnitVectors) -> None:
    """Fit inverted lists to a collection, measure their recall, and write them.

    The same collection gives the same lists.

    Parameters
    ----------
    path : Path
    manifest : Manifest
    ids : ndarray of shape (N,), int64
        Ascending; at least one.
    vectors : callable
        See `UnitVectors`.

    Raises
    ------
    IndexCorruptError
        If a vector cannot be read.
    StorageError
        If the disk is full, read-only, or refuses access.
    """
    chance = np.random.default_rng(_SEED)
    count = min(len(ids), max(1, round(_LISTS * math.sqrt(len(ids)))))
    sample = np.sort(chance.choice(len(ids), min(len(ids), _SAMPLE * count), replace=False))
    centroids = _fit(vectors(sample), count)
    asked = np.sort(chance.choice(len(ids), min(len(ids), _QUERIES), replace=False))
    judge = _Judge(asked, vectors(asked), min(NEIGHBOURS, len(ids) - 1))
    contents = _sort_in(centroids, np.arange(len(ids)), ids, vectors, judge)
    probed, recall = judge.probes(centroids, contents.lists)
    numbers = {"probed": probed, "trained": len(ids), "recall": round(recall * MILLION)}
    # Within a list in the order of ids, so that how it came about does not matter.
    order = np.lexsort((ids, contents.lists)).astype(np.int32)
    blocks = (contents.records.take(order[start : start + _BLOCK]) for start in range(0, len(order), _BLOCK))
    _write(path, manifest, centroids, np.bincount(contents.lists, minlength=count), blocks, numbers)


def write_updated(path: Path, manifest: Manifest, lists: InvertedLists, ids: IdVector, vectors: UnitVectors) -> None:
    """Write lists anew with the images that there are now; only the new ones are read from the segments.

    Parameters
    ----------
    path : Path
    manifest : Manifest
    lists : InvertedLists
        Of an earlier state.
    ids, vectors
        As for `write_trained`.

    Raises
    ------
    IndexCorruptError
        If the earlier lists are damaged, or a vector cannot be read.
    StorageError
        If the disk is full, read-only, or refuses access.
    """
    listed = lists.all_ids()
    rows = np.minimum(np.searchsorted(ids, listed), len(ids) - 1)
    kept = ids[rows] == listed
    missing = np.ones(len(ids), dtype=bool)
    missing[rows[kept]] = False
    edges = np.concatenate([[0], lists.ends])
    new = _sort_in(lists.centroids, np.flatnonzero(missing), ids, vectors)
    before = np.diff(np.concatenate([[0], np.cumsum(kept)])[edges])
    sizes = before + np.bincount(new.lists, minlength=lists.lists)

    def blocks() -> Iterator[NDArray[np.void]]:
        for number in range(lists.lists):
            part = slice(int(edges[number]), int(edges[number + 1]))
            added = new.records.take(np.flatnonzero(new.lists == number))
            found = np.concatenate([lists.records(part.start, part.stop)[kept[part]], added])
            yield found[np.argsort(found["id"], kind="stable")]

    numbers = {name: lists.file.counts[name] for name in ("probed", "trained", "recall")}
    _write(path, manifest, lists.centroids, sizes, blocks(), numbers)


def _fit(sample: Float32Array, count: int) -> Float32Array:
    """Return centres of length 1 by k-means."""
    # Collections of ordinary size have no lists, and need not wait for it.
    import faiss

    if inherited("faiss"):
        faiss.omp_set_num_threads(1)
    means = faiss.Kmeans(
        sample.shape[1], count, niter=_ROUNDS, seed=_SEED, spherical=True, min_points_per_centroid=1,
        max_points_per_centroid=len(sample),
    )  # fmt: skip
    means.train(sample)
    return np.ascontiguousarray(means.centroids, dtype=np.float32)


def _sort_in(
    centroids: Float32Array, rows: IndexVector, ids: IdVector, vectors: UnitVectors, judge: _Judge | None = None
) -> _Contents:
    """Find for images the list they belong to, and round their vectors."""
    lists = np.empty(len(rows), dtype=np.int32)
    kept = _Records(record(centroids.shape[1]))
    for start in range(0, len(rows), _BLOCK):
        part = slice(start, min(start + _BLOCK, len(rows)))
        unit = vectors(rows[part])
        lists[part] = np.argmax(unit @ centroids.T, axis=1)
        units = np.maximum(np.abs(unit).max(axis=1), np.float32(1e-30)) / np.float32(127)
        codes = np.rint(unit / units[:, None])
        lost = unit.astype(np.float64) - codes * units[:, None].astype(np.float64)
        records = np.empty(len(unit), dtype=kept.dtype)
        records["id"], records["unit"], records["codes"] = ids[rows[part]], units, codes
        # Never less than it is.
        records["error"] = np.sqrt(np.einsum("nd,nd->n", lost, lost)) * (1 + 1e-6) + 1e-9
        kept.add(records)
        if judge is not None:
            judge.see(rows[part], unit)
    return _Contents(lists, kept)


class _Judge:
    """Measures recall: which images are nearest to some of the collection, these left out, and in which lists.

    Parameters
    ----------
    asked : ndarray of shape (Q,), integer
        Positions of the images that are queries.
    queries : ndarray of shape (Q, D), float32
        Their vectors.
    count : int
        How many neighbours are looked for.
    """

    def __init__(self, asked: IndexVector, queries: Float32Array, count: int) -> None:
        self._asked = asked
        self._queries = queries
        self._count = count
        self._scores = np.full((len(asked), 0), -np.inf, dtype=np.float32)
        self._rows = np.zeros((len(asked), 0), dtype=np.intp)

    def see(self, rows: IndexVector, vectors: Float32Array) -> None:
        """Compare the queries with some more of the images."""
        scores = self._queries @ vectors.T
        scores[self._asked[:, None] == rows[None, :]] = -np.inf
        all_scores = np.concatenate([self._scores, scores], axis=1)
        all_rows = np.concatenate([self._rows, np.broadcast_to(rows, scores.shape)], axis=1)
        best = np.argsort(-all_scores, axis=1, kind="stable")[:, : self._count]
        self._scores, self._rows = (np.take_along_axis(array, best, axis=1) for array in (all_scores, all_rows))

    def probes(self, centroids: Float32Array, lists: NDArray[np.int32]) -> tuple[int, float]:
        """Return how many of the nearest lists have to be searched for `LEAST_RECALL`, and what recall they give."""
        if not self._rows.size:
            return 1, 1.0
        order = np.argsort(-(self._queries @ centroids.T), axis=1, kind="stable")
        ranks = np.empty_like(order)
        np.put_along_axis(ranks, order, np.broadcast_to(np.arange(order.shape[1]), order.shape), axis=1)
        needed = np.take_along_axis(ranks, lists[self._rows].astype(np.intp), axis=1).ravel()
        recalls = np.cumsum(np.bincount(needed, minlength=len(centroids))) / len(needed)
        probed = int(np.argmax(recalls >= LEAST_RECALL))
        return probed + 1, float(recalls[probed])


def _write(
    path: Path,
    manifest: Manifest,
    centroids: Float32Array,
    sizes: NDArray[np.integer[Any]],
    blocks: Iterable[NDArray[np.void]],
    numbers: dict[str, int],
) -> None:
    """Write lists of these sizes, whose records follow one another in blocks."""
    counts = {"images": int(sizes.sum()), "lists": len(centroids), "dimension": centroids.shape[1], **numbers}
    arrays: dict[str, Iterable[NDArray[Any]]] = {
        "centroids": [centroids],
        "ends": [np.cumsum(sizes)],
        "records": (block.view(np.uint8).reshape(len(block), block.dtype.itemsize) for block in blocks),
    }
    write_paged(path, LISTS_KIND, mark_of(manifest), counts, arrays)
