"""The write side of an index: what every command that changes one shares."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from pathlib import Path

from semret.errors import IndexCorruptError, IndexNotFoundError
from semret.index.collection import open_collection
from semret.index.refresh import refresh
from semret.index.store import durable
from semret.index.store.agreement import FORMER_NAME, agreed_manifest, replace_manifest
from semret.index.store.catalog import Catalog
from semret.index.store.catalog_file import CATALOG_NAME, DIGEST_NAME, JOURNAL_NAME
from semret.index.store.codec_file import codec_files, codec_name
from semret.index.store.excluded_file import EXCLUDED_NAME
from semret.index.store.layout import FOLDER, Rows, Segment, segment_numbers, segment_path
from semret.index.store.lock import LOCK_NAME, NoReaders, WriterLock, locks_are_shared
from semret.index.store.manifest import MANIFEST_NAME, Manifest, read_manifest
from semret.index.store.members import REPAIR, require_folder
from semret.index.store.root import Root
from semret.index.store.segments import write_segment
from semret.progress import Progress

_GRACE = 24 * 3600.0


class IndexWriter:
    """An index open for writing, for the length of a ``with`` block; nobody else writes meanwhile.

    A directory without a manifest is an index that does not exist yet: `create` makes it one. Leaving the block without
    having created one leaves no trace.

    Parameters
    ----------
    index : Path
        Index directory.
    may_create : bool
        Whether the index may be missing.

    Raises
    ------
    IndexNotFoundError
        If there is no index and `may_create` is false.
    IndexLockedError
        If another process writes to it.
    IndexCorruptError
        If it is damaged.
    """

    catalog: Catalog
    manifest: Manifest
    root: Root

    def __init__(self, index: Path, *, may_create: bool = False) -> None:
        self.index = index
        self._may_create = may_create
        self._lock = WriterLock(index, make_folder=may_create)
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> IndexWriter:
        if not self._may_create:
            read_manifest(self.index)
        require_folder(self.index / FOLDER)
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._lock)
            # Left before the lock: what is cleaned up must not be another writer's already.
            stack.callback(self._forget_unmade)
            if self.exists:
                self._open(stack)
            else:
                self._refuse_lost_manifest()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *details: object) -> None:
        self._stack.close()

    @property
    def exists(self) -> bool:
        """Whether the index has been made."""
        return (self.index / MANIFEST_NAME).is_file()

    def _open(self, stack: contextlib.ExitStack) -> None:
        found = read_manifest(self.index)
        self.catalog = stack.enter_context(Catalog(self.index, writable=True))
        self.manifest = agreed_manifest(self.index, found, self.catalog)
        if self.manifest != found:
            replace_manifest(self.index, self.manifest)
        self.root = Root.read(self.index, self.catalog.meta("root"))
        self.clean()

    def _refuse_lost_manifest(self) -> None:
        """Refuse to make an index where one with segments has merely lost its manifest."""
        if any((self.index / FOLDER).glob("*.h5")):
            raise IndexCorruptError(f"{self.index} holds segments but no {MANIFEST_NAME}; {REPAIR}")

    def create(self, manifest: Manifest, root: Root, style: str) -> None:
        """Make the index: the catalog first and the manifest last, for a directory with a manifest is an index.

        Parameters
        ----------
        manifest : Manifest
        root : Root
            The folder that paths are stored relative to.
        style : {"absolute", "relative"}
            How paths are shown.

        Raises
        ------
        StorageError
            If the disk is full, read-only, or refuses access.
        """
        meta = {"root": root.stored, "style": style, "manifest": manifest.as_bytes().decode()}
        self.catalog = self._stack.enter_context(Catalog.create(self.index, meta))
        durable.write_file(self.index / MANIFEST_NAME, manifest.as_bytes(), "manifest")
        self.manifest, self.root = manifest, root

    def _forget_unmade(self) -> None:
        """Remove what is left of an index that was never made."""
        if self.exists or not self._lock.made_folder:
            return
        # The lock goes last: from then on another writer may begin.
        for path in codec_files(self.index):
            durable.discard(path)
        for name in (CATALOG_NAME, DIGEST_NAME, JOURNAL_NAME, EXCLUDED_NAME, LOCK_NAME):
            durable.discard(self.index / name)
        with contextlib.suppress(OSError):
            self.index.rmdir()

    def clean(self) -> None:
        """Delete what killed writers left behind, and retired segments that no reader needs any more."""
        for leftover in (*self.index.glob(f"*{durable.TEMPORARY_SUFFIX}"), *(self.index / FOLDER).glob("*")):
            if leftover.name.endswith(durable.TEMPORARY_SUFFIX):
                durable.discard(leftover)
        known = {*self.catalog.segments(), *self.catalog.segments(retired=True)}
        for number in set(segment_numbers(self.index)) - known:
            # Renamed into place by a writer that was killed before its transaction: no reader ever saw it.
            durable.discard(segment_path(self.index, number))
        self.delete_retired()
        if not (self.index / FORMER_NAME).exists():
            self._discard_codecs()

    def write_segment(self, parts: Sequence[Rows]) -> Segment:
        """Write a segment under a new number; it becomes part of the index by `Catalog.add_segment`.

        Parameters
        ----------
        parts : sequence of Rows
            In the order of the rows; at least one row in all.

        Returns
        -------
        Segment

        Raises
        ------
        StorageError
            If the disk is full, read-only, or refuses access.
        """
        return write_segment(self.index, self.catalog.next_segment(), self.manifest, parts)

    def retire_unused(self) -> None:
        """Inside a transaction: drop contents that no image has, and mark segments without contents for deletion.

        Only compaction does this. Until then features of removed pictures serve if the same picture comes back.
        """
        self.catalog.change("DELETE FROM contents WHERE sha256 NOT IN (SELECT sha256 FROM images)")
        self.catalog.change(
            "UPDATE segments SET retired = ? WHERE retired IS NULL AND number NOT IN (SELECT segment FROM contents)",
            time.time(),
        )

    def delete_retired(self) -> None:
        """Delete the files of retired segments if nobody reads; otherwise they stay for a later writer.

        Where readers cannot be seen, files are deleted a day after they were retired.
        """
        retired = self.catalog.select("SELECT number, retired FROM segments WHERE retired IS NOT NULL")
        if not retired and not (self.index / FORMER_NAME).exists():
            return
        with NoReaders(self.index / MANIFEST_NAME, self.index / FORMER_NAME) as alone:
            if not locks_are_shared():
                retired = [(number, since) for number, since in retired if time.time() - since > _GRACE]
            elif not alone:
                return
            gone = [(number,) for number, _ in retired if durable.discard(segment_path(self.index, number))]
            durable.discard(self.index / FORMER_NAME)
            self._discard_codecs()
        if gone:
            with self.catalog.transaction():
                self.catalog.change_many("DELETE FROM segments WHERE number = ?", gone)

    def _discard_codecs(self) -> None:
        """Delete codecs that the manifest does not name; readers of the state before a conversion may need theirs."""
        entry = self.manifest.codec_file
        for path in codec_files(self.index):
            if entry is None or path.name != codec_name(entry):
                durable.discard(path)

    def refresh_shortlist(self, progress: Progress | None = None) -> None:
        """Write what is derived for readers anew unless it belongs to the present state: directory and shortlist.

        Parameters
        ----------
        progress : callable, optional
            A `semret.progress.Display` is told what is fitted, which takes a minute for a large index.

        Raises
        ------
        IndexCorruptError
            If the pooled embeddings in the segments are damaged.
        StorageError
            If the disk is full, read-only, or refuses access.
        """
        with open_collection(self.index) as collection:
            refresh(collection, progress)


def require_index(index: Path) -> None:
    """Refuse a directory that is not an index.

    Parameters
    ----------
    index : Path

    Raises
    ------
    IndexNotFoundError
        If it holds no manifest.
    """
    if not (index / MANIFEST_NAME).is_file():
        raise IndexNotFoundError(f"{index} is no index: it holds no {MANIFEST_NAME}")
