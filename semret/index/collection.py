"""The read side of an index: one generation of it, for as long as it is open."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semret.arrays import Float32Array, Float64Array, FloatArray, IdVector, IndexVector
from semret.centers import CENTERINGS, Center
from semret.errors import ArgumentError, IndexCorruptError, UnknownNameError
from semret.index.features import FeatureRows, StoredTokens
from semret.index.location import Root, absolute, default_index_path, find_index
from semret.index.store.catalog import Catalog
from semret.index.store.catalog_file import CATALOG_NAME
from semret.index.store.lock import ReaderLock
from semret.index.store.manifest import MANIFEST_NAME, Manifest, parse_manifest, read_manifest
from semret.index.store.segments import REPAIR, Segment, SegmentReader, columns
from semret.index.vectors import (
    SHORTLIST_NAME,
    Shortlist,
    VectorIndex,
    fingerprint,
    normalise,
    products,
    read_shortlist,
)

__all__ = [
    "Collection",
    "FeatureRows",
    "StoredTokens",
    "default_index_path",
    "find_index",
    "open_collection",
]


class Collection:
    """The images of an index, as they were when it was opened.

    What a writer does meanwhile is not seen, and takes nothing away: segments are immutable, and none is deleted while
    this is open. Positions of images (`rows`) count from 0 in the order of ids. Safe for use from several threads.

    Parameters
    ----------
    path : Path
        Index directory.

    Raises
    ------
    IndexNotFoundError
        If there is no index.
    IndexCorruptError, IncompatibleIndexError
        If it is damaged, or of a newer format.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.manifest: Manifest = read_manifest(path)
        # First the lock, then the catalog: segments that this generation names cannot be gone.
        self._lock = ReaderLock(path / MANIFEST_NAME)
        self.close: Callable[[], None] = weakref.finalize(self, self._lock.release)
        with Catalog(path) as catalog, catalog.reading():
            self._load(catalog)

    def _load(self, catalog: Catalog) -> None:
        self.generation = catalog.generation
        if parse_manifest(catalog.meta("manifest").encode(), self.path / MANIFEST_NAME) != self.manifest:
            raise IndexCorruptError(f"{self.path / MANIFEST_NAME} belongs to another index; {REPAIR}")
        self.root = Root.read(self.path, catalog.meta("root"))
        self._relative = catalog.meta("style") == "relative"
        self.segments: dict[int, Segment] = catalog.segments()
        self.skipped = [
            (self.root.to_path(path), str(reason))
            for path, reason in catalog.select("SELECT path, reason FROM skipped ORDER BY path")
        ]
        found = catalog.select(
            "SELECT id, segment, row, images.sha256, path, size, mtime_ns "
            "FROM images LEFT JOIN contents USING (sha256) WHERE path IS NOT NULL ORDER BY id"
        )
        try:
            self.ids: IdVector = np.array([row[0] for row in found], dtype=np.int64)
            self._segment = np.array([row[1] for row in found], dtype=np.int64)
            self._row = np.array([row[2] for row in found], dtype=np.intp)
        except (TypeError, ValueError, OverflowError) as error:
            raise self._damaged("an image has no features") from error
        self._hashes: list[bytes] = [row[3] for row in found]
        self._paths: list[bytes] = [row[4] for row in found]
        self._status: list[tuple[int, int]] = [row[5:] for row in found]
        self._readers: dict[int, SegmentReader] = {}
        self._check_places()

    def _reader(self, number: int) -> SegmentReader:
        if number not in self._readers:
            self._readers[number] = SegmentReader(self.path, self.segments[number], self.manifest)
        return self._readers[number]

    def _check_places(self) -> None:
        """Refuse images whose segment does not exist, or has fewer rows."""
        numbers = np.array(sorted(self.segments), dtype=np.int64)
        limits = np.array([self.segments[number].rows for number in numbers.tolist()], dtype=np.int64)
        if len(self) and not len(numbers):
            raise self._damaged("there are images but no segments")
        place = np.minimum(np.searchsorted(numbers, self._segment), max(len(numbers) - 1, 0))
        wrong = (numbers[place] != self._segment) | (self._row < 0) | (self._row >= limits[place])
        if np.any(wrong):
            raise self._damaged(f"image {int(self.ids[wrong][0])} is placed outside the segments")

    def _damaged(self, what: str) -> IndexCorruptError:
        return IndexCorruptError(f"{self.path / CATALOG_NAME} is damaged: {what}; {REPAIR}")

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.ids)

    def __repr__(self) -> str:
        return f"<Collection: {len(self)} images, {self.manifest.identity.backbone}, {self.path}>"

    def __enter__(self) -> Collection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def shape(self) -> tuple[int, int]:
        """``(S, C)`` of every image."""
        return self.manifest.token_shape

    @property
    def places(self) -> NDArray[np.int64]:
        """Number of the segment and row in it of each image, (N, 2)."""
        return np.stack([self._segment, self._row], axis=1).astype(np.int64)

    def rows(self, ids: IdVector | Sequence[int]) -> IndexVector:
        """Return the positions of ids in this collection.

        Raises
        ------
        ArgumentError
            If one is not in it.
        """
        wanted = np.asarray(ids, dtype=np.int64)
        rows = np.searchsorted(self.ids, wanted)
        missing = (rows >= len(self)) | (self.ids[np.minimum(rows, len(self) - 1)] != wanted if len(self) else True)
        if np.any(missing):
            raise ArgumentError(f"the index {self.path} has no image with id {int(wanted[missing][0])}")
        return rows

    def paths(self, ids: IdVector | Sequence[int]) -> list[str]:
        """Return where images lie.

        Paths are as they were given to the last ``semret index``: relative to the current directory (for images below
        it) if that was given relative paths, else absolute. Undecodable bytes are surrogate escapes.
        """
        return [self._shown(self.root.to_path(self._paths[row])) for row in self.rows(ids)]

    def _shown(self, path: str) -> str:
        here = self._here
        return path[len(here) :] if self._relative and path.startswith(here) else path

    @property
    def _here(self) -> str:
        try:
            here = str(absolute("."))
        except ArgumentError:
            # The current directory was deleted: nothing lies below it, so paths are shown from the root.
            return os.sep * 2
        return here if here.endswith(os.sep) else here + os.sep

    def files(self) -> Iterator[tuple[str, int, int]]:
        """Give the absolute path, size and time stamp (ns; -1 if not to be relied on) of each image's file."""
        for stored, status in zip(self._paths, self._status, strict=True):
            yield (self.root.to_path(stored), *status)

    def find_path(self, path: str | os.PathLike[str]) -> int | None:
        """Return the id of the image at this path, relative or absolute; None if there is none."""
        return self._id_by_path.get(self.root.to_stored(str(absolute(path))))

    def find_hash(self, sha256: str) -> int | None:
        """Return the lowest id of the images whose file has this SHA-256 (hexadecimal); None if there is none."""
        return self._id_by_hash.get(bytes.fromhex(sha256))

    @cached_property
    def _id_by_path(self) -> dict[bytes, int]:
        return dict(zip(self._paths, self.ids.tolist(), strict=True))

    @cached_property
    def _id_by_hash(self) -> dict[bytes, int]:
        return dict(zip(reversed(self._hashes), reversed(self.ids.tolist()), strict=True))

    def hashes(self, ids: IdVector | Sequence[int]) -> list[str]:
        """Return the SHA-256 of the files, in hexadecimal."""
        return [self._hashes[row].hex() for row in self.rows(ids)]

    @cached_property
    def norms(self) -> Float64Array:
        """Frobenius norms of the stored tokens, (N,) float64."""
        return self.read_norms(np.arange(len(self)))

    @property
    def means(self) -> FeatureRows:
        """Mean tokens, (N, C) float32; rows are read when they are taken."""
        return FeatureRows(self, "means")

    @property
    def pooled(self) -> FeatureRows:
        """Pooled embeddings, (N, D) float32; rows are read when they are taken."""
        return FeatureRows(self, "pooled")

    def tokens(self, ids: IdVector | Sequence[int]) -> NDArray[Any]:
        """Return stored tokens, (n, S, C) in the stored dtype; only these rows are read.

        Raises
        ------
        ArgumentError
            If an id is not in the collection.
        IndexCorruptError
            If what is read is damaged.
        """
        return self.read("tokens", self.rows(ids))

    def iter_tokens(self, batch: int = 64) -> Iterator[tuple[IdVector, NDArray[Any]]]:
        """Give all images as ``(ids, tokens)`` of at most `batch`, in the order of the segments."""
        order = np.lexsort((self._row, self._segment))
        for start in range(0, len(order), batch):
            rows = order[start : start + batch]
            yield self.ids[rows], self.read("tokens", rows)

    def read(self, name: str, rows: IndexVector) -> NDArray[Any]:
        """Return rows of ``tokens``, ``pooled`` or ``means`` by position in the collection, (n, ...)."""
        column = columns(self.manifest, 1)[name]
        out = np.empty((len(rows), *column.shape[1:]), dtype=column.dtype)
        for reader, places, inner in self._by_segment(np.asarray(rows, dtype=np.intp)):
            if len(places) == len(out) and np.array_equal(places, np.arange(len(out))):
                reader.read(name, inner, out)
            else:
                part = np.empty((len(places), *out.shape[1:]), dtype=out.dtype)
                reader.read(name, inner, part)
                out[places] = part
        return out

    def read_norms(self, rows: IndexVector) -> Float64Array:
        """Return Frobenius norms by position in the collection, (n,)."""
        out = np.empty(len(rows))
        for reader, places, inner in self._by_segment(rows):
            out[places] = reader.whole("norms")[inner]
        return out

    def _by_segment(self, rows: IndexVector) -> Iterator[tuple[SegmentReader, IndexVector, IndexVector]]:
        """Split positions by segment: its reader, which of `rows`, and their rows in the segment, ascending."""
        numbers, inner = self._segment[rows], self._row[rows]
        order = np.lexsort((inner, numbers))
        edges = np.flatnonzero(np.diff(numbers[order])) + 1
        for places in np.split(order, edges):
            if len(places):
                yield self._reader(int(numbers[places[0]])), places, inner[places]

    def center(self, mode: str = "channel") -> Center:
        """Return the mean of the collection in one of the modes ``channel``, ``position``, ``none``.

        Raises
        ------
        UnknownNameError
            If there is no such mode.
        """
        if mode not in CENTERINGS:
            raise UnknownNameError(f"unknown centring {mode!r}; choose one of {', '.join(CENTERINGS)}")
        if mode == "none" or not len(self):
            return Center(mode=mode)
        pooled = self._pooled_mean.astype(np.float32)
        mean = self._mean("channel_sum", "means") if mode == "channel" else self._mean("position_sum", "tokens")
        return Center(mode=mode, pooled=pooled, **{mode: mean.astype(np.float32)})

    @cached_property
    def _pooled_mean(self) -> Float64Array:
        return self._mean("pooled_sum", "pooled")

    def _mean(self, total: str, rows: str) -> Float64Array:
        """Return the mean over all images of a per-image feature, from the segments' sums and the rows they miscount.

        A segment's sum counts each row once; a row of a removed image counts not at all, one of copies several times.
        """
        column = columns(self.manifest, 1)[total]
        mean = np.zeros(column.shape)
        for number in sorted(set(self._segment.tolist())):
            reader = self._reader(number)
            counts = np.bincount(self._row[self._segment == number], minlength=reader.segment.rows)
            weights = counts - 1
            if np.count_nonzero(weights) < np.count_nonzero(counts):
                mean += reader.whole(total)
            else:
                weights = counts
            shape = columns(self.manifest, 1)[rows]
            one = np.empty((1, *shape.shape[1:]), dtype=shape.dtype)
            for row in np.flatnonzero(weights):
                reader.read(rows, np.array([row]), one)
                mean += float(weights[row]) * one[0].astype(np.float64)
        return mean / max(len(self), 1)

    def shortlist(self, pooled: FloatArray, length: int) -> Shortlist:
        """Return the images nearest to pooled embeddings (Q, D): inner product of centred, normalised vectors."""
        queries = np.atleast_2d(np.asarray(pooled))
        return self.vectors.search(normalise(queries, self._pooled_mean), length)

    def pooled_scores(self, pooled: FloatArray, ids: IdVector | Sequence[int]) -> Float64Array:
        """Return the score that `shortlist` gives one pooled embedding (D,) with these images, (n,) float64."""
        query = normalise(np.asarray(pooled)[None], self._pooled_mean)[0]
        rows = self.rows(ids)
        out = np.empty(len(rows))
        for start in range(0, len(rows), 4096):
            part = slice(start, start + 4096)
            out[part] = products(query, self.vectors.vectors[rows[part]])
        return out

    @cached_property
    def vectors(self) -> VectorIndex:
        """The shortlist's vectors: from ``shortlist.faiss`` where that is sound and up to date, else made anew."""
        shape = (len(self), self.manifest.identity.pooled_dim)
        stored = read_shortlist(self.path / SHORTLIST_NAME, shape, self.mark)
        return VectorIndex(self.ids, self.make_vectors() if stored is None else stored)

    @cached_property
    def mark(self) -> bytes:
        """What ``shortlist.faiss`` must carry to belong to this state of the index."""
        digests = "".join(self.segments[number].sha256 for number in sorted(self.segments))
        return fingerprint(self.ids, self._segment, self._row, np.frombuffer(digests.encode(), dtype=np.uint8))

    def make_vectors(self) -> Float32Array:
        """Return the shortlist's vectors (N, D) from the segments."""
        mean = self._pooled_mean
        vectors = np.empty((len(self), len(mean)), dtype=np.float32)
        order = np.lexsort((self._row, self._segment))
        for start in range(0, len(self), 1024):
            rows = order[start : start + 1024]
            vectors[rows] = normalise(self.read("pooled", rows), mean)
        return vectors

    def source(self, ids: IdVector | Sequence[int]) -> StoredTokens:
        """Return candidates for reranking: their features, read when wanted."""
        return StoredTokens(self, self.rows(ids))


def open_collection(path: str | os.PathLike[str]) -> Collection:
    """Open an index directory for reading; see `Collection`."""
    return Collection(absolute(path))
