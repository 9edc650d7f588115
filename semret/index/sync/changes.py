"""The changes that one sync makes to an index: which files are new, changed, moved or gone."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from semret.index.store import durable
from semret.index.store.layout import Rows
from semret.index.store.staged import StagedSegment
from semret.index.sync.found_files import FoundFiles
from semret.index.sync.loading import Loaded
from semret.index.sync.lost_images import LostImage, LostImages
from semret.index.sync.new_ids import NewIds
from semret.index.sync.refusals import Refusals
from semret.index.sync.stored_images import Stored, StoredImages
from semret.index.sync.survey import Survey
from semret.index.sync.uncommitted import Uncommitted
from semret.index.sync.vanished import Vanished
from semret.index.writer import IndexWriter
from semret.paths import is_address

_PORTION = 1024


@dataclass
class Counts:
    """Files by what became of them; `embedded` counts pictures that went through the network."""

    added: int = 0
    updated: int = 0
    renamed: int = 0
    removed: int = 0
    unchanged: int = 0
    embedded: int = 0


class Changes:
    """The changes that a run makes to an index, committed in portions.

    An image whose file has changed or become unreadable is first *lost*: it keeps its id without a path, so that its
    content may turn up under another path. What is still lost at the end is deleted.

    Parameters
    ----------
    writer : IndexWriter
        Of an index that exists.
    commit_rows : int
        Number of embedded images after which they are committed.

    Attributes
    ----------
    counts : Counts
        What became of the files so far.
    stored : StoredImages
        The images that are there.
    refusals : Refusals
        Files that cannot be used.
    """

    def __init__(self, writer: IndexWriter, commit_rows: int) -> None:
        self._writer = writer
        self.counts = Counts()
        catalog = writer.catalog
        self._ids = NewIds(catalog)
        self.stored = StoredImages(catalog)
        self._lost = LostImages(catalog)
        self._found = array("q")
        self.refusals = Refusals(catalog)
        self._uncommitted = Uncommitted(writer, commit_rows)

    def is_known(self, sha256: bytes) -> bool:
        """Tell whether the features of a content are stored or about to be; any thread may ask.

        Parameters
        ----------
        sha256 : bytes
            Digest of the content.

        Returns
        -------
        bool
        """
        # In this order: a commit forgets contents once they are in the catalog.
        if self._uncommitted.rows.has(sha256):
            return True
        return bool(self._writer.catalog.select("SELECT 1 FROM contents WHERE sha256 = ?", sha256))

    def committed_contents(self) -> Iterator[bytes]:
        """Give the digests of all contents whose features are committed.

        Yields
        ------
        bytes
            Ascending.
        """
        for rows in self._writer.catalog.portions("SELECT sha256 FROM contents WHERE sha256 > ?", b""):
            yield from (sha for (sha,) in rows)

    def pending(self, files: FoundFiles) -> FoundFiles:
        """Return the files that have to be read, and settle the others by their size and time.

        Parameters
        ----------
        files : FoundFiles
            What the walk found.

        Returns
        -------
        FoundFiles
            In the same order, without those that are as they were when they were stored, or when they were refused.
        """
        return files.at(self._pending(files))

    def _pending(self, files: FoundFiles) -> Iterator[int]:
        for start in range(0, len(files), _PORTION):
            portion = list(files[start : start + _PORTION])
            keys = [self._writer.root.to_stored(found.path) for found in portion]
            images = self.stored.at_each(keys)
            for number, (found, key, stored) in enumerate(zip(portion, keys, images, strict=True), start):
                refused = self.refusals.before(key)
                if stored is not None and (stored.size, stored.mtime_ns) == (found.size, found.mtime_ns):
                    self.counts.unchanged += 1
                    self._found.append(stored.id)
                elif found.size < 0 and stored is not None:
                    # A list names it, and tells nothing of it.
                    self.counts.unchanged += 1
                    self._found.append(stored.id)
                elif refused is not None and found.size >= 0 and refused[:2] == (found.size, found.mtime_ns):
                    self.refuse(found.path, *refused)
                else:
                    yield number

    def refuse(self, path: str, size: int, stamp_ns: int, reason: str) -> None:
        """Record a file that is no usable picture; the image that was there is lost.

        Parameters
        ----------
        path : str
            Absolute.
        size : int
            Of the file in bytes; -1 if it is not known.
        stamp_ns : int
            Time stamp to recognise the file by; -1 if it is to be read again by the next run.
        reason : str
            Why it cannot be used.
        """
        key = self._writer.root.to_stored(path)
        self._lose(key)
        self.refusals.now[key] = (size, stamp_ns, reason)

    def look_up(self, files: Sequence[Loaded]) -> None:
        """Ask the catalog at once what it has of files that are about to be placed.

        Parameters
        ----------
        files : sequence of Loaded
        """
        read = [loaded for loaded in files if loaded.sha256 is not None]
        contents = list({loaded.sha256: None for loaded in read if loaded.sha256 is not None})
        self.stored.look_up([self._writer.root.to_stored(loaded.path) for loaded in read], contents)

    def place(self, loaded: Loaded, wanted: int | None = None) -> None:
        """Put a file whose content `is_known` into the index, under the id it had, if it had one.

        Parameters
        ----------
        loaded : Loaded
            The file, as it was read.
        wanted : int or None
            Id of a file that is new to the index, which no image may have; None chooses one.

        Raises
        ------
        ValueError
            If the file could not be read: `refuse` is for those.
        """
        if loaded.sha256 is None:
            raise ValueError(f"{loaded.path} was not read")
        key, sha = self._writer.root.to_stored(loaded.path), loaded.sha256
        before = self.stored.at(key)
        if before is not None and before.sha256 == sha:
            self.counts.unchanged += 1
            self._put(before.id, key, loaded, before)
            return
        if before is not None:
            self._lose(key, replaced=True)
            self.counts.updated += 1
        if wanted is not None and before is None:
            self.counts.added += 1
            self._ids.use(wanted)
            self._put(wanted, key, loaded, None)
            return
        lost = self._from_elsewhere(sha, key)
        if before is None:
            is_renamed = lost is not None and lost.had_features
            self.counts.renamed += is_renamed
            self.counts.added += not is_renamed
        self._put(self._new_id(sha) if lost is None else lost.id, key, loaded, None)

    def _put(self, id_: int, key: bytes, loaded: Loaded, before: Stored | None) -> None:
        """Note a file where `before` is, or nothing."""
        self._found.append(id_)
        entry = Stored(id_, loaded.size, loaded.stamp_ns, loaded.sha256 or b"")
        if before == entry:
            return
        self._uncommitted.place(key, entry)
        self.stored.put(key, entry, is_new=before is None)

    def _new_id(self, sha: bytes) -> int:
        """Return an id that no image has; the one that a worker wrote beside the features, if one did."""
        written = self._uncommitted.rows.take_id(sha)
        return self._ids.choose(sha) if written is None else written

    def _from_elsewhere(self, sha: bytes, key: bytes) -> LostImage | None:
        """Return an image with this content that is no longer where it was."""
        if (lost := self._lost.take(sha)) is not None:
            return lost
        for id_, place in self.stored.with_content(sha):
            path = self._writer.root.to_path(place)
            # Whether there is still something at an address is not asked for each copy: a new id is no harm.
            if place != key and not is_address(path) and not os.path.lexists(path):
                self._uncommitted.lose(id_)
                self.stored.lose(place)
                return LostImage(id_, had_features=True)
        return None

    def _lose(self, key: bytes, *, replaced: bool = False) -> None:
        before = self.stored.lose(key)
        if before is None:
            return
        self._uncommitted.lose(before.id)
        self._lost.add(before.sha256, before.id, replaced=replaced)

    def keep(self, pictures: Sequence[Loaded], rows: Rows) -> None:
        """Take the features of new contents, to be written at the next commit; their files can then be placed.

        Parameters
        ----------
        pictures : sequence of Loaded
            N pictures of different contents.
        rows : Rows
            Their N rows, in the same order.
        """
        self._uncommitted.rows.add([loaded.sha256 or b"" for loaded in pictures], rows)
        self.counts.embedded += len(pictures)

    def reserve(self, count: int) -> int:
        """Set ids aside that `keep_staged` is to bring; those that it does not bring stay unused.

        Parameters
        ----------
        count : int

        Returns
        -------
        int
            The first of so many.
        """
        return self._ids.reserve(count)

    def keep_staged(self, staged: StagedSegment, ids: Mapping[bytes, int]) -> None:
        """Take the features of contents that a worker has written; their files can then be placed.

        Contents that are known by now, since another worker met the same picture, stay unused in the segment.

        Parameters
        ----------
        staged : StagedSegment
        ids : mapping of bytes to int
            The content of each row, in the order of the rows, with the id that is written beside it: of `reserve`.
        """
        self.counts.embedded += len(ids)
        rows = {sha: row for row, sha in enumerate(ids) if not self.is_known(sha)}
        self._uncommitted.rows.add_staged(staged, ids, rows)

    @property
    def is_due(self) -> bool:
        """Whether it is time to commit."""
        return self._uncommitted.is_due

    def commit(self) -> None:
        """Make everything so far part of the index, in one transaction; do nothing if there is nothing new.

        Raises
        ------
        StorageError
            If the disk is full, read-only, or refuses access. What was committed before is intact.
        """
        self._uncommitted.commit()
        self.stored.committed()

    def finish(self, survey: Survey, *, prune: bool = False) -> dict[str, int]:
        """Remove what has vanished, and commit.

        Parameters
        ----------
        survey : Survey
            What was found; what lies outside its tops is left alone.
        prune : bool
            Whether images of folders that are gone as a whole are removed, too.

        Returns
        -------
        dict
            For each folder that is gone as a whole, the number of its images that are kept; empty if `prune`.
        """
        self.commit()
        removed, kept = self._vanished(survey, prune=prune)
        self.counts.removed += self._lost.count_of_removed() + len(removed)
        outdated = self.refusals.outdated(self._writer.root, survey.tops)
        if not (removed or self._lost or outdated is not None):
            return kept
        catalog = self._writer.catalog
        with catalog.transaction():
            catalog.change_many("DELETE FROM images WHERE id = ?", ((id_,) for id_ in removed))
            catalog.change_many("DELETE FROM images WHERE id = ?", self._lost.rows())
            if outdated is not None:
                self.refusals.remember(outdated)
        self.stored.forget(len(removed))
        durable.checkpoint("removed")
        return kept

    def _vanished(self, survey: Survey, *, prune: bool) -> tuple[array[int], dict[str, int]]:
        """Return the ids of the images that are removed, and for folders whose images are kept how many."""
        root, seen = self._writer.root, np.frombuffer(self._found, dtype=np.int64)
        seen.sort()
        if len(seen) - np.count_nonzero(seen[1:] == seen[:-1]) == len(self.stored):
            return array("q"), {}

        def is_found(ids: Sequence[int]) -> list[bool]:
            rows = np.minimum(np.searchsorted(seen, ids), max(len(seen) - 1, 0))
            found: list[bool] = (seen[rows] == ids).tolist() if len(seen) else [False] * len(ids)
            return found

        vanished = Vanished(survey, prune=prune)
        select = "SELECT id, path, sha256 FROM images WHERE path IS NOT NULL AND id > ?"
        for images in self._writer.catalog.portions(select, 0):
            for (id_, key, sha), found in zip(images, is_found([image[0] for image in images]), strict=True):
                if not found:
                    vanished.note(id_, root.to_path(key), sha)

        def copies(sha: bytes) -> Iterator[tuple[int, str, bool]]:
            return ((id_, root.to_path(key), is_found([id_])[0]) for id_, key in self.stored.with_content(sha))

        kept = vanished.settle(copies)
        return vanished.removed, kept
