"""The read side of an index: one generation of it, for as long as it is open."""

from __future__ import annotations

import contextlib
import os
import unicodedata
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from semret.arrays import Float32Array, Float64Array, FloatArray, IdVector, IndexVector
from semret.errors import ArgumentError, IndexCorruptError
from semret.index.features import Features
from semret.index.image_table import ImageTable, SegmentTable
from semret.index.shortlist.lists import LEAST_LISTED, InvertedLists, ListIndex, missing_in, open_lists
from semret.index.store.agreement import agreed_manifest
from semret.index.store.catalog import Catalog
from semret.index.store.catalog_table import CatalogTable
from semret.index.store.directory_file import (
    DIRECTORY_NAME,
    NO_LISTS,
    lists_of,
    open_directory,
    state_of,
    write_directory,
)
from semret.index.store.lists_file import LISTS_NAME
from semret.index.store.lock import ReaderLock
from semret.index.store.manifest import MANIFEST_NAME, Manifest, read_manifest
from semret.index.store.paged_file import PagedFile
from semret.index.store.root import Root
from semret.index.store.shortlist_file import SHORTLIST_NAME, fingerprint, read_shortlist
from semret.index.stored_tokens import StoredTokens, UncentredTokens
from semret.index.vectors import Shortlist, VectorIndex, normalise, products
from semret.integer_tokens import IntegerTokens
from semret.paths import absolute

T = TypeVar("T")

_BLOCK = 8192


class Collection:
    """The images of an index, as they were when it was opened.

    What a writer does meanwhile is not seen, and takes nothing away: segments are immutable, and none is deleted while
    this or its features are in use. Positions of images (`rows`) count from 0 in the order of ids. Safe for use from
    several threads.

    Parameters
    ----------
    path : Path
        Index directory.
    derived : bool
        Whether ``directory.bin`` and inverted lists are used, where they are sound, rather than catalog and segments
        alone.

    Attributes
    ----------
    manifest : Manifest
    generation : int
        Number of the state that is seen.
    root : Root
        The folder that stored paths are relative to.
    state : str or None
        What no other state of any index has; None in format 1.
    segments : mapping of int to Segment
        By number; entries are read when they are asked for.
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

    def __init__(self, path: Path, *, derived: bool = True) -> None:
        self.path = path
        self._derived = derived
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
        self.state = catalog.state
        self.manifest = agreed_manifest(self.path, self.manifest, catalog)
        self.root = Root.read(self.path, catalog.meta("root"))
        self._relative = catalog.meta("style") == "relative"
        self._directory = self._open_directory(catalog)
        self._table = self._read_directory() or _table_of(catalog)
        self.ids: IdVector = self._table.ids
        self.segments: SegmentTable = self._table.segments
        self.features = Features(self.path, self.manifest, self.segments, self._table.numbers, self._table.rows)
        self.features.know(self._table.pooled_mean, self._table.channel_mean)

    def _open_directory(self, catalog: Catalog) -> PagedFile | None:
        """Open the file that spares reading the catalog, if it belongs to its state."""
        # Where a file that is held open cannot be replaced, a reader would keep the next writer from it.
        if not self._derived or self.state is None or os.name != "posix":
            return None
        identity = self.manifest.identity
        try:
            found = open_directory(
                self.path / DIRECTORY_NAME, catalog.size, max(identity.pooled_dim, identity.channels)
            )
        except (OSError, IndexCorruptError):
            return None
        return found if state_of(found) == self.state else None

    def _read_directory(self) -> ImageTable | None:
        if self._directory is not None:
            try:
                return ImageTable(self._directory.path, self._directory)
            except IndexCorruptError:
                self._directory = None
        return None

    def _ask(self, question: Callable[[ImageTable], T]) -> T:
        """Look something up; where the file for it turns out to be damaged, in the catalog."""
        try:
            return question(self._table)
        except IndexCorruptError:
            if self._directory is None:
                raise
            with Catalog(self.path) as catalog, catalog.reading():
                if catalog.state != self.state:
                    raise
                self._table = _table_of(catalog)
            self._directory = None
            return question(self._table)

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
        return np.stack([self._table.numbers, self._table.rows], axis=1).astype(np.int64)

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
        rows = self.rows(ids).tolist()
        stored = self._ask(lambda table: [table.stored_path(row) for row in rows])
        here = self._here if self._relative else ""
        return [path[len(here) :] if path.startswith(here) else path for path in map(self.root.to_path, stored)]

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
        for start in range(0, len(self), _BLOCK):
            stop = min(start + _BLOCK, len(self))
            for stored, size, stamp in self._ask(lambda table: table.files_between(start, stop)):  # noqa: B023
                yield self.root.to_path(stored), size, stamp

    @property
    def skipped(self) -> list[tuple[str, str]]:
        """Files that could not be indexed, as (path, reason), in the order of stored paths."""
        return [(self.root.to_path(path), reason) for path, reason in self._ask(lambda table: table.skipped)]

    @property
    def skipped_count(self) -> int:
        """How many files could not be indexed."""
        return self._ask(lambda table: table.skipped_count)

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
        stored = self.root.to_stored(str(absolute(path)))
        return self._id_at(self._ask(lambda table: table.find_path(stored)))

    def find_composed(self, path: str) -> int | None:
        """Find the image at a path, whichever accents in its name are composed: macOS takes them apart.

        Parameters
        ----------
        path : str
            Absolute.

        Returns
        -------
        int or None
            The lowest id of those whose composed path is the composed `path`; None if there is none.
        """
        place, top = (unicodedata.normalize("NFC", text) for text in (path, str(self.root.folder)))
        stored = replace(self.root, folder=Path(top)).to_stored(place)
        plain = [] if not stored.isascii() else [self._ask(lambda table: table.find_path(stored))]
        found = [row for row in (self._ask(lambda table: table.find_composed(stored)), *plain) if row is not None]
        return self._id_at(min(found, default=None))

    def _id_at(self, row: int | None) -> int | None:
        return None if row is None else int(self.ids[row])

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
        content = bytes.fromhex(sha256)
        return self._id_at(self._ask(lambda table: table.find_content(content)))

    def firsts(self, rows: IndexVector) -> IndexVector:
        """Return for each image the first one with the same content.

        Parameters
        ----------
        rows : ndarray of shape (n,), integer
            Positions.

        Returns
        -------
        ndarray of shape (n,), intp
            Positions; a content is known by that of its first image.
        """
        return self._ask(lambda table: table.firsts(rows))

    def copies(self, id_: int) -> IdVector:
        """Return all images with the content of one.

        Parameters
        ----------
        id_ : int

        Returns
        -------
        ndarray of int64
            Ids, ascending; `id_` is among them.

        Raises
        ------
        ArgumentError
            If it is not in the collection.
        """
        row = int(self.rows([id_])[0])
        return self.ids[self._ask(lambda table: table.copies(row))]

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
        rows = self.rows(ids)
        return [sha.hex() for sha in self._ask(lambda table: table.contents(rows))]

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
        queries = normalise(np.atleast_2d(np.asarray(pooled)), self.features.pooled_mean)
        if self.lists is not None:
            # What they cannot answer, for they are damaged, is answered without them.
            with contextlib.suppress(IndexCorruptError):
                return self.lists.search(queries, length)
        return self.vectors.search(queries, length)

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
            out[part] = products(query, self.unit_vectors(rows[part]))
        return out

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
        state, token = self.state, NO_LISTS if lists is None else lists.token
        if state is None or (self._directory is not None and lists_of(self._directory) == token):
            return
        path = self.path / DIRECTORY_NAME
        others: dict[str, NDArray[Any]] = {}
        if self.manifest.codec_file is None:
            others = {"pooled_mean": self.features.pooled_mean, "channel_mean": self.features.channel_mean}
        if lists is not None:
            others["tail"] = missing_in(lists, self.ids)
        self._ask(lambda table: write_directory(path, state, token, table.arrays, others))

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
        return normalise(self.features.read("pooled", rows), self.features.pooled_mean)

    @cached_property
    def vectors(self) -> VectorIndex:
        """The shortlist's vectors: from ``shortlist.faiss`` where that is sound and up to date, else made anew."""
        shape = (len(self), self.manifest.pooled_length)
        stored = None
        if self.manifest.codec_file is None:
            stored = read_shortlist(self.path / SHORTLIST_NAME, shape, self.mark)
        return VectorIndex(self.ids, self.features.unit_pooled() if stored is None else stored)

    @cached_property
    def lists(self) -> ListIndex | None:
        """The collection's inverted lists; None where it is searched as a whole."""
        if not self._derived or self.manifest.codec_file is None or len(self) < LEAST_LISTED:
            return None
        lists = open_lists(self.path / LISTS_NAME, self.manifest, self.manifest.pooled_length, self.ids)
        if lists is None:
            return None
        try:
            directory = self._directory
            if directory is not None and lists_of(directory) == lists.token:
                tail = self._ask(lambda table: table.tail)
            else:
                tail = missing_in(lists, self.ids)
        except IndexCorruptError:
            return None
        return ListIndex(lists, self.ids, tail, self.unit_vectors)

    @cached_property
    def mark(self) -> bytes:
        """What ``shortlist.faiss`` must carry to belong to this state of the index, 32 bytes."""
        if self.state is not None:
            return fingerprint(np.frombuffer(self.state.encode(), dtype=np.uint8))
        digests = "".join(self.segments[number].sha256 for number in sorted(self.segments))
        return fingerprint(
            self.ids, self._table.numbers, self._table.rows, np.frombuffer(digests.encode(), dtype=np.uint8)
        )


def _table_of(catalog: Catalog) -> ImageTable:
    return ImageTable(catalog.path, CatalogTable(catalog))


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
