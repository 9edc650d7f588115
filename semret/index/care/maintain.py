"""Take images out of an index, and rewrite its segments without the rows that no image uses."""

from __future__ import annotations

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
from semret.index.store.reading import SegmentReader
from semret.index.store.root import lies_in
from semret.index.writer import IndexWriter
from semret.paths import PathLike, absolute
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
        catalog, root = writer.catalog, writer.root
        images = catalog.select("SELECT id, path FROM images WHERE path IS NOT NULL")
        refused = [key for (key,) in catalog.select("SELECT path FROM skipped")]
        located = [(id_, root.to_path(key)) for id_, key in images]
        chosen: set[int] = set()
        forgotten: set[bytes] = set()
        for path in paths:
            top = [str(absolute(path))]
            here = {id_ for id_, place in located if lies_in(place, top)}
            known = {key for key in refused if lies_in(root.to_path(key), top)}
            if not here and not known:
                raise ArgumentError(f"the index {index} has nothing at or below {top[0]}; nothing was removed")
            chosen |= here
            forgotten |= known
        with catalog.transaction():
            catalog.change_many("DELETE FROM images WHERE id = ?", [(id_,) for id_ in sorted(chosen)])
            catalog.change_many("DELETE FROM skipped WHERE path = ?", [(key,) for key in sorted(forgotten)])
        writer.refresh_shortlist()
        return RemoveReport(index=str(index), removed=len(chosen), images=len(images) - len(chosen))


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
        before = writer.catalog.segments()
        size = directory_bytes(index)
        if codec is not None:
            convert(writer, codec, has_text=may_have_text(writer.manifest.identity.backbone), progress=progress)
        _drop_unused(writer)
        moving, limit = _to_move(writer, writer.catalog.segments())
        total = len(moving)
        for start in range(0, total, limit):
            _move(writer, moving[start : start + limit])
            if progress is not None:
                progress(min(start + limit, total), total)
        writer.delete_retired()
        writer.refresh_shortlist()
        after = writer.catalog.segments()
        return CompactReport(
            index=str(index),
            segments_before=len(before),
            segments=len(after),
            bytes_before=size,
            bytes=directory_bytes(index),
            dropped=_rows(before) - _rows(after),
        )


def _drop_unused(writer: IndexWriter) -> None:
    """Forget the features that no image has; whole segments of them go at once."""
    unused = "SELECT count(*) FROM contents WHERE sha256 NOT IN (SELECT sha256 FROM images)"
    if writer.catalog.select(unused)[0][0]:
        with writer.catalog.transaction():
            writer.retire_unused()


def _rows(segments: dict[int, Segment]) -> int:
    return sum(segment.rows for segment in segments.values())


def _to_move(writer: IndexWriter, segments: dict[int, Segment]) -> tuple[list[tuple[int, int, bytes]], int]:
    """Return what has to be rewritten, as (segment, row, content) in order, and how many rows a new segment takes."""
    contents = writer.catalog.select(
        "SELECT segment, row, sha256 FROM contents WHERE sha256 IN (SELECT sha256 FROM images) ORDER BY segment, row"
    )
    wanted: dict[int, int] = defaultdict(int)
    for segment, _, _ in contents:
        wanted[segment] += 1
    limit = rows_of_segment(writer.manifest)
    holed = {number for number, segment in segments.items() if wanted[number] < segment.rows}
    small = {number for number, segment in segments.items() if wanted[number] <= limit // 2}
    # One small segment alone has nothing to be joined with.
    chosen = holed | small if len(holed | small) > 1 else holed
    return [row for row in contents if row[0] in chosen], limit


def _move(writer: IndexWriter, rows: list[tuple[int, int, bytes]]) -> None:
    """Write these rows to a new segment and point their contents to it."""
    segments = writer.catalog.segments()
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
