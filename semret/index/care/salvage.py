"""A catalog from what is left: the damaged one, as far as it can be read, and the segments themselves.

Nothing that a damaged catalog says is believed. Segments are taken only if their rows have their checksums, paths only
so that the next ``semret index`` reads every file again, which costs no embedding.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from semret.errors import IndexCorruptError, SemretError
from semret.index.care.soundness import digest_file, examine_rows
from semret.index.location import Root
from semret.index.store import durable
from semret.index.store.catalog import Catalog, read_digest
from semret.index.store.catalog_file import (
    CATALOG_NAME,
    DIGEST_NAME,
    JOURNAL_NAME,
    MOST_BYTES,
    STRANGE_NAMES,
    check_journal,
    write_chunks,
)
from semret.index.store.entries import LONGEST_PATH, MOST
from semret.index.store.guarded_sqlite import GuardedConnection, open_guarded
from semret.index.store.manifest import Manifest
from semret.index.store.members import open_member
from semret.index.store.schema import SCHEMA
from semret.index.store.segments import (
    CHECKED_ROWS,
    FOLDER,
    SEGMENT_BYTES,
    Rows,
    Segment,
    SegmentReader,
    checksum,
    columns,
    segment_path,
    write_segment,
)

DAMAGED_SUFFIX = ".damaged"
"""Ending under which the catalog that was replaced is kept."""

_WORKSHOP = "repair"
_SEGMENT_NAME = re.compile(r"(\d{6,18})\.h5")
_TABLES = {
    b"meta": SCHEMA["meta"].encode(),
    b"images": SCHEMA["images"].encode(),
    b"sqlite_sequence": b"CREATE TABLE sqlite_sequence(name,seq)",
}
_MANY = 10**9
_GUESSES = 8
_BATCHES = 64
# The second is what Python makes of a message of SQLite that quotes damaged text.
_UNREADABLE = (sqlite3.Error, UnicodeDecodeError)
_HEADER_BYTES = 24


@dataclass
class Remains:
    """What could be read of a damaged catalog; none of it is sure."""

    generation: int = 0
    root: str | None = None
    style: str = "absolute"
    images: list[tuple[int, bytes, int, bytes]] = field(default_factory=list)
    last_id: int = 0
    last_segment: int = 0


@dataclass(frozen=True)
class _Place:
    segment: int
    row: int
    first_id: int


def rebuild_catalog(index: Path, manifest: Manifest) -> tuple[int, int]:
    """Replace the catalog of an index by one made anew; the caller holds the writer's lock.

    The old one is kept as ``catalog.sqlite.damaged``.

    Returns
    -------
    (int, int)
        Images, and contents with features, in the new catalog.

    Raises
    ------
    StorageError
        If the disk is full, read-only, or refuses access; the old catalog is then still in place.
    """
    remains = read_remains(index)
    workshop = index / _WORKSHOP
    shutil.rmtree(workshop, ignore_errors=True)
    with durable.storage(f"create {workshop}"):
        if os.path.lexists(workshop):
            workshop.unlink()
        workshop.mkdir()
    try:
        segments = list(_find_segments(index, manifest, workshop))
        counts = _write_catalog(workshop, index, manifest, remains, segments)
        with durable.storage(f"replace {index / CATALOG_NAME}"):
            _exchange(index, workshop)
    finally:
        shutil.rmtree(workshop, ignore_errors=True)
    return counts


def _exchange(index: Path, workshop: Path) -> None:
    """Put the new catalog in the place of the old one; a kill in between leaves one that can be rebuilt again."""
    durable.checkpoint("repair:begun")
    durable.discard(index / DIGEST_NAME)
    for name in (CATALOG_NAME, JOURNAL_NAME, *STRANGE_NAMES):
        set_aside(index / name)
    durable.checkpoint("repair:set aside")
    (workshop / CATALOG_NAME).replace(index / CATALOG_NAME)
    durable.checkpoint("repair:exchanged")
    (workshop / DIGEST_NAME).replace(index / DIGEST_NAME)
    durable.flush_folder(index)
    durable.checkpoint("repair:durable")


def set_aside(path: Path) -> None:
    """Rename a file, or whatever stands in its place, out of the way; that it is missing is no matter."""
    if os.path.lexists(path):
        path.replace(path.with_name(path.name + DAMAGED_SUFFIX))


def read_remains(index: Path) -> Remains:
    """Read what a damaged catalog still gives away, from a copy of it."""
    remains = Remains()
    with contextlib.suppress(SemretError):
        found = read_digest(index / DIGEST_NAME)
        remains.generation = found[0] if found else 0
    with tempfile.TemporaryDirectory(prefix="semret-") as folder, contextlib.suppress(*_UNREADABLE):
        copy = _copy_catalog(index, Path(folder))
        if copy is not None:
            _restore_header(copy)
            with contextlib.closing(open_guarded(copy, "rw")) as db:
                _read_tables(db, remains, copy.stat().st_size)
    return remains


def _copy_catalog(index: Path, folder: Path) -> Path | None:
    """Copy a damaged catalog, and its journal unless that is none of semret's; None if there is nothing to copy."""
    copy = folder / CATALOG_NAME
    for source in (index / CATALOG_NAME, index / (CATALOG_NAME + DAMAGED_SUFFIX)):
        if _copy_member(source, copy):
            break
    else:
        return None
    with contextlib.suppress(IndexCorruptError):
        check_journal(index / JOURNAL_NAME)
        _copy_member(index / JOURNAL_NAME, copy.with_name(JOURNAL_NAME))
        check_journal(copy.with_name(JOURNAL_NAME))
        return copy
    durable.discard(copy.with_name(JOURNAL_NAME))
    return copy


def _copy_member(source: Path, target: Path) -> bool:
    """Copy a file of the index; return whether it was there, and was a file of a possible length."""
    with durable.storage(f"copy {source} to a temporary folder"):
        try:
            with open_member(source, most=MOST_BYTES) as stream:
                write_chunks(target, iter(lambda: stream.read(2**20), b""))
        except (FileNotFoundError, IndexCorruptError):
            return False
    return True


def _restore_header(copy: Path) -> None:
    """Write the part of the file's header that is the same in every catalog: magic, page size, versions."""
    with contextlib.closing(sqlite3.connect(":memory:")) as db:
        db.execute("CREATE TABLE any_table (x)")
        header = db.serialize()[:_HEADER_BYTES]
    with copy.open("r+b") as stream:
        stream.write(header)


def _read_tables(db: GuardedConnection, remains: Remains, size: int) -> None:
    db.text_factory = bytes
    for name, sql in _readable(db, size, "SELECT name, sql FROM sqlite_schema"):
        if not isinstance(name, bytes) or sql != _TABLES.get(name.lower(), sql):
            # A view, or a table made to be read at a price: nothing in it is ours.
            return
    meta = dict(_readable(db, size, "SELECT key, value FROM meta"))
    generation = meta.get(b"generation")
    if isinstance(generation, bytes) and re.fullmatch(rb"\d{1,15}", generation):
        remains.generation = max(remains.generation, int(generation))
    root, style = meta.get(b"root"), meta.get(b"style")
    remains.root = root.decode("utf-8", "surrogateescape") if isinstance(root, bytes) and b"\0" not in root else None
    remains.style = "relative" if style == b"relative" else "absolute"
    known: dict[int, tuple[int, bytes, int, bytes]] = {}
    for order in ("ASC", "DESC"):
        # What lies behind a damaged page is reached from the other end.
        for row in _readable(db, size, f"SELECT id, path, size, sha256 FROM images ORDER BY id {order}"):
            if _is_image(row):
                known[row[0]] = row
    remains.images = [known[id_] for id_ in sorted(known)]
    for name, last in _readable(db, size, "SELECT name, seq FROM sqlite_sequence"):
        if isinstance(last, int) and 0 <= last < MOST:
            if name == b"images":
                remains.last_id = last
            elif name == b"segments":
                remains.last_segment = min(last, _MANY)


def _readable(db: GuardedConnection, size: int, statement: str) -> Iterator[tuple[Any, ...]]:
    """Give the rows of a query until the damage."""
    with contextlib.suppress(*_UNREADABLE):
        db.allow(size)
        yield from db.execute(statement)


def _is_image(row: tuple[Any, ...]) -> bool:
    id_, path, size, sha256 = row
    return (
        isinstance(id_, int)
        and 0 < id_ < MOST
        and isinstance(path, bytes)
        and 0 < len(path) <= LONGEST_PATH
        and b"\0" not in path
        and isinstance(size, int)
        and -1 <= size < MOST
        and isinstance(sha256, bytes)
        and len(sha256) == 32
    )


def _find_segments(index: Path, manifest: Manifest, workshop: Path) -> Iterator[tuple[Segment, SegmentReader, Any]]:
    """Give the segments on disk that have their rows intact, the newest first, with which rows are sound."""
    plans: dict[int, Segment] = {}
    numbers = [int(match[1]) for file in (index / FOLDER).glob("*.h5") if (match := _SEGMENT_NAME.fullmatch(file.name))]
    for number in sorted(numbers, reverse=True):
        segment = _describe(index, number, manifest, workshop, plans)
        if segment is None:
            continue
        try:
            reader = SegmentReader(index, segment, manifest)
            sound = examine_rows(reader, manifest).sound
        except IndexCorruptError:
            continue
        if sound.any():
            yield segment, reader, sound


def _describe(
    index: Path, number: int, manifest: Manifest, workshop: Path, plans: dict[int, Segment]
) -> Segment | None:
    """Work out a segment's entry from its file: where its datasets are follows from the number of its rows.

    HDF5 never sees the file. A segment of zeros of the same shape is written instead and tells the offsets; if they
    were wrong, no row would have its checksum.
    """
    try:
        digest, size = digest_file(segment_path(index, number), most=_most_bytes(manifest))
    except (OSError, IndexCorruptError):
        return None
    fixed, each = _bytes(manifest, 0), _bytes(manifest, 1) - _bytes(manifest, 0)
    rows = (size - fixed) // each
    for _ in range(_GUESSES):
        if rows < 1:
            return None
        if rows not in plans:
            plans[rows] = write_segment(workshop, 1, manifest, [_zeros(manifest, rows)])
        excess = plans[rows].bytes - size
        if excess == 0:
            blank = replace(plans[rows], number=number, sha256=digest, sums={})
            return replace(blank, sums=_sums(index, blank, manifest))
        rows -= round(excess / each) or (1 if excess > 0 else -1)
    return None


def _bytes(manifest: Manifest, rows: int) -> int:
    return sum(column.bytes for column in columns(manifest, rows).values())


def _most_bytes(manifest: Manifest) -> int:
    """Return a length that no segment has: one is closed after `SEGMENT_BYTES` of tokens, with a batch too many."""
    return 8 * SEGMENT_BYTES + _BATCHES * _bytes(manifest, 1)


def _zeros(manifest: Manifest, rows: int) -> Rows:
    layout = columns(manifest, rows)
    fields = Rows.__dataclass_fields__
    return Rows(**{name: np.zeros(layout[name].shape, dtype=layout[name].dtype) for name in fields})


def _sums(index: Path, segment: Segment, manifest: Manifest) -> dict[str, int]:
    """Return the checksums that the small datasets have as they are."""
    found = {}
    with open_member(segment_path(index, segment.number), most=segment.bytes) as stream:
        for name, column in columns(manifest, segment.rows).items():
            if name not in CHECKED_ROWS:
                stream.seek(segment.offsets[name])
                found[name] = checksum(np.frombuffer(stream.read(column.bytes), dtype=np.uint8))
    return found


def _write_catalog(
    workshop: Path,
    index: Path,
    manifest: Manifest,
    remains: Remains,
    segments: list[tuple[Segment, SegmentReader, Any]],
) -> tuple[int, int]:
    places = _place_contents(segments)
    images = [image for image in remains.images if image[3] in places]
    taken = {image[0] for image in images}
    served = {image[3] for image in images}
    last_id = max([remains.last_id, *taken, *(place.first_id for place in places.values())], default=0)
    numbers = [segment.number for segment, _, _ in segments]
    meta = {
        "generation": str(remains.generation + 1),
        "root": remains.root if remains.root is not None else Root.at(index, index.parent).stored,
        "style": remains.style,
        "manifest": manifest.as_bytes().decode(),
    }
    with Catalog.create(workshop, meta) as catalog, catalog.transaction():
        for segment, _, _ in segments:
            catalog.add_segment(segment)
        rows = []
        for sha, place in places.items():
            former = None if sha in served or place.first_id in taken or place.first_id < 1 else place.first_id
            taken.update([] if former is None else [former])
            rows.append((sha, place.segment, place.row, former))
        catalog.change_many("INSERT INTO contents VALUES (?, ?, ?, ?)", rows)
        # No file has this time stamp, so the next run reads each one and believes what it finds.
        entries = [(id_, path, size, -1, sha) for id_, path, size, sha in images]
        catalog.change_many("INSERT OR IGNORE INTO images VALUES (?, ?, ?, ?, ?)", entries)
        catalog.change("DELETE FROM sqlite_sequence")
        catalog.change_many(
            "INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)",
            [("images", last_id), ("segments", max([remains.last_segment, *numbers], default=0))],
        )
    return len(images), len(places)


def _place_contents(segments: list[tuple[Segment, SegmentReader, Any]]) -> dict[bytes, _Place]:
    """Return where each content's features are; of several places the newest."""
    places: dict[bytes, _Place] = {}
    for segment, reader, sound in segments:
        hashes, ids = reader.whole("sha256"), reader.whole("ids")
        for row in np.flatnonzero(sound).tolist():
            first = int(ids[row]) if ids[row] < MOST else 0
            places.setdefault(hashes[row].tobytes(), _Place(segment.number, row, first))
    return places
