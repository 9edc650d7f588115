"""One run over found files: decide what each one is, embed what is new, commit, and remove what has vanished."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import PIL

from semret._version import __version__
from semret.errors import BackboneError
from semret.index.backbones.spec import Features
from semret.index.store import durable
from semret.index.store.layout import SEGMENT_BYTES, Rows
from semret.index.store.manifest import Manifest
from semret.index.store.root import lies_in
from semret.index.sync.loading import Loaded
from semret.index.sync.survey import Survey, find_vanished
from semret.index.writer import IndexWriter

COMMIT_SECONDS = 30.0
"""Longest time between commits, as long as there is something to commit."""

DECODER = f"semret {__version__}, rules 2, Pillow {PIL.__version__}, pillow-heif {version('pillow-heif')}"
"""What a refusal of a file is remembered for; another version, of those or of our own rules, tries again."""

_PLACE = (
    "INSERT INTO images VALUES (?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE "
    "SET path = excluded.path, size = excluded.size, mtime_ns = excluded.mtime_ns"
)
_LOSE = "UPDATE images SET path = NULL WHERE id = ?"


@dataclass(frozen=True)
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


class Ingest:
    """The changes that a run makes to an index, committed in portions.

    An image whose file has changed or become unreadable is first *lost*: it keeps its id without a path, so that its
    content may turn up under another path. What is still lost at the end is deleted.

    Parameters
    ----------
    writer : IndexWriter
        With the index made.
    commit_rows : int
        Images after which what was embedded is committed.
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
        """Tell whether the features of a content are stored or about to be."""
        return sha256 in self.contents

    def refuse(self, path: str, size: int, stamp_ns: int, reason: str) -> None:
        """Record a file that is no usable picture; the image that was there is lost.

        `stamp_ns` is the time stamp to recognise it by, -1 if it is to be read again.
        """
        key = self._writer.root.to_stored(path)
        self._lose(key)
        self.skipped[key] = (size, stamp_ns, reason)

    def place(self, loaded: Loaded) -> None:
        """Put a file whose content `is_known` into the index."""
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
        """Take the features of pictures that were read; their files can then be placed."""
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
        """Make everything so far part of the index."""
        catalog = self._writer.catalog
        segment = None
        if self._rows:
            self._set_first_ids()
            segment = self._writer.write_segment(self._rows)
        if segment is not None or self._operations:
            with catalog.transaction():
                if segment is not None:
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
            For each folder that is gone as a whole, the number of its images that are kept.
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


def make_rows(manifest: Manifest, batch: Sequence[Loaded], features: Features) -> Rows:
    """Round the features of a batch to what is stored, and derive what is stored with them.

    Raises
    ------
    BackboneError
        If the network gave another shape than the manifest has, or a value that cannot be stored.
    """
    expected = (len(batch), *manifest.token_shape), (len(batch), manifest.identity.pooled_dim)
    found = features.tokens.shape, features.pooled.shape
    if found != expected:
        raise BackboneError(
            f"{manifest.identity.backbone} gave tokens and pooled embeddings of shapes {found[0]} and {found[1]}, "
            f"the index has {expected[0]} and {expected[1]}"
        )
    with np.errstate(over="ignore"):
        tokens = features.tokens.astype(manifest.dtype)
    wide = tokens.astype(np.float64)
    # Not by a product of vectors: the BLAS would wake threads of its own, which then keep a core busy with waiting.
    norms = np.sqrt(np.einsum("nsc,nsc->n", wide, wide))
    if not (np.isfinite(norms).all() and np.isfinite(features.pooled).all()):
        raise BackboneError(_why_not_storable(manifest, batch, features, tokens))
    return Rows(
        tokens=tokens,
        pooled=features.pooled.astype(np.float32),
        means=wide.mean(axis=1).astype(np.float32),
        norms=norms,
        ids=np.zeros(len(batch), dtype=np.int64),
        sha256=np.array([list(loaded.sha256 or b"") for loaded in batch], dtype=np.uint8),
        sizes=np.array([loaded.picture for loaded in batch], dtype=np.int32),
    )


def _why_not_storable(manifest: Manifest, batch: Sequence[Loaded], features: Features, tokens: Any) -> str:
    """Name the first picture whose features are not finite, or not as stored."""
    name = manifest.identity.backbone
    for loaded, given, stored, pooled in zip(batch, features.tokens, tokens, features.pooled, strict=True):
        if not (np.isfinite(given).all() and np.isfinite(pooled).all()):
            return f"{name} gave NaN or infinity for {loaded.path}; report it, or use another model"
        if not np.isfinite(stored).all():
            peak = float(np.abs(given).max())
            return (
                f"{name} gives values up to {peak:.3g} for {loaded.path}, beyond the range of {manifest.dtype}; "
                "index with --dtype float32 into another directory"
            )
    raise ValueError("all features are finite")
