"""The read side of an index: one generation of it, for as long as it is open."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path

from semret.arrays import Float64Array, FloatArray, IdVector
from semret.index.features import Features
from semret.index.indexed_images import IndexedImages
from semret.index.nearest import Nearest
from semret.index.open_table import OpenTable
from semret.index.segment_rows import SegmentRows
from semret.index.segment_table import SegmentTable
from semret.index.store.agreement import agreed_manifest
from semret.index.store.catalog import Catalog
from semret.index.store.lock import ReaderLock
from semret.index.store.manifest import MANIFEST_NAME, Manifest, read_manifest
from semret.index.store.root import Root
from semret.index.stored_tokens import StoredTokens, UncentredTokens
from semret.index.vectors import Shortlist
from semret.integer_tokens import IntegerTokens
from semret.paths import absolute


class Collection(IndexedImages):
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
    nearest : Nearest
        Their pooled embeddings, to be searched.

    Raises
    ------
    IndexNotFoundError
        If there is no index.
    IndexCorruptError, IncompatibleIndexError
        If it is damaged, or of a newer format.
    """

    def __init__(self, path: Path, *, derived: bool = True) -> None:
        self.manifest: Manifest = read_manifest(path)
        # First the lock, then the catalog: segments that this generation names cannot be gone.
        lock = ReaderLock(path / MANIFEST_NAME)
        try:
            with Catalog(path) as catalog, catalog.reading():
                self._load(path, catalog, derived=derived)
        except BaseException:
            lock.release()
            raise
        # Whoever holds features, a source of candidates say, may read them though this was dropped meanwhile.
        self.close: Callable[[], None] = weakref.finalize(self.features, lock.release)

    def _load(self, path: Path, catalog: Catalog, *, derived: bool) -> None:
        self.generation = catalog.generation
        self.manifest = agreed_manifest(path, self.manifest, catalog)
        identity = self.manifest.identity
        opened = OpenTable(path, catalog, max(identity.pooled_dim, identity.channels), derived=derived)
        root = Root.read(path, catalog.meta("root"))
        super().__init__(path, opened, root, relative=catalog.meta("style") == "relative")
        table = opened.table
        self.segments: SegmentTable = table.segments
        self.features = Features(SegmentRows(path, self.manifest, self.segments, table.numbers, table.rows))
        self.features.know(table.pooled_mean, table.channel_mean)
        self.nearest = Nearest(path, self.ids, self.manifest, self.features, opened, derived=derived)

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
    def mark(self) -> bytes:
        """What tells two states apart, also of format 1, 32 bytes; see `Nearest.mark`."""
        return self.nearest.mark

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
        """Find the images nearest to pooled embeddings; see `Nearest.search`.

        Parameters
        ----------
        pooled : ndarray of shape (Q, D) or (D,)
        length : int
            K, from 1.

        Returns
        -------
        Shortlist
        """
        return self.nearest.search(pooled, length)

    def pooled_scores(self, pooled: FloatArray, ids: IdVector | Sequence[int]) -> Float64Array:
        """Return the scores that `shortlist` gives one pooled embedding with some images; see `Nearest.scores`.

        Parameters
        ----------
        pooled : ndarray of shape (D,)
        ids : sequence of int
            n of them, in any order.

        Returns
        -------
        ndarray of shape (n,), float64
        """
        return self.nearest.scores(pooled, ids)


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
