"""The changes that one sync makes to an index: which files are new, changed, moved or gone, and when to commit."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from semret.index.pictures.find import FoundImage
from semret.index.store import durable
from semret.index.store.energies import note_segment
from semret.index.store.layout import SEGMENT_BYTES, Rows
from semret.index.store.root import lies_in
from semret.index.sync.loading import Loaded
from semret.index.sync.rows import DECODER
from semret.index.sync.survey import Survey, find_vanished
from semret.index.writer import IndexWriter

COMMIT_SECONDS = 30.0
"""Longest time between commits, as long as there is something to commit."""

_PLACE = (
    "INSERT INTO images VALUES (?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE "
    "SET path = excluded.path, size = excluded.size, mtime_ns = excluded.mtime_ns"
)
_LOSE = "UPDATE images SET path = NULL WHERE id = ?"


@dataclass(frozen=True, slots=True)
class Stored:
    """An image as the catalog has it."""

    id: int
    size: int
    mtime_ns: int
    sha256: bytes


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
    stored : dict
        Stored path to the image that is there.
    skipped : dict
        Stored path to size, time stamp and reason of the files that this run cannot use.
    refused : dict
        The same of files that an earlier run could not use.
    contents : set of bytes
        SHA-256 of every content whose features are stored or about to be.
    """

    def __init__(self, writer: IndexWriter, commit_rows: int) -> None:
        self._writer = writer
        self._commit_rows = commit_rows
        self.counts = Counts()
        self.skipped: dict[bytes, tuple[int, int, str]] = {}
        catalog = writer.catalog
        self.contents = {sha for (sha,) in catalog.select("SELECT sha256 FROM contents")}
        self._former = dict(catalog.select("SELECT sha256, former_id FROM contents WHERE former_id IS NOT NULL"))
        self._next_id = catalog.next_id()
        self.stored: dict[bytes, Stored] = {}
        self._places: dict[bytes, list[bytes]] = {}
        self._lost: dict[bytes, list[int]] = {}
        self._replaced: set[int] = set()
        self._load(catalog.select("SELECT id, path, size, mtime_ns, sha256 FROM images"))
        self.refused = {
            path: (size, mtime, reason)
            for path, size, mtime, reason, decoder in catalog.select("SELECT * FROM skipped")
            if decoder == DECODER
        }
        self._operations: list[tuple[str, tuple[Any, ...]]] = []
        self._rows: list[Rows] = []
        self._row_contents: list[bytes] = []
        self._since = time.monotonic()

    def _load(self, images: Iterable[tuple[Any, ...]]) -> None:
        for id_, path, size, mtime, sha in images:
            if path is None:
                self._lost.setdefault(sha, []).append(id_)
                self._replaced.add(id_)
            else:
                self.stored[path] = Stored(id_, size, mtime, sha)
                self._places.setdefault(sha, []).append(path)

    def is_known(self, sha256: bytes) -> bool:
        """Tell whether the features of a content are stored or about to be.

        Parameters
        ----------
        sha256 : bytes
            Digest of the content.

        Returns
        -------
        bool
        """
        return sha256 in self.contents

    def pending(self, files: Iterable[FoundImage]) -> list[FoundImage]:
        """Return the files that have to be read, and settle the others by their size and time.

        Parameters
        ----------
        files : iterable of FoundImage
            What the walk found.

        Returns
        -------
        list of FoundImage
            In the same order, without those that are as they were when they were stored, or when they were refused.
        """
        pending = []
        for found in files:
            key = self._writer.root.to_stored(found.path)
            stored, refused = self.stored.get(key), self.refused.get(key)
            if stored is not None and (stored.size, stored.mtime_ns) == (found.size, found.mtime_ns):
                self.counts.unchanged += 1
            elif refused is not None and refused[:2] == (found.size, found.mtime_ns):
                self.refuse(found.path, *refused)
            else:
                pending.append(found)
        return pending

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
        self.skipped[key] = (size, stamp_ns, reason)

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
        before = self.stored.get(key)
        if before is not None and before.sha256 == sha:
            self.counts.unchanged += 1
            self._put(before.id, key, loaded, sha)
            return
        if before is not None:
            self._lose(key, replaced=True)
            self.counts.updated += 1
        if wanted is not None and before is None:
            self.counts.added += 1
            self._next_id = max(self._next_id, wanted + 1)
            self._put(wanted, key, loaded, sha)
            return
        id_ = self._id_from_elsewhere(sha, key)
        if before is None:
            self.counts.added += id_ is None
            self.counts.renamed += id_ is not None
        self._put(self._new_id(sha) if id_ is None else id_, key, loaded, sha)

    def _put(self, id_: int, key: bytes, loaded: Loaded, sha: bytes) -> None:
        entry = Stored(id_, loaded.size, loaded.stamp_ns, sha)
        if self.stored.get(key) == entry:
            return
        self._operations.append((_PLACE, (id_, key, entry.size, entry.mtime_ns, sha)))
        if key not in self.stored:
            self._places.setdefault(sha, []).append(key)
        self.stored[key] = entry

    def _new_id(self, sha: bytes) -> int:
        """Return an id never used; for a content saved from a damaged index the one it had."""
        former = self._former.pop(sha, None)
        if former is not None:
            return int(former)
        self._next_id += 1
        return self._next_id - 1

    def _id_from_elsewhere(self, sha: bytes, key: bytes) -> int | None:
        """Return the id of an image with this content that is no longer where it was."""
        if lost := self._lost.get(sha):
            return lost.pop(0)
        for place in self._places.get(sha, ()):
            if place != key and not os.path.lexists(self._writer.root.to_path(place)):
                id_ = self.stored[place].id
                self._lose(place)
                self._lost[sha].remove(id_)
                return id_
        return None

    def _lose(self, key: bytes, *, replaced: bool = False) -> None:
        before = self.stored.pop(key, None)
        if before is None:
            return
        self._operations.append((_LOSE, (before.id,)))
        self._places[before.sha256].remove(key)
        self._lost.setdefault(before.sha256, []).append(before.id)
        if replaced:
            self._replaced.add(before.id)

    def keep(self, pictures: Sequence[Loaded], rows: Rows) -> None:
        """Take the features of new contents, to be written at the next commit; their files can then be placed.

        Parameters
        ----------
        pictures : sequence of Loaded
            N pictures of different contents.
        rows : Rows
            Their N rows, in the same order.
        """
        hashes = [loaded.sha256 or b"" for loaded in pictures]
        self._rows.append(rows)
        self._row_contents += hashes
        self.contents.update(hashes)
        self.counts.embedded += len(pictures)

    @property
    def is_due(self) -> bool:
        """Whether it is time to commit."""
        rows = len(self._row_contents)
        full = rows >= self._commit_rows or rows * self._writer.manifest.token_bytes >= SEGMENT_BYTES
        return full or (bool(self._operations) and time.monotonic() - self._since >= COMMIT_SECONDS)

    def commit(self) -> None:
        """Make everything so far part of the index, in one transaction; do nothing if there is nothing new.

        Raises
        ------
        StorageError
            If the disk is full, read-only, or refuses access. What was committed before is intact.
        """
        catalog = self._writer.catalog
        segment = None
        if self._rows:
            self._set_first_ids()
            segment = self._writer.write_segment(self._rows)
        if segment is not None or self._operations:
            with catalog.transaction():
                if segment is not None:
                    note_segment(self._writer.index, catalog, self._writer.manifest, segment.number, self._rows)
                    catalog.add_segment(segment)
                    rows = [(sha, segment.number, row, None) for row, sha in enumerate(self._row_contents)]
                    catalog.change_many("INSERT INTO contents VALUES (?, ?, ?, ?)", rows)
                for statement, values in self._operations:
                    catalog.change(statement, *values)
        self._rows, self._row_contents, self._operations = [], [], []
        self._since = time.monotonic()

    def _set_first_ids(self) -> None:
        """Write into the rows the ids that their contents got."""
        ids = {values[4]: values[0] for statement, values in reversed(self._operations) if statement == _PLACE}
        position = 0
        for part in self._rows:
            for row in range(len(part)):
                part.ids[row] = ids[self._row_contents[position]]
                position += 1

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
        root = self._writer.root
        removed, kept = find_vanished(
            ((root.to_path(key), stored.sha256) for key, stored in self.stored.items()), survey, prune=prune
        )
        for path in removed:
            self._lose(root.to_stored(path))
        self.commit()
        lost = [id_ for ids in self._lost.values() for id_ in ids]
        self.counts.removed += len(set(lost) - self._replaced)
        forgotten = self._forgotten_refusals(survey.tops)
        if not lost and forgotten is None:
            return kept
        catalog = self._writer.catalog
        with catalog.transaction():
            catalog.change_many("DELETE FROM images WHERE id = ?", [(id_,) for id_ in lost])
            if forgotten is not None:
                catalog.change_many("DELETE FROM skipped WHERE path = ?", [(key,) for key in forgotten])
                records = [(key, *record, DECODER) for key, record in self.skipped.items()]
                catalog.change_many("INSERT OR REPLACE INTO skipped VALUES (?, ?, ?, ?, ?)", records)
        durable.checkpoint("removed")
        return kept

    def _forgotten_refusals(self, tops: Sequence[str]) -> list[bytes] | None:
        """Return the remembered refusals that no longer hold; None if they are exactly those of this run."""
        known = self._writer.catalog.select("SELECT path, size, mtime_ns, reason, decoder FROM skipped")
        here = {row[0]: row[1:] for row in known if lies_in(self._writer.root.to_path(row[0]), tops)}
        now = {key: (*record, DECODER) for key, record in self.skipped.items()}
        return None if here == now else [key for key in here if key not in now]
