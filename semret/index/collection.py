"""The read side of an index: one generation of it, for as long as it is open."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semret.arrays import Float64Array, FloatArray, IdVector, IndexVector
from semret.errors import ArgumentError, IndexCorruptError
from semret.index.features import Features, StoredTokens, UncentredTokens
from semret.index.store.agreement import agreed_manifest
from semret.index.store.catalog import Catalog
from semret.index.store.catalog_file import CATALOG_NAME
from semret.index.store.layout import Segment
from semret.index.store.lock import ReaderLock
from semret.index.store.manifest import MANIFEST_NAME, Manifest, read_manifest
from semret.index.store.members import damaged
from semret.index.store.root import Root
from semret.index.store.shortlist_file import SHORTLIST_NAME, fingerprint, read_shortlist
from semret.index.vectors import Shortlist, VectorIndex, normalise, products
from semret.integer_tokens import IntegerTokens
from semret.paths import absolute


class Collection:
    """The images of an index, as they were when it was opened.

    What a writer does meanwhile is not seen, and takes nothing away: segments are immutable, and none is deleted while
    this or its features are in use. Positions of images (`rows`) count from 0 in the order of ids. Safe for use from
    several threads.

    Parameters
    ----------
    path : Path
        Index directory.

    Attributes
    ----------
    manifest : Manifest
    generation : int
        Number of the state that is seen.
    root : Root
        The folder that stored paths are relative to.
    segments : dict of int to Segment
        By number.
    skipped : list of (path, reason)
        Files that could not be indexed.
    ids : ndarray of shape (N,), int64
        Ascending.
    features : Features
        Of the images, by position.

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
        lock = ReaderLock(path / MANIFEST_NAME)
        try:
            with Catalog(path) as catalog, catalog.reading():
                self._load(catalog)
        except BaseException:
            lock.release()
            raise
        # Whoever holds features, a source of candidates say, may read them though this was dropped meanwhile.
        self.close: Callable[[], None] = weakref.finalize(self.features, lock.release)

    def _load(self, catalog: Catalog) -> None:
        self.generation = catalog.generation
        self.manifest = agreed_manifest(self.path, self.manifest, catalog)
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
        self._check_places()
        self.features = Features(self.path, self.manifest, self.segments, self._segment, self._row)

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
        return damaged(self.path / CATALOG_NAME, what)

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
        """Return the positions of images in this collection.

        Parameters
        ----------
        ids : sequence of int
            n of them, in any order; one may come twice.

        Returns
        -------
        ndarray of shape (n,), intp

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

        Parameters
        ----------
        ids : sequence of int
            n of them, in any order.

        Returns
        -------
        list of str

        Raises
        ------
        ArgumentError
            If an id is not in the collection.
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
        """Give what is known of each image's file, in the order of ids.

        Yields
        ------
        (str, int, int)
            Absolute path; size in bytes; time stamp in nanoseconds, -1 if it is not to be relied on.
        """
        for stored, status in zip(self._paths, self._status, strict=True):
            yield (self.root.to_path(stored), *status)

    def find_path(self, path: str | os.PathLike[str]) -> int | None:
        """Find the image at a path.

        Parameters
        ----------
        path : path
            Absolute, or relative to the current directory.

        Returns
        -------
        int or None
            Its id; None if there is none.
        """
        return self._id_by_path.get(self.root.to_stored(str(absolute(path))))

    def find_hash(self, sha256: str) -> int | None:
        """Find an image by the content of its file.

        Parameters
        ----------
        sha256 : str
            Of the file, in hexadecimal.

        Returns
        -------
        int or None
            The lowest id of the images with this content; None if there is none.
        """
        return self._id_by_hash.get(bytes.fromhex(sha256))

    @cached_property
    def _id_by_path(self) -> dict[bytes, int]:
        return dict(zip(self._paths, self.ids.tolist(), strict=True))

    @cached_property
    def _id_by_hash(self) -> dict[bytes, int]:
        return dict(zip(reversed(self._hashes), reversed(self.ids.tolist()), strict=True))

    def hashes(self, ids: IdVector | Sequence[int]) -> list[str]:
        """Return the SHA-256 of images' files.

        Parameters
        ----------
        ids : sequence of int
            n of them, in any order.

        Returns
        -------
        list of str
            In hexadecimal.

        Raises
        ------
        ArgumentError
            If an id is not in the collection.
        """
        return [self._hashes[row].hex() for row in self.rows(ids)]

    def tokens(self, ids: IdVector | Sequence[int]) -> FloatArray | IntegerTokens:
        """Return stored tokens of images; only theirs are read.

        Parameters
        ----------
        ids : sequence of int
            n of them, in any order; one may come twice.

        Returns
        -------
        ndarray of shape (n, S, C), or IntegerTokens
            In the stored dtype; integers with a codec.

        Raises
        ------
        ArgumentError
            If an id is not in the collection.
        IndexCorruptError
            If what is read is damaged.
        """
        return self.features.read_tokens(self.rows(ids))

    def size(self, id_: int) -> tuple[int, int]:
        """Return width and height of an upright picture.

        Parameters
        ----------
        id_ : int

        Returns
        -------
        (int, int)
            In pixels.

        Raises
        ------
        ArgumentError
            If the id is not in the collection.
        IndexCorruptError
            If what is read is damaged.
        """
        width, height = self.features.read_sizes(self.rows([id_]))[0].tolist()
        return width, height

    def source(self, ids: IdVector | Sequence[int], center: str = "channel") -> StoredTokens:
        """Return candidates for reranking; their features are read when they are used.

        Parameters
        ----------
        ids : sequence of int
            K of them, in any order.
        center : {"channel", "position", "none"}
            What they are compared with: a codec has subtracted its mean from what it stored, and ``none`` adds that.

        Returns
        -------
        StoredTokens

        Raises
        ------
        ArgumentError
            If an id is not in the collection.
        """
        rows = self.rows(ids)
        if center == "none" and (codec := self.features.codec) is not None:
            return UncentredTokens(self.features, codec, self.ids[rows], rows)
        return StoredTokens(self.features, self.ids[rows], rows)

    def shortlist(self, pooled: FloatArray, length: int) -> Shortlist:
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
        queries = np.atleast_2d(np.asarray(pooled))
        return self.vectors.search(normalise(queries, self.features.pooled_mean), length)

    def pooled_scores(self, pooled: FloatArray, ids: IdVector | Sequence[int]) -> Float64Array:
        """Return the scores that `shortlist` gives one pooled embedding with some images.

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
        query = normalise(np.asarray(pooled)[None], self.features.pooled_mean)[0]
        rows = self.rows(ids)
        out = np.empty(len(rows))
        for start in range(0, len(rows), 4096):
            part = slice(start, start + 4096)
            out[part] = products(query, self.vectors.vectors[rows[part]])
        return out

    @cached_property
    def vectors(self) -> VectorIndex:
        """The shortlist's vectors: from ``shortlist.faiss`` where that is sound and up to date, else made anew."""
        shape = (len(self), self.manifest.pooled_length)
        stored = read_shortlist(self.path / SHORTLIST_NAME, shape, self.mark)
        return VectorIndex(self.ids, self.features.unit_pooled() if stored is None else stored)

    @cached_property
    def mark(self) -> bytes:
        """What ``shortlist.faiss`` must carry to belong to this state of the index, 32 bytes."""
        digests = "".join(self.segments[number].sha256 for number in sorted(self.segments))
        return fingerprint(self.ids, self._segment, self._row, np.frombuffer(digests.encode(), dtype=np.uint8))


def open_collection(path: str | os.PathLike[str]) -> Collection:
    """Open an index directory for reading.

    Parameters
    ----------
    path : path

    Returns
    -------
    Collection

    Raises
    ------
    IndexNotFoundError, IndexCorruptError, IncompatibleIndexError
        See `Collection`.
    """
    return Collection(absolute(path))
