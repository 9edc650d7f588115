"""Take images out of an index, and rewrite its segments without the rows that no image uses."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from semret.errors import ArgumentError
from semret.index.convert import convert
from semret.index.model_choice import may_have_text
from semret.index.store.layout import Segment, directory_bytes, rows_of_segment
from semret.index.store.places import Place, Places
from semret.index.store.reading import SegmentReader
from semret.index.store.root import lies_in
from semret.index.writer import IndexWriter
from semret.paths import PathLike, located
from semret.progress import Progress

_PORTION = 16


@dataclass(frozen=True, kw_only=True)
class RemoveReport:
    """What `remove` did: images taken out, images left."""

    index: str
    removed: int
    images: int

    def as_json(self) -> dict[str, Any]:
        """Return the fields by name, as plain strings and numbers.

        Returns
        -------
        dict
        """
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class CompactReport:
    """What `compact` did: segments and bytes before and after, rows that were dropped."""

    index: str
    segments_before: int
    segments: int
    bytes_before: int
    bytes: int
    dropped: int

    def as_json(self) -> dict[str, Any]:
        """Return the fields by name, as plain strings and numbers.

        Returns
        -------
        dict
        """
        return asdict(self)


def remove(index: Path, paths: Sequence[PathLike]) -> RemoveReport:
    """Take images out of an index, and forget refused files; the files themselves are not touched.

    A later `sync` over files that are still there takes them in again, under new ids; their features serve again until
    `compact` drops them.

    Parameters
    ----------
    index : Path
        Index directory.
    paths : sequence of path
        Images, and folders with everything below; they need not exist any more.

    Returns
    -------
    RemoveReport

    Raises
    ------
    ArgumentError
        If nothing in the index is at or below one of `paths`; then nothing is removed.
    IndexNotFoundError, IndexLockedError, IndexCorruptError
        As `IndexWriter`.
    StorageError
        If the disk is full, read-only, or refuses access.
    """
    with IndexWriter(index) as writer:
        chosen, forgotten = _choose(writer, [located(path) for path in paths])
        catalog = writer.catalog
        images = int(catalog.select("SELECT count(*) FROM images WHERE path IS NOT NULL")[0][0])
        with catalog.transaction():
            catalog.change_many("DELETE FROM images WHERE id = ?", ((id_,) for id_ in chosen))
            catalog.change_many("DELETE FROM skipped WHERE path = ?", ((key,) for key in forgotten))
        writer.refresh_shortlist()
        return RemoveReport(index=str(index), removed=len(chosen), images=images - len(chosen))


def _choose(writer: IndexWriter, tops: list[str]) -> tuple[array[int], list[bytes]]:
    """Return the ids of images, and the stored paths of refused files, at and below some paths."""
    catalog, root = writer.catalog, writer.root
    chosen, forgotten = array("q"), []
    empty = set(tops)

    def lies_here(key: bytes) -> bool:
        place = root.to_path(key)
        found = [top for top in tops if lies_in(place, [top])]
        empty.difference_update(found)
        return bool(found)

    for images in catalog.portions("SELECT id, path FROM images WHERE path IS NOT NULL AND id > ?", 0):
        chosen.extend(id_ for id_, key in images if lies_here(key))
    for refused in catalog.portions("SELECT path FROM skipped WHERE path > ?", b""):
        forgotten += [key for (key,) in refused if lies_here(key)]
    for top in tops:
        if top in empty:
            raise ArgumentError(f"the index {writer.index} has nothing at or below {top}; nothing was removed")
    return chosen, forgotten


def compact(index: Path, *, codec: str | None = None, progress: Progress | None = None) -> CompactReport:
    """Rewrite segments that hold rows that no image uses, and join small ones.

    Ids, paths and features stay as they are, bit for bit; readers go on with what they opened. Every new segment is a
    commit of its own, so an interruption costs at most one.

    Parameters
    ----------
    index : Path
        Index directory.
    codec : str, optional
        Store tokens with this codec, see `semret.index.convert.convert`; the pictures are not needed.
    progress : callable, optional
        Called with the number of rows moved and their total.

    Returns
    -------
    CompactReport

    Raises
    ------
    IndexNotFoundError, IndexLockedError, IndexCorruptError
        As `IndexWriter`; the last also if a row that is moved is damaged.
    ArgumentError, UnknownNameError
        If the tokens cannot be stored with that codec.
    StorageError
        If the disk is full, read-only, or refuses access.
    """
    with IndexWriter(index) as writer:
        segments_before, rows_before = _counts(writer)
        size = directory_bytes(index)
        if codec is not None:
            convert(writer, codec, has_text=may_have_text(writer.manifest.identity.backbone), progress=progress)
        _drop_unused(writer)
        _move_all(writer, progress)
        writer.delete_retired()
        writer.refresh_shortlist(progress)
        segments, rows = _counts(writer)
        return CompactReport(
            index=str(index),
            segments_before=segments_before,
            segments=segments,
            bytes_before=size,
            bytes=directory_bytes(index),
            dropped=rows_before - rows,
        )


def _counts(writer: IndexWriter) -> tuple[int, int]:
    """Return the number of segments, and of rows in all of them."""
    ((segments, rows),) = writer.catalog.select("SELECT count(*), total(rows) FROM segments WHERE retired IS NULL")
    return int(segments), int(rows)


def _drop_unused(writer: IndexWriter) -> None:
    """Forget the features that no image has; whole segments of them go at once."""
    unused = "SELECT count(*) FROM contents WHERE sha256 NOT IN (SELECT sha256 FROM images)"
    if writer.catalog.select(unused)[0][0]:
        with writer.catalog.transaction():
            writer.retire_unused()


def _move_all(writer: IndexWriter, progress: Progress | None) -> None:
    """Rewrite the segments that have rows without an image, or that are small."""
    limit = rows_of_segment(writer.manifest)
    segments = writer.catalog.segments()
    with _to_move(writer, segments, limit) as moving:
        for start in range(0, len(moving), limit):
            _move(writer, segments, moving[start : start + limit])
            if progress is not None:
                progress(min(start + limit, len(moving)), len(moving))


def _to_move(writer: IndexWriter, segments: dict[int, Segment], limit: int) -> Places:
    """Return what has to be rewritten."""
    used = "EXISTS (SELECT 1 FROM images WHERE images.sha256 = contents.sha256)"
    wanted = dict(writer.catalog.select(f"SELECT segment, count(*) FROM contents WHERE {used} GROUP BY segment"))
    holed = {number for number, segment in segments.items() if wanted.get(number, 0) < segment.rows}
    small = {number for number in segments if wanted.get(number, 0) <= limit // 2}
    # One small segment alone has nothing to be joined with.
    chosen = holed | small if len(holed | small) > 1 else holed
    return Places(writer.catalog, in_use=True, segments=chosen.__contains__)


def _move(writer: IndexWriter, segments: dict[int, Segment], rows: list[Place]) -> None:
    """Write these rows to a new segment and point their contents to it."""
    groups: dict[int, list[int]] = defaultdict(list)
    for number, row, _ in rows:
        groups[number].append(row)
    parts = [
        SegmentReader(writer.index, segments[number], writer.manifest).take_rows(
            np.array(inner[start : start + _PORTION])
        )
        for number, inner in groups.items()
        for start in range(0, len(inner), _PORTION)
    ]
    segment = writer.write_segment(parts)
    with writer.catalog.transaction():
        writer.catalog.add_segment(segment)
        moved = [(segment.number, place, sha) for place, (_, _, sha) in enumerate(rows)]
        writer.catalog.change_many("UPDATE contents SET segment = ?, row = ? WHERE sha256 = ?", moved)
        writer.retire_unused()
